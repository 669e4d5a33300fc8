"""The search for settings: a table of each method's trials, the best of them, and what a smaller budget would buy."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from contrastbench.errors import UserError
from contrastbench.params.base import overlay
from contrastbench.params.files import DEFAULT, files_in
from contrastbench.params.search import Trial
from contrastbench.params.track import TrackParams, changes_text
from contrastbench.params.variants import flat
from contrastbench.pipeline.groups import Group
from contrastbench.pipeline.stages import WITH_ROWS, Stage
from contrastbench.registry import REFERENCES
from contrastbench.reporting.cells import Cell, cells_of
from contrastbench.reporting.tables import Table, table_of
from contrastbench.results.load import Loaded

TUNED = "tuned"
WIDE = 1_000_000  # characters of a line of YAML, so that none is broken


def search_tables(loaded: Loaded, track: TrackParams) -> list[Table]:
    """For each data set and method a table of its trials; beside each label stands what the trial changes."""
    if track.search is None:
        return []
    stage = stage_of(track)
    found: dict[tuple[str, str], list[Cell]] = {}
    for key, cell in cells_of(loaded.where(lambda row: row.stage == stage.name)).items():
        trial = track.search.trial(key.method)
        if trial is not None:
            found.setdefault((key.dataset, trial.of), []).append(cell)
    reading = f"Seed {track.search.seed}; trial 00 is the method as it is. {stage.groups[0].reading}"
    return [
        table_of(dataset, Group(f"Search of {method}", reading), cells) for (dataset, method), cells in found.items()
    ]


def stage_of(track: TrackParams) -> Stage:
    """The stage that judges the trials of a track's search."""
    assert track.search is not None
    measure = track.search.measure
    return next(stage for stage in WITH_ROWS if stage.measure == measure)


def scores(loaded: Loaded, track: TrackParams) -> dict[str, dict[Trial, float]]:
    """By method, the score of each trial that was judged on all of the search's data sets, in the order of trials.

    It is the mean of the trial's rows: over data sets, and over shots and classifiers of episodes. A trial that
    diverges scores 0, and so do rows that fail a sanity check (its encoder collapsed): no table compares them.
    """
    search = track.search
    if search is None:
        return {}
    stage, wanted = stage_of(track), set(stage_of(track).data(track))
    values: dict[str, list[float]] = {}
    judged: dict[str, set[str]] = {}
    for row in loaded.rows:
        if row.stage == stage.name:
            values.setdefault(row.method, []).append(0.0 if row.detail.get("failed_checks") else row.value)
            judged.setdefault(row.method, set()).add(row.dataset)
    values |= {label: [0.0] for label in search.diverged}
    judged |= dict.fromkeys(search.diverged, wanted)
    done = [trial for trial in search.all_trials() if judged.get(trial.label) == wanted]
    return {
        method: {trial: fmean(values[trial.label]) for trial in done if trial.of == method} for method in search.methods
    }


def expected_maximum(values: Sequence[float]) -> list[float]:
    """The expected largest of n values that are drawn from ``values`` (N,), with repetition, for n from 1 to N.

    Of the sorted values v_1 <= ... <= v_N the largest of n draws is at most v_i with probability (i / N)^n:
    E_n = sum_i v_i ((i / N)^n - ((i - 1) / N)^n) (Dodge et al., 2019, section 3.1).
    """
    ordered, total = sorted(values), len(values)
    return [
        sum(value * ((rank / total) ** draws - ((rank - 1) / total) ** draws) for rank, value in enumerate(ordered, 1))
        for draws in range(1, total + 1)
    ]


def tuned_preset(loaded: Loaded, preset: str, tracks: dict[str, TrackParams], root: Path = Path()) -> str:
    """The file of the preset that runs, in each of ``tracks``, every method with the settings of its best trial.

    ``loaded`` are rows that count. Of equally good trials the first is chosen. Above each track's section stand all
    trials with their scores. A track without a search, or whose trials are not all there, is a UserError.
    """
    own = {} if preset == DEFAULT else files_in(root, preset)[-1].content
    parts = [
        f"# Written by `contrastbench choose`, not by hand: every method of the search of preset {preset} with the\n"
        "# settings of its best trial on validation data, of equally good ones the first. All scores are below; 0 is\n"
        "# that of a trial that diverges, or fails a sanity check.\n",
        _yaml({"tracks": list(tracks)}),
    ]
    for name, track in tracks.items():
        found = _all_scores(loaded, preset, name, track)
        best = {method: max(trials, key=trials.__getitem__) for method, trials in found.items()}
        lines = [
            f"# {score:.6f} {trial.label}{' (chosen)' * (trial == best[method])}: "
            f"{changes_text(track.tuned(trial)) or 'as it is'}\n"
            for method, trials in found.items()
            for trial, score in trials.items()
        ]
        of = f"# {name}, {stage_of(track).groups[0].title.lower()}, seed {track.search.seed}:\n"  # type: ignore[union-attr]
        section = overlay(own.get(name, {}), _tuned_section(track, best))
        parts += ["\n", of, *lines, _yaml({name: section})]
    return "".join(parts)


def _tuned_section(track: TrackParams, best: dict[str, Trial]) -> dict[str, Any]:
    variants = {}
    for method, trial in best.items():
        changes = flat(track.variants[method].changes()) if method in track.variants else {}
        variants[f"{method}-{TUNED}"] = {"method": track.base_method(method), **changes, **track.tuned(trial)}
    references = [label for label in track.methods if label in REFERENCES]
    left_out: dict[str, Any] = {"ablation": [], **({"cost": []} if track.cost else {}), "search": None}
    common = track.diagnostics.encoder if track.diagnostics else None
    looked_at = {"diagnostics": {"encoder": f"{common}-{TUNED}"}} if common in best else {}
    return {"methods": [*references, *variants], "variants": variants, **looked_at, **left_out}


def _all_scores(loaded: Loaded, preset: str, name: str, track: TrackParams) -> dict[str, dict[Trial, float]]:
    if track.search is None:
        raise UserError(f"track {name!r} of preset {preset!r} has no section `search`")
    rows = loaded.where(lambda row: row.preset == preset and row.track == name)
    found = scores(rows, track)
    done = {trial.label for trials in found.values() for trial in trials}
    asked = track.trials()
    missing = [label for label in asked if label not in done]
    if missing:
        option = "" if preset == DEFAULT else f" --config preset={preset}"
        raise UserError(
            f"{name}, preset {preset}: {len(missing)} of {len(asked)} trials are missing, such as {missing[0]}; "
            f"run `snakemake --cores all {name}_search{option}`"
        )
    return found


def _yaml(content: dict) -> str:
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=WIDE)


def tuned_name(preset: str) -> str:
    """The name of the preset that runs what the search of ``preset`` has chosen."""
    return TUNED if preset == DEFAULT else f"{preset}-{TUNED}"
