"""Images per second of the training loop in float32 and in bfloat16, on a GPU.

    python benchmarks/precision.py [--batch 512] [--steps 40] [--rounds 2] [--device cuda] [--tiny]

SimCLR and UnReMix as the preset ``gpu`` has them (ResNet-18), on the images of benchmarks/gpu.py; the ratio is that of
the fastest rounds. ``32-true`` is what torch's defaults make of it, convolutions in TensorFloat-32; the last line is
without.
"""

import argparse
from typing import Any

import gpu
import torch


def main() -> None:
    """Measure both precisions of both methods, and SimCLR without TensorFloat-32."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=16, steps=2, rounds=1)
    arguments = parser.parse_args()
    track: Any = gpu.load("gpu", gpu.ROOT).track("unremix")
    encoder = track.encoder.model_copy(update={"width": 4} if arguments.tiny else {})
    _, (x, _), _ = gpu.images(4 * arguments.batch, 16)

    def rates(method: str, precision: str) -> list[float]:
        params = track.pretrain(method, "cifar10")
        training = {"batch_size": arguments.batch, "epochs": 10_000, "precision": precision}
        params = params.model_copy(update={"encoder": encoder, "training": params.training.model_copy(update=training)})
        return [gpu.ours(params, x, arguments.steps, 10, arguments.device) for _ in range(arguments.rounds)]

    def show(name: str, found: list[float]) -> None:
        print(f"{name:32}", *(f"{rate:10,.0f}" for rate in found), flush=True)

    print(torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu", f"B = {arguments.batch}, images/s")
    for method in ("simclr", "unremix"):
        full, half = (rates(method, precision) for precision in ("32-true", "bf16-mixed"))
        show(f"{method} 32-true", full)
        show(f"{method} bf16-mixed", half)
        print(f"{method} bf16-mixed / 32-true: {max(half) / max(full):.2f}", flush=True)
    torch.backends.cudnn.allow_tf32 = False
    show("simclr 32-true without TF32", rates("simclr", "32-true"))


if __name__ == "__main__":
    main()
