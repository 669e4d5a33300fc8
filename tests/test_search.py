"""The search for settings: its design, its trials, what they are judged on, what is chosen, and what a budget buys."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from statistics import fmean

import numpy as np
import pytest
import torch
import yaml
from audio_sets import about
from project_copy import Project
from reporting_rows import asked, loaded, parameters, row, write
from scipy.stats import qmc
from small_project import run, small_grid
from test_audio_protocols import spectrogram_split
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.few_shot import few_shot_accuracies, sample_episodes
from contrastbench.evaluation.scaling import fit_scaling
from contrastbench.jobs.features_file import examples, read_features
from contrastbench.jobs.judged import clips_of, features_on
from contrastbench.jobs.weights import training_data
from contrastbench.params.base import overlay
from contrastbench.params.root import from_content, load
from contrastbench.params.search import Trial, design
from contrastbench.params.variants import flat
from contrastbench.pipeline.asked import NOT_ASKED, Asked
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.reporting.check import stale_choices
from contrastbench.reporting.rendered import target_tables
from contrastbench.reporting.search import expected_maximum, scores, tuned_preset
from contrastbench.reporting.search_figures import search_lines
from contrastbench.results.protocols import Protocol
from contrastbench.training.seeds import generator_for

TARGETS = ("methods", "ablation", "cost")  # which ask for no trial
PARAMS = from_content(parameters(), "test")
CPU = torch.device("cpu")
SPACE = {
    "measure": "knn",
    "methods": ["simclr", "hcl", "unremix"],
    "trials": 4,
    "seed": 13,
    "shared": {"training.learning_rate": {"log": [1e-3, 1e-1]}, "settings.tau_plus": {"linear": [0.0, 0.5]}},
    "own": {
        "hcl": {"settings.beta": {"integer": [1, 4]}},
        "unremix": {
            "settings.weights": {"simplex": 3},
            "settings.normalization": {"choice": ["minmax", "softmix"]},
        },
    },
}


def test_values_are_those_of_scipys_halton_sequence():
    params = from_content(parameters(unremix__search=SPACE), "test")
    track = params.track("unremix")
    points = qmc.Halton(5, rng=SPACE["seed"]).random(3)
    for number, (tau, rate, own, other, last) in enumerate(points, 1):
        changes = {method: track.tuned(Trial(method, number)) for method in SPACE["methods"]}
        common = {"training.learning_rate": pytest.approx(1e-3 * 100**rate, rel=5e-3)}
        assert changes["simclr"] == common  # it has no tau_plus
        common |= {"settings.tau_plus": pytest.approx(tau / 2, rel=5e-3)}
        assert changes["hcl"] == common | {"settings.beta": 1 + int(own * 4)}
        low, high = sorted((other, last))
        weights = pytest.approx([low, high - low, 1 - high], abs=1.1e-3)
        chosen = ("minmax", "softmix")[int(own * 2)]
        assert changes["unremix"] == common | {"settings.weights": weights, "settings.normalization": chosen}
        assert sum(changes["unremix"]["settings.weights"]) == pytest.approx(1, abs=1e-9)


def test_the_order_of_a_files_lines_means_nothing():
    turned = SPACE | {"shared": dict(reversed(SPACE["shared"].items()))}
    here, there = (from_content(parameters(unremix__search=each), "test").track("unremix") for each in (SPACE, turned))
    assert here.tuned(Trial("hcl", 2)) == there.tuned(Trial("hcl", 2))


def test_more_trials_and_wider_spaces_keep_the_points_that_there_are():
    longer = design(9, 6, 3)
    assert [point[:4] for point in longer[:5]] == [*design(5, 4, 3)]
    assert design(5, 4, 3) != design(5, 4, 4)
    # Each column of few points fills its interval: no half of it holds more than one point too many.
    assert all(abs(sum(value < 0.5 for value in column) - 4.5) <= 1.5 for column in zip(*longer, strict=True))


@pytest.mark.parametrize("track", ["unremix", "swaro", "uamix"])
def test_every_method_has_as_many_trials_of_no_tables_seed_the_first_as_it_is(track):
    grid, section = Grid(given=PARAMS), PARAMS.track(track)
    labels = grid.labels(track, "search")
    assert len(labels) == len(set(labels)) == section.search.trials * len(section.search.methods)
    for method in section.search.methods:
        assert sum(label.startswith(f"{method}-trial-") for label in labels) == section.search.trials
        assert section.pretrain(f"{method}-trial-00", "") == section.pretrain(method, "")
        others = [section.pretrain(f"{method}-trial-{number:02d}", "") for number in range(1, section.search.trials)]
        assert len({each.model_dump_json() for each in others}) == len(others)
        assert {each.method for each in others} == {method}
    stages = ("pretrain", "tune", "features", "validate", "validate_knn", "validate_few_shot")
    jobs = {stage: grid.jobs(stage, track, "search") for stage in stages}
    assert {job.seed for found in jobs.values() for job in found} == {section.search.seed}
    assert section.search.seed not in section.seeds
    judging = [stage for stage in stages if stage.startswith("validate") and jobs[stage]]
    assert judging == [{"unremix": "validate_knn", "swaro": "validate", "uamix": "validate_few_shot"}[track]]
    assert len(jobs[judging[0]]) == len(labels) and not any(grid.jobs(judging[0], track, each) for each in TARGETS)
    assert not any(grid.jobs(stage, track, "search") for stage in ("probe", "attack", "few_shot", "low_shot"))


def test_what_is_shared_has_one_value_in_all_trials_of_a_number():
    track = PARAMS.track("swaro")
    for number in range(1, track.search.trials):
        tried = [track.tuned(Trial(method, number)) for method in track.search.methods]
        assert len({each["training.learning_rate"] for each in tried}) == 1
        assert len({each["settings.eps"] for each in tried if "settings.eps" in each}) == 1
    temperatures = [
        track.tuned(Trial(method, 1))["settings.temperature"] for method in ("rocl", "acl", "swav", "swaro")
    ]
    assert temperatures[0] == temperatures[1] and temperatures[2] == temperatures[3]  # SwAV's range is its own


def test_autoencoders_are_tuned_alike_for_all_that_start_from_one():
    """Else `mae` at its best would stand beside methods that start from another."""
    track = PARAMS.track("uamix")
    for number in range(track.search.trials):
        first, *others = (track.pretrain(f"{method}-trial-{number:02d}", "") for method in track.search.methods)
        assert first.method == "mae" and [each.start for each in others] == [first] * 2


def test_a_trial_of_a_variant_varies_the_variant_and_changes_what_every_trial_does():
    space = SPACE | {"methods": ["unremix-exp"], "changes": {"training.epochs": 2}, "own": {}}
    track = from_content(parameters(unremix__search=space), "test").track("unremix")
    for number in (0, 1):
        found = track.pretrain(f"unremix-exp-trial-{number:02d}", "")
        assert (found.method, found.settings.normalization, found.training.epochs) == ("unremix", "exp", 2)
        assert (found.training.learning_rate == track.training.learning_rate) == (number == 0)


def test_labels_need_no_design(tmp_path):
    """Only a trial's values do: scipy takes time to load."""
    code = (
        "import sys; from contrastbench.params.root import load; from contrastbench.pipeline.grid import Grid\n"
        "grid = Grid(); grid.labels('unremix', 'search'), grid.targets(), grid.tables_state('unremix')\n"
        "assert grid.params.unremix.base_method('hcl-trial-03') == 'hcl'; assert 'scipy' not in sys.modules\n"
        "grid.tables_state('unremix', 'search'); assert 'scipy' in sys.modules"
    )
    small_grid(tmp_path)
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_each_trial_is_a_job_of_snakemakes_graph(tmp_path):
    project = Project(tmp_path)
    search = load(root=tmp_path).track("unremix").search
    trials = search.trials * len(search.methods)
    expected = {"pretrain": trials, "features": trials, "validate": trials, "target_tables": 1, "unremix_search": 1}
    assert project.stale_jobs("unremix_search") == expected | {"prepare": 1}
    smoke = project.stale_jobs("uamix_search", "swaro_search", "--config", "preset=smoke")
    expected = {"prepare": 2, "spectrograms": 1, "pretrain": 4, "tune": 2, "features": 4, "validate": 4}
    assert smoke == expected | {"target_tables": 2, "uamix_search": 1, "swaro_search": 1}


# Variants of sound


def audio(**variants):
    return from_content(parameters(uamix__variants=variants, uamix__ablation=[]), "test")


def test_a_variant_of_sound_may_change_anything_that_its_training_reads():
    params = audio(
        slow={"method": "mae", "pretraining.training.learning_rate": 1e-4, "encoder.depth": 6},
        strong={"method": "uamix-mae", "augment.gain": 0.1, "tuning": {"encoder_step": {"training": {"epochs": 3}}}},
    )
    track = params.track("uamix")
    slow, strong = (track.pretrain(label, "instruments") for label in ("slow", "strong"))
    assert (slow.training.learning_rate, slow.encoder.depth) == (1e-4, 6)
    assert (strong.augment.gain, strong.encoder_step.training.epochs) == (0.1, 3)
    assert strong.start == track.pretrain("mae", "instruments")
    assert track.differs("strong") == "augment.gain 0.1, tuning.encoder_step.training.epochs 3"
    assert track.differs("uamix-cutmix") == "" and PARAMS.track("uamix").differs("uamix-cutmix") == "mixing cutmix"


def test_a_tuned_variant_starts_from_an_autoencoder_of_its_own_just_where_that_one_differs():
    params = audio(
        masked={"method": "uamix-mae", "pretraining.mask_ratio": 0.5},
        same={"method": "mae-ct", "pretraining.mask_ratio": PARAMS.track("uamix").pretraining.mask_ratio},
    )
    grid, track = Grid(given=params), params.track("uamix")
    assert (track.start_of("masked"), track.start_of("same"), track.start_of("mae")) == ("masked-start", "mae", None)
    assert track.pretrain("masked", "").start == track.pretrain("masked-start", "")
    assert track.pretrain("masked-start", "").mask_ratio == 0.5 and track.base_method("masked-start") == "mae"
    job = Job("uamix", "instruments", "masked", 1)
    start = grid.layout.run("pretrain", Job("uamix", "instruments", "masked-start", 1))
    assert grid.inputs("tune", job)[-2:] == [start / "model.safetensors", start / "run.json"]
    listed = from_content(overlay(params.model_dump(mode="json"), {"uamix": {"ablation": ["masked", "same"]}}), "test")
    jobs = {
        stage: {job.method for job in Grid(given=listed).jobs(stage, "uamix", "ablation")}
        for stage in ("pretrain", "tune", "features")
    }
    assert jobs == {"pretrain": {"masked-start", "mae"}, "tune": {"masked", "same"}, "features": {"masked", "same"}}


# What trials are judged on


def sound_grid(folder, scaling="raw"):
    few = {"datasets": {"instruments": ["instruments", "esc50"]}, "way": 2, "shots": [1], "episodes": 50}
    few |= {"class_of": {"instruments": "y"}, "classifiers": ["centroid", "cl2n"], "features": scaling}
    return small_grid(folder, {"uamix": {"methods": ["pixels"], "ablation": [], "few_shot": few}})


@pytest.fixture
def sound(tmp_path, monkeypatch):
    """A track of sound on made spectrograms, and another data set whose clips have roles."""
    monkeypatch.chdir(tmp_path)
    grid = sound_grid(tmp_path)
    for name in ("instruments", "esc50"):
        splits = {each: spectrogram_split(6, 1, at) for at, each in enumerate(("train", "validation", "test"), 1)}
        for split in splits.values() if name == "esc50" else ():
            split.columns["role"] = np.array([0, 0, 1, 1, 2, 2])[split.y]
        facts = about(name, classes=tuple("abcdef"))
        write_prepared(grid.layout.spectrograms("uamix", name), facts, splits, "as made")
    return grid


@pytest.mark.parametrize("scaling", ["raw", "standardised"])
@pytest.mark.parametrize("judged", ["instruments", "instruments-to-esc50"])
def test_episodes_are_of_validation_clips_alone(sound, judged, scaling):
    """And otherwise the table's: scaled and centred by the base classes, no query beside its own source."""
    grid = sound_grid(sound.root, scaling)
    job = Job("uamix", judged, "pixels", 10)
    run(grid, "features", job.trained)
    rows = run(grid, "validate_few_shot", job)
    assert [each.protocol.name for each in rows] == [
        f"validation-few-shot-2-way-1-shot-{name}" for name in ("centroid", "cl2n")
    ]
    features, data = features_on(grid, job, "cpu")
    splits = ("validation",) if judged == "instruments" else ("train", "validation", "test")
    own, every = clips_of(features, data, splits), clips_of(features, data, ("train", "validation", "test"))
    sources = np.concatenate([data.column(split, "group") for split in splits])
    if judged == "instruments":
        base = features["train"]
        assert len(own.labels) == 36 and np.array_equal(own.features, features["validation"])
    else:
        validation = np.isin(own.labels, (2, 3))
        own, sources = own.take(validation), sources[validation]
        base = every.take(np.isin(every.labels, (0, 1))).segment_rows()[0]
    scale = fit_scaling(base, scaling)
    own = replace(own, features=scale(own.features))
    episodes = sample_episodes(
        own.labels,
        sources=sources,
        way=2,
        shots=1,
        queries=1,
        count=50,
        generator=generator_for(CPU, "validation episodes", job.judged, job.seed, 1),
    )
    for found, name in zip(rows, ("centroid", "cl2n"), strict=True):
        generator = generator_for(CPU, "validation segments", job.judged, job.seed, 1)
        mean = scale(base).mean(axis=0)
        each = few_shot_accuracies(own, episodes, name, base_mean=mean, l2=0.01, generator=generator)
        assert found.value == pytest.approx(each.mean()) and found.detail["clips"] == len(own.labels)


def test_validation_classes_must_be_unheard(sound):
    job = Job("uamix", "esc50", "pixels", 10)
    run(sound, "features", job)
    with pytest.raises(UserError, match="validation classes, which this encoder was trained on"):
        run(sound, "validate_few_shot", job)


def test_neighbours_of_validation_images_are_training_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path, {"unremix": {"probe": {"knn_neighbours": 1}}})
    draw = np.random.default_rng(0)
    pictures = {
        split: Split(draw.integers(0, 256, (30, 6, 6, 1)).astype(np.uint8), draw.integers(0, 10, 30))
        for split in ("train", "validation", "test")
    }
    write_prepared(grid.layout.prepared("digits"), about("digits", "image", tuple("0123456789")), pictures, "as made")
    job = Job("unremix", "digits", "pixels", 10)
    run(grid, "features", job)
    (found,) = run(grid, "validate_knn", job)
    data = training_data(grid, job)
    features = read_features(grid, job, data)
    train, validation = (examples(features, data, split) for split in ("train", "validation"))
    unit = [part.features / np.linalg.norm(part.features, axis=1, keepdims=True) for part in (train, validation)]
    nearest = train.labels[(unit[1] @ unit[0].T).argmax(axis=1)]
    assert found.protocol == Protocol(family="validation-knn") and found.n == 30
    assert found.value == pytest.approx((nearest == validation.labels).mean())


def test_rows_of_a_trial_count_with_the_searchs_seed_only():
    grid = Grid(given=PARAMS)
    job = Job("unremix", "mnist5k", "hcl-trial-03", 10)
    hashes = {"params_hash": grid.asked_params("validate_knn", job), "code_hash": grid.asked_code("validate_knn", job)}
    found = knn_row(Trial("hcl", 3), 0.5).model_copy(update=hashes)
    asked = Asked(grid, data=False)
    assert asked.why_not(found) is None
    for changes in ({"seed": 0}, {"method": "hcl-trial-16"}, {"method": "hcl-trial-3"}):
        assert asked.why_not(found.model_copy(update=changes)) == NOT_ASKED


# What is chosen


@pytest.fixture
def folder(tmp_path):
    """A project folder with the parameters of the small search."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters(unremix__search=SMALL)))
    (tmp_path / "presets").mkdir()
    return tmp_path


def knn_row(trial, value, dataset="mnist5k"):
    found = row(trial.label, 10, value, stage="validate_knn", track="unremix", dataset=dataset, base=trial.of)
    return found.model_copy(update={"protocol": Protocol(family="validation-knn")})


SMALL = SPACE | {"methods": ["simclr", "hcl"], "seed": 10}
VALUES = {"simclr": [0.5, 0.7, 0.9, 0.9], "hcl": [0.8, 0.6, 0.7, 0.75]}


def searched():
    track = from_content(parameters(unremix__search=SMALL, unremix__datasets=["mnist5k", "digits"]), "test")
    rows = [
        knn_row(Trial(method, number), value + shift, dataset)
        for method, values in VALUES.items()
        for number, value in enumerate(values)
        for dataset, shift in (("mnist5k", -0.1), ("digits", 0.1))
    ]
    return track.track("unremix"), rows


def test_the_best_trial_is_chosen_and_the_first_of_equals(folder):
    track, rows = searched()
    found = scores(loaded(rows), track)
    assert found["hcl"] == {Trial("hcl", at): pytest.approx(value) for at, value in enumerate(VALUES["hcl"])}
    text = tuned_preset(loaded(rows), "default", {"unremix": track})
    content = yaml.safe_load(text)
    best = track.tuned(Trial("simclr", 2))
    assert content["tracks"] == ["unremix"]
    assert content["unremix"]["variants"] == {
        "simclr-tuned": {"method": "simclr", **best},
        "hcl-tuned": {"method": "hcl"},
    }
    assert content["unremix"]["methods"] == ["pixels", "random", "simclr-tuned", "hcl-tuned"]
    lines = [line for line in text.splitlines() if "-trial-" in line]
    assert len(lines) == 8 and [line.split()[2].rstrip(":") for line in lines if "(chosen)" in line] == [
        "simclr-trial-02",
        "hcl-trial-00",
    ]
    assert any(line == "# 0.800000 hcl-trial-00 (chosen): as it is" for line in lines)

    (folder / "presets/tuned.yaml").write_text(text)
    chosen = load("tuned", folder).track("unremix")
    assert chosen.pretrain("simclr-tuned", "").training.learning_rate == best["training.learning_rate"]
    assert chosen.pretrain("hcl-tuned", "") == chosen.pretrain("hcl", "") and chosen.search is None
    grid = Grid("tuned", folder)
    assert chosen.seeds == track.seeds and not grid.jobs("pretrain", "unremix", "ablation")
    diagnosed = grid.jobs("diagnostics", "unremix")
    assert {job.method for job in diagnosed} == {"simclr-tuned", "hcl-tuned"}, "is one of them numerically NT-Xent?"
    assert grid.common_encoder(diagnosed[-1]).method == "simclr-tuned"


def test_nothing_is_chosen_while_trials_are_missing():
    track, rows = searched()
    without = [each for each in rows if (each.method, each.dataset) != ("hcl-trial-03", "digits")]
    message = (
        r"unremix, preset default: 1 of 8 trials are missing, such as hcl-trial-03; run `snakemake --cores all unre"
    )
    with pytest.raises(UserError, match=message):
        tuned_preset(loaded(without), "default", {"unremix": track})
    with pytest.raises(UserError, match="track 'swaro' of preset 'default' has no section `search`"):
        tuned_preset(loaded(rows), "default", {"swaro": track.model_copy(update={"search": None})})


def test_every_reference_row_stands_beside_what_was_chosen():
    track = from_content(parameters(uamix__methods=["pixels", "log-mel", "random", "mae", "uamix-mae"]), "test").track(
        "uamix"
    )
    rows = [
        row(label, 10, 0.5, stage="validate_few_shot", track="uamix", dataset="instruments", base="mae")
        for label in track.trials()
    ]
    chosen = yaml.safe_load(tuned_preset(loaded(rows), "default", {"uamix": track}))["uamix"]["methods"]
    assert chosen == ["pixels", "log-mel", "random", "mae-tuned", "mae-ct-tuned", "uamix-mae-tuned"]


def test_a_trial_that_diverges_or_collapses_is_not_chosen_and_counts_as_one():
    track, rows = searched()
    best = [each for each in rows if each.method == "simclr-trial-02"]
    collapsed = [each.model_copy(update={"detail": {"failed_checks": ["collapsed"]}}) for each in best]
    lost = {"simclr-trial-03", "hcl-trial-01"}
    rest = [each for each in rows if each.method not in {"simclr-trial-02", *lost}]
    space = SMALL | {"diverged": sorted(lost)}
    track = from_content(parameters(unremix__search=space, unremix__datasets=["mnist5k", "digits"]), "test")
    track = track.track("unremix")
    assert lost.isdisjoint(track.trials()) and len(track.trials()) == 6
    found = scores(loaded([*rest, *collapsed]), track)
    assert [*found["simclr"].values()] == pytest.approx([0.5, 0.7, 0, 0])
    text = tuned_preset(loaded([*rest, *collapsed]), "default", {"unremix": track})
    assert "simclr-trial-01 (chosen)" in text and "# 0.000000 hcl-trial-01: " in text
    (chart,) = search_lines(loaded([*rest, *collapsed]), track)
    assert [len(line.y) for line in chart.figure.data] == [4, 4]
    assert scores(loaded([]), track)["hcl"] == {Trial("hcl", 1): 0}  # no line, and nothing is chosen
    assert not search_lines(loaded([]), track)


@pytest.mark.parametrize(
    ("label", "told"), [("hcl", "must be the label of a trial, such as"), ("hcl-trial-00", "is the method as it is")]
)
def test_what_diverges_is_a_trial(label, told):
    with pytest.raises(UserError, match=rf'unremix\.search\.diverged\.0 = "{label}": {told}'):
        from_content(parameters(unremix__search=SPACE | {"diverged": [label]}), "test")


def test_expected_maximum_is_that_of_all_draws():
    values = [0.3, 0.9, 0.5, 0.9]
    for draws, found in enumerate(expected_maximum(values), 1):
        assert found == pytest.approx(fmean(max(drawn) for drawn in product(values, repeat=draws)))


def test_a_line_for_each_method_and_a_table_beside_whose_labels_stands_what_changed(folder):
    track, rows = searched()
    (chart,) = search_lines(loaded(rows), track)
    assert [line.name for line in chart.figure.data] == ["simclr", "hcl"]
    assert chart.figure.data[1].y == pytest.approx([100 * value for value in expected_maximum(VALUES["hcl"])])
    (chart,) = search_lines(loaded([each for each in rows if each.method != "hcl-trial-00"]), track)
    assert [line.name for line in chart.figure.data] == ["simclr"]
    tables = target_tables(loaded(rows), "default", "unremix", "search", folder)
    assert [(table.dataset, table.group.title) for table in tables][:2] == [
        ("digits", "Search of simclr"),
        ("digits", "Search of hcl"),
    ]
    assert tables[1].methods == tuple(f"hcl-trial-0{number}" for number in range(4))
    assert "hcl-trial-00" not in tables[1].changes
    changes = track.tuned(Trial("hcl", 1))
    assert tables[1].changes["hcl-trial-01"].startswith(f"tau_plus {json.dumps(changes['settings.tau_plus'])}, beta ")
    assert flat(track.variant("hcl-trial-01").changes()) == changes


def test_the_command_writes_the_choice_and_the_check_holds_it_against_the_rows(folder, monkeypatch):
    monkeypatch.chdir(folder)
    content = parameters(unremix__search=SMALL, tracks=["unremix"])
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    params = from_content(content, "test")
    rows = [
        knn_row(Trial(method, number), value)
        for method, values in VALUES.items()
        for number, value in enumerate(values)
    ]
    write(folder, asked(rows, params))
    file = folder / "presets/tuned.yaml"

    def choose(*arguments):
        return CliRunner().invoke(app, ["choose", *arguments])

    assert not stale_choices(loaded(rows), folder)
    answer = choose()
    assert answer.exit_code == 0, answer.exception
    assert "written: presets/tuned.yaml" in answer.output
    chosen = yaml.safe_load(file.read_text())["unremix"]["variants"]
    assert chosen["simclr-tuned"]["training.learning_rate"] != content["unremix"]["training"]["learning_rate"]
    assert not stale_choices(loaded(rows), folder)
    better = [row.model_copy(update={"value": 0.99}) if row.method == "hcl-trial-03" else row for row in rows]
    line = "presets/tuned.yaml: stale against results/rows; run `contrastbench choose unremix`"
    assert stale_choices(loaded(better), folder) == [line]
    file.write_text(file.read_text().replace("hcl-tuned", "hcl-best"))
    assert stale_choices(loaded(rows), folder) == [line]
    assert stale_choices(loaded(rows[1:]), folder)[0].startswith("presets/tuned.yaml: unremix, preset default: 1 of 8")
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters(unremix__search=SMALL | {"seed": 11})))
    assert isinstance(choose("unremix").exception, UserError)  # trials of another seed are none of this search
