"""Vision transformer on time x mel patches: the encoder of AudioMAE (Huang et al., 2022), built from timm's blocks.

Pre-LN blocks (timm's LayerNorm has MAE's epsilon, 1e-6), a class token that no loss uses, fixed 2-D sin-cos
positions. The features are read out of the patch tokens after the final LayerNorm (specification of uaMix-MAE,
1.5). Parameters are named as in timm and AudioMAE, so that their checkpoints can be loaded
(``models/vit_checkpoint.py``).
"""

import torch
from timm.layers import LayerNorm, PatchEmbed, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from contrastbench.errors import UserError
from contrastbench.models.base import Encoder, Shape
from contrastbench.models.linear import linear, through_onednn
from contrastbench.models.patches import EPSILON, patchify
from contrastbench.params.vit import Readout, ViTParams


class AudioViT(Encoder):
    """Normalised spectrograms (B, 1, T, F) in, features out; ``width`` is the tokens' D, ``grid`` is (T/P, F/P)."""

    pos_embed: Tensor

    def __init__(self, params: ViTParams, input_shape: Shape) -> None:
        """``input_shape`` is (1, T, F); a T or F that is not a multiple of the patch size is a UserError."""
        super().__init__()
        channels, frames, mels = input_shape
        if frames % params.patch or mels % params.patch:
            raise UserError(
                f"encoder.patch = {params.patch}: spectrograms of {frames} frames x {mels} mel bins cannot be divided "
                f"into patches; frames and mels must be multiples of {params.patch}"
            )
        self.width, self.readout = params.width, params.readout
        self.features = read_out_size(params.width, params.readout)
        self.patch_embed = PatchEmbed((frames, mels), params.patch, channels, params.width)
        self.grid: tuple[int, int] = self.patch_embed.grid_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, params.width))
        self.register_buffer("pos_embed", sincos_positions(self.grid, params.width, class_token=True))
        self.blocks = nn.ModuleList([Block(params.width, params.heads, qkv_bias=True) for _ in range(params.depth)])
        self.norm = LayerNorm(params.width)
        through_onednn(self)
        initialise(self)
        # As in MAE: the patch projection is initialised like a linear layer with P x P inputs.
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(params.width, -1))

    def tokens(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Class token and patch tokens after the final LayerNorm, (B, 1 + N, D).

        ``kept`` (B, K): positions of the patches that pass through the blocks, in this order; None: all patches.
        Raises UserError for spectrograms of a size that the encoder was not built for.
        """
        if x.shape[2:] != self.patch_embed.img_size:
            raise UserError(f"spectrograms of {tuple(x.shape[2:])}: the encoder takes {self.patch_embed.img_size}")
        patches, positions = patchify(x, self.patch_embed.patch_size[0]), self.pos_embed[:, 1:]
        if kept is not None:
            patches, positions = take(patches, kept), take(positions.expand(len(x), -1, -1), kept)
        patches = linear(patches, self.patch_embed.proj.weight.flatten(1), self.patch_embed.proj.bias) + positions
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        sequence = torch.cat([first, patches], dim=1)
        for block in self.blocks:
            sequence = block(sequence)
        return self.norm(sequence)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T, F) -> (B, features)."""
        return self.pool(self.tokens(x))

    def pool(self, tokens: Tensor) -> Tensor:
        """Class token and patch tokens (B, 1 + N, D) -> (B, features)."""
        return read_out(tokens[:, 1:], self.readout)


def read_out(tokens: Tensor, readout: Readout) -> Tensor:
    """Tokens (B, N, D) -> their mean (B, D), or mean and standard deviation (B, 2 D)."""
    mean = tokens.mean(dim=1)
    if readout == "mean":
        return mean
    variance = (tokens - mean.unsqueeze(1)).square().mean(dim=1)
    return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1)


def read_out_size(width: int, readout: Readout) -> int:
    """The number of features that :func:`read_out` gives for tokens of ``width``."""
    return width if readout == "mean" else 2 * width


def take(patches: Tensor, positions: Tensor) -> Tensor:
    """The patches (B, N, D) at ``positions`` (B, K): (B, K, D)."""
    return patches.gather(1, positions.unsqueeze(2).expand(-1, -1, patches.shape[2]))


def sincos_positions(grid: tuple[int, int], width: int, *, class_token: bool) -> Tensor:
    """MAE's fixed positions (1, [1 +] N, D): sines and cosines of the mel index, then of the time index.

    Patches are in row-major order (time first); the class token's position is zero.
    """
    by_time, by_mel = build_sincos2d_pos_embed(list(grid), width, interleave_sin_cos=True).chunk(2, dim=1)
    positions = torch.cat([by_mel, by_time], dim=1)
    if class_token:
        positions = torch.cat([torch.zeros(1, width), positions])
    return positions.unsqueeze(0)


def initialise(module: nn.Module) -> None:
    """MAE's initialisation: linear layers Xavier-uniform with bias 0, class and mask tokens N(0, 0.02)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, parameter in module.named_parameters():
        if name in ("cls_token", "mask_token"):
            nn.init.normal_(parameter, std=0.02)
