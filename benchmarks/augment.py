"""Images/s of the batched SimCLR augmentation against torchvision's transforms, one image at a time.

    python benchmarks/augment.py [--batch 256] [--size 32] [--seconds 5] [--tiny]

Both sides make two views of every image with the same parameters (random resized crop, flip, colour jitter with
hue, grayscale, blur with 3 taps) on one thread, from stored bytes to float tensors. They take turns, so that
other work on the machine affects both; the ratio of the medians is printed last.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image

from contrastbench.augment.images import augment_images, to_float
from contrastbench.params.images import AugmentParams

# HCL's augmentation (table in the specification of UnReMix, 2.1), with torchvision's default crop.
PARAMS = AugmentParams(
    crop_scale=(0.08, 1.0),
    crop_ratio=(3 / 4, 4 / 3),
    flip_probability=0.5,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale_probability=0.2,
    blur_probability=0.5,
    blur_kernel=3,
    blur_sigma=(0.1, 2.0),
)


def torchvision_transform(params: AugmentParams, size: int) -> Callable[[Image.Image], torch.Tensor]:
    """The same augmentation, written in the usual way: for one PIL image."""
    from torchvision import transforms  # after contrastbench, which makes it usable with a CPU-only torch

    jitter = transforms.ColorJitter(params.brightness, params.contrast, params.saturation, params.hue)
    blur = transforms.GaussianBlur(params.blur_kernel, params.blur_sigma)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, params.crop_scale, params.crop_ratio),
            transforms.RandomHorizontalFlip(params.flip_probability),
            transforms.RandomApply([jitter], params.jitter_probability),
            transforms.RandomGrayscale(params.grayscale_probability),
            transforms.RandomApply([blur], params.blur_probability),
            transforms.ToTensor(),
        ]
    )


def images_per_second(two_views: Callable[[], object], images: int) -> float:
    """Run ``two_views``, which augments ``images`` images, once."""
    begun = time.perf_counter()
    two_views()
    return images / (time.perf_counter() - begun)


def main() -> None:
    """Measure both sides in turns and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=4, size=8, seconds=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (arguments.batch, arguments.size, arguments.size, 3), dtype=torch.uint8)
    pictures = [Image.fromarray(array) for array in raw.numpy()]
    transform = torchvision_transform(PARAMS, arguments.size)

    def batched() -> list[torch.Tensor]:
        images = to_float(raw)
        return [augment_images(images, PARAMS, generator) for _ in range(2)]

    def one_by_one() -> list[torch.Tensor]:
        return [torch.stack([transform(picture) for picture in pictures]) for _ in range(2)]

    ours: list[float] = []
    theirs: list[float] = []
    batched()
    end = time.perf_counter() + arguments.seconds
    while not theirs or time.perf_counter() < end:
        theirs.append(images_per_second(one_by_one, arguments.batch))
        ours += [images_per_second(batched, arguments.batch) for _ in range(10)]
    print(f"two {arguments.size} x {arguments.size} views of {arguments.batch} images, one thread")
    print(f"torchvision, one image at a time: {statistics.median(theirs):9,.0f} images/s")
    print(f"contrastbench, batched:           {statistics.median(ours):9,.0f} images/s")
    print(f"ratio: {statistics.median(ours) / statistics.median(theirs):.1f}")


if __name__ == "__main__":
    main()
