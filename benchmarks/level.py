"""How often the pairwise test calls two equally good methods different, against the degrees of freedom of Hillis.

    python benchmarks/level.py [--draws 4000] [--examples 300] [--tiny]

Differences (seeds, examples) are the sum of a normal effect of the seed, one of the example, and a rest, with the
standard deviations that a line names; verdicts differ by about 0.3 to 0.5. Both tests get the same differences. A test
at 5 % should reject 5 % of them, up to the standard error that stands below the table; the last line has the largest
share of each, and their ratio.
"""

import argparse
from itertools import product

import numpy as np
from scipy import special

from contrastbench.reporting.judged import covariance_of_means
from contrastbench.reporting.significance import ALPHA, crossed_test

SEEDS = (2, 3, 5, 10)
OF_SEEDS = (0.0, 0.02, 0.05, 0.1)
OF_EXAMPLES = ((0.0, 0.4), (0.1, 0.4), (0.3, 0.4), (0.4, 0.3), (0.2, 0.2))  # of the example, of the rest


def hillis(differences: np.ndarray) -> float:
    """p-value of the crossed test with one number of degrees of freedom for both variances (Hillis, 2007)."""
    seeds, count = differences.shape
    of_seeds = float(differences.mean(1).var(ddof=1)) / seeds
    variance = of_seeds + max(covariance_of_means(list(differences), [np.arange(count)] * seeds), 0.0)
    freedom = min(variance**2 / (of_seeds**2 / (seeds - 1)), seeds * count - 1)
    return float(2 * special.stdtr(freedom, -abs(differences.mean()) / variance**0.5))


def rates(rng: np.random.Generator, seeds: int, sizes: tuple[float, float, float], examples: int, draws: int) -> list:
    """The share of draws that our test and Hillis's reject, in per cent."""
    of_seed, of_example, rest = sizes
    found = np.zeros(2)
    for _ in range(draws):
        noise = rng.normal(0, rest, (seeds, examples)) + rng.normal(0, of_example, examples)
        noise += rng.normal(0, of_seed, (seeds, 1))
        found += crossed_test(noise).p_value <= ALPHA, hillis(noise) <= ALPHA
    return list(100 * found / draws)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000, help="of each line")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    draws, examples = (20, 20) if arguments.tiny else (arguments.draws, arguments.examples)
    rng = np.random.default_rng(0)
    print("| seeds | of the seed | of the example | rest | ours, % | Hillis, % |\n|---|---|---|---|---|---|")
    worst = np.zeros(2)
    for seeds, of_seed, (of_example, rest) in product(SEEDS, OF_SEEDS, OF_EXAMPLES):
        found = rates(rng, seeds, (of_seed, of_example, rest), examples, draws)
        worst = np.maximum(worst, found)
        print(f"| {seeds} | {of_seed} | {of_example} | {rest} | {found[0]:.1f} | {found[1]:.1f} |", flush=True)
    error = 100 * (ALPHA * (1 - ALPHA) / draws) ** 0.5
    print(f"standard error at 5 %: {error:.2f} points, {draws} draws a line, {examples} examples")
    print(f"largest: ours {worst[0]:.1f} %, Hillis {worst[1]:.1f} %, ratio {worst[0] / worst[1]:.2f}")


if __name__ == "__main__":
    main()
