"""Attacks on waveforms through the log-mel front end: their promises are checked on the sound itself."""

import pytest
import torch
from torch import Generator, Tensor, nn

from contrastbench.attacks.audio import WaveformClassifier, attack_waveforms, snr, snr_radius
from contrastbench.augment.log_mel import log_mel
from contrastbench.errors import UserError

PITCHES = (300.0, 600.0, 1200.0, 2400.0)
SAMPLES = 2400  # 0.15 s


def sounds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` noisy tones of every pitch (4 count, samples), with the pitch as label."""
    generator = Generator().manual_seed(seed)
    labels = torch.arange(len(PITCHES)).repeat_interleave(count)
    time = torch.arange(SAMPLES) / 16_000
    loudness = 0.2 + 0.3 * torch.rand(len(labels), 1, generator=generator)
    phase = 2 * torch.pi * torch.rand(len(labels), 1, generator=generator)
    tones = torch.sin(2 * torch.pi * torch.tensor(PITCHES)[labels][:, None] * time + phase)
    return loudness * tones + 0.02 * torch.randn(tones.shape, generator=generator), labels


def front_end(waveforms: Tensor) -> Tensor:
    return log_mel(waveforms, mels=24).mean(1) / 10


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    waveforms, labels = sounds(40, seed=0)
    features = front_end(waveforms)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Linear(24, len(PITCHES))
    optimizer = torch.optim.Adam(linear.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(linear(features), labels).backward()
        optimizer.step()
    return linear.eval().requires_grad_(False)


def attacked(classifier: nn.Module, snr_db: float, **settings: int):  # type: ignore[no-untyped-def]
    waveforms, labels = sounds(8, seed=1)
    result = attack_waveforms(
        front_end,
        classifier,
        waveforms,
        labels,
        snr_db=snr_db,
        steps=settings.pop("steps", 20),
        generator=Generator().manual_seed(0),
        **settings,
    )
    return waveforms, labels, result


def test_the_noise_keeps_the_ratio_and_the_range_and_every_verdict_holds(classifier: nn.Module) -> None:
    shares = []
    for snr_db in (60.0, 20.0, 0.0):
        waveforms, labels, result = attacked(classifier, snr_db, batch_size=10)
        assert bool((snr(waveforms, result.images) >= snr_db - 0.01).all())
        assert float(result.images.abs().max()) <= 1
        model = WaveformClassifier(front_end, classifier)
        assert torch.equal(result.fooled, model(result.images).argmax(1) != labels)
        shares.append(float(result.fooled.float().mean()))
    assert shares[0] < 0.2, "60 dB is inaudible and harmless"
    assert shares[0] < shares[1] <= shares[2] == 1


def test_gradients_do_more_than_noise_of_the_same_energy(classifier: nn.Module) -> None:
    """With zero steps only the random start is left, uniform in the ball."""
    _, _, noise = attacked(classifier, 10.0, steps=0)
    _, _, gradients = attacked(classifier, 10.0)
    # With 3 trained classifiers, noise fools none and gradients all.
    assert float(gradients.fooled.float().mean()) > float(noise.fooled.float().mean()) + 0.7


def test_the_gradient_through_the_front_end_is_the_difference_quotient(classifier: nn.Module) -> None:
    waveforms, labels = sounds(1, seed=2)
    model = WaveformClassifier(front_end, classifier)
    x = waveforms.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels, reduction="sum"), x)
    direction = gradient / gradient.norm()

    def loss(step: float) -> float:
        return float(nn.functional.cross_entropy(model(waveforms + step * direction), labels, reduction="sum"))

    step = 0.02 / float(gradient.norm())
    assert (loss(step) - loss(-step)) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.05)


def test_radii_and_ratios() -> None:
    waveforms = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(snr_radius(waveforms, 20.0), torch.tensor([0.5, 0.0]))
    assert torch.allclose(snr(waveforms, waveforms + torch.tensor([[0.3, 0.4], [0.0, 0.0]]))[0], torch.tensor(20.0))
    assert torch.isinf(snr(waveforms, waveforms)).all(), "nothing was changed, silence included"


def test_bad_requests_are_refused_in_one_line(classifier: nn.Module) -> None:
    with pytest.raises(UserError, match="finite number of decibels"):
        attacked(classifier, float("nan"))

    def blind(waveforms: Tensor) -> Tensor:
        with torch.no_grad():
            return front_end(waveforms)

    waveforms, labels = sounds(1, seed=1)
    with pytest.raises(UserError, match="needs gradients"):
        attack_waveforms(blind, classifier, waveforms, labels, snr_db=20, steps=1, generator=Generator())
    with pytest.raises(UserError, match=r"expect \[-1, 1\]"):
        attack_waveforms(front_end, classifier, 9 * waveforms, labels, snr_db=20, steps=1, generator=Generator())
