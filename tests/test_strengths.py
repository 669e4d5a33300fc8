"""Strengths that were chosen at an edge of their grid are told."""

import pytest
from conftest import REPOSITORY
from reporting_rows import loaded, row

from contrastbench.params.root import load
from contrastbench.params.track import TrackParams
from contrastbench.reporting.check import edges
from contrastbench.reporting.strengths import at_the_edge


@pytest.fixture(scope="module")
def track() -> TrackParams:
    return load(root=REPOSITORY).track("unremix")


def test_each_edge_is_counted_once_per_classifier(track: TrackParams) -> None:
    low, *_, high = sorted(track.probe.l2_grid)
    rows = [row(seed=seed, C=strength) for seed, strength in enumerate((high, high, low, 1.0))]
    rows += [row(seed=0, protocol="knn", k=5)]
    assert at_the_edge(loaded(rows), track) == [
        f"probe: C = {low:g}, the edge of probe.l2_grid, in 1 of 4 choices",
        f"probe: C = {high:g}, the edge of probe.l2_grid, in 2 of 4 choices",
    ]
    assert edges(loaded(rows), REPOSITORY)[0].startswith("unremix, preset default: probe: C = ")
    assert not at_the_edge(loaded([row(C=1.0)]), track)


def test_rows_of_one_classifier_are_one_choice() -> None:
    track = load(root=REPOSITORY).track("uamix")
    high = max(track.audio_attack.l2_grid)
    given = {"track": "uamix", "dataset": "instruments", "method": "mae", "stage": "audio_attack", "C": high}
    rows = [row(protocol=name, **given) for name in ("audio-clean", "audio-noise-waveform@40dB")]
    assert at_the_edge(loaded(rows), track) == [
        f"audio_attack: C = {high:g}, the edge of audio_attack.l2_grid, in 1 of 1 choices"
    ]
