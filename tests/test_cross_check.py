"""The benchmark that holds the suite's worst case against pyautoattack: it rebuilds, counts and refuses as it says."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from small_project import run, small_grid
from torch import Tensor, nn

from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.evaluation.verdicts import Verdict, attack_order, write_verdicts
from contrastbench.jobs.classifiers import FILE, save_classifiers, state_of
from contrastbench.models.batchnorm import select_branch, with_dual_batchnorm
from contrastbench.models.encoders import build_encoder
from contrastbench.params.images import EncoderParams
from contrastbench.pipeline.layout import Job


def verdict(broken: np.ndarray) -> Verdict:
    return Verdict(broken, np.ones_like(broken), np.zeros(len(broken), np.float32))


JOB = Job("swaro", "digits", "supervised", 0)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("cross_check", REPOSITORY / "benchmarks/cross_check.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classifier(
    architecture: str = "resnet-slim", width: int = 4, stem_stride: int = 1, channels: int = 1
) -> Classifier:
    """With running statistics and weights of BatchNorm that are not those of a fresh layer."""
    torch.manual_seed(0)
    encoder = build_encoder(
        EncoderParams(architecture=architecture, width=width, stem_stride=stem_stride),
        channels,  # type: ignore[arg-type]
    )
    model = Classifier(encoder, nn.Linear(encoder.features, 10))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


@pytest.mark.parametrize(
    ("architecture", "stem_stride", "channels"),
    [("resnet-slim", 2, 1), ("resnet-slim", 1, 3), ("resnet18", 1, 3), ("resnet50", 2, 3)],
)
def test_the_rebuilt_classifier_is_the_stored_one(
    script: ModuleType, tmp_path: Path, architecture: str, stem_stride: int, channels: int
) -> None:
    stored = classifier(architecture, 8, stem_stride, channels)
    save_classifiers(tmp_path / FILE, {"slf": state_of(stored), "aff": state_of(classifier())}, "")
    rebuilt = script.Rebuilt(script.read_weights(tmp_path / FILE, "slf"), stem_stride, "clean")
    images = torch.rand(3, channels, 16, 16)
    with torch.no_grad():
        expected = stored(images)
        torch.testing.assert_close(rebuilt(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_of_two_batchnorms_it_takes_the_one_that_was_judged(script: ModuleType, tmp_path: Path) -> None:
    dual = with_dual_batchnorm(classifier())
    for name, tensor in dual.state_dict().items():
        if "adversarial.bias" in name:
            tensor.add_(0.5)
    save_classifiers(tmp_path / FILE, {"slf": state_of(dual)}, "")
    images = torch.rand(3, 1, 8, 8)
    for branch in ("adversarial", "clean"):
        select_branch(dual, branch)  # type: ignore[arg-type]
        expected = dual(images).detach()

        def agrees(model: nn.Module, expected: Tensor = expected) -> bool:
            return torch.allclose(model(images), expected, rtol=1e-4, atol=1e-4)

        assert script.rebuilt(tmp_path / FILE, "slf", 1, agrees).branch == branch
    with pytest.raises(SystemExit, match="classifies other clean images"):
        script.rebuilt(tmp_path / FILE, "slf", 1, lambda _: False)


def test_an_image_stands_if_no_attack_up_to_the_radius_broke_it(script: ModuleType) -> None:
    def broken(*positions: int, count: int = 8) -> np.ndarray:
        return np.isin(np.arange(count), positions)

    verdicts = {
        "slf/clean/broken": broken(0, count=20),
        "slf/pgd-20-linf@0.03137/broken": broken(1),  # 8/255
        "slf/pgd-20-linf@0.03137/valid": broken(7),
        "slf/fgsm@0.01569/broken": broken(2),
        "slf/pgd-20-linf@0.06275/broken": broken(3),
        "slf/pgd-20-l2@0.01/broken": broken(4),
        "slf/apgd-20-l1@0.01/broken": broken(5),
        "slf/autoattack-linf@0.03137/broken": broken(2, 3, count=5),
        "aff/pgd-20-linf@0.03137/broken": broken(6),
    }
    left = script.our_worst_case(verdicts, "slf", 8 / 255, 100)
    assert np.flatnonzero(left).tolist() == [3, 4, 5, 6, 7], "attacks on few images, and other norms, do not count"
    assert np.flatnonzero(script.our_worst_case(verdicts, "slf", 8 / 255, 5)).tolist() == [4], "on 5 images it does"
    assert not len(script.our_worst_case(verdicts, "slf", 0.5, 5)), "no attack at this radius"


def test_it_fails_where_ours_leaves_images_that_fall(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path, {"tracks": ["swaro"], "swaro": {"datasets": ["digits"]}}, preset="smoke")
    run(grid, "prepare", Job("", "digits"))
    data = open_prepared(grid.layout.prepared("digits"))
    order = attack_order(400, 0)
    images = torch.from_numpy(np.array(data.x("test"))[order]).permute(0, 3, 1, 2).float() / 255
    model = classifier()
    with torch.no_grad():
        model.head.bias -= model(images).mean(0)  # of several classes, and near their boundaries
        labels = model(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10  # misclassified without an attack
    np.save(grid.layout.prepared("digits") / "test_y.npy", labels.numpy()[np.argsort(order)])
    fell = ~script.standard(model, images[:10], labels[:10], 0.03, 0, tiny=True)
    wrong = np.arange(400) < 3
    assert 3 < fell.sum() < 10
    folder = grid.layout.run("attack", JOB)
    save_classifiers(folder / FILE, {"own": state_of(model)}, "")
    monkeypatch.setattr(sys, "argv", ["x", "--tiny", "--radii", "0.03", "--images", "10"])
    for broken, status in ((fell, 0), (wrong[:10], 1)):
        attacks = {"own/clean": wrong, "own/pgd-20-linf@0.03": broken}
        write_verdicts(folder / "verdicts.npz", {name: verdict(each) for name, each in attacks.items()})
        with pytest.raises(SystemExit) as ended:
            script.main()
        assert ended.value.code == status
        told = capsys.readouterr().out
        missed = next(line for line in told.splitlines() if "stand in ours, fell there" in line).partition(": ")[2]
        assert set(missed.split()[1:]) - {"none"} == set(map(str, order[:10][fell & ~broken]))
        assert told.endswith(f"fell with every seed of pyautoattack: {(fell & ~broken).sum()}\n")

    def disagreeing(*arguments: object) -> np.ndarray:
        """Seed 0 breaks two images that ours leaves; seed 1 breaks the second of them, and leaves one that fell."""
        left = ~fell
        first, second = np.flatnonzero(left)[:2]
        left[[first, second]] = arguments[4] == 1, False
        return left if arguments[4] == 0 else left | (np.arange(10) == np.flatnonzero(fell)[-1])

    write_verdicts(folder / "verdicts.npz", {"own/clean": verdict(wrong), "own/fgsm@0.03": verdict(fell)})
    monkeypatch.setattr(script, "standard", disagreeing)
    with pytest.raises(SystemExit) as ended:
        script.main()
    one, both = order[:10][~fell][:2]
    last = order[:10][fell][-1]
    assert ended.value.code == 1
    told = [line.partition(": ")[2].split() for line in capsys.readouterr().out.splitlines()[1:5]]
    disagree = {str(one), str(last)}
    assert [told[0], told[1], told[2], set(told[3])] == [["1:", str(both)], [str(one)], [str(last)], disagree]


def test_a_variant_is_rebuilt_with_its_own_stride(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variant = {"method": "rocl", "encoder": {"stem_stride": 2}}
    grid = small_grid(tmp_path, {"swaro": {"variants": {"coarse": variant}}}, preset="smoke")
    data = grid.layout.prepared("digits")
    data.mkdir(parents=True)
    np.save(data / "test_x.npy", np.zeros((2, 8, 8, 1), np.uint8))
    np.save(data / "test_y.npy", np.zeros(2, np.int64))
    monkeypatch.setattr(script, "rebuilt", lambda _, head, stem_stride, agrees: sys.exit(f"stride {stem_stride}"))
    for label, stride in (("rocl", 1), ("coarse", 2)):
        job = Job("swaro", "digits", label, 0)
        write_verdicts(grid.layout.run("attack", job) / "verdicts.npz", {"slf/clean": verdict(np.zeros(2, bool))})
        with pytest.raises(SystemExit, match=f"stride {stride}"):
            script.compare(grid, job, [0.1], 2, None, True)


def test_without_a_run_it_says_what_to_run(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    small_grid(tmp_path, preset="smoke")
    for option, status in ((["--tiny"], 0), (["--preset", "smoke"], 2)):
        monkeypatch.setattr(sys, "argv", ["cross_check.py", *option])
        with pytest.raises(SystemExit) as ended:
            script.main()
        assert ended.value.code == status
        assert "run `snakemake --cores all --config preset=smoke` first" in capsys.readouterr().out
