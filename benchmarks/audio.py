"""Audio, side by side: the log-mel front end against torchaudio, few-shot episodes against a loop with scikit-learn.

    python benchmarks/audio.py [--clips 64] [--seconds 5] [--episodes 10000] [--loop 200] [--tiny]

One thread. Both sides take turns, so that other work on the machine affects both; medians and ratios are printed.
The loop runs only ``--loop`` of the episodes and is scaled up.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

import contrastbench.torch_compat  # noqa: F401  (before torchaudio)
from contrastbench.augment.log_mel import log_mel
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.few_shot import Episodes, few_shot_accuracies, sample_episodes

MELS, TURNS, L2 = 128, 3, 0.01


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def in_turns(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, measured alternately after one call of each."""
    ours(), theirs()
    pairs = [(seconds_of(ours), seconds_of(theirs)) for _ in range(TURNS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def front_end(clips: int, seconds: float) -> None:
    """Clips/s of both filter banks, and their largest difference."""
    from torchaudio.compliance.kaldi import fbank

    waves = 0.1 * torch.randn(clips, round(16_000 * seconds), generator=torch.Generator().manual_seed(0))

    def kaldi() -> torch.Tensor:
        options = {"htk_compat": True, "use_energy": False, "window_type": "hanning", "dither": 0.0}
        return torch.stack([fbank(w[None] - w.mean(), num_mel_bins=MELS, **options) for w in waves])

    ours, theirs = in_turns(lambda: log_mel(waves, MELS), kaldi)
    apart = (log_mel(waves, MELS) - kaldi()).abs().max()
    print(f"log-mel, {MELS} mels, {clips} clips of {seconds:g} s (largest difference {apart:.1e})")
    print(f"  torchaudio kaldi.fbank, clip by clip: {clips / theirs:9,.0f} clips/s")
    print(f"  contrastbench, batched:               {clips / ours:9,.0f} clips/s")
    print(f"  ratio: {theirs / ours:.1f}")


def looped(clips: Clips, episodes: Episodes, classifier: str, count: int) -> float:
    """Accuracy of the first ``count`` episodes, one at a time with scikit-learn."""
    hits = []
    for support, query in zip(episodes.support[:count].numpy(), episodes.query[:count].numpy(), strict=True):
        x, q = clips.features[support.ravel()], clips.features[query.ravel()]
        y, truth = (np.repeat(np.arange(len(support)), part.shape[1]) for part in (support, query))
        if classifier == "linear":
            x, q = normalize(x), normalize(q)
            model = LogisticRegression(C=1 / (L2 * len(y)), fit_intercept=False)
        else:
            model = NearestCentroid()
        hits.append((model.fit(x, y).predict(q) == truth).mean())
    return float(np.mean(hits))


def episodes_of(count: int, loop: int, shots: int, classifier: str) -> None:
    """Seconds for ``count`` 5-way episodes on 192-dimensional features of ESC-50's size."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 40)
    centres = rng.normal(size=(10, 192))
    features = (0.4 * centres[labels] + rng.normal(size=(400, 192))).astype(np.float32)
    clips = Clips(features, np.arange(400)[:, None], labels)

    def batched() -> tuple[Episodes, np.ndarray]:
        generator = torch.Generator().manual_seed(1)
        sampled = sample_episodes(labels, way=5, shots=shots, queries=1, count=count, generator=generator)
        mean = np.zeros(192, np.float32)
        return sampled, few_shot_accuracies(clips, sampled, classifier, base_mean=mean, l2=L2, generator=generator)

    sampled, accuracies = batched()
    ours, part = in_turns(batched, lambda: looped(clips, sampled, classifier, loop))
    theirs = part * count / loop
    apart = abs(accuracies[:loop].mean() - looped(clips, sampled, classifier, loop))
    print(
        f"{count:,} episodes, 5-way {shots}-shot, {classifier} (accuracies of the first {loop} differ by {apart:.4f})"
    )
    print(f"  one at a time with scikit-learn: {theirs:8.2f} s")
    print(f"  contrastbench, batched:          {ours:8.2f} s")
    print(f"  ratio: {theirs / ours:.0f}")


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=200)
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(clips=2, seconds=1.0, episodes=20, loop=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # scikit-learn's NearestCentroid divides by zero in a by-product where a class has a single example.
    warnings.simplefilter("ignore", RuntimeWarning)
    front_end(arguments.clips, arguments.seconds)
    for shots in (1, 5):
        for classifier in ("centroid", "linear"):
            episodes_of(arguments.episodes, arguments.loop, shots, classifier)


if __name__ == "__main__":
    main()
