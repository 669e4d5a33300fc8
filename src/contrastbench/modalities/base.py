"""What a modality is to training and judging: everything that depends on what an example is.

Nothing else knows how examples are stored or what shape they have once they are inputs of an encoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.base import Section

Inputs = Callable[[Any, torch.device], Tensor]  # Modality.inputs


class Stored(Protocol):
    """Stored examples, read by their positions: a memory-mapped array (N, ...), or several read as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: np.ndarray, /) -> Any: ...


class Modality(ABC):
    """One kind of data, without state. Inputs are (B, C, H, W) float32 of images and sound, a GraphBatch of graphs."""

    def examples(self, data: Prepared, split: str) -> Stored:
        """The examples of one split, as they are stored."""
        return data.x(split)

    @abstractmethod
    def inputs(self, rows: Any, device: torch.device) -> Tensor:
        """Stored examples at some positions -> what encoders take, on ``device``."""

    @abstractmethod
    def input_shape(self, data: Prepared) -> Shape:
        """The shape of one input: what an encoder is built for."""

    @abstractmethod
    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A freshly initialised encoder; ``params`` is the modality's section ``encoder``."""

    @abstractmethod
    def augmentation(self, params: Section) -> Callable[[Tensor, Generator], Tensor]:
        """What makes one random view of a batch of inputs; ``params`` is the modality's section ``augment``."""

    @abstractmethod
    def reference_features(self, data: Prepared, split: str) -> np.ndarray:
        """Features (N, D) float32 without an encoder: what the reference row ``pixels`` sees."""

    def adaptation(self, found: Shape, wanted: Shape) -> Callable[[Tensor], Tensor]:
        """What makes inputs of the shape ``found`` fit an encoder that was trained on the shape ``wanted``.

        Raises UserError where nothing does. A modality that cannot adapt its inputs takes equal shapes only.
        """
        if found != wanted:
            raise UserError(f"inputs of shape {list(found)}: the encoder takes {list(wanted)}")
        return lambda inputs: inputs
