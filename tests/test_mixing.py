"""Mixtures: what is replaced and by which sample, and the virtual labels that say so."""

import pytest
import torch
from scipy.stats import beta, kstest

from contrastbench.augment.log_mel import SHIFT, WINDOW, log_mel, normalise, pad_or_cut
from contrastbench.augment.mixing import mix, real_frames, sample_cut, sample_share, virtual_labels

FRAMES, MELS = 40, 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def marked(batch: int) -> torch.Tensor:
    """Every value identifies its sample, frame and mel bin."""
    return torch.arange(batch * FRAMES * MELS, dtype=torch.float32).view(batch, 1, FRAMES, MELS)


def replaced(x: torch.Tensor, mixed: torch.Tensor, i: int) -> torch.Tensor:
    """Where mixture i holds its partner's value; everywhere else it must hold its own."""
    j = len(x) - 1 - i
    theirs = (mixed[i] == x[j])[0]
    assert ((mixed[i] == x[i])[0] | theirs).all()
    return theirs


@pytest.mark.parametrize("seed", range(30))
def test_t_cutmix_replaces_one_time_run_over_all_mel_bins(seed):
    x = marked(6)
    mixture = mix(x, "t-cutmix", 1.0, generator(seed))
    for i in range(6):
        theirs = replaced(x, mixture.x, i)
        assert (theirs == theirs[:, :1]).all()  # every frame: all mel bins or none
        frames = theirs[:, 0].nonzero()[:, 0].tolist()
        assert frames == list(range(frames[0], frames[-1] + 1)) if frames else True
        assert mixture.kept[i].item() == pytest.approx(1 - len(frames) / FRAMES)
    assert torch.equal(x, marked(6))  # the input is not changed


@pytest.mark.parametrize("seed", range(30))
def test_cutmix_replaces_one_rectangle(seed):
    x = marked(4)
    mixture = mix(x, "cutmix", 1.0, generator(seed))
    for i in range(4):
        theirs = replaced(x, mixture.x, i)
        rows, columns = theirs.any(dim=1), theirs.any(dim=0)
        assert torch.equal(theirs, rows.unsqueeze(1) & columns.unsqueeze(0))
        assert mixture.kept[i].item() == pytest.approx(1 - theirs.float().mean().item())


@pytest.mark.parametrize("mixing", ["t-cutmix", "cutmix"])
@pytest.mark.parametrize("seed", range(20))
def test_lambda_counts_real_frames_and_not_padding(mixing, seed):
    """Clips of other lengths: what of a mixture is of the one clip and of the other, counted value by value."""
    lengths, padding = (40, 10, 25, 40, 3, 31), 1e4 + 0.5
    x = marked(6)
    for clip, length in zip(x, lengths, strict=True):
        clip[:, length:] = padding
    number = torch.arange(6.0).view(6, 1, 1, 1).expand_as(x)
    mixture, source = (mix(each, mixing, 1.0, generator(seed)) for each in (x, number))
    for i in range(6):
        j = 5 - i
        heard = [int(((source.x[i] == n) & (mixture.x[i] != padding)).sum()) for n in range(6)]
        assert sum(heard) == heard[i] + heard[j] > 0
        assert mixture.labels[i].tolist() == pytest.approx([n / sum(heard) for n in heard], abs=1e-6)
        assert mixture.kept[i].item() == pytest.approx(heard[i] / sum(heard))
    assert mixture.labels.sum().item() == pytest.approx(6)  # the weights of the second direction


def test_real_frames_are_told_from_padding():
    """By a clip of noise that ends in digital silence, and one that the front end padded."""
    wave = torch.rand(2, 40 * SHIFT + WINDOW, generator=generator()) - 0.5
    wave[:, 20 * SHIFT :] = 0
    padded = pad_or_cut(log_mel(wave, MELS)[:, :30], FRAMES)
    x = normalise(torch.stack([log_mel(wave, MELS)[0, :FRAMES], padded[1]]), -7.0, 5.0).half().float().unsqueeze(1)
    assert (x[0, 0, 25:] == x[0, 0, 25, 0]).all() and (x[1, 0, 32:] == x[1, 0, 32, 0]).all()
    assert real_frames(x).tolist() == [[True] * FRAMES, [frame < 30 for frame in range(FRAMES)]]


def test_lambda_is_the_kept_share_after_clipping():
    """The centre is uniform over the frames; a run that extends beyond an edge is clipped there."""
    clipped = 0
    for seed in range(300):
        start, stop = sample_cut(40, 0.5, generator(seed))
        assert 0 <= start < stop <= 40
        clipped += stop - start < 20
        if stop - start < 20:
            assert start == 0 or stop == 40
        else:
            assert stop - start == 20
    # 20 of 40 centres fit entirely (10 .. 30); a run of 20 starts at centre - 10.
    assert abs(clipped / 300 - 19 / 40) < 0.1
    assert sample_cut(40, 0.0, generator())[0] == sample_cut(40, 0.0, generator())[1]


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_lambda_follows_beta(alpha):
    draw = generator(1)
    shares = [sample_share(alpha, draw) for _ in range(2000)]
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_blends():
    x = marked(5)
    mixture = mix(x, "mixup", 1.0, generator(4))
    share = mixture.kept[0].item()
    assert torch.equal(mixture.kept, torch.full((5,), share))
    assert 0.05 < share < 0.95
    torch.testing.assert_close(mixture.x, share * x + (1 - share) * x.flip(0))


def test_no_mixing_keeps_the_batch_and_its_identity():
    mixture = mix(marked(5), "none", 1.0, generator())
    assert torch.equal(mixture.x, marked(5)) and torch.equal(mixture.kept, torch.ones(5))
    assert torch.equal(mixture.labels, torch.eye(5))


@pytest.mark.parametrize("mixing", ["t-cutmix", "cutmix", "mixup"])
@pytest.mark.parametrize("batch", [2, 6, 7])
def test_label_rows_and_columns_sum_to_one(mixing, batch):
    mixture = mix(marked(batch), mixing, 1.0, generator(batch))
    ones = torch.ones(batch)
    torch.testing.assert_close(mixture.labels.sum(dim=1), ones)
    torch.testing.assert_close(mixture.labels.sum(dim=0), ones)  # rows of Y^T
    for i in range(batch):
        j = batch - 1 - i
        assert mixture.partner[i] == j
        kept = mixture.kept[i].item()
        own = 1.0 if i == j else kept
        assert mixture.labels[i, i].item() == pytest.approx(own)
        if i != j:
            assert mixture.labels[i, j].item() == pytest.approx(1 - kept, abs=1e-6)
    assert (mixture.labels > 0).sum() <= 2 * batch


def test_labels_of_another_permutation():
    labels = virtual_labels(torch.tensor([0.75, 0.5, 1.0]), torch.tensor([1, 2, 0]))
    assert torch.equal(labels, torch.tensor([[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1.0]]))


def test_the_generator_alone_decides():
    for mixing in ("t-cutmix", "cutmix", "mixup"):
        first, again, other = (mix(marked(4), mixing, 1.0, generator(seed)) for seed in (5, 5, 6))
        assert torch.equal(first.x, again.x)
        assert not torch.allclose(first.kept, other.kept)
