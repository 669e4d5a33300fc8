"""Classifiers that were trained elsewhere: what is read, what is refused, and what the suite says of them."""

import csv
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_project import small_grid
from test_attack_stages import cheap_autoattack
from torch import Tensor, nn

from contrastbench import cli
from contrastbench.attacks import autoattack as aa
from contrastbench.datasets.digits import ADAPTER
from contrastbench.datasets.store import Split, write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.jobs.runtime import Runtime
from contrastbench.models.checkpoints import read_weights
from contrastbench.models.encoders import build_encoder
from contrastbench.models.foreign import Network, foreign_classifier
from contrastbench.params.images import EncoderParams
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.results.rows import Row, parse_row
from contrastbench.stages.attack_model import attack_model

import timm  # isort: skip  (after contrastbench)
import torchvision  # isort: skip

SLIM = Network("resnet-slim", width=4)


def ours(classes: int = 10, channels: int = 1) -> Classifier:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderParams(architecture="resnet-slim", width=4, stem_stride=1), channels)
    return Classifier(encoder, nn.Linear(encoder.features, classes)).eval()


def state(classes: int = 10, **changed: torch.Tensor) -> dict[str, torch.Tensor]:
    return ours(classes).state_dict() | {name.replace("__", "."): tensor for name, tensor in changed.items()}


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


WRAPPED = {
    "plain": lambda weights: weights,
    "lightning": lambda weights: {"epoch": 3, "state_dict": weights},
    "mae": lambda weights: {"model": weights, "optimizer": {"state": {}}},
    "parallel": lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
    "all": lambda weights: {"net": {"state_dict": {f"module._orig_mod.{n}": t for n, t in weights.items()}}},
    "half": lambda weights: {n: t.half() if t.is_floating_point() else t for n, t in weights.items()},
    "old": lambda weights: {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_however_they_were_saved(tmp_path: Path, how: str) -> None:
    model, images = ours(), torch.rand(4, 1, 8, 8)
    path = saved(tmp_path, WRAPPED[how](model.state_dict()))
    tolerance = 2e-2 if how == "half" else 0
    torch.testing.assert_close(foreign_classifier(path, SLIM, 1, 10)(images), model(images), rtol=0, atol=tolerance)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(ours().state_dict(), tmp_path / "model.safetensors")
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(foreign_classifier(tmp_path / "model.safetensors", SLIM, 1, 10)(images), ours()(images))


def test_a_resnet_with_torchvisions_names_and_the_stem_of_cifar(tmp_path: Path) -> None:
    """As people train them on CIFAR: torchvision's ResNet-18 with another first convolution and no pooling after it."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    images, mean, std = torch.rand(2, 3, 16, 16), (0.49, 0.48, 0.45), (0.2, 0.21, 0.22)
    path = saved(tmp_path, theirs.state_dict())
    torch.testing.assert_close(foreign_classifier(path, Network("resnet18"), 3, 7)(images), theirs(images))
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    model = foreign_classifier(path, Network("resnet18", mean=mean, std=std), 3, 7)
    torch.testing.assert_close(model(images), theirs(normalised))
    one_number = foreign_classifier(path, Network("resnet18", mean=(0.5,), std=(0.25,)), 3, 7)
    torch.testing.assert_close(one_number(images), theirs((images - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("torchvision/squeezenet1_1", lambda: torchvision.models.squeezenet1_1(num_classes=5)),
        ("timm/resnet10t", lambda: timm.create_model("resnet10t", num_classes=5)),
    ],
)
def test_models_of_the_libraries(tmp_path: Path, name: str, build) -> None:  # type: ignore[no-untyped-def]
    theirs, images = build().eval(), torch.rand(2, 3, 32, 32)
    path = saved(tmp_path, theirs.state_dict())
    assert torch.equal(foreign_classifier(path, Network(name), 3, 5)(images), theirs(images))


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": state(), "callback": Evil(tmp_path / "ran")})
    with pytest.raises(UserError, match=r"not a file of tensors alone .*; .* save model\.state_dict\(\)"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists(), "else this test would not notice"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: ours(), "not a file of tensors alone"),
        (lambda: {"state_dict": {}}, "holds no tensors by name"),
        (lambda: [1, 2], "holds no tensors by name"),
        (lambda: {0: torch.zeros(1)}, "holds no tensors by name"),
        (lambda: state() | {"epoch": 3}, "holds no tensors by name .*, but epoch$"),
        (lambda: {"online": state(), "target": state()}, "holds no tensors by name .*, but online, target$"),
        (lambda: state(head__weight=torch.full((10, 16), torch.nan)), "head.weight holds values that are not finite"),
        (
            lambda: state(classes=7),
            r"not the weights of resnet-slim for 10 classes and 1 channels; of other shapes: "
            r"head\.weight has shape 7 x 16, not 10 x 16, head\.bias has shape 7, not 10",
        ),
        (
            lambda: {n: t for n, t in state(extra=torch.ones(1)).items() if not n.startswith("head")},
            r"missing: head\.weight, head\.bias; unexpected: extra",
        ),
        (
            lambda: nn.Linear(2, 3).state_dict(),
            r"missing: encoder\.normalize\.mean, .* and \d+ more; unexpected: weight, bias",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content, message: str) -> None:  # type: ignore[no-untyped-def]
    path = saved(tmp_path, content())
    with pytest.raises(UserError, match=message) as caught:
        foreign_classifier(path, SLIM, 1, 10)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    whole = path.read_bytes()
    damaged = [whole[: len(whole) // 2], b"", b"garbage", pickle.dumps(3)[:-1]]
    for number, content in enumerate(damaged):
        for ending in ("pt", "safetensors"):
            broken = tmp_path / f"{number}.{ending}"
            broken.write_bytes(content)
            with pytest.raises(UserError, match=r"not a (readable )?file of") as caught:
                read_weights(broken)
            assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"absent\.pt: no such file of weights"):
        read_weights(tmp_path / "absent.pt")


def test_a_torchscript_archive_is_one_line_without_torchs_advice_to_run_it(tmp_path, recwarn):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "scripted.pt")
    recwarn.clear()
    with pytest.raises(
        UserError, match=r"scripted.pt: a TorchScript archive, which holds code; save model\.state_dict"
    ):
        read_weights(tmp_path / "scripted.pt")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Network("resnet19"),
            r"--architecture resnet19: unknown architecture; did you mean 'resnet18'",
        ),
        (Network("timm/resnet1O"), r"timm has no model 'resnet1O'; did you mean resnet"),
        (Network("timm/zzzzzzzz"), r"timm has no model 'zzzzzzzz'; timm\.list_models\(\) names"),
        (Network("torchvision/resnet19"), "torchvision.models has no model 'resnet19'; did you mean resnet18"),
        (Network("torchvision/resnet18"), "takes colour images only"),
        (Network("timm/resnet10t", width=4), "--width, --stem-stride: timm/resnet10t has one form"),
        (Network("resnet-slim", width=3), r"--architecture: width = 3: .*greater than or equal to 4"),
        (Network("resnet-slim", width=4, stem_stride=0), r"--architecture: stem_stride = 0"),
        (Network("resnet-slim", width=4, mean=(0.5,)), "each takes 1 numbers or one"),
        (Network("resnet-slim", width=4, mean=(125.0,), std=(60.0,)), r"of pixels in \[0, 1\]"),
        (Network("resnet-slim", width=4, mean=(0.5,), std=(0.0,)), "--std is above 0"),
        (Network("resnet-slim", width=4, mean=(0.5,), std=(float("nan"),)), "--std is above 0"),
        (Network("resnet-slim", width=4, mean=(0.5, 0.5), std=(0.2,)), "each takes 1 numbers or one"),
        (Network("resnet-slim", width=4, mean=(0.5,), std=(0.2,)), "brings its own normalisation"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_one_line(tmp_path: Path, network: Network, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        foreign_classifier(saved(tmp_path, state()), network, 1, 10)
    assert "\n" not in str(caught.value)


def prepare(classes: int) -> tuple[Tensor, Tensor]:
    """Write ``data/prepared/digits`` with the first ``classes`` digits alone; the test images in [0, 1] and labels."""
    splits = {}
    for name, split in ADAPTER.read(Path(), load().data).items():
        x, y = np.asarray(split.x), np.asarray(split.y)
        splits[name] = Split(x[y < classes], y[y < classes])
    about = replace(ADAPTER, classes=ADAPTER.classes[:classes])
    write_prepared(Path("data/prepared/digits"), about, splits, "")
    test = splits["test"]
    return torch.from_numpy(test.x).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(np.asarray(test.y))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A project folder without a run; of the smoke preset's suite what is fast, and AutoAttack cut short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(aa, "build", cheap_autoattack(aa.build))
    none = dict.fromkeys(("minimal", "decision", "foolbox"), 0)
    images = none | {"gradient": 12, "autoattack": 4, "square": 7, "convergence": 7}
    suite = {"images": images, "budgets": {"digits": {"linf": [0.1], "l2": [], "l1": []}}}
    return small_grid(tmp_path, {"swaro": {"robustness": suite}}, preset="tiny")


def judge(grid: Grid, weights: Path, network: Network = SLIM, seed: int = 0, radius_of: str = "digits") -> list[Row]:
    return attack_model(grid, "swaro", "digits", weights, network, radius_of, seed, Runtime())


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_get_the_attacks_that_need_no_more(project: Grid, tmp_path: Path, classes: int) -> None:
    images, labels = prepare(classes)
    rows = {row.protocol.name: row for row in judge(project, saved(tmp_path, state(classes)))}
    assert rows["clean"].value == (ours(classes)(images).argmax(1) == labels).float().mean()
    assert rows["autoattack-linf@0.1"].n == 4 and rows["worst-case-linf@0.1"].n == 12
    assert "apgd-t" in rows["autoattack-linf@0.1"].detail["left_out"]


def test_a_killed_run_continues_and_a_finished_one_is_told_again(
    project: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(10)
    weights, killed = saved(tmp_path, state()), tmp_path / "killed.pt"
    whole = judge(project, weights)
    killed.write_bytes(weights.read_bytes())
    save, written = PartialStore.save, []

    def dying(self: PartialStore, name: str, arrays: dict) -> None:
        save(self, name, arrays)
        written.append(name)
        if len(written) == 5:
            raise KeyboardInterrupt

    for folder in Path("runs/tiny/checkpoints/attack-model").iterdir():
        PartialStore.clear(PartialStore(folder, ""))
    monkeypatch.setattr(PartialStore, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        judge(project, killed)
    before, again = set(written[:-1]), judge(project, killed)
    assert not before & set(written[5:]), "what was finished is not run again"

    def told(rows: list[Row]) -> list[tuple]:
        return [(row.protocol, row.value, row.correct, row.interval, row.n) for row in rows]

    assert told(again) == told(whole)
    written.clear()
    assert told(judge(project, killed)) == told(whole) and not written
    for other in ({"seed": 1}, {"network": replace(SLIM, stem_stride=2)}, {"radius_of": "mnist5k"}):
        written.clear()
        with pytest.raises(KeyboardInterrupt):
            judge(project, killed, **other)  # type: ignore[arg-type]
        assert written, other
    changed = saved(tmp_path, state(head__bias=torch.ones(10)))
    written.clear()
    with pytest.raises(KeyboardInterrupt):
        judge(project, changed)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):  # type: ignore[no-untyped-def]
    """``contrastbench attack-model`` in this process: exit code, stdout, stderr."""

    def call(**options: object) -> tuple[int, str, str]:
        given = {"data": "digits", "architecture": "resnet-slim", "width": 4, "preset": "tiny"} | options
        words = [word for name, value in given.items() if value for word in (f"--{name.replace('_', '-')}", str(value))]
        monkeypatch.setattr(sys, "argv", ["contrastbench", "attack-model", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0  # type: ignore[assignment]
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_prints_and_writes_its_rows(project: Grid, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    _, labels = prepare(10)
    weights = saved(tmp_path, state(head__bias=1e6 * torch.eye(10)[3]))  # no attack can help it; gradients are masked
    code, out, _ = run(weights=weights, output="rows.jsonl")
    assert code == 0
    clean = (labels == 3).float().mean()
    assert f"own clean: accuracy {clean:.1%}" in out.splitlines()[0]
    written = [parse_row(line, "") for line in Path("rows.jsonl").read_text().splitlines()]
    assert {row.protocol.name for row in written} >= {"clean", "worst-case-linf@0.1", "autoattack-linf@0.1"}
    assert all(row.protocol.name in out for row in written) and f"{100 * clean:.1f}" in out
    assert {row.method for row in written} == {"model"} and not Path("results").exists()
    marked = [row for row in written if "failed_checks" in row.detail]
    assert marked and all(f"failed: {line}" in out for row in marked for line in row.detail["failed_checks"])
    assert run(weights=weights, output="rows.csv")[0] == 0
    table = {line["protocol"]: line for line in csv.DictReader(Path("rows.csv").read_text().splitlines())}
    assert table.keys() == {row.protocol.name for row in written}
    for row in written:
        line = table[row.protocol.name]
        assert float(line["value"]) == row.value and int(line["n"]) == row.n and row.interval is not None
        assert (float(line["low"]), float(line["high"])) == row.interval
        assert line["failed_checks"] == "; ".join(row.detail.get("failed_checks", []))


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (state, {"data": "digts"}, "unknown data set 'digts'; did you mean 'digits'?"),
        (state, {"data": "cifar10"}, "run `contrastbench prepare cifar10`"),
        (state, {"radius_of": "stl10"}, "robustness.budgets: no radii for 'stl10'; there are mnist5k, digits"),
        (state, {"track": "unremix"}, "track 'unremix' has no section `robustness`"),
        (state, {"output": "rows.txt"}, "--output rows.txt: must end in .jsonl or .csv"),
        (state, {"mean": "0.5;0.5"}, "--mean 0.5;0.5: must be numbers with commas between them"),
        (state, {"mean": "0.5", "std": "0.25"}, "brings its own normalisation; leave out --mean and --std"),
        (state, {"architecture": "resnet18", "width": 0}, "model.pt: not the weights of resnet18 for 10 classes"),
        (lambda: state(head__weight=torch.full((10, 16), 3e38)), {}, "returns values that are not finite"),
        (lambda: state(head__weight=torch.zeros(10, 16), head__bias=torch.full((10,), 0.1)), {}, "remove its softmax"),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10, in_chans=1).state_dict(),
            {"architecture": "timm/vit_tiny_patch16_224", "width": 0},
            "timm/vit_tiny_patch16_224: cannot take images of 1 x 8 x 8: Input height (8) doesn't match model (224)",
        ),
    ],
)
def test_bad_requests_are_one_line_before_any_attack(
    project: Grid, run, tmp_path: Path, content, options, message
) -> None:  # type: ignore[no-untyped-def]
    prepare(10)
    code, out, error = run(weights=saved(tmp_path, content()), **options)
    assert code == 2 and not out and message in error and error.count("\n") == 1
