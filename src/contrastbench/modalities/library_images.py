"""Images whose encoder is a library's, starts from a file, or scales them; all else is as ``modalities/images.py``."""

from contrastbench.modalities.images import Images
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.base import Section
from contrastbench.params.images import EncoderParams


class LibraryImages(Images):
    """Grey or colour images. No data set is of this modality: parameters of training are."""

    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A library's architecture, or one of ours with weights or a size of its own."""
        from contrastbench.models.library_encoder import build_library_encoder  # rows without an encoder do without

        assert isinstance(params, EncoderParams)
        return build_library_encoder(params, input_shape)
