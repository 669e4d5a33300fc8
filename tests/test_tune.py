"""The stage ``tune`` on small spectrograms: where it starts, a killed run, an imported encoder."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from uamix_cases import FRAMES, MELS, built, changed, smallest_track

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash, write_text
from contrastbench.jobs.runs import load_method
from contrastbench.methods.uamix_mae import UaMixMAE
from contrastbench.models.vit_checkpoint import export_encoder
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.uamix import UaMixTrack
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.imported import by_contents, import_record
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.stages.pretrain import pretrain
from contrastbench.stages.tune import tune

TRAINING = 48


@pytest.fixture(scope="module")
def track() -> UaMixTrack:
    return smallest_track()


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    draw = np.random.default_rng(0)
    adapter = Adapter("notes", "audio", ("low", "high"), "none", "test", "test", read=lambda *_: {})
    splits = {}
    for split, count in (("train", TRAINING), ("validation", 8), ("test", 8)):
        y = np.arange(count) % 2
        x = draw.normal(size=(count, FRAMES, MELS)).astype(np.float16)
        x[y == 1, :, :8] += 2
        splits[split] = Split(x, y)
    write_prepared(folder / "data", adapter, splits, "test")
    return folder / "data"


class Killed(RuntimeError):
    pass


def run_both(track, data_folder, label="uamix-mae"):
    layout, job = Layout("test"), Job("uamix", "notes", label, 0)
    mae = Job("uamix", "notes", "mae", 0)
    if not (layout.run("pretrain", mae) / "model.safetensors").is_file():
        pretrain(layout, mae, track.pretrain("mae", "notes"), data_folder, show_progress=False)
    tune(layout, job, track.pretrain(label, "notes"), data_folder, show_progress=False)
    return layout.run("tune", job)


TUNED = Path("runs/test/tune/uamix/notes/uamix-mae/0")


@pytest.fixture(scope="module")
def uninterrupted(track, data_folder, tmp_path_factory) -> Path:
    """A working folder with the autoencoder and a tuning run that was never killed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_both(track, data_folder)
    return folder


@pytest.mark.parametrize(("stage", "label"), [(pretrain, "mae"), (tune, "uamix-mae")])
def test_a_killed_training_does_not_go_on_with_arrays_of_other_last_bits(
    track, data_folder, uninterrupted, tmp_path, monkeypatch, stage, label
):
    """Spectrograms made on another machine have the same hash, which is of what they were made from."""
    monkeypatch.chdir(shutil.copytree(uninterrupted, tmp_path / "run"))
    identities = []

    def dies(*_, identity, **__):
        identities.append(identity)
        raise Killed

    monkeypatch.setattr(sys.modules[stage.__module__], "train", dies)
    here = open_prepared(data_folder)
    splits = {name: Split(here.x(name), here.y(name)) for name in here.meta.splits}
    there = splits | {"train": Split(np.nextafter(here.x("train"), np.float16(9)), here.y("train"))}
    for folder, arrays in (("here", splits), ("there", there)):
        write_prepared(tmp_path / folder, here.meta, arrays, "test", data_hash=here.meta.hash)
        with pytest.raises(Killed):
            stage(Layout("test"), Job("uamix", "notes", label, 0), track.pretrain(label, "notes"), tmp_path / folder)
    assert identities[0] != identities[1]


# Each step has 6 updates and a checkpoint every second: killed in step 1, between the steps, in step 2.
@pytest.mark.parametrize("kill_at", [3, 6, 10])
def test_killed_tuning_continues_bit_identical(track, data_folder, uninterrupted, tmp_path, monkeypatch, kill_at):
    whole = load_file(uninterrupted / TUNED / "model.safetensors")
    history = (uninterrupted / TUNED / "history.csv").read_text()
    shutil.copytree(uninterrupted / "runs/test/pretrain", tmp_path / "runs/test/pretrain")
    monkeypatch.chdir(tmp_path)
    original, calls = UaMixMAE.training_step, []

    def killed(self, batch, step):
        calls.append(step.number)
        if len(calls) == kill_at + 1:  # only once: the resumed run makes the counter pass it
            raise Killed
        return original(self, batch, step)

    monkeypatch.setattr(UaMixMAE, "training_step", killed)
    with pytest.raises(Killed):
        run_both(track, data_folder)
    assert not TUNED.exists()
    calls_before = len(calls)
    folder = run_both(track, data_folder)
    resumed = load_file(folder / "model.safetensors")
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    assert (folder / "history.csv").read_text() == history
    # What was checkpointed is not trained again: at most the update since the checkpoint.
    assert len(calls) - calls_before == 12 - kill_at + kill_at % 2
    assert not list((tmp_path / "runs/test/checkpoints").rglob("*.pt"))


def test_tuning_starts_from_the_pretrained_encoder_and_moves_its_upper_half(track, data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run_both(track, data_folder, "mae-ct")
    start = load_file("runs/test/pretrain/uamix/notes/mae/0/model.safetensors")
    tuned = load_file(folder / "model.safetensors")
    for name in ("blocks.0.mlp.fc1.weight", "blocks.1.attn.qkv.weight", "patch_embed.proj.weight", "cls_token"):
        assert torch.equal(tuned[f"encoder.{name}"], start[f"autoencoder.encoder.{name}"]), name
    for name in ("blocks.2.mlp.fc1.weight", "blocks.3.attn.qkv.weight", "norm.weight"):
        assert not torch.equal(tuned[f"encoder.{name}"], start[f"autoencoder.encoder.{name}"]), name
    history = pd.read_csv(folder / "history.csv")
    assert sorted(history["tuning_step"].unique()) == [1.0, 2.0]


def test_tuning_without_a_pretrained_encoder_is_refused(track, data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"pretrain/uamix/notes/mae/0/model.safetensors: no such file"):
        tune(Layout("test"), Job("uamix", "notes", "uamix-mae", 0), track.pretrain("uamix-mae", "notes"), data_folder)
    with pytest.raises(UserError, match="run `contrastbench tune`"):
        job = Job("uamix", "notes", "mae-ct", 0)
        pretrain(Layout("test"), job, track.pretrain("mae-ct", "notes"), data_folder)
    with pytest.raises(UserError, match="run `contrastbench pretrain`"):
        tune(Layout("test"), Job("uamix", "notes", "mae", 0), track.pretrain("mae", "notes"), data_folder)


def test_imported_checkpoint_takes_the_place_of_pretraining(track, data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_encoder(built(track, "mae", seed=7).encoder, Path("published.safetensors"))
    imported = changed(track, {"pretraining": {"checkpoint": "published.safetensors"}})
    run_both(imported, data_folder)
    params = imported.pretrain("mae", "notes")
    folder = Path("runs/test/pretrain/uamix/notes/mae/0")
    method = load_method(folder, params, open_prepared(data_folder), 0)
    for name, tensor in built(track, "mae", seed=7).encoder.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[name], tensor), name
    other = changed(imported, {"encoder": {"depth": 3}})
    with pytest.raises(UserError, match="not a checkpoint of this encoder"):
        pretrain(Layout("other"), Job("uamix", "notes", "mae", 0), other.pretrain("mae", "notes"), data_folder)


def test_once_imported_a_checkpoint_is_not_needed_any_more(track, data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_encoder(built(track, "mae", seed=7).encoder, Path("published.safetensors"))
    imported = changed(track, {"pretraining": {"checkpoint": "published.safetensors"}})
    run_both(imported, data_folder)
    digest = file_hash(Path("published.safetensors"))
    Path("published.safetensors").unlink()
    record = json.loads(Path("runs/test/pretrain/uamix/notes/mae/0/run.json").read_text())
    assert record["imported"] == {"path": "published.safetensors", "sha256": digest}
    assert record["params"]["checkpoint"] == f"sha256:{digest}"
    run_both(imported, data_folder, label="mae-ct")
    other = Layout("elsewhere"), Job("uamix", "notes", "mae", 0)
    with pytest.raises(UserError, match=r"published.safetensors: no such checkpoint"):
        pretrain(*other, imported.pretrain("mae", "notes"), data_folder)
    assert not Path("runs/elsewhere/pretrain").exists()


@pytest.mark.parametrize("label", ["mae", "random", "uamix-mae"])
def test_contents_of_a_checkpoint_count_not_its_path(track, tmp_path, monkeypatch, label):
    monkeypatch.chdir(tmp_path)
    trained = Path("runs/here")

    def hashed(path: str) -> str:
        params = changed(track, {"pretraining": {"checkpoint": path}}).pretrain(label, "notes")
        return params_hash(by_contents(params, trained))

    for path, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        Path(path).write_bytes(content)
    before = hashed("a.pth")
    assert before == hashed("b.pth") != hashed("c.pth")
    write_text(trained / "run.json", json.dumps(import_record(with_checkpoint(track, "a.pth"), trained)))
    Path("a.pth").write_bytes(b"six")  # of the same length
    assert hashed("a.pth") != before
    Path("a.pth").unlink()
    assert hashed("a.pth") == before  # remembered
    with pytest.raises(UserError, match=r"checkpoint = d.pth: no such file; the weights in runs/here come from a.pth"):
        hashed("d.pth")
    (trained / "run.json").unlink()
    assert hashed("d.pth") not in (before, hashed("c.pth"))  # to be refused by the stage pretrain


def with_checkpoint(track: UaMixTrack, path: str) -> PretrainParams:
    return changed(track, {"pretraining": {"checkpoint": path}}).pretrain("mae", "notes")


def test_where_nothing_is_imported_parameters_are_as_they_were(track, tmp_path):
    for label in ("mae", "random", "uamix-mae", "mae-joint"):
        params = track.pretrain(label, "notes")
        assert params_hash(by_contents(params, tmp_path)) == params_hash(params)
        assert import_record(params, tmp_path) == {}
    assert with_checkpoint(track, "x").checkpoint == "x"


def test_the_grid_names_a_checkpoint_by_its_contents(repository, tmp_path, monkeypatch):
    """What makes a training stale, and what rows name, for the method itself and for those tuned from it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository / "presets", "presets")
    shutil.copy(repository / "params.yaml", "params.yaml")
    Path("presets/mine.yaml").write_text("tracks: [uamix]\nuamix:\n  pretraining:\n    checkpoint: a.pth\n")
    Path("a.pth").write_bytes(b"one")
    jobs = [Job("uamix", "instruments", label, 0) for label in ("mae", "uamix-mae", "mae-joint")]

    def states() -> list[str]:
        grid = Grid("mine")
        return [grid.state(grid.training_stage(job), job, grid.pretrain_params(job)) for job in jobs]

    before = states()
    Path("a.pth").rename("b.pth")
    Path("presets/mine.yaml").write_text("tracks: [uamix]\nuamix:\n  pretraining:\n    checkpoint: b.pth\n")
    assert states() == before
    Path("b.pth").write_bytes(b"another")
    assert [now == then for now, then in zip(states(), before, strict=True)] == [False, False, True]
