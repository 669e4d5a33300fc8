"""Time and memory of kNN and the linear probe on frozen features, against scikit-learn and lightly's formula.

    python benchmarks/judging.py [--rows 45000] [--queries 1000] [--features 512] [--classes 10] [--rounds 3] [--tiny]
    python benchmarks/judging.py --rows 1000000 --rounds 1 --ours

Features are noisy class centres in a memory-mapped float32 file. Every side runs in a process of its own, forked from
one that has loaded the libraries, on one thread; the sides take turns. Printed are the medians of CPU seconds and of
the peak of resident memory (libraries and mapped pages included), the ratios to ours, and how many verdicts differ from
ours. ``--ours`` leaves out the others, which hold several copies of the features.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.linear_probe import fit_linear

NEIGHBOURS, TEMPERATURE, GRID = 200, 0.1, (0.001, 0.01, 0.1, 1.0, 10.0)
BATCH = 512  # of queries, in lightly's formula
Splits = dict[str, Labelled]


def our_knn(splits: Splits, strengths: tuple[float, ...]) -> np.ndarray:
    """contrastbench's kNN."""
    model = fit_knn(splits["train"], neighbours=NEIGHBOURS, temperature=TEMPERATURE)
    return model.predict(splits["test"].features)


def scikit_learns_knn(splits: Splits, strengths: tuple[float, ...]) -> np.ndarray:
    """scikit-learn's brute-force search with the same votes."""

    def votes(distance: np.ndarray) -> np.ndarray:
        return np.exp((distance.min(axis=1, keepdims=True) - distance) / TEMPERATURE)

    model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute", weights=votes)
    return model.fit(splits["train"].features, splits["train"].labels).predict(splits["test"].features)


def lightlys_knn(splits: Splits, strengths: tuple[float, ...]) -> np.ndarray:
    """lightly, utils/benchmarking/knn.py, ``knn_predict``, on batches of queries against the whole bank."""
    bank = normalize(torch.from_numpy(np.array(splits["train"].features))).T.contiguous()
    labels = torch.from_numpy(splits["train"].labels)
    classes = int(labels.max()) + 1

    def predict(queries: Tensor) -> Tensor:
        similarity, index = torch.mm(queries, bank).topk(k=NEIGHBOURS, dim=-1)
        neighbour = torch.gather(labels.expand(len(queries), -1), dim=-1, index=index)
        weight = (similarity / TEMPERATURE).exp()
        one_hot = torch.zeros(len(queries) * NEIGHBOURS, classes)
        one_hot = one_hot.scatter(dim=-1, index=neighbour.view(-1, 1), value=1.0)
        scores = (one_hot.view(len(queries), -1, classes) * weight.unsqueeze(-1)).sum(dim=1)
        return scores.argsort(dim=-1, descending=True)[:, 0]

    queries = normalize(torch.from_numpy(np.array(splits["test"].features)))
    return torch.cat([predict(part) for part in queries.split(BATCH)]).numpy()


def our_probe(splits: Splits, strengths: tuple[float, ...]) -> np.ndarray:
    """contrastbench's linear probe."""
    return fit_linear(splits["train"], splits["validation"], strengths)[0].predict(splits["test"].features)


def scikit_learns_probe(splits: Splits, strengths: tuple[float, ...], warm_start: bool = False) -> np.ndarray:
    """scikit-learn's scaler and regression: every candidate from zero, or from where the last one ended."""
    scaler = StandardScaler().fit(splits["train"].features)
    train, validation, test = (scaler.transform(splits[name].features) for name in ("train", "validation", "test"))
    model, best, predicted = LogisticRegression(max_iter=1000, warm_start=warm_start), -1.0, np.zeros(0)
    for model.C in strengths:
        model.fit(train, splits["train"].labels)
        accuracy = float(np.mean(model.predict(validation) == splits["validation"].labels))
        if accuracy > best:
            best, predicted = accuracy, model.predict(test)
    return predicted


def warm_probe(splits: Splits, strengths: tuple[float, ...]) -> np.ndarray:
    """The same with a warm start."""
    return scikit_learns_probe(splits, strengths, warm_start=True)


SIDES: dict[str, dict[str, Callable[[Splits, tuple[float, ...]], np.ndarray]]] = {
    "kNN": {"contrastbench": our_knn, "scikit-learn": scikit_learns_knn, "lightly's formula": lightlys_knn},
    "linear probe": {
        "contrastbench": our_probe,
        "scikit-learn": scikit_learns_probe,
        "scikit-learn, warm start": warm_probe,
    },
}


def write_features(folder: Path, rows: int, queries: int, features: int, classes: int) -> None:
    """Write the splits as ``.npy`` files, a block at a time."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, features)).astype(np.float32)
    for split, count in (("train", rows), ("validation", queries), ("test", queries)):
        labels = rng.integers(classes, size=count)
        np.save(folder / f"{split}_y.npy", labels)
        array = np.lib.format.open_memmap(folder / f"{split}_x.npy", "w+", np.float32, (count, features))
        for start in range(0, count, 10_000):
            part = labels[start : start + 10_000]
            array[start : start + 10_000] = centres[part] + 6 * rng.standard_normal((len(part), features), np.float32)


def peak_mib() -> float:
    """The greatest resident memory of this process so far, in MiB (Linux); getrusage would count its parent's."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def measure(folder: Path, protocol: str, side: str, strengths: int) -> tuple[float, float, float]:
    """Run one side in this process and save its verdicts; CPU seconds, MiB of memory before it and at its peak."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's, SciPy's and scikit-learn's
    splits = {
        split: Labelled(np.load(folder / f"{split}_x.npy", mmap_mode="r"), np.load(folder / f"{split}_y.npy"))
        for split in ("train", "validation", "test")
    }
    before = peak_mib()
    begun = time.process_time()
    predicted = SIDES[protocol][side](splits, GRID[-strengths:])
    seconds = time.process_time() - begun
    np.save(folder / f"{protocol} {side}.npy", predicted == splits["test"].labels)
    return seconds, before, peak_mib()


def compare(folder: Path, protocol: str, rounds: int, strengths: int, ours_alone: bool) -> None:
    """Run the sides of a protocol in turns and print medians and ratios."""
    names = list(SIDES[protocol])[: 1 if ours_alone else None]
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with get_context("fork").Pool(1) as process:
                found[name].append(process.apply(measure, (folder, protocol, name, strengths)))
    medians = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}
    ours = medians["contrastbench"]
    verdicts = {name: np.load(folder / f"{protocol} {name}.npy") for name in names}
    for name, (seconds, before, peak) in medians.items():
        differ = int((verdicts[name] != verdicts["contrastbench"]).sum())
        print(
            f"{protocol}, {name}: {seconds:.2f} CPU-s, peak {peak:,.0f} MiB ({before:,.0f} before); "
            f"ours takes {ours[0] / seconds:.2f} of its time, {(ours[2] - ours[1]) / max(peak - before, 1):.2f} of "
            f"its memory; top-1 {verdicts[name].mean():.1%}, {differ} of {len(verdicts[name])} verdicts differ"
        )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("rows", 45_000), ("queries", 1_000), ("features", 512), ("classes", 10), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--strengths", type=int, default=len(GRID), help="how many of the grid, from its greatest")
    parser.add_argument("--ours", action="store_true", help="contrastbench alone")
    parser.add_argument(
        "--folder", type=Path, help="where the features are put (default: the system's temporary folder)"
    )
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(rows=400, queries=50, features=16, rounds=1, strengths=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        write_features(folder, arguments.rows, arguments.queries, arguments.features, arguments.classes)
        print(f"{arguments.rows:,} x {arguments.features} training features, {arguments.queries:,} queries")
        for protocol in SIDES:
            compare(folder, protocol, arguments.rounds, arguments.strengths, arguments.ours)


if __name__ == "__main__":
    main()
