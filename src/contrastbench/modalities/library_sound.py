"""Spectrograms as grey images for a library's network of images; all else is as ``modalities/audio.py``."""

from contrastbench.modalities.audio import Audio
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.base import Section
from contrastbench.params.images import EncoderParams


class LibrarySound(Audio):
    """Spectrograms of sound. No data set is of this modality: parameters of training are."""

    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A library's architecture; ``input_shape`` is (1, T, F)."""
        from contrastbench.models.library_encoder import build_library_encoder  # rows without an encoder do without

        assert isinstance(params, EncoderParams)
        return build_library_encoder(params, input_shape)
