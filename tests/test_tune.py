"""The stage ``tune`` on small spectrograms: where it starts, a killed run, an imported encoder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_project import run, small_grid
from uamix_cases import FRAMES, MELS, SIZES, built

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import build_method, load_trained, training_data
from contrastbench.methods.uamix_mae import UaMixMAE
from contrastbench.models.vit_checkpoint import export_encoder
from contrastbench.params.base import overlay, params_hash
from contrastbench.pipeline.grid import Grid, joined
from contrastbench.pipeline.layout import Job
from contrastbench.stages.pretrain import pretrain
from contrastbench.stages.tune import tune
from contrastbench.training.record import TrainingLog

TRAINING = 48
MAE = Job("uamix", "instruments", "mae", 0)


def grid_of(folder: Path, changes: dict | None = None) -> Grid:
    """A project of the smallest track, with other parameters of it where ``changes`` says so."""
    methods = {"methods": ["mae", "mae-ct", "uamix-mae"]}
    return small_grid(folder, {"tracks": ["uamix"], "uamix": overlay(SIZES | methods, changes or {})}, "test")


def write_data(grid: Grid) -> None:
    """Spectrograms of two classes, told apart by their lower half, under the working directory."""
    draw = np.random.default_rng(0)
    adapter = Adapter("instruments", "audio", ("low", "high"), "none", "test", "test", read=lambda *_: {})
    splits = {}
    for split, count in (("train", TRAINING), ("validation", 8), ("test", 8)):
        y = np.arange(count) % 2
        x = draw.normal(size=(count, FRAMES, MELS)).astype(np.float16)
        x[y == 1, :, :8] += 2
        splits[split] = Split(x, y)
    write_prepared(grid.data_folder("uamix", "instruments"), adapter, splits, "test")


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A project folder with the data, as the working directory."""
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path)
    write_data(grid)
    return grid


class Killed(RuntimeError):
    pass


def run_both(grid: Grid, label: str = "uamix-mae") -> Path:
    """Train the autoencoder where it is not trained yet, and tune it; the folder of the tuned weights."""
    job = Job("uamix", "instruments", label, 0)
    if not (grid.trained(MAE) / "model.safetensors").is_file():
        run(grid, "pretrain", MAE)
    run(grid, "tune", job)
    return grid.trained(job)


TUNED = Path("runs/test/tune/uamix/instruments/uamix-mae/0")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """A working folder with the autoencoder and an uninterrupted tuning run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        grid = grid_of(folder)
        write_data(grid)
        run_both(grid)
    return folder


@pytest.mark.parametrize("label", ["mae", "uamix-mae"])
def test_a_killed_training_does_not_go_on_with_arrays_of_other_last_bits(
    grid: Grid, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """Spectrograms made on another machine have the same hash, which is of what they were made from."""
    if label != "mae":
        run(grid, "pretrain", MAE)
    job, identities = Job("uamix", "instruments", label, 0), []

    def dies(*_, identity, **__):
        identities.append(identity)
        raise Killed

    stage = grid.training_stage(job)
    monkeypatch.setattr(f"contrastbench.stages.{stage}.train", dies)
    here = training_data(grid, job)
    splits = {name: Split(np.array(here.x(name)), np.array(here.y(name))) for name in here.meta.splits}
    there = splits | {"train": Split(np.nextafter(here.x("train"), np.float16(9)), here.y("train"))}
    for arrays in (splits, there):
        write_prepared(here.folder, here.meta, arrays, "test", data_hash=here.meta.hash)
        with pytest.raises(Killed):
            run(grid, stage, job)
    assert identities[0] != identities[1]


# Each step has 6 updates and a checkpoint every second: killed in step 1, between the steps, in step 2.
@pytest.mark.parametrize("kill_at", [3, 6, 10])
def test_killed_tuning_continues_bit_identical(grid, uninterrupted, tmp_path, monkeypatch, kill_at):
    whole = load_file(uninterrupted / TUNED / "model.safetensors")
    history = (uninterrupted / TUNED / "history.csv").read_text()
    shutil.copytree(uninterrupted / "runs/test/pretrain", tmp_path / "runs/test/pretrain")
    original, calls = UaMixMAE.training_step, []

    def killed(self, batch, step):
        calls.append(step.number)
        if len(calls) == kill_at + 1:  # only once: the resumed run counts past it
            raise Killed
        return original(self, batch, step)

    monkeypatch.setattr(UaMixMAE, "training_step", killed)
    with pytest.raises(Killed):
        run_both(grid)
    assert not TUNED.exists()
    calls_before = len(calls)
    folder = run_both(grid)
    resumed = load_file(folder / "model.safetensors")
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    assert (folder / "history.csv").read_text() == history
    # Checkpointed updates are not repeated: at most the update since the checkpoint is.
    assert len(calls) - calls_before == 12 - kill_at + kill_at % 2
    assert not list((tmp_path / "runs/test/checkpoints").rglob("*.pt"))


def test_every_step_and_every_seed_sees_batches_of_its_own(grid, monkeypatch):
    seen = []

    def trained(*_, seed, **others):
        seen.append(seed)
        return TrainingLog()

    for seed in (0, 1):
        run(grid, "pretrain", replace(MAE, seed=seed))
    monkeypatch.setattr("contrastbench.stages.tune.train", trained)
    for seed in (0, 1):
        run(grid, "tune", Job("uamix", "instruments", "uamix-mae", seed))
    assert len(set(seen)) == 4


def test_tuning_starts_from_the_pretrained_encoder_and_moves_its_upper_half(grid):
    folder = run_both(grid, "mae-ct")
    start = load_file("runs/test/pretrain/uamix/instruments/mae/0/model.safetensors")
    tuned = load_file(folder / "model.safetensors")
    for name in ("blocks.0.mlp.fc1.weight", "blocks.1.attn.qkv.weight", "patch_embed.proj.weight", "cls_token"):
        assert torch.equal(tuned[f"encoder.{name}"], start[f"autoencoder.encoder.{name}"]), name
    for name in ("blocks.2.mlp.fc1.weight", "blocks.3.attn.qkv.weight", "norm.weight"):
        assert not torch.equal(tuned[f"encoder.{name}"], start[f"autoencoder.encoder.{name}"]), name
    history = pd.read_csv(folder / "history.csv")
    assert sorted(history["tuning_step"].unique()) == [1.0, 2.0]


def test_tuning_without_a_pretrained_encoder_is_refused(grid):
    with pytest.raises(UserError, match=r"pretrain/uamix/instruments/mae/0/run.json: no such file"):
        tune(grid, Job("uamix", "instruments", "uamix-mae", 0), Runtime())
    with pytest.raises(UserError, match="run `contrastbench tune`"):
        pretrain(grid, Job("uamix", "instruments", "mae-ct", 0), Runtime())
    with pytest.raises(UserError, match="run `contrastbench pretrain`"):
        tune(grid, MAE, Runtime())


def test_a_tuned_run_names_what_led_to_it(grid):
    folder, job = run_both(grid), Job("uamix", "instruments", "uamix-mae", 0)
    found = json.loads((folder / "run.json").read_text())
    assert found["params"]["start"] == json.loads((grid.trained(MAE) / "run.json").read_text())["params"]
    assert found["params_hash"] == params_hash(grid.pretrain_params(job))
    assert found["code_hash"] == joined(grid.training_code(job))
    assert found["data_hash"] == training_data(grid, job).meta.hash


def test_tuning_refuses_a_start_of_other_parameters(grid):
    """It would name, as its own, parameters of the autoencoder that it was not tuned from."""
    run(grid, "pretrain", MAE)
    changed = grid_of(grid.root, {"pretraining": {"mask_ratio": 0.7}})
    again = r"run `contrastbench pretrain uamix instruments mae 0 --preset test`$"
    with pytest.raises(UserError, match=rf"trained with other parameters than those asked for; {again}"):
        tune(changed, Job("uamix", "instruments", "uamix-mae", 0), Runtime())
    run_both(grid)


def test_imported_checkpoint_takes_the_place_of_pretraining(grid):
    track = grid.track("uamix")
    export_encoder(built(track, "mae", seed=7).encoder, Path("published.safetensors"))
    imported = grid_of(grid.root, {"pretraining": {"checkpoint": "published.safetensors"}})
    run_both(imported)
    method = load_trained(imported, MAE)
    for name, tensor in built(track, "mae", seed=7).encoder.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[name], tensor), name
    other = overlay({"pretraining": {"checkpoint": "published.safetensors"}}, {"encoder": {"depth": 3}})
    params = grid_of(grid.root, other).track("uamix").pretrain("mae", "instruments")
    with pytest.raises(UserError, match="not a checkpoint of this encoder"):
        build_method(params, training_data(grid, MAE), 0).import_weights()


def importing(folder: Path, checkpoint: str) -> Grid:
    return grid_of(folder, {"pretraining": {"checkpoint": checkpoint}, "methods": ["mae", "mae-ct", "mae-joint"]})


def test_once_imported_a_checkpoint_is_not_needed_any_more(grid: Grid, tmp_path: Path) -> None:
    export_encoder(built(grid.track("uamix"), "mae", seed=7).encoder, Path("published.safetensors"))
    imported = importing(tmp_path, "published.safetensors")
    state = imported.state("features", MAE)
    run_both(imported, "mae-ct")
    digest = file_hash(Path("published.safetensors"))
    Path("published.safetensors").unlink()
    record = json.loads((imported.trained(MAE) / "run.json").read_text())
    assert record["imported"] == {"path": "published.safetensors", "sha256": digest}
    assert record["params"]["checkpoint"] == f"sha256:{digest}"
    again = importing(tmp_path, "published.safetensors")
    load_trained(again, MAE)
    run(again, "tune", Job("uamix", "instruments", "mae-ct", 0))
    assert again.state("features", MAE) == state
    (again.trained(MAE) / "run.json").unlink()
    with pytest.raises(UserError, match=r"published.safetensors: no such checkpoint"):
        run(importing(tmp_path, "published.safetensors"), "pretrain", MAE)


def test_contents_of_a_checkpoint_count_not_its_path(grid: Grid, tmp_path: Path) -> None:
    """In what makes a training stale and what rows name: of the method itself and of those tuned from it."""
    jobs = [Job("uamix", "instruments", label, 0) for label in ("mae", "mae-ct", "mae-joint")]

    def states(path: str) -> list[str]:
        found = importing(tmp_path, path)
        return [found.state(found.training_stage(job), job) for job in jobs]

    for path, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        Path(path).write_bytes(content)
    assert states("a.pth") == states("b.pth")
    differs = [a != b for a, b in zip(states("a.pth"), states("c.pth"), strict=True)]
    assert differs == [True, True, False], "joint training imports nothing"


def test_a_checkpoint_that_is_gone_is_remembered_by_its_weights_alone(grid: Grid, tmp_path: Path) -> None:
    Path("a.pth").write_bytes(b"one")
    found = importing(tmp_path, "a.pth")
    before = found.state("pretrain", MAE)
    record = {"imported": {"path": "a.pth", "sha256": file_hash(Path("a.pth"))}}
    found.trained(MAE).mkdir(parents=True)
    (found.trained(MAE) / "run.json").write_text(json.dumps(record))
    Path("a.pth").unlink()
    assert importing(tmp_path, "a.pth").state("pretrain", MAE) == before
    with pytest.raises(UserError, match=r"checkpoint = d.pth: no such file; the weights in .* come from a.pth"):
        importing(tmp_path, "d.pth").state("pretrain", MAE)
