"""Still images: what stands in them, that they repeat byte for byte, and which of them the pipeline asks for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_sets import about
from PIL import Image
from small_project import run, small_grid
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import FrontEnd, write_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.classifiers import (
    FILE,
    attacked_classifier,
    fit_classifier,
    origin_of_classifiers,
    save_classifiers,
    state_of,
)
from contrastbench.jobs.meter import Meter
from contrastbench.jobs.weights import build_method, load_trained, training_data, write_run
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import asked_record
from contrastbench.pipeline.steps import step
from contrastbench.reporting import stills
from contrastbench.reporting.stills import Attacked, Mixed, Reconstructed
from contrastbench.stages import figures as stage
from contrastbench.training.record import TrainingLog

MAE, MIXED = Job("uamix", "instruments", "mae", 0), Job("uamix", "instruments", "uamix-mae", 0)
SWAV, SWARO = Job("swaro", "digits", "swav", 0), Job("swaro", "digits", "swaro", 0)


@pytest.fixture
def shown(monkeypatch) -> list:
    """The figures of matplotlib that are saved."""
    found, save = [], stills._save

    def keep(figure, *rest):
        found.append(figure)
        save(figure, *rest)

    monkeypatch.setattr(stills, "_save", keep)
    return found


def titles(figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def shown_array(axis) -> np.ndarray:
    return np.ma.filled(axis.images[0].get_array(), np.nan)


def test_reconstructions_stand_side_by_side_in_seconds_and_mel_bins(tmp_path, shown) -> None:
    rng = np.random.default_rng(0)
    original, whole = rng.normal(size=(2, 64, 32))
    masked = np.where(np.arange(64)[:, None] < 48, np.nan, original)
    stills.draw_reconstructions(tmp_path / "a.png", "heading", [Reconstructed("flute", original, masked, whole)], 0.64)
    (figure,) = shown
    assert titles(figure)[:3] == ["spectrogram", "seen: 25% of the patches", "reconstructed"]
    for axis, array in zip(figure.axes, (original, masked, whole), strict=False):
        assert np.array_equal(shown_array(axis), array.T, equal_nan=True)
        assert axis.images[0].get_extent() == [0, 0.64, 0, 32] and axis.get_xlabel() == "seconds"
        assert axis.images[0].norm is figure.axes[0].images[0].norm, "one range of colours for all"
    assert figure.axes[0].get_ylabel() == "flute\nmel bin"
    assert figure.axes[3].get_ylabel() == "log-mel energy, normalised"


def test_a_mixture_stands_beside_its_clips_lambda_and_label_row(tmp_path, shown) -> None:
    clips = np.random.default_rng(0).normal(size=(3, 20, 16))
    replaced = np.isin(np.arange(20), range(10, 15))[:, None] & np.full((20, 16), True)
    mixture = np.where(replaced, clips[2], clips[0])
    mixed = Mixed(0, 2, mixture, replaced, kept=0.75, labels=np.array([0.75, 0, 0.25]))
    stills.draw_mixtures(tmp_path / "a.png", "heading", clips, ["organ", "flute", "harp"], [mixed], 0.2)
    (figure,) = shown
    assert titles(figure)[:4] == ["clip 1: organ", "clip 3: harp", "mixture, $\\lambda$ = 0.750", "label row 1"]
    for axis, array in zip(figure.axes, (clips[0], clips[2], mixture), strict=False):
        assert np.array_equal(shown_array(axis), array.T)
    assert [float(line.get_xdata()[0]) for line in figure.axes[2].lines] == pytest.approx([0.1, 0.15])
    assert [bar.get_height() for bar in figure.axes[3].patches] == [0.75, 0, 0.25]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_perturbation_of_eps_is_white_and_the_verdict_is_coloured(tmp_path, shown, channels: int) -> None:
    images = np.full((2, 4, 4, channels), 0.5)
    moved = images.copy()
    moved[0, 0, 0], moved[0, 1, 1], moved[1, 2, 2] = 0.6, 0.4, 0.55
    attacked = [Attacked("simclr", moved, np.array([1, 1]))]
    stills.draw_adversarial_examples(tmp_path / "a.png", "", images, np.array([0, 1]), ["cat", "dog"], attacked, 0.1)
    (figure,) = shown
    assert titles(figure)[:6] == ["true: cat", "says: dog", "", "true: dog", "says: dog", ""]
    assert [figure.axes[at].title.get_color() for at in (1, 4)] == [stills.FALLS, stills.STANDS]
    change = shown_array(figure.axes[2]).reshape(4, 4, -1)
    assert np.allclose(change[0, 0], 1) and np.allclose(change[1, 1], 0) and np.allclose(change[2, 2], 0.5)
    assert np.allclose(shown_array(figure.axes[5]).reshape(4, 4, -1)[2, 2], 0.75)
    heads = [text.get_text() for axis in figure.axes[:3] for text in axis.texts]
    assert heads == ["test image", "attacked: simclr", "change × 5"]


def test_names_of_classes_are_drawn_as_they_are(tmp_path) -> None:
    name, clips, pictures = "costs $\\5$", np.zeros((2, 8, 8)), np.zeros((1, 4, 4, 3))
    stills.draw_reconstructions(tmp_path / "a.png", "", [Reconstructed(name, clips[0], clips[0], clips[0])], 1.0)
    mixed = Mixed(0, 1, clips[0], np.zeros((8, 8), bool), kept=0.5, labels=np.array([0.5, 0.5]))
    stills.draw_mixtures(tmp_path / "b.png", "", clips, [name, name], [mixed], 1.0)
    attacked = [Attacked("simclr", pictures, np.array([0]))]
    stills.draw_adversarial_examples(tmp_path / "c.png", "", pictures, np.array([0]), [name], attacked, 0.1)
    assert len([*tmp_path.glob("*.png")]) == 3  # matplotlib's formulas know no \5, and would fail


CHANGES = {
    "swaro": {"methods": ["pixels", "swav", "supervised", "swaro"], "seeds": [0]},
    "uamix": {"methods": ["pixels", "mae", "uamix-mae"], "seeds": [0], "front_end": {"frames": 64, "mels": 32}},
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Grid:
    """The smoke preset's networks and sizes with methods that the tests choose, as a preset of its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(repository / "presets", folder / "presets")
    return small_grid(folder, CHANGES, "drawn")


@pytest.fixture(scope="module")
def project(grid: Grid) -> Iterator[Path]:
    """A folder with random spectrograms, digits, untrained networks and linear classifiers on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(grid.root)
        layout, rng = grid.layout, np.random.default_rng(0)
        front_end = FrontEnd(frames=64, mels=32, mean=0.0, std=0.5)
        splits = {
            name: Split(rng.normal(size=(8, 64, 32)).astype(np.float16), np.arange(8) % 2)
            for name in ("train", "validation", "test")
        }
        sound = layout.spectrograms("uamix", "instruments")
        write_prepared(sound, about("instruments"), splits, "as made", front_end)
        run(grid, "prepare", Job("", "digits"))
        for job in (MAE, SWAV, SWARO):
            params = grid.pretrain_params(job)
            assert params is not None
            data = training_data(grid, job)
            untrained = build_method(params, data, 0)
            write_run(grid, job, untrained, TrainingLog(), "cpu", Meter(), asked_record(grid, job, data.meta.hash))
        suite = grid.track("swaro").robustness
        assert suite is not None
        for job in (SWAV, SWARO):
            run(grid, "features", job)
            data, method = training_data(grid, job), load_trained(grid, job)
            classifier, _ = fit_classifier(grid, job, "slf", data, method, suite, torch.device("cpu"))
            origin = origin_of_classifiers(grid, job, data)
            save_classifiers(layout.run("attack", job) / FILE, {"slf": state_of(classifier)}, origin)
        yield grid.root


def drawn(grid: Grid, track: str, dataset: str, seed: int = 0) -> list[Path]:
    """Draw all still images of a data set and seed; where they lie."""
    names = grid.figure_jobs(track, dataset, seed)
    for name in names:
        run(grid, "figures", Job(track, dataset, name, seed))
    return [grid.figure(track, dataset, name, seed) for name in names]


DRAWINGS = ("draw_reconstructions", "draw_mixtures", "draw_adversarial_examples")


def handed_over(monkeypatch: pytest.MonkeyPatch, grid: Grid, track: str, dataset: str) -> dict[str, tuple]:
    """What the stage gives to each drawing function, by the function's name."""
    given: dict[str, tuple] = {}
    for name in DRAWINGS:
        monkeypatch.setattr(stage, name, lambda *arguments, name=name: given.update({name: arguments}))
    drawn(grid, track, dataset)
    return given


@pytest.mark.parametrize(("track", "dataset"), [("uamix", "instruments"), ("swaro", "digits")])
def test_equal_inputs_give_equal_bytes(project: Path, grid: Grid, track: str, dataset: str) -> None:
    files = drawn(grid, track, dataset)
    assert files == grid.figures(track) and files
    before = [path.read_bytes() for path in files]
    for path in files:
        with Image.open(path) as image:
            assert image.format == "PNG" and image.width == 880 and 300 < image.height < 1200
    assert drawn(grid, track, dataset) == files
    assert [path.read_bytes() for path in files] == before


def test_reconstructions_are_of_validation_clips_with_the_mask_of_training(project, grid, monkeypatch) -> None:
    _, _, clips, seconds = handed_over(monkeypatch, grid, "uamix", "instruments")["draw_reconstructions"]
    assert seconds == 0.64 and len(clips) == stage.CLIPS
    stored = training_data(grid, MAE).x("validation").astype(np.float32)
    for clip in clips:
        assert any(np.array_equal(clip.original, x) for x in stored)
        hidden = np.isnan(clip.masked)
        assert hidden.mean() == 0.75  # of 8 patches, round(8 (1 - 0.8)) = 2 are kept
        assert np.array_equal(clip.reconstructed[~hidden], clip.original[~hidden])
        assert np.isfinite(clip.reconstructed).all()
        assert (clip.reconstructed[hidden] != clip.original[hidden]).mean() > 0.99


def test_mixtures_are_what_their_label_rows_say(project, grid, monkeypatch) -> None:
    _, _, clips, names, mixtures, _ = handed_over(monkeypatch, grid, "uamix", "instruments")["draw_mixtures"]
    assert len(clips) == len(names) == stage.BATCH and len(mixtures) == stage.MIXTURES
    assert len({mixed.kept for mixed in mixtures}) == stage.MIXTURES, "each has a lambda of its own"
    for mixed in mixtures:
        assert mixed.partner == stage.BATCH - 1 - mixed.own
        assert np.array_equal(mixed.mixture, np.where(mixed.replaced, clips[mixed.partner], clips[mixed.own]))
        assert 1 - mixed.replaced.mean() == pytest.approx(mixed.kept)
        expected = mixed.kept * np.eye(stage.BATCH)[mixed.own] + (1 - mixed.kept) * np.eye(stage.BATCH)[mixed.partner]
        assert mixed.labels == pytest.approx(expected)


def test_attacked_images_stay_in_the_ball_and_carry_the_classifiers_own_verdict(project, grid, monkeypatch) -> None:
    given = handed_over(monkeypatch, grid, "swaro", "digits")["draw_adversarial_examples"]
    _, _, images, labels, classes, attacked, eps = given
    data = training_data(grid, SWARO)
    assert eps == 0.1 and [each.method for each in attacked] == ["swav", "swaro"] and list(classes) == data.meta.classes
    stored, y = data.x("test").astype(np.float32) / 255, data.y("test")
    for image, label in zip(images, labels, strict=True):
        assert y[np.abs(stored - image).max(axis=(1, 2, 3)) < 1e-6].tolist() == [label]
    for job, each in zip((SWAV, SWARO), attacked, strict=True):
        model = attacked_classifier(grid, job, data)
        clean, adversarial = (
            model(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()).argmax(1).numpy() for x in (images, each.images)
        )
        assert np.array_equal(clean, labels), "images that all classifiers get right come first"
        assert np.array_equal(adversarial, each.predicted)
        assert 0 < np.abs(each.images - images).max() <= eps + 1e-6
    assert any((each.predicted != labels).any() for each in attacked), "nothing but right answers: no attack was run"


def test_seeds_draw_other_clips(project, grid) -> None:
    data = training_data(grid, MAE)
    draws = [stage._validation_clips(data, 4, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("track", "dataset", "missing", "message"),
    [
        ("uamix", "instruments", "pretrain/uamix/instruments/mae", "run `contrastbench pretrain"),
        ("swaro", "digits", "attack/swaro/digits/swaro", "run the stage attack first"),
        ("swaro", "digits", "pretrain/swaro/digits/swav", "run `contrastbench pretrain"),
    ],
)
def test_missing_weights_are_named_in_one_line(project, grid, track, dataset, missing, message) -> None:
    folder = project / "runs/drawn" / missing
    folder.rename(folder.with_name("away"))
    try:
        with pytest.raises(UserError, match=f"{missing}.*: no such file; {message}") as caught:
            drawn(grid, track, dataset)
        assert "\n" not in str(caught.value)
    finally:
        folder.with_name("away").rename(folder)


@pytest.mark.parametrize(
    ("track", "dataset", "seed"),
    [("unremix", "digits", 0), ("uamix", "instruments", 5), ("uamix", "esc50", 0), ("swaro", "mnist5k", 0)],
)
def test_what_the_preset_does_not_run_is_refused(project, grid, track, dataset, seed) -> None:
    for name in ("reconstructions", "mixtures", "adversarial-examples"):
        with pytest.raises(UserError, match=f"{track}, {dataset}, seed {seed}: the preset 'drawn' has no still image"):
            run(grid, "figures", Job(track, dataset, name, seed))


def test_an_image_that_is_none_of_the_presets_is_refused_with_those_that_are(project, grid) -> None:
    with pytest.raises(UserError, match=r"no still image 'mixture' to draw of it; known: reconstructions, mixtures$"):
        run(grid, "figures", Job("uamix", "instruments", "mixture", 0))


def test_the_command(project: Path) -> None:
    for name in ("reconstructions", "mixtures"):
        command = ["figures", "uamix", "instruments", name, "0", "--preset", "drawn", "--device", "cpu"]
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0, answer.output
        assert answer.output == f"written: runs/drawn/figures/uamix/instruments/{name}/0.png\n"


def test_the_grid_lists_what_a_presets_methods_can_show(grid: Grid, repository: Path) -> None:
    assert grid.figure_jobs("swaro", "digits", 0) == {"adversarial-examples": [SWAV, SWARO]}
    assert grid.figure_jobs("uamix", "instruments", 0) == {"reconstructions": [MAE], "mixtures": [MIXED]}
    assert grid.figures("unremix") == []
    assert set(grid.figures("swaro") + grid.figures("uamix")) < set(grid.targets())
    assert Grid("paper", repository).track("uamix").pretraining.checkpoint is not None  # type: ignore[union-attr]
    imported = Grid("paper", repository).figure_jobs("uamix", "audioset20k", 0)
    assert list(imported) == ["mixtures"], "an imported encoder has no trained decoder to reconstruct with"
    assert Grid("esc50", repository).figures("swaro") == [], "a track that the preset does not run"


@pytest.mark.parametrize("preset", ["drawn", "paper"])
def test_the_rules_make_what_the_grid_lists_from_what_it_says(project: Path, repository: Path, preset: str) -> None:
    for name in ("Snakefile", "profiles"):
        source, target = repository / name, project / name
        if not target.exists():
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repository / "src"),
    }
    grid = Grid(preset, project)
    owned = {track: step(grid, f"figures-{track}") for track in ("swaro", "uamix")}
    wanted = [str(path) for each in owned.values() for path in each.files]
    command = ["snakemake", "--dry-run", "--forceall", "--cores", "1", "--config", f"preset={preset}", "--", *wanted]
    done = subprocess.run(command, cwd=project, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    made: list[str] = []
    for facts in re.findall(r"^(?:local)?rule figures:\n((?:    .*\n)+)", done.stdout, re.MULTILINE):
        told = dict(line.strip().split(": ", 1) for line in facts.splitlines())
        cards = dict(part.split("=") for part in told["wildcards"].split(", "))
        track = cards["track"]
        inputs = grid.figure_inputs(track, cards["dataset"], cards["figure"], int(cards["seed"]))
        assert inputs and told["input"].split(", ") == [str(path) for path in inputs]
        for path in inputs:
            assert any(path.is_relative_to(folder) for folder in owned[track].inputs), f"DVC does not see {path}"
        made += told["output"].split(", ")
    assert sorted(made) == sorted(wanted)
    assert all(path.parent in each.folders for each in owned.values() for path in each.files)
