"""Batched augmentation against torchvision's operators, sample by sample, with the same parameters."""

import math

import pytest
import torch

from contrastbench.augment import images as augmentation
from contrastbench.augment.images import (
    augment_images,
    change_some,
    crop_resize,
    gaussian_blur,
    jitter,
    luma,
    sample_boxes,
    sample_jitter,
    shift_hue,
    to_float,
)
from contrastbench.params.images import AugmentParams

from torchvision.transforms import RandomResizedCrop  # isort: skip  (torchvision after contrastbench)
from torchvision.transforms import functional as reference  # isort: skip

FULL = AugmentParams(
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
NOTHING = FULL.model_copy(
    update={
        "crop_scale": (1.0, 1.0),
        "crop_ratio": (1.0, 1.0),
        "flip_probability": 0.0,
        "jitter_probability": 0.0,
        "grayscale_probability": 0.0,
        "blur_probability": 0.0,
    }
)
# Of pixels in [0, 1]; one grey level is 0.0039.
TOLERANCE = {"rtol": 0, "atol": 2e-5}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int = 16, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=generator(seed))


def one_by_one(operator, batch, *parameters) -> torch.Tensor:
    """torchvision's operator on each image with its own parameters."""
    rows = zip(batch, *(parameter.tolist() for parameter in parameters), strict=True)
    return torch.stack([operator(image, *values) for image, *values in rows])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_crop_and_flip(height, width):
    batch = images(64, height=height, width=width)
    boxes = sample_boxes(64, height, width, FULL.crop_scale, FULL.crop_ratio, generator(1))
    flips = torch.rand(64, generator=generator(2)) < 0.5

    def crop(image, top, left, h, w, flip):
        view = reference.resized_crop(image, int(top), int(left), int(h), int(w), [height, width], antialias=True)
        return reference.hflip(view) if flip else view

    expected = one_by_one(crop, batch, *boxes.T, flips)
    torch.testing.assert_close(crop_resize(batch, boxes, flips), expected, **TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("operation", "operator"), [(0, reference.adjust_brightness), (1, reference.adjust_contrast)])
def test_brightness_and_contrast(channels, operation, operator):
    batch, factor = images(channels=channels), 2 * torch.rand(16, generator=generator(1))
    factors = [torch.ones(16), torch.ones(16), torch.ones(16)]
    factors[operation] = factor
    ours = jitter(batch, *factors, torch.zeros(16), [operation])
    torch.testing.assert_close(ours, one_by_one(operator, batch, factor), **TOLERANCE)


def test_saturation():
    batch, factor = images(), 2 * torch.rand(16, generator=generator(1))
    ours = jitter(batch, torch.ones(16), torch.ones(16), factor, torch.zeros(16), [2])
    torch.testing.assert_close(ours, one_by_one(reference.adjust_saturation, batch, factor), **TOLERANCE)


def test_hue():
    batch, shift = images(), torch.rand(16, generator=generator(1)) - 0.5
    batch[0] = 0.5  # grey: it has no hue
    batch[1, 0] = batch[1, 1]  # two channels equal
    batch[2] = batch[2].round()  # saturated colours
    torch.testing.assert_close(
        shift_hue(batch, shift), one_by_one(reference.adjust_hue, batch, shift), rtol=0, atol=2e-4
    )


def test_all_four_in_any_order():
    batch = images()
    b, c, s, h, _ = sample_jitter(16, FULL, generator(1))
    operators = (
        (reference.adjust_brightness, b),
        (reference.adjust_contrast, c),
        (reference.adjust_saturation, s),
        (reference.adjust_hue, h),
    )
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        expected = batch
        for operation in order:
            operator, factor = operators[operation]
            expected = one_by_one(operator, expected, factor)
        torch.testing.assert_close(jitter(batch, b, c, s, h, order), expected, rtol=0, atol=2e-4)


def test_grayscale():
    batch = images()
    torch.testing.assert_close(luma(batch), reference.rgb_to_grayscale(batch), **TOLERANCE)


@pytest.mark.parametrize("kernel", [3, 7])
def test_blur(kernel):
    batch, sigma = images(height=24), 0.1 + 1.9 * torch.rand(16, generator=generator(1))
    expected = one_by_one(lambda image, s: reference.gaussian_blur(image, [kernel, kernel], [s, s]), batch, sigma)
    torch.testing.assert_close(gaussian_blur(batch, sigma, kernel), expected, **TOLERANCE)


def test_boxes_are_distributed_as_torchvisions():
    """Two-sample Kolmogorov-Smirnov on each coordinate; with 4,000 boxes a shift of one pixel would show."""
    from scipy.stats import ks_2samp

    ours = sample_boxes(4000, 32, 32, FULL.crop_scale, FULL.crop_ratio, generator(3))
    torch.manual_seed(0)
    image = torch.empty(3, 32, 32)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, list(FULL.crop_scale), list(FULL.crop_ratio)) for _ in range(4000)]
    )
    for coordinate in range(4):
        assert ks_2samp(ours[:, coordinate], theirs[:, coordinate]).pvalue > 1e-3
    shifted = ours[:, 2] + 1
    assert ks_2samp(shifted, theirs[:, 2]).pvalue < 1e-3


def test_aspect_ratios_are_uniform_in_their_logarithm():
    """Wide and high crops alike often; uniform in the ratio itself, the mean of the logarithms would be 0.028."""
    boxes = sample_boxes(4000, 320, 320, (0.1, 0.3), (3 / 4, 4 / 3), generator())
    logarithms = (boxes[:, 3] / boxes[:, 2]).log() / math.log(4 / 3)
    assert logarithms.mean().item() == pytest.approx(0, abs=0.03)
    assert logarithms.std().item() == pytest.approx(1 / math.sqrt(3), abs=0.02)


def test_boxes_lie_inside_and_fall_back_to_the_middle():
    boxes = sample_boxes(5000, 24, 40, FULL.crop_scale, FULL.crop_ratio, generator())
    assert (boxes >= 0).all() and (boxes == boxes.round()).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 24).all() and (boxes[:, 1] + boxes[:, 3] <= 40).all()
    # The whole area at ratio 1 never fits into 24 x 40.
    assert sample_boxes(3, 24, 40, (1.0, 1.0), (1.0, 1.0), generator()).tolist() == [[0, 8, 24, 24]] * 3


def test_jitter_draws_lie_in_torchvisions_ranges_and_reach_their_ends():
    b, c, s, h, _ = sample_jitter(20_000, FULL, generator())
    for factor in (b, c, s):
        assert 0.6 <= factor.min() < 0.605 and 1.395 < factor.max() <= 1.4
    assert -0.1 <= h.min() < -0.099 and 0.099 < h.max() <= 0.1
    untouched = (b == 1) & (c == 1) & (s == 1) & (h == 0)
    assert float(untouched.float().mean()) == pytest.approx(0.2, abs=0.01)


def test_every_order_of_the_jitter_operations_is_drawn_alike_often():
    stream = generator()
    orders = [tuple(sample_jitter(1, FULL, stream)[4]) for _ in range(2400)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24 and min(counts) > 60 and max(counts) < 140  # 100 each, 4 standard deviations


def test_the_same_generator_state_gives_the_same_views():
    batch = images(80)
    first, again, other = (augment_images(batch, FULL, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_global_stream_plays_no_part():
    batch = images()
    torch.manual_seed(0)
    first = augment_images(batch, FULL, generator())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(augment_images(batch, FULL, generator()), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_sample_has_its_own_parameters():
    """Copies of one image come out different, and an image's view does not depend on the other images."""
    batch = images(1).repeat(32, 1, 1, 1)
    views = augment_images(batch, FULL, generator())
    assert len({view.numpy().tobytes() for view in views}) == 32
    changed = batch.clone()
    changed[1:] = images(31, seed=9)
    torch.testing.assert_close(augment_images(changed, FULL, generator())[0], views[0], rtol=0, atol=1e-6)


def test_probabilities_count_samples():
    batch = images(4000, height=8, width=8)
    for name, changed in (
        ("flip_probability", lambda views: (views - batch.flip(3)).abs().amax((1, 2, 3)) < 1e-5),
        ("grayscale_probability", lambda views: (views[:, 0] - views[:, 1]).abs().amax((1, 2)) < 1e-6),
        ("blur_probability", lambda views: (views - batch).abs().amax((1, 2, 3)) > 1e-5),
        ("jitter_probability", lambda views: (views - batch).abs().amax((1, 2, 3)) > 1e-5),
    ):
        views = augment_images(batch, NOTHING.model_copy(update={name: 0.3}), generator())
        assert float(changed(views).float().mean()) == pytest.approx(0.3, abs=0.03), name


def test_blur_has_a_sigma_of_its_own_for_every_image_uniform_in_its_range(monkeypatch):
    drawn: list[torch.Tensor] = []

    def seen(chosen, sigma, kernel):
        drawn.append(sigma)
        return gaussian_blur(chosen, sigma, kernel)

    monkeypatch.setattr(augmentation, "gaussian_blur", seen)
    blurring = NOTHING.model_copy(update={"blur_probability": 1.0, "blur_sigma": (0.5, 1.5)})
    augment_images(images(2000, height=8, width=8), blurring, generator())
    sigma = torch.cat(drawn)
    assert len(sigma) == 2000 and 0.5 <= sigma.min() < 0.51 and 1.49 < sigma.max() <= 1.5
    assert sigma.mean().item() == pytest.approx(1.0, abs=0.03) and sigma.std().item() == pytest.approx(0.289, abs=0.02)


def test_nothing_switched_on_changes_nothing():
    batch = images()
    before = batch.clone()
    torch.testing.assert_close(augment_images(batch, NOTHING, generator()), before, rtol=0, atol=1e-6)
    augment_images(batch, FULL, generator())
    assert torch.equal(batch, before)  # the input is not changed


@pytest.mark.parametrize("channels", [1, 3])
def test_views_stay_in_range_and_finite(channels):
    batch = images(256, channels=channels)
    batch[:8], batch[8:16] = 0, 1  # black and white
    views = augment_images(batch, FULL, generator())
    assert views.shape == batch.shape and torch.isfinite(views).all()
    assert views.min() >= 0 and views.max() <= 1


def test_a_crop_of_the_stated_scale():
    """The mean area of the boxes is the mean of the range of scales, where nearly all tries fit."""
    boxes = sample_boxes(20_000, 64, 64, (0.2, 0.6), (3 / 4, 4 / 3), generator())
    area = (boxes[:, 2] * boxes[:, 3] / 64**2).mean().item()
    assert math.isclose(area, 0.4, abs_tol=0.005)


def test_to_float_turns_stored_bytes_into_channels_first():
    raw = torch.arange(24, dtype=torch.uint8).view(2, 2, 2, 3) * 10
    out = to_float(raw)
    assert out.shape == (2, 3, 2, 2) and out.dtype == torch.float32
    assert out[1, 2, 0, 1].item() == pytest.approx(raw[1, 0, 1, 2].item() / 255)


def test_an_accelerator_changes_the_same_images_to_the_same(monkeypatch):
    """There every image is changed and most results are dropped, because to count the chosen ones would wait."""
    before, sigma = images(16), torch.linspace(0.1, 2.0, 16)
    chosen = torch.arange(16) % 3 == 0

    def blurred(batch: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return gaussian_blur(batch, own, 3)

    on_cpu = change_some(before.clone(), chosen, blurred, sigma)
    monkeypatch.setattr(augmentation, "is_queued", lambda device: True)
    torch.testing.assert_close(change_some(before.clone(), chosen, blurred, sigma), on_cpu, rtol=0, atol=1e-6)
    assert torch.equal(on_cpu[~chosen], before[~chosen]) and not torch.equal(on_cpu[chosen], before[chosen])


def test_an_accelerators_views_are_the_cpus_of_one_chunk(monkeypatch):
    batch = images(augmentation.CPU_CHUNK)
    on_cpu = augment_images(batch, FULL, generator())
    monkeypatch.setattr(augmentation, "is_queued", lambda device: True)
    torch.testing.assert_close(augment_images(batch, FULL, generator()), on_cpu, rtol=0, atol=1e-6)
