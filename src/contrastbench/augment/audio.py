"""Random augmentation of batches of normalised log-mel spectrograms, sampled independently for every example.

The DA box of uaMix-MAE's figure. Its content is not published; the choices are those of the specification's
section 5: AudioMAE's gain and circular time roll, BYOL-A's random resize crop, SpecAugment as an option.
"""

import torch
from torch import Generator, Tensor

from contrastbench.params.audio import AudioAugmentParams

BETA_SHAPE = 10  # AudioMAE's Beta(10, 10)
# A gain g on the waveform adds 2 ln g to log energies, and the front end divides by 2 std.
ASSUMED_STD = 4.5689974  # AudioSet's; other data sets' are within a quarter of it


def augment_spectrograms(x: Tensor, params: AudioAugmentParams, generator: Generator) -> Tensor:
    """One random view of every spectrogram: (B, 1, T, F) -> the same shape; ``x`` is not changed."""
    if params.gain > 0:
        x = x + sample_gain(len(x), params.gain, generator).to(x.dtype).view(-1, 1, 1, 1)
    if params.roll > 0:
        x = roll(x, sample_shift(len(x), x.shape[2], params.roll, generator))
    if params.crop_probability > 0:
        x = resize_crop(x, sample_crops(len(x), params, generator))
    if params.time_mask > 0:
        x = mask(x, 2, params.time_mask, generator)
    if params.mel_mask > 0:
        x = mask(x, 3, params.mel_mask, generator)
    return x


def sample_gain(batch: int, strength: float, generator: Generator) -> Tensor:
    """What a waveform gain of 1 + strength (2 Beta(10, 10) - 1) adds to a normalised log-mel (B,).

    Beta(10, 10) is the 10th smallest of 19 uniform numbers, so that only ``generator`` is used.
    """
    uniform = torch.rand(batch, 2 * BETA_SHAPE - 1, generator=generator, device=generator.device)
    beta = uniform.kthvalue(BETA_SHAPE, dim=1).values
    return torch.log1p(strength * (2 * beta - 1)) / ASSUMED_STD


def sample_shift(batch: int, frames: int, share: float, generator: Generator) -> Tensor:
    """Shifts in whole frames (B,), uniform from -share * frames to share * frames."""
    most = int(share * frames)
    return torch.randint(-most, most + 1, (batch,), generator=generator, device=generator.device)


def roll(x: Tensor, shift: Tensor) -> Tensor:
    """Roll every spectrogram of (B, 1, T, F) in time by its own ``shift`` (B,), like torch.roll."""
    frames = torch.arange(x.shape[2], device=x.device)
    source = (frames - shift.unsqueeze(1)) % x.shape[2]
    return x.gather(2, source.view(len(x), 1, -1, 1).expand_as(x))


def sample_crops(batch: int, params: AudioAugmentParams, generator: Generator) -> Tensor:
    """Crops (B, 4) = (top, left, height, width) as fractions of the spectrogram, on BYOL-A's virtual canvas.

    The canvas is larger than the spectrogram at its centre, and is filled with 0 (the mean). The crop's size is
    uniform in ``crop_time`` and ``crop_mel``, no larger than the canvas; its position is uniform.
    Examples that are not cropped get (0, 0, 1, 1).
    """
    draws = torch.rand(5, batch, generator=generator, device=generator.device)
    sides = []
    for axis, (low, high) in enumerate((params.crop_time, params.crop_mel)):
        canvas = params.canvas[axis]
        size = (low + (high - low) * draws[axis]).clamp_max(canvas)
        sides.append(((1 - canvas) / 2 + (canvas - size) * draws[2 + axis], size))
    crops = torch.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], dim=1)
    whole = (torch.arange(4, device=crops.device) > 1).to(crops.dtype)
    return torch.where((draws[4] < params.crop_probability).unsqueeze(1), crops, whole)


def resize_crop(x: Tensor, crops: Tensor) -> Tensor:
    """Cut ``crops`` out of (B, 1, T, F), which is 0 outside, and scale them to the full size.

    Bilinear, where BYOL-A's published code is bicubic: two products with sparse matrices, one per axis, the
    fastest way for whole batches.
    """
    rows = _bilinear(crops[:, 0], crops[:, 2], x.shape[2]).to(x.dtype)
    columns = _bilinear(crops[:, 1], crops[:, 3], x.shape[3]).to(x.dtype)
    return ((rows @ x[:, 0]) @ columns.transpose(1, 2)).unsqueeze(1)


def _bilinear(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size, size): row i holds the weights of the source pixels for output pixel i; 0 outside the source."""
    pixels = torch.arange(size, device=start.device, dtype=torch.float32)
    source = start.unsqueeze(1) * size + (pixels + 0.5) * length.unsqueeze(1) - 0.5
    return (source.unsqueeze(2) - pixels).abs_().neg_().add_(1).clamp_min_(0)


def mask(x: Tensor, axis: int, most: int, generator: Generator) -> Tensor:
    """SpecAugment: set one run of length 0 to ``most`` along ``axis`` (2 time, 3 mel) of every example to 0."""
    size = x.shape[axis]
    draws = torch.rand(2, len(x), generator=generator, device=generator.device)
    length = (draws[0] * (min(most, size) + 1)).floor()
    start = (draws[1] * (size - length + 1)).floor()
    position = torch.arange(size, device=x.device)
    hidden = (position >= start.unsqueeze(1)) & (position < (start + length).unsqueeze(1))
    shape = (len(x), 1, -1, 1) if axis == 2 else (len(x), 1, 1, -1)
    return x.masked_fill(hidden.view(shape), 0.0)
