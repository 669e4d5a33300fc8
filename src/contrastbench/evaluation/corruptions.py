"""Common corruptions of images: 15 kinds, 5 severities (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261).

The settings are those that the authors' code made CIFAR-10-C (32 x 32) and Tiny ImageNet-C (64 x 64) with
(``make_cifar_c.py``, ``make_tinyimagenet_c.py`` in github.com/hendrycks/robustness): small images take the former,
larger ones the latter. All images of a batch are corrupted at once, each with random numbers of its own.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from contrastbench.params.corruptions import KINDS

Images = np.ndarray  # (N, H, W, C) in [0, 1]; what leaves that range is cut off in the end
Generators = Sequence[np.random.Generator]  # one for each image

AT_ONCE = 512  # images: bounds the memory that float64 takes
LARGE = 48  # pixels from which a side is nearer to 64 than to 32, as a factor
# What the authors' `randint(5)` of six files chooses from; their second and third file are the same picture.
FROSTS = ("frost1.jpg", "frost2.jpg", "frost2.jpg", "frost3.jpg", "frost4.jpg")


def corrupt(images: np.ndarray, kind: str, severity: int, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """Corrupted copies (N, H, W, C) uint8 of ``images`` (the same), H and W at least 8; grey where they are grey.

    kind      one of ``KINDS``; ``severity`` is 1 to 5
    numbers   (N,) what tells the images from each other: an image's random numbers depend on its number, the kind and
              the severity alone
    """
    corruption = CORRUPTIONS[kind]
    settings = (corruption.small if min(images.shape[1:3]) < LARGE else corruption.large)[severity - 1]
    parts = []
    for start in range(0, len(images), AT_ONCE):
        x = images[start : start + AT_ONCE] / 255
        generators = [
            np.random.default_rng([KINDS.index(kind), severity, int(number)])
            for number in numbers[start : start + AT_ONCE]
        ]
        parts.append(_levels(corruption.function(x, generators, *settings)))
    return np.concatenate(parts) if parts else images.copy()


def _levels(x: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, cut off as the authors' code does it; what lies within rounding of a level is that level."""
    return (x.clip(0, 1) * 255 + 1e-6).astype(np.uint8)


def _draw(generators: Generators, draw: Callable[[np.random.Generator], Any]) -> np.ndarray:
    return np.stack([draw(generator) for generator in generators])


def _normal(generators: Generators, shape: tuple[int, ...]) -> np.ndarray:
    return _draw(generators, lambda generator: generator.standard_normal(shape))


def _uniform(generators: Generators, low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    return _draw(generators, lambda generator: generator.uniform(low, high, shape))


def _grey(x: np.ndarray) -> np.ndarray:
    """Luminance (..., 1) of RGB or grey pixels (..., C)."""
    return x if x.shape[-1] == 1 else x @ np.array([[0.299], [0.587], [0.114]])


def _gaussian_noise(x: Images, generators: Generators, scale: float) -> Images:
    return x + scale * _normal(generators, x.shape[1:])


def _shot_noise(x: Images, generators: Generators, photons: float) -> Images:
    return (
        np.stack([generator.poisson(each * photons) for generator, each in zip(generators, x, strict=True)]) / photons
    )


def _impulse_noise(x: Images, generators: Generators, share: float) -> Images:
    hit = _uniform(generators, 0, 1, x.shape[1:]) <= share
    white = _uniform(generators, 0, 1, x.shape[1:]) <= 0.5
    return np.where(hit, white, x)


def _defocus_blur(x: Images, generators: Generators, radius: float, softness: float) -> Images:
    """A disk that is smoothed with a Gaussian of 3 x 3 weights."""
    reach = np.arange(-8, 9)
    disk = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(float)
    side = np.exp(-(np.arange(-1, 2) ** 2) / (2 * softness**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(side, side) / side.sum() ** 2)
    used = slice(*(np.flatnonzero(kernel.any(axis=0))[[0, -1]] + [0, 1]))
    return ndimage.correlate(x, kernel[used, used][None, :, :, None], mode="mirror")


def _smooth(x: Images, sigma: float) -> Images:
    return ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")


def _glass_blur(x: Images, generators: Generators, sigma: float, reach: int, rounds: int) -> Images:
    """Every pixel becomes a neighbour, one after another. The authors' code means to swap the two, but copies."""
    _, height, width, _ = x.shape
    x = _levels(_smooth(x, sigma))
    shifts = _draw(generators, lambda generator: generator.integers(-reach, reach, (rounds, height, width, 2)))
    every = np.arange(len(x))
    for number in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                shift = shifts[:, number, row, column]
                x[:, row, column] = x[every, row + shift[:, 0], column + shift[:, 1]]
    return _smooth(x / 255, sigma)


def _trail(x: Images, angles: np.ndarray, radius: int, sigma: float) -> Images:
    """ImageMagick's motion blur: half a Gaussian along each image's angle (N,) in degrees, borders repeated.

    The result is rounded to the levels of uint8, as ImageMagick does it.
    """
    _, height, width, _ = x.shape
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    radians = np.deg2rad(angles)
    blurred = np.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down, right = np.ceil(step * np.sin(radians) - 0.5), np.ceil(step * np.cos(radians) - 0.5)
        rows = (np.arange(height) + down[:, None]).clip(0, height - 1).astype(int)
        columns = (np.arange(width) + right[:, None]).clip(0, width - 1).astype(int)
        blurred += weight * x[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return np.rint(blurred * 255) / 255


def _motion_blur(x: Images, generators: Generators, radius: int, sigma: float) -> Images:
    return _trail(x, _uniform(generators, -45, 45), radius, sigma)


@cache
def _zoom_matrix(size: int, factor: float) -> np.ndarray:
    """(size, size): scales the middle of a line of pixels up by ``factor``, so that it fills the line."""
    kept = int(np.ceil(size / factor))
    first = (size - kept) // 2
    zoomed = ndimage.zoom(np.eye(size)[first : first + kept], (factor, 1), order=1)
    trim = (len(zoomed) - size) // 2
    return zoomed[trim : trim + size]


def _zoom(x: Images, factor: float) -> Images:
    rows, columns = (_zoom_matrix(size, factor) for size in x.shape[1:3])
    return np.moveaxis(rows @ np.moveaxis(x, 3, 1) @ columns.T, 1, 3)


def _zoom_blur(x: Images, generators: Generators, end: float) -> Images:
    factors = np.arange(1, end, 0.01)
    return (x + sum(_zoom(x, float(factor)) for factor in factors)) / (len(factors) + 1)


def _snow(
    x: Images,
    generators: Generators,
    mean: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Images:
    flakes = _zoom(mean + scale * _normal(generators, (*x.shape[1:3], 1)), zoom)
    flakes = _levels(np.where(flakes < threshold, 0, flakes)) / 255
    flakes = _trail(flakes, _uniform(generators, -135, -45), radius, sigma)
    whitened = kept * x + (1 - kept) * np.maximum(x, 1.5 * _grey(x) + 0.5)
    return whitened + flakes + np.rot90(flakes, 2, (1, 2))


@cache
def _frost_picture(name: str, scale: float) -> np.ndarray:
    """(H, W, 3) in [0, 1], scaled down without smoothing, as OpenCV does it."""
    path = files("torch_uncertainty_assets") / "frost" / name
    whole = np.asarray(Image.open(BytesIO(path.read_bytes())).convert("RGB"), float)
    start, shape = 0.5 / scale - 0.5, [round(side * scale) for side in whole.shape[:2]]
    scaled = ndimage.affine_transform(
        whole, [1 / scale, 1 / scale, 1], [start, start, 0], (*shape, 3), order=1, mode="nearest"
    )
    return np.rint(scaled) / 255


def _frost(x: Images, generators: Generators, kept: float, weight: float, scale: float) -> Images:
    larger = max(x.shape[1:3]) / 64  # than the largest that settings were published for

    def crop(generator: np.random.Generator) -> np.ndarray:
        picture = _frost_picture(FROSTS[generator.integers(len(FROSTS))], scale * max(1, larger))
        top, left = (generator.integers(has - needs) for has, needs in zip(picture.shape, x.shape[1:3], strict=False))
        return picture[top : top + x.shape[1], left : left + x.shape[2]]

    frost = _draw(generators, crop)
    return kept * x + weight * (frost if x.shape[3] == 3 else _grey(frost))


def _clouds(generators: Generators, size: int, decay: float) -> np.ndarray:
    """Height maps (N, size, size) in [0, 1] by the diamond-square algorithm; ``size`` is a power of two."""
    noise = _uniform(generators, -1, 1, (size, size))
    heights = np.zeros_like(noise)
    step, amplitude = size, 100.0

    def fill(rows: slice, columns: slice, four: np.ndarray) -> None:
        heights[:, rows, columns] = four / 4 + amplitude**2 * noise[:, rows, columns]

    while step >= 2:
        on, between = slice(0, None, step), slice(step // 2, None, step)
        corners = heights[:, on, on]
        beside = corners + np.roll(corners, -1, 1)
        fill(between, between, beside + np.roll(beside, -1, 2))
        centres = heights[:, between, between]
        fill(on, between, centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2))
        fill(between, on, centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1))
        step, amplitude = step // 2, amplitude / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)


def _fog(x: Images, generators: Generators, density: float, decay: float) -> Images:
    _, height, width, _ = x.shape
    clouds = _clouds(generators, 1 << (max(height, width) - 1).bit_length(), decay)[:, :height, :width, None]
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    return (x + density * clouds) * brightest / (brightest + density)


def _brightness(x: Images, generators: Generators, added: float) -> Images:
    """The value of HSV raised; hue and saturation stay, black becomes grey."""
    value = x.max(axis=3, keepdims=True)
    raised = (value + added).clip(0, 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)


def _contrast(x: Images, generators: Generators, factor: float) -> Images:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * factor + mean


def _elastic_transform(x: Images, generators: Generators, strength: float, sigma: float, affine: float) -> Images:
    """An affine map that moves three points at random, then a smooth field of displacements.

    ``strength`` and ``sigma`` of the field and the points' largest shift ``affine`` are shares of the image's side.
    """
    count, height, width, _ = x.shape
    side = min(height, width)
    points = np.array([width // 2, height // 2]) + side // 3 * np.array([[1, 1], [1, -1], [-1, -1]])  # (column, row)
    moved = points + _uniform(generators, -affine * side, affine * side, (3, 2))
    back = np.linalg.solve(np.concatenate([moved, np.ones((count, 3, 1))], axis=2), points.astype(float)[None])
    row, column = np.indices((height, width))
    source = np.stack([column, row, np.ones_like(row)], axis=2) @ back[:, None]  # (N, H, W, 2)
    x = _sample(x, source[..., 1], source[..., 0], "mirror")
    field = _uniform(generators, -1, 1, (2, height, width))
    field = ndimage.gaussian_filter(field, (0, 0, sigma * side, sigma * side), truncate=3) * strength * side
    return _sample(x, row + field[:, 1], column + field[:, 0], "reflect")


def _sample(x: Images, rows: np.ndarray, columns: np.ndarray, border: str) -> Images:
    """Every image at its own positions (N, H, W), bilinearly."""
    number = np.broadcast_to(np.arange(len(x))[:, None, None], rows.shape)
    channels = np.moveaxis(x, 3, 0)
    sampled = [ndimage.map_coordinates(each, [number, rows, columns], order=1, mode=border) for each in channels]
    return np.stack(sampled, axis=3)


def _by_pillow(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    pictures = [Image.fromarray(each.squeeze(2) if each.shape[2] == 1 else each) for each in _levels(x)]
    return np.stack([np.asarray(change(picture)) for picture in pictures]).reshape(x.shape) / 255


def _pixelate(x: Images, generators: Generators, share: float) -> Images:
    height, width = x.shape[1:3]
    small = int(width * share), int(height * share)
    box = Image.Resampling.BOX
    return _by_pillow(x, lambda picture: picture.resize(small, box).resize((width, height), box))


def _jpeg_compression(x: Images, generators: Generators, quality: int) -> Images:
    def compressed(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(x, compressed)


class Corruption(NamedTuple):
    """What is done, and with what at each severity: ``small`` as in CIFAR-10-C, ``large`` as in Tiny ImageNet-C."""

    function: Callable[..., Images]
    small: tuple[tuple[float, ...], ...]
    large: tuple[tuple[float, ...], ...]


def _singly(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


_ZOOMS = _singly(1.06, 1.11, 1.16, 1.21, 1.26)
CORRUPTIONS = {
    "gaussian-noise": Corruption(
        _gaussian_noise, _singly(0.04, 0.06, 0.08, 0.09, 0.10), _singly(0.04, 0.08, 0.12, 0.15, 0.18)
    ),
    "shot-noise": Corruption(_shot_noise, _singly(500, 250, 100, 75, 50), _singly(250, 100, 50, 30, 15)),
    "impulse-noise": Corruption(
        _impulse_noise, _singly(0.01, 0.02, 0.03, 0.05, 0.07), _singly(0.01, 0.02, 0.05, 0.08, 0.14)
    ),
    "defocus-blur": Corruption(
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    ),
    "glass-blur": Corruption(
        _glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    ),
    "motion-blur": Corruption(
        _motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    ),
    "zoom-blur": Corruption(_zoom_blur, _ZOOMS, _ZOOMS),
    "snow": Corruption(
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
    ),
    "frost": Corruption(
        _frost,
        ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    ),
    "fog": Corruption(
        _fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    ),
    "brightness": Corruption(_brightness, _singly(0.05, 0.1, 0.15, 0.2, 0.3), _singly(0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(_contrast, _singly(0.75, 0.5, 0.4, 0.3, 0.15), _singly(0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic-transform": Corruption(
        _elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    ),
    "pixelate": Corruption(_pixelate, _singly(0.95, 0.9, 0.85, 0.75, 0.65), _singly(0.9, 0.8, 0.7, 0.6, 0.5)),
    "jpeg-compression": Corruption(_jpeg_compression, _singly(80, 65, 58, 50, 40), _singly(65, 58, 50, 40, 25)),
}
