"""Random augmentation of batches of images, sampled independently for every image, on the images' device.

Sampling (``sample_*``) is separate from applying, so that torchvision's functional operators, against which every
transformation is tested (``tests/test_augment_images.py``), can be given the same parameters.
Everything stays in [0, 1]. Images of one channel have no colour: saturation, hue and grayscale do nothing to them.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from contrastbench.augment.host import is_queued, on_host
from contrastbench.params.images import AugmentParams

# Luma of ITU-R 601: the weights of torchvision's rgb_to_grayscale.
LUMA = (0.2989, 0.587, 0.114)
CROP_TRIES = 10
# On a CPU, chunks whose intermediate results stay in the cache: 1.5 times as fast for 256 images of 32 x 32.
CPU_CHUNK = 64


def to_float(raw: Tensor) -> Tensor:
    """Stored images uint8 (B, H, W, C) -> float32 (B, C, H, W) in [0, 1]."""
    return raw.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def augment_images(images: Tensor, params: AugmentParams, generator: Generator) -> Tensor:
    """One random view of every image: (B, C, H, W) in [0, 1] -> the same shape.

    Random resized crop, flip, colour jitter, grayscale, blur, in SimCLR's order. Everything is sampled per image,
    except the order of the four jitter operations, which is sampled once per chunk of ``CPU_CHUNK`` images
    (on an accelerator: once per batch); torchvision samples it per image.
    """
    chunk = len(images) if is_queued(images.device) else CPU_CHUNK
    return torch.cat([_augment_chunk(part, params, generator) for part in images.split(chunk)])


def _augment_chunk(images: Tensor, params: AugmentParams, generator: Generator) -> Tensor:
    batch, channels, height, width = images.shape
    boxes = sample_boxes(batch, height, width, params.crop_scale, params.crop_ratio, generator)
    flips = _coin(batch, params.flip_probability, generator)
    views = crop_resize(images, boxes, flips)
    views = jitter(views, *sample_jitter(batch, params, generator))
    gray = _coin(batch, params.grayscale_probability, generator)
    if channels == 3 and params.grayscale_probability > 0:
        views = change_some(views, gray, lambda chosen: luma(chosen).expand(-1, 3, -1, -1))
    low, high = params.blur_sigma
    sigma = torch.rand(batch, generator=generator, device=images.device) * (high - low) + low
    blurred = _coin(batch, params.blur_probability, generator)
    if params.blur_probability > 0:
        views = change_some(views, blurred, lambda chosen, own: gaussian_blur(chosen, own, params.blur_kernel), sigma)
    return views


def change_some(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """``change(images, *parameters)`` where ``chosen`` (B,), else ``images``, which may be written to.

    On the CPU only the chosen are computed; to count them would make the host wait for an accelerator.
    """
    if is_queued(images.device):
        return torch.where(chosen.view(-1, 1, 1, 1), change(images, *parameters), images)
    rows = chosen.nonzero()[:, 0]
    images[rows] = change(images[rows], *(values[rows] for values in parameters))
    return images


def _coin(batch: int, probability: float, generator: Generator) -> Tensor:
    return torch.rand(batch, generator=generator, device=generator.device) < probability


def sample_boxes(
    batch: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Crop boxes (B, 4) as (top, left, height, width), in whole pixels, distributed as torchvision's.

    Area uniform in ``scale``, aspect ratio log-uniform in ``ratio``; the first of ten tries that fits is taken,
    and where none does, the largest central box with an allowed aspect ratio.
    """
    device = generator.device
    draws = torch.rand(4, batch, CROP_TRIES, generator=generator, device=device)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[1])
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.int().argmax(dim=1, keepdim=True)  # position of the first True
    h, w = h.gather(1, first)[:, 0], w.gather(1, first)[:, 0]
    # A random number is below 1, but its product with a whole number may round up to that number.
    top = torch.minimum((draws[2, :, 0] * (height - h + 1)).floor(), height - h)
    left = torch.minimum((draws[3, :, 0] * (width - w + 1)).floor(), width - w)
    boxes = torch.stack([top, left, h, w], dim=1)
    largest = [torch.full_like(h, side) for side in _largest_box(height, width, ratio)]
    return torch.where(fits.any(dim=1, keepdim=True), boxes, torch.stack(largest, dim=1))


def _largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    """Cut ``boxes`` (B, 4) out and scale them back to the full size, bilinearly; mirror where ``flips`` (B,).

    Bilinear interpolation is linear along each axis, hence two products with sparse matrices of hat functions;
    for small images that is the fastest way on both CPU and GPU. Crops are never larger than the image, so they
    are only ever enlarged and need no anti-aliasing.
    """
    height, width = images.shape[-2:]
    rows = _hat_weights(boxes[:, 0], boxes[:, 2], torch.zeros_like(flips), height)
    columns = _hat_weights(boxes[:, 1], boxes[:, 3], flips, width)
    return _along_axes(images, rows, columns).clamp_(0, 1)


def _along_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply the matrices ``rows`` (B, H, H) down and ``columns`` (B, W, W) across images (B, C, H, W)."""
    across = images.flatten(1, 2) @ columns.transpose(1, 2)  # (B, C * H, W)
    return rows.unsqueeze(1) @ across.view(images.shape)


def _hat_weights(start: Tensor, length: Tensor, reverse: Tensor, size: int) -> Tensor:
    """(B, size, size): row i holds the bilinear weights of source pixels for output pixel i, or size - 1 - i."""
    pixels = torch.arange(size, device=start.device, dtype=torch.float32)
    output = torch.where(reverse.unsqueeze(1), pixels.flip(0), pixels)
    length = length.unsqueeze(1)
    source = (output + 0.5) * (length / size) - 0.5
    source = torch.minimum(source.clamp_min(0), length - 1) + start.unsqueeze(1)
    return (source.unsqueeze(2) - pixels).abs_().neg_().add_(1).clamp_min_(0)


def sample_jitter(
    batch: int, params: AugmentParams, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[int]]:
    """Factors of brightness, contrast, saturation (B,), hue shifts (B,) and the order of the four operations.

    Images that are not jittered get the neutral factors 1, 1, 1 and shift 0; an operation of strength 0 is
    left out of the order.
    """
    device = generator.device
    applied = _coin(batch, params.jitter_probability, generator)
    draws = torch.rand(4, batch, generator=generator, device=device)
    factors = []
    for strength, draw in zip((params.brightness, params.contrast, params.saturation), draws, strict=False):
        low, high = max(0.0, 1 - strength), 1 + strength
        factors.append(torch.where(applied, low + (high - low) * draw, torch.ones_like(draw)))
    hue = torch.where(applied, (2 * draws[3] - 1) * params.hue, torch.zeros_like(draws[3]))
    strengths = (params.brightness, params.contrast, params.saturation, params.hue)
    order = torch.randperm(4, generator=on_host(generator)).tolist()
    order = [operation for operation in order if strengths[operation] * params.jitter_probability > 0]
    return factors[0], factors[1], factors[2], hue, order


def jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, order: list[int]
) -> Tensor:
    """Apply brightness (0), contrast (1), saturation (2) and hue (3) in the given order."""
    colour = images.shape[1] == 3
    for operation in order:
        if operation == 0:
            images = (images * brightness.view(-1, 1, 1, 1)).clamp_(0, 1)
        elif operation == 1:
            means = images.mean(dim=(2, 3), keepdim=True)
            images = _blend(images, luma(means) if colour else means, contrast)
        elif operation == 2 and colour:
            images = _blend(images, luma(images), saturation)
        elif operation == 3 and colour:
            images = shift_hue(images, hue)
    return images


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """Grey value (B, 1, H, W) of colour images (B, 3, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of colour images (B, 3, H, W) by ``shift`` (B,), in turns of the colour circle.

    Value and chroma of the hexcone model (HSV) do not change.
    """
    red, green, blue = images.unbind(1)
    value, low = images.amax(dim=1), images.amin(dim=1)
    chroma = value - low
    # 0 where the channel is the largest, else 1. On a CPU, arithmetic on these is ten times as fast as torch.where.
    not_red, not_green = (value - red).sign_(), (value - green).sign_()
    difference = torch.lerp(green - blue, torch.lerp(blue - red, red - green, not_green), not_red)
    sector = (not_green + 1).mul_(not_red).mul_(2)  # red 0, green 2, blue 4
    # In sixths of the circle; a grey pixel has difference 0 and any hue.
    hue = difference.div_(chroma.clamp_min(torch.finfo(chroma.dtype).tiny)).add_(sector).add_(6 * shift.view(-1, 1, 1))
    hue.sub_((hue / 6).floor_(), alpha=6)
    turned = torch.empty_like(images)
    torch.addcmul(low, (hue - 3).abs_().sub_(1).clamp_(0, 1), chroma, out=turned[:, 0])
    torch.addcmul(low, (hue - 2).abs_().neg_().add_(2).clamp_(0, 1), chroma, out=turned[:, 1])
    torch.addcmul(low, (hue - 4).abs_().neg_().add_(2).clamp_(0, 1), chroma, out=turned[:, 2])
    return turned


def gaussian_blur(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Blur every image with its own ``sigma`` (B,), ``kernel`` taps and reflected borders.

    Convolution along an axis is a product with a banded matrix; see :func:`crop_resize`.
    """
    offsets = torch.arange(kernel, device=images.device, dtype=torch.float32) - kernel // 2
    weights = torch.exp(-0.5 * (offsets / sigma.unsqueeze(1)) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    rows, columns = _band(weights, images.shape[-2]), _band(weights, images.shape[-1])
    return _along_axes(images, rows, columns).clamp_(0, 1)


def _band(weights: Tensor, size: int) -> Tensor:
    """(B, size, size) matrices that convolve a line with ``weights`` (B, kernel), reflecting at the ends."""
    kernel = weights.shape[1]
    offsets = torch.arange(kernel, device=weights.device) - kernel // 2
    source = (torch.arange(size, device=weights.device).unsqueeze(1) + offsets).abs()
    source = torch.where(source >= size, 2 * (size - 1) - source, source)
    matrix = torch.zeros(len(weights), size, size, device=weights.device)
    return matrix.scatter_add_(2, source.expand(len(weights), -1, -1), weights.unsqueeze(1).expand(-1, size, -1))
