"""Features with their labels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Labelled:
    """Features (N, D) float32 and class numbers (N,) of one split."""

    features: np.ndarray
    labels: np.ndarray
