"""Maps of frozen features that are fitted on some examples and applied to others."""

from collections.abc import Callable

import numpy as np

from contrastbench.params.evaluation import Scaling

SMALLEST_VARIANCE = 1e-12  # of a whitened direction: keeps features of a collapsed encoder finite


def fit_scaling(features: np.ndarray, scaling: Scaling) -> Callable[[np.ndarray], np.ndarray]:
    """What maps rows (M, D) float32 as ``scaling`` says, by the statistics of ``features`` (N, D) alone.

    raw           nothing
    standardised  each feature at mean 0 and variance 1 (a constant one at 0)
    whitened      standardised, then uncorrelated at variance 1, by Ledoit and Wolf's (2004) shrunken covariance, which
                  has an inverse for any N
    """
    if scaling == "raw":
        return lambda rows: rows
    from sklearn.covariance import LedoitWolf  # half a second, which raw features do not need
    from sklearn.preprocessing import StandardScaler

    standardise = StandardScaler().fit(features).transform
    if scaling == "standardised":
        return standardise
    covariance = LedoitWolf(assume_centered=True).fit(standardise(features.astype(np.float64))).covariance_
    variances, directions = np.linalg.eigh(covariance)
    whitening = directions / np.sqrt(np.maximum(variances, SMALLEST_VARIANCE))
    return lambda rows: (standardise(rows.astype(np.float64)) @ whitening).astype(np.float32)
