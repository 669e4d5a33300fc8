"""Masked autoencoder on spectrograms (AudioMAE, Huang et al., 2022): masking, decoder, reconstruction."""

from typing import NamedTuple

import torch
from timm.layers import LayerNorm
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Generator, Tensor, nn

from contrastbench.errors import UserError
from contrastbench.models.linear import through_onednn
from contrastbench.models.patches import patchify, target_statistics, unpatchify
from contrastbench.models.vit import AudioViT, initialise, sincos_positions
from contrastbench.params.vit import DecoderParams, Target


class Mask(NamedTuple):
    """Which patches are hidden: ``kept`` (B, K), positions of the visible ones; ``hidden`` (B, N) bool."""

    kept: Tensor
    hidden: Tensor


def random_mask(batch: int, patches: int, ratio: float, generator: Generator) -> Mask:
    """Keep round(N (1 - ratio)) patches of every sample, at least one and not all, chosen uniformly."""
    keep = min(max(round(patches * (1 - ratio)), 1), patches - 1)
    noise = torch.rand(batch, patches, generator=generator, device=generator.device)
    kept = noise.argsort(dim=1)[:, :keep]
    hidden = torch.ones(batch, patches, dtype=torch.bool, device=kept.device)
    return Mask(kept, hidden.scatter_(1, kept, value=False))


class Decoder(nn.Module):
    """From the visible tokens to a prediction of every patch's target.

    ``global`` attention covers the class token and all patches; ``local`` covers windows of patches, shifted in
    every second block, without the class token, as AudioMAE does.
    """

    positions: Tensor

    def __init__(self, params: DecoderParams, encoder: AudioViT) -> None:
        super().__init__()
        grid, patch = encoder.grid, encoder.patch_embed.patch_size[0]
        self.grid, self.local = grid, params.attention == "local"
        self.embed = nn.Linear(encoder.width, params.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, params.width))
        self.register_buffer("positions", sincos_positions(grid, params.width, class_token=True))
        self.blocks = nn.ModuleList(
            _windowed(params, grid, odd=bool(index % 2))
            if self.local
            else Block(params.width, params.heads, qkv_bias=True)
            for index in range(params.depth)
        )
        self.norm = LayerNorm(params.width)
        self.predict = nn.Linear(params.width, patch * patch)
        through_onednn(self)
        initialise(self)

    def forward(self, tokens: Tensor, mask: Mask) -> Tensor:
        """Tokens of class and kept patches (B, 1 + K, D) -> predicted patches (B, N, P * P)."""
        visible = self.embed(tokens)
        batch, patches = mask.hidden.shape
        sequence = self.mask_token.to(visible.dtype).expand(batch, patches, -1)
        sequence = sequence.scatter(1, mask.kept.unsqueeze(2).expand(-1, -1, visible.shape[2]), visible[:, 1:])
        if self.local:
            image = (sequence + self.positions[:, 1:]).unflatten(1, self.grid)
            for block in self.blocks:
                image = block(image)
            return self.predict(self.norm(image.flatten(1, 2)))
        sequence = torch.cat([visible[:, :1], sequence], dim=1) + self.positions
        for block in self.blocks:
            sequence = block(sequence)
        return self.predict(self.norm(sequence[:, 1:]))


def _windowed(params: DecoderParams, grid: tuple[int, int], *, odd: bool) -> SwinTransformerBlock:
    if any(side % window for side, window in zip(grid, params.window, strict=True)):
        raise UserError(
            f"decoder.window = {list(params.window)}: does not divide a spectrogram's {grid[0]} x {grid[1]} patches"
        )
    return SwinTransformerBlock(
        params.width,
        grid,
        params.heads,
        window_size=params.window,
        shift_size=params.shift if odd else (0, 0),  # type: ignore[arg-type]  # timm takes a pair as well
        norm_layer=LayerNorm,
    )


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder. Only the kept patches pass through the encoder."""

    def __init__(self, encoder: AudioViT, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """(B, 1, T, F) -> predicted patches (B, N, P * P) and the encoder's tokens (B, 1 + K, D)."""
        tokens = self.encoder.tokens(x, mask.kept)
        return self.decoder(tokens, mask), tokens


class Reconstruction(NamedTuple):
    """For figures, each (B, 1, T, F): the input, the input with NaN for hidden patches, the reconstruction."""

    original: Tensor
    masked: Tensor
    reconstructed: Tensor


@torch.no_grad()
def reconstruct(
    autoencoder: MaskedAutoencoder, x: Tensor, ratio: float, target: Target, generator: Generator
) -> Reconstruction:
    """Hide ``ratio`` of the patches of ``x`` (B, 1, T, F) and fill in the autoencoder's prediction of its ``target``.

    The mean and standard deviation that a target leaves out (a patch's own, the spectrogram's) are taken from the
    original, as in MAE's own figures. Visible patches are shown unchanged.
    """
    grid, patch = autoencoder.encoder.grid, autoencoder.encoder.patch_embed.patch_size[0]
    mask = random_mask(len(x), grid[0] * grid[1], ratio, generator)
    prediction, _ = autoencoder(x, mask)
    patches, hidden = patchify(x, patch), mask.hidden.unsqueeze(2)
    mean, std = target_statistics(patches, target)
    filled = torch.where(hidden, prediction * std + mean, patches)
    return Reconstruction(
        x, unpatchify(patches.masked_fill(hidden, torch.nan), grid, patch), unpatchify(filled, grid, patch)
    )
