"""What an encoder is to methods and protocols."""

from torch import nn

Shape = tuple[int, ...]  # of one input, without the batch: (C, H, W) for images and spectrograms


class Encoder(nn.Module):
    """A network from inputs of its modality to features (B, D); ``features`` is D."""

    features: int
