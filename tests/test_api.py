"""The Python API: what it returns is what files, rows, stages and commands say."""

import io
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from audio_sets import SAMPLES, noise, prepared, sound_split
from conftest import REPOSITORY
from PIL import Image
from safetensors.numpy import load_file
from small_project import run, small_grid
from test_compare import git
from torch import Tensor, nn
from typer.testing import CliRunner
from uamix_cases import FRAMES, MELS, SIZES

import contrastbench as cb
from contrastbench.api import judging
from contrastbench.api.encoders import Origin, SoundEncoder
from contrastbench.api.project import inside
from contrastbench.cli import app
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import carve_validation, open_prepared
from contrastbench.jobs import episodes
from contrastbench.methods.log_mel import Frames
from contrastbench.modalities import modality_of
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages import low_shot

SIMCLR = ("unremix", "digits", "simclr", 0)
MAE = ("uamix", "instruments", "mae", 0)


@pytest.fixture(scope="module")
def pictures(finished):
    return cb.load_encoder(*SIMCLR, preset="small", project=finished)


@pytest.fixture(scope="module")
def sound(finished):
    return cb.load_encoder("/".join(["runs/small/pretrain", *map(str, MAE)]), project=finished)


# The package itself


def test_importing_the_package_loads_nothing_of_it():
    code = "import sys, contrastbench; print(*(name for name in sys.modules if name.startswith('contrastbench')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["contrastbench"]


def test_its_functions_are_told():
    assert {"tables", "rows", "compare", "load_encoder", "embed", "evaluate", "UserError"} <= set(dir(cb))
    with pytest.raises(AttributeError, match="no attribute 'tabels'"):
        cb.tabels  # noqa: B018


# Results


def test_tables_are_those_of_the_files(repository):
    found = cb.tables("graphs", project=repository)
    files = sorted((repository / "results/tables/graphs").glob("*.csv"))
    assert len(files) == len(found[["track", "target"]].drop_duplicates()) >= 2
    for file in files:
        track, _, target = file.stem.partition("-")
        shown = found[(found.track == track) & (found.target == (target or "methods"))]
        read_back = pd.read_csv(io.StringIO(shown.drop(columns=["track", "target"]).to_csv(index=False)))
        pd.testing.assert_frame_equal(read_back, pd.read_csv(file))


@pytest.fixture
def project(tmp_path, repository):
    """A project folder, in a git repository, with the rows of the preset esc50 alone."""
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    shutil.copytree(repository / "results/rows/esc50", tmp_path / "results/rows/esc50")
    return tmp_path


def test_rows_name_what_made_them(project):
    found = cb.rows("esc50", project=project)
    lines = [json.loads(line) for file in project.rglob("*.jsonl") for line in file.open()]
    assert sorted(found.value) == sorted(line["value"] for line in lines)
    names = ("params_hash", "data_hash", "code_hash", "device", "wall_s", "seed")
    assert sorted(map(str, found[[*names]].values.tolist())) == sorted(str([line[n] for n in names]) for line in lines)
    assert found.older_code.dtype == bool


def test_rows_that_do_not_count_are_left_out_and_warned_of(project):
    file = next(project.rglob("*.jsonl"))
    first, *others = file.read_text().splitlines()
    wrong = json.loads(first) | {"params_hash": "0" * 12}
    file.write_text("\n".join([json.dumps(wrong), "no row", *others]))
    with pytest.warns(UserWarning) as warned:
        found = cb.rows("esc50", project=project)
    assert any("not a result row" in str(each.message) for each in warned)
    assert any("other parameters" in str(each.message) for each in warned)
    assert {each.filename for each in warned} == {__file__}
    assert not any(row.value == wrong["value"] and row.params_hash == "0" * 12 for row in found.itertuples())


def test_older_code_is_marked(project):
    before, file = cb.rows("esc50", project=project), next(project.rglob("*.jsonl"))
    file.write_text("".join(json.dumps(json.loads(line) | {"code_hash": "0" * 12}) + "\n" for line in file.open()))
    found = cb.rows("esc50", project=project)
    assert (changed := found.code_hash == "0" * 12).any() and not changed.all()
    assert found.older_code.equals(before.older_code | changed)


def test_threads_do_not_leave_each_other_in_another_project(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "params.yaml").touch()

    def visit(folder):
        with inside(folder):
            time.sleep(0.01)
            return Path.cwd() == folder

    before = Path.cwd()
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(visit, 5 * folders))
    assert Path.cwd() == before


def test_compare_is_the_command_s(project):
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "before")
    file = next(project.rglob("low_shot/**/*.jsonl"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    found = cb.compare("HEAD", preset="esc50", project=project)
    with chdir(project):
        told = CliRunner().invoke(app, ["compare", "HEAD", "--preset", "esc50", "--json", "--all"])
    cells = json.loads(told.stdout)["cells"]
    assert [*found.outcome] == [cell["outcome"] for cell in cells] and found.outcome.nunique() > 1
    for name in ("track", "dataset", "method", "protocol", "metric", "why"):
        assert [*found[name]] == [cell[name] for cell in cells]
    means = [(cell["before"]["mean"], cell["after"]["mean"]) for cell in cells if cell["before"] and cell["after"]]
    both = found.dropna(subset=["before", "after"])
    assert [*zip(both.before, both.after, strict=True)] == means
    assert [*found.low.dropna()] == [cell["interval"][0] for cell in cells if cell["interval"]]


# Encoders


def features_of(finished, job: tuple) -> dict[str, np.ndarray]:
    return load_file(finished.joinpath("runs/small/features", *map(str, job), "features.safetensors"))


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: x[..., 0],
        lambda x: x / np.float32(255),
        lambda x: torch.from_numpy(np.array(x)).permute(0, 3, 1, 2),
        list,
    ],
    ids=["bytes", "grey", "floats", "channels first", "list"],
)
def test_pictures_are_embedded_as_the_stage_does(finished, pictures, given):
    x = open_prepared(finished / "data/prepared/digits").x("test")
    found = cb.embed(pictures, given(x), batch_size=100)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features_of(finished, SIMCLR)["test"], rtol=1e-4, atol=1e-5)


def test_sound_is_embedded_as_the_stages_do(tmp_path):
    """Features of a clip are the mean over its segments'."""
    changes = {"uamix": SIZES | {"front_end": {"frames": FRAMES, "mels": MELS, "segments": 3}}}
    grid, lengths = small_grid(tmp_path, changes), [SAMPLES // 2, SAMPLES, SAMPLES, 3 * SAMPLES, 9 * SAMPLES]
    clips = [noise(length, seed) for seed, length in enumerate(lengths)]
    with chdir(tmp_path):
        prepared(grid.layout.prepared("esc50"), {"train": sound_split(clips, [0] * len(clips))})
        run(grid, "spectrograms", Job("uamix", "esc50"))
        data = open_prepared(grid.data_folder("uamix", "esc50"))
        network = modality_of(data).build_encoder(grid.sound("uamix").encoder, (1, FRAMES, MELS)).eval()
        with torch.no_grad():
            segments = network(modality_of(data).inputs(np.array(data.x("train")), torch.device("cpu")))
        clip = torch.tensor(data.column("train", "clip"))
    assert len(segments) == 9
    encoder = SoundEncoder(network, Origin(tmp_path, "small", Job("", "")), data.meta.front_end, 3)
    expected = np.stack([segments[clip == number].mean(dim=0) for number in range(len(clips))])
    for given in (clips, [clip / np.float32(32768) for clip in clips]):
        np.testing.assert_allclose(cb.embed(encoder, given), expected, atol=2e-3)


def test_pictures_of_another_size_are_scaled_as_in_a_transfer(finished, pictures):
    rows = cb.rows("small", project=finished).query(
        "dataset == 'digits-to-mnist5k' and method == 'simclr' and seed == 0"
    )
    expected = dict(zip(rows.protocol, rows.value, strict=True))
    found = cb.evaluate(pictures, "mnist5k")
    assert dict(zip(found.protocol, found.value, strict=True)) == expected


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        self.given = x
        assert not self.training and not torch.is_grad_enabled()
        return x.flatten(1)


def test_another_module_is_given_floats():
    draw, module = np.random.default_rng(0), Seen()
    images = draw.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    module.frozen = nn.BatchNorm1d(1).eval()
    cb.embed(module, images)
    assert module.given.shape == (5, 3, 4, 6) and module.training and not module.frozen.training
    assert torch.equal(module.given, torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    cb.embed(module, draw.integers(-32768, 32767, (2, 50), dtype=np.int16))
    assert module.given.shape == (2, 50) and 0.5 < module.given.abs().max() <= 1
    assert cb.embed(module, [np.zeros((4, 4)), np.ones((4, 4)), np.ones((4, 4))], batch_size=2).shape == (3, 16)
    assert len(module.given) == 1


def test_an_encoder_of_other_code_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    record = tmp_path / "copy/runs/small/pretrain/unremix/digits/simclr/0/run.json"
    record.write_text(record.read_text().replace('"code_hash": "', '"code_hash": "0'))
    with pytest.raises(cb.UserError, match="trained with other code than those asked for"):
        cb.load_encoder(record.parent)


# Judging


@pytest.mark.parametrize("job", [SIMCLR, MAE], ids=["pictures", "sound"])
def test_values_are_those_of_the_rows(finished, pictures, sound, job):
    found = cb.evaluate(pictures if job == SIMCLR else sound, job[1]).set_index("protocol")
    rows = cb.rows("small", project=finished).query("stage == 'probe'")
    rows = rows[(rows[["track", "dataset", "method", "seed"]] == [*job]).all(axis=1)].set_index("protocol")
    assert set(found.index) == set(rows.index)
    expected = rows.loc[found.index, ["value", "interval_low", "interval_high", "n"]]
    assert found[["value", "low", "high", "n"]].to_numpy().tolist() == expected.to_numpy().tolist()


@pytest.fixture
def folds(tmp_path):
    """A project with 48 clips of six classes, of three segments each, with roles, folds and groups as ESC-50 has."""
    few = {"datasets": {"instruments": ["esc50"]}, "shots": [1, 2]}
    episodes = {"way": 2, "queries": 2, "episodes": 20, "classifiers": ["centroid", "cl2n", "linear"]}
    changes = {"front_end": {"frames": FRAMES, "mels": MELS, "segments": 3}, "few_shot": few | episodes}
    grid = small_grid(tmp_path, {"uamix": SIZES | changes | {"low_shot": few | {"draws": 2}}})
    number = np.arange(48)
    columns = {"role": number // 8 % 3, "fold": number // 3 % 2, "group": number // 3}
    splits = {
        split: sound_split(
            [noise(3 * SAMPLES, seed) for seed in number[at::3]],
            (number[at::3] // 8).tolist(),
            **{name: column[at::3] for name, column in columns.items()},
        )
        for at, split in enumerate(("train", "validation", "test"))
    }
    with chdir(tmp_path):
        prepared(grid.layout.prepared("esc50"), splits, name="esc50", classes=tuple("abcdef"))
        run(grid, "spectrograms", Job("uamix", "esc50"))
        yield grid


@pytest.mark.parametrize(
    ("stage", "module"), [("few_shot", episodes), ("low_shot", low_shot)], ids=["few-shot", "low-shot"]
)
def test_few_labels_are_judged_as_the_stages_do(folds, monkeypatch, stage, module):
    """On features of noise, so that every draw, of clips and of their segments, counts."""
    draw, data = np.random.default_rng(0), open_prepared(folds.data_folder("uamix", "esc50"))
    features = {name: draw.normal(size=(each.count, 4)).astype(np.float32) for name, each in data.meta.splits.items()}
    monkeypatch.setattr(module, "features_on", lambda *_: (features, data))
    monkeypatch.setattr(judging, "_features", lambda *_: features)
    rows = run(folds, stage, Job("uamix", "instruments-to-esc50", "pixels", 3))
    name = stage.replace("_", "-")
    found = cb.evaluate(trained_on("instruments"), "esc50", name, seed=3)
    expected = [(row.protocol.name, row.value, row.interval, row.n) for row in rows]
    assert len({value for _, value, *_ in expected}) > 2
    assert [(line.protocol, line.value, (line.low, line.high), line.n) for line in found.itertuples()] == expected
    if stage == "few_shot":
        assert "which this encoder was trained on" in refused(lambda: cb.evaluate(trained_on("esc50"), "esc50", name))
    else:
        assert cb.evaluate(trained_on("esc50"), "esc50", name).n[0] < found.n[0]  # its test split alone


def trained_on(dataset: str) -> SoundEncoder:
    data = open_prepared(Grid("small").data_folder("uamix", "esc50"))
    network = Frames(MELS, "mean")
    return SoundEncoder(network, Origin(Path(), "small", Job("uamix", dataset, "mae", 0)), data.meta.front_end, 3)


def test_arrays_are_judged_like_a_prepared_data_set(finished):
    data = open_prepared(finished / "data/prepared/digits")
    given = {split: (data.x(split), data.y(split)) for split in ("train", "validation", "test")}
    settings = {"preset": "small", "project": finished, "seed": 1}
    prepared = cb.evaluate(nn.Flatten(), "digits", ("linear", "low-label"), **settings)
    pd.testing.assert_frame_equal(
        cb.evaluate(nn.Flatten(), given, ("linear", "low-label"), **settings), prepared.assign(dataset="arrays")
    )


def test_validation_is_carved_out_as_the_stage_does(finished):
    data, settings = open_prepared(finished / "data/prepared/digits"), {"preset": "small", "project": finished}
    (x, y), test = (data.x("train"), data.y("train")), (data.x("test"), data.y("test"))
    train, validation = carve_validation(Split(x, y), load("small", finished).data.validation_fraction)
    carved = {"train": (train.x, train.y), "validation": (validation.x, validation.y), "test": test}
    names = np.array([f"digit {name}" for name in data.meta.classes])
    given = {"train": (x, names[y].tolist()), "test": (test[0], names[test[1]].tolist())}
    expected = cb.evaluate(nn.Flatten(), carved, "linear", **settings)
    pd.testing.assert_frame_equal(cb.evaluate(nn.Flatten(), given, "linear", **settings), expected)


def test_own_data_and_own_weights_need_nothing_more(tmp_path):
    """A declared data set, of which nothing is known before the parameters are read, and timm's encoder of a file."""
    import timm  # behind the package, which an environment may lack that was made by other means than pip

    draw, model = np.random.default_rng(0), timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    x = draw.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "toys.npz", x=x, y=np.arange(60) % 2)
    toys = {"kind": "npz", "path": "toys.npz", "channels": 3, "split": {"by": "fraction", "test": 0.3}}
    encoder = {"architecture": "timm/test_resnet", "pretrained": str(tmp_path / "weights.pth")}
    track = {"datasets": ["toys"], "methods": ["own"], "variants": {"own": {"method": "frozen", "encoder": encoder}}}
    off = {"ablation": [], "search": None, "diagnostics": None, "corruptions": None, "training": {"batch_size": 32}}
    grid = small_grid(tmp_path, {"tracks": ["unremix"], "datasets": {"toys": toys}, "unremix": track | off})
    with chdir(tmp_path):
        run(grid, "prepare", Job("", "toys"))
        run(grid, "pretrain", Job("unremix", "toys", "own", 0))
    load("default", REPOSITORY)  # in which no such data set is declared
    settings = {"preset": "small", "project": tmp_path}
    assert [*cb.evaluate(nn.Flatten(), "toys", "knn", **settings).dataset] == ["toys"]
    load("default", REPOSITORY)
    found = cb.embed(cb.load_encoder("unremix", "toys", "own", 0, **settings), x)
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = model((torch.from_numpy(x).permute(0, 3, 1, 2) / 255 - mean) / std)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_sound_is_judged_by_clips_for_another_module(finished):
    found = cb.evaluate(Spectrum(), "esc50", "knn", preset="small", project=finished)
    assert found.n[0] == open_prepared(finished / "data/prepared/esc50").meta.splits["test"].count
    assert [*found.value] == [1.0]  # low, middle and high tones


class Spectrum(nn.Module):
    def forward(self, waves: Tensor) -> Tensor:
        return torch.fft.rfft(waves, n=4096).abs()[:, :800]


# What bad input gets


def refused(call) -> str:
    with pytest.raises(cb.UserError) as error:
        call()
    return str(error.value)


def given(train: list, test: list) -> dict:
    """Grey pictures with these labels."""
    return {split: (np.zeros((len(y), 8, 8, 1)), y) for split, y in (("train", train), ("test", test))}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c: cb.tables("smal", project=c.folder), "unknown preset 'smal'; did you mean 'small'?"),
        (lambda c: cb.rows("smoke", project=c.folder), "unknown preset 'smoke'; known: default, small"),
        (lambda c: cb.tables(project=c.folder), "results/rows/default: no result rows that count; `snakemake"),
        (lambda c: cb.rows(project=c.folder / "runs"), "runs: no project folder, for it has no params.yaml"),
        (lambda c: cb.compare("nowhere", project=c.repository), "unknown revision 'nowhere'"),
        (lambda c: cb.load_encoder("unremix", "digit", "simclr", 0, **c.own), "did you mean 'digits'?"),
        (lambda c: cb.load_encoder("unremix", "digits", "simcrl", 0, **c.own), "did you mean 'simclr'?"),
        (lambda c: cb.load_encoder("unremix", "digits", "pixels", 0, **c.own), "a reference row without an encoder"),
        (
            lambda c: cb.load_encoder("unremix", "digits", "simclr", 9, **c.own),
            "no trained encoder; `contrastbench pretrain unremix digits simclr 9 --preset small` trains it",
        ),
        (lambda c: cb.load_encoder("graphs", "mutag", "infograph", 0, **c.own), "an encoder of graphs"),
        (lambda c: cb.load_encoder(c.folder), "not the folder of a trained encoder, which is runs/PRESET/pretrain/"),
        (lambda c: cb.load_encoder("unremix", "digits"), "must be the folder runs/PRESET/pretrain/"),
        (lambda c: cb.embed(c.pictures, np.zeros((2, 8, 8, 3), np.uint8)), "with 3 channels: the encoder takes 1"),
        (lambda c: cb.embed(c.pictures, np.zeros((2, 8, 8, 2), np.uint8)), "must be (N, H, W, C)"),
        (lambda c: cb.embed(c.pictures, np.zeros((8, 8, 1))), "a picture of shape [8, 8, 1]: give a list of it"),
        (lambda c: cb.embed(c.pictures, np.full((2, 8, 8, 1), 255.0)), "from 255 to 255: must be uint8, or float in"),
        (lambda c: cb.embed(c.pictures, np.full((2, 8, 8, 1), np.nan)), "from nan to nan"),
        (lambda c: cb.embed(c.pictures, np.zeros((0, 8, 8, 1), np.uint8)), "no examples"),
        (lambda c: cb.embed(c.pictures, np.full((2, 8, 8, 1), "a")), "must be numbers"),
        (lambda c: cb.embed(c.pictures, [Image.new("P", (8, 8))]), "a picture with a palette: give image.convert"),
        (lambda c: cb.embed(c.sound, np.zeros((2, 1, 9000), np.int16)), "one channel at 16 kHz"),
        (lambda c: cb.embed(c.sound, np.full((2, 9000), 7.0)), "up to 7: must be int16, or float in [-1, 1]"),
        (lambda c: cb.embed(c.sound, np.zeros((2, 300), np.int16)), "shorter than one window"),
        (lambda c: cb.embed(nn.Identity(), np.zeros((2, 8, 8, 1))), "Identity: returns [2, 1, 8, 8] for 2 examples"),
        (lambda c: cb.embed(lambda x: x, np.zeros((2, 8, 8, 1))), "must be a torch.nn.Module"),
        (lambda c: cb.evaluate(c.pictures, "digits", "linaer"), "did you mean 'linear'?"),
        (lambda c: cb.evaluate(c.pictures, "digits", "few-shot"), "track 'unremix' has no section `few_shot`"),
        (lambda c: cb.evaluate(c.pictures, "cifar10"), "run `contrastbench prepare cifar10`"),
        (lambda c: cb.evaluate(c.pictures, "esc50"), "takes image data, not audio data"),
        (lambda c: cb.evaluate(nn.Flatten(), "mutag", **c.own), "no track judges graph data"),
        (lambda c: cb.evaluate(c.pictures, {"train": ([], [])}), "no split 'test'"),
        (lambda c: cb.evaluate(c.pictures, {"trian": ([], [])}), "did you mean 'train'?"),
        (
            lambda c: cb.evaluate(c.pictures, dict.fromkeys(("train", "test"), (np.zeros((2, 8, 8)), [1]))),
            "2 examples, and labels of shape [1]",
        ),
        (
            lambda c: cb.evaluate(c.pictures, given(["a", "b"] * 3, 6 * ["c"])),
            "test: no example in train has the label 'c'",
        ),
        (lambda c: cb.evaluate(c.pictures, given(["a", None] * 3, 6 * ["a"])), "train: an example has no label"),
        (lambda c: cb.evaluate(c.pictures, given([0, np.nan] * 3, 6 * [0])), "train: an example has no label"),
        (
            lambda c: cb.evaluate(c.pictures, dict.fromkeys(("train", "test"), ([], []))),
            "train: must be (examples, lab",
        ),
        (
            lambda c: cb.evaluate(c.pictures, dict.fromkeys(("train", "test"), ([1], [1], [1]))),
            "train: must be (exampl",
        ),
        (lambda c: cb.embed(c.pictures, np.zeros((2, 8, 8, 1)), batch_size=0), "batch_size = 0: must be at least 1"),
    ],
)
def test_mistakes_are_told_in_one_line(finished, repository, pictures, sound, call, told):
    class Case:
        folder, own = finished, {"preset": "small", "project": finished}

    Case.repository, Case.pictures, Case.sound = repository, pictures, sound
    assert told in (line := refused(lambda: call(Case))) and "\n" not in line
