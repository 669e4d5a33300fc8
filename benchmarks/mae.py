"""Clips/s of one training step of the audio masked autoencoder, with and without masking.

    python benchmarks/mae.py [--batch 64] [--seconds 10] [--frames 128] [--mels 128] [--width 192] [--depth 6] [--tiny]

Forward, backward and update, on one thread. ``masked`` encodes a fifth of the patches and decodes all; ``visible``
hides only one patch, so that nearly all pass through the same encoder and decoder; ``encoder`` is a full forward and
backward pass through the encoder alone, which is what a tuning step costs per view. The sides take turns, so that
other work on the machine affects all of them; ratios of the medians are printed last.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from contrastbench.models.masked_autoencoder import Decoder, MaskedAutoencoder, random_mask
from contrastbench.models.patches import patchify
from contrastbench.models.vit import AudioViT
from contrastbench.objectives.masked_autoencoding import masked_reconstruction_loss
from contrastbench.params.vit import DecoderParams, ViTParams

PATCH = 16


def step_of(autoencoder: MaskedAutoencoder, x: torch.Tensor, ratio: float) -> Callable[[], None]:
    """One update of MAE with ``ratio`` of the patches hidden."""
    optimizer = torch.optim.AdamW(autoencoder.parameters())
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        mask = random_mask(len(x), autoencoder.encoder.patch_embed.num_patches, ratio, generator)
        prediction, _ = autoencoder(x, mask)
        optimizer.zero_grad()
        masked_reconstruction_loss(prediction, patchify(x, PATCH), mask.hidden, "normalised").backward()
        optimizer.step()

    return step


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main() -> None:
    """Measure all sides in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("batch", 64), ("frames", 128), ("mels", 128), ("width", 192), ("depth", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=2, frames=32, mels=32, width=16, depth=1, seconds=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (1, arguments.frames, arguments.mels)
    encoder = AudioViT(
        ViTParams(patch=PATCH, width=arguments.width, depth=arguments.depth, heads=4, readout="mean"), shape
    )
    decoder = DecoderParams(attention="global", width=96, depth=2, heads=4, window=(4, 4), shift=(2, 0))
    autoencoder = MaskedAutoencoder(encoder, Decoder(decoder, encoder))
    x = torch.randn(arguments.batch, *shape)

    def whole_encoder() -> None:
        encoder(x).sum().backward()
        encoder.zero_grad()

    sides = {
        "masked": step_of(autoencoder, x, 0.8),
        "visible": step_of(autoencoder, x, 0.0),
        "encoder": whole_encoder,
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    end = time.perf_counter() + arguments.seconds
    while not taken["encoder"] or time.perf_counter() < end:
        for name, run in sides.items():
            taken[name].append(seconds(run))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{arguments.frames} x {arguments.mels}, width {arguments.width}, depth {arguments.depth}, one thread")
    for name, median in medians.items():
        print(f"{name:>8}: {arguments.batch / median:8,.0f} clips/s")
    print(f"masked step against unmasked: {medians['visible'] / medians['masked']:.1f} times as fast")
    print(f"masked step against a full pass of the encoder: {medians['encoder'] / medians['masked']:.1f}")


if __name__ == "__main__":
    main()
