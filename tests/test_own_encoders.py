"""Encoders of timm and torchvision, and weights from elsewhere: built, loaded, trained, judged, and refused."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file
from small_project import judged, run, small_grid
from test_tune import write_data
from torch import Tensor, nn
from torch.nn import functional
from uamix_cases import FRAMES, MELS, SIZES, built, changed, smallest_track

from contrastbench import cli
from contrastbench.datasets.base import Split
from contrastbench.datasets.digits import ADAPTER
from contrastbench.datasets.store import FrontEnd, open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.jobs.weights import build_method, load_trained
from contrastbench.methods.frozen import Frozen
from contrastbench.modalities.audio import differentiable
from contrastbench.models.export import Exported, exported
from contrastbench.models.library_encoder import LibraryEncoder, build_library_encoder
from contrastbench.params.base import overlay, params_hash, validate
from contrastbench.params.images import EncoderParams
from contrastbench.pipeline import resolved
from contrastbench.pipeline.begin import begin
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

import timm  # isort: skip  (after contrastbench)
import torchvision  # isort: skip

SIDE = 16
COLOUR = (3, 32, 32)


def params(**content: object) -> EncoderParams:
    return validate(EncoderParams, content, lambda _: "preset.yaml")


def build(shape: tuple[int, int, int] = COLOUR, **content: object) -> LibraryEncoder:
    torch.manual_seed(0)
    return build_library_encoder(params(**content), shape).eval()


def saved(folder: Path, content: object, name: str = "model.pth") -> str:
    if name.endswith(".safetensors"):
        save_file(content, folder / name)  # type: ignore[arg-type]
    else:
        torch.save(content, folder / name)
    return str(folder / name)


def network(name: str = "test_convnext", **options: object) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model(name, **options).eval()


def pooled(model: nn.Module, images: Tensor) -> Tensor:
    """What timm itself calls the features before the classifier, of images as the model's configuration wants them."""
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    return model.forward_head(model.forward_features((images - mean) / std), pre_logits=True)


def command(*words: object) -> None:
    """``contrastbench`` in this process."""
    typer.main.get_command(cli.app).main([*map(str, words)], standalone_mode=False)


# ---- what is built


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_resnet", "test_efficientnet"])
def test_features_are_timms_own(tmp_path: Path, name: str) -> None:
    model, images = network(name), torch.rand(2, 3, 160, 160)
    encoder = build((3, 160, 160), architecture=f"timm/{name}", pretrained=saved(tmp_path, model.state_dict()))
    assert torch.equal(encoder(images), pooled(model, images)) and encoder.features == encoder(images).shape[1]


def test_features_are_torchvisions_own(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18().eval()
    encoder = build(architecture="torchvision/resnet18", pretrained=saved(tmp_path, theirs.state_dict()))
    images, seen = torch.rand(2, *COLOUR), {}
    theirs.avgpool.register_forward_hook(lambda _, __, output: seen.update(pooled=output.flatten(1)))
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    theirs((images - torch.tensor(transform.mean).view(3, 1, 1)) / torch.tensor(transform.std).view(3, 1, 1))
    assert torch.equal(encoder(images), seen["pooled"]) and encoder.features == 512


def test_images_are_scaled_and_grey_ones_repeated_and_attacks_see_neither() -> None:
    encoder = build((1, 8, 8), architecture="timm/test_convnext", input_size=32, grey_as_colour=True)
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    scaled = functional.interpolate(images, (32, 32), mode="bilinear", antialias=True).repeat(1, 3, 1, 1)
    expected = encoder.trunk((scaled - 0.5) / 0.5)
    assert torch.equal(encoder(images), expected) and encoder.trunk.stem[0].in_channels == 3
    encoder(images).square().sum().backward()
    assert images.grad is not None and (images.grad != 0).all()
    assert build((1, 32, 32), architecture="timm/test_convnext").trunk.stem[0].in_channels == 1
    assert build(architecture="timm/test_convnext", grey_as_colour=True)(torch.rand(1, *COLOUR)).shape == (1, 64)


def test_sizes_normalisation_and_stems() -> None:
    assert build(architecture="timm/test_vit").size == 160, "it was built for no other"
    assert build(architecture="timm/test_vit", input_size=32).size is None, "images are of this size"
    assert build(architecture="timm/test_resnet").size is None
    assert build((3, 32, 16), architecture="timm/test_resnet", input_size=32).size == 32
    stated = build(architecture="timm/resnet10t").normalize
    assert stated.mean.flatten().tolist() == pytest.approx(timm.get_pretrained_cfg("resnet10t").mean)
    assert build((1, 32, 32), architecture="timm/resnet10t").normalize.std.numel() == 1
    own = build(architecture="timm/test_resnet", mean=[0.1, 0.2, 0.3], std=[0.4] * 3).normalize
    assert own.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3]) and own.std[0] == pytest.approx(0.4)
    ours = build(architecture="resnet-slim", width=4, stem_stride=1, input_size=16)
    assert ours.size == 16 and ours.features == 16 and ours.normalize.mean.flatten()[0] == pytest.approx(0.4914)
    stem = build(architecture="torchvision/resnet18", stem="cifar").trunk
    assert stem.conv1.kernel_size == (3, 3) and stem.conv1.stride == (1, 1) and isinstance(stem.maxpool, nn.Identity)


# ---- what is read


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


HEAD = {"0.weight": torch.ones(8, 8), "2.weight": torch.ones(4, 8)}
WRAPPED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "plain": lambda state: state,
    "timm's own training": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1.0), "epoch": 3},
    "AudioMAE's": lambda state: {"model": state, "args": argparse.Namespace(blr=1e-3), "optimizer": {"state": {}}},
    "parallel, compiled": lambda state: {"net": under("module._orig_mod.", state)},
    "encoder and projector": lambda state: under("encoder.", state) | under("projector.", HEAD),
    "lightly": lambda state: {"state_dict": under("backbone.", state) | under("projection_head.layers.", HEAD)},
    "momentum": lambda state: {
        "state_dict": under("module.encoder_q.", state)
        | under("module.encoder_k.", {name: torch.zeros_like(tensor) for name, tensor in state.items()})
        | {"module.queue": torch.ones(8, 4)}
    },
    "distillation": lambda state: {"student": {}, "teacher": under("module.backbone.", state)},
    "a name of its own": lambda state: {"epoch": 3, "state_dict_ema": state, "optimizer": {"state": {}, "lr": 0.1}},
    "with a decoder": lambda state: state | under("decoder_blocks.0.", HEAD) | {"mask_token": torch.ones(1, 1, 8)},
    "no classifier": lambda state: {name: tensor for name, tensor in state.items() if not name.startswith("head.fc")},
    "half precision": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_however_they_were_saved(tmp_path: Path, how: str) -> None:
    model = network()
    if how == "half precision":
        model = model.half().float()
    encoder = build(architecture="timm/test_convnext", pretrained=saved(tmp_path, WRAPPED[how](model.state_dict())))
    images = torch.rand(2, *COLOUR)
    assert torch.equal(encoder(images), pooled(model, images))


def test_safetensors_names_of_the_other_library_and_files_of_this_suite(tmp_path: Path) -> None:
    model, images = network(), torch.rand(2, *COLOUR)
    path = saved(tmp_path, model.state_dict(), "model.safetensors")
    assert torch.equal(build(architecture="timm/test_convnext", pretrained=path)(images), pooled(model, images))
    theirs = torchvision.models.resnet18()
    path = saved(tmp_path, theirs.state_dict())
    same = (build(architecture=f"{name}/resnet18", pretrained=path) for name in ("timm", "torchvision"))
    weights = [encoder.trunk.state_dict() for encoder in same]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    numbered = nn.Sequential(*[*theirs.children()][:-1]).state_dict()
    path = saved(tmp_path, {"state_dict": under("backbone.", numbered) | under("projection_head.layers.", HEAD)})
    again = build(architecture="torchvision/resnet18", pretrained=path).trunk
    assert torch.equal(again.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    path = saved(tmp_path, theirs.state_dict())
    ours = build(architecture="resnet18", width=64, stem_stride=1, pretrained=path)
    assert torch.equal(ours.trunk.conv1.weight, theirs.conv1.weight)
    whole = under("encoder.", build(architecture="timm/test_convnext", mean=[0.1] * 3, std=[0.9] * 3).state_dict())
    again = build(architecture="timm/test_convnext", pretrained=saved(tmp_path, whole))
    assert again.normalize.mean.flatten().tolist() == pytest.approx([0.1] * 3), "what it was trained with"


def test_a_vision_transformers_positions_are_scaled_to_the_images(tmp_path: Path) -> None:
    model = network("test_vit")
    path = saved(tmp_path, model.state_dict())
    encoder = build(architecture="timm/test_vit", input_size=64, pretrained=path)
    expected = timm.layers.resample_abs_pos_embed(model.pos_embed, (4, 4), num_prefix_tokens=1)
    torch.testing.assert_close(encoder.trunk.pos_embed, expected)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "unknown to timm": ({"architecture": "timm/convnext_ato"}, r"no model 'convnext_ato'; did you mean convnext_atto"),
    "unknown to torchvision": (
        {"architecture": "torchvision/resnet19"},
        "no model 'resnet19'; did you mean resnet",
    ),
    "unknown library": ({"architecture": "resnet19"}, r'architecture = "resnet19": unknown architecture; did you mean'),
    "no width": ({"architecture": "resnet18", "stem_stride": 1}, "width: this key is required and missing"),
    "stem of ours": (
        {"architecture": "resnet18", "width": 4, "stem_stride": 1, "stem": "cifar"},
        'stem = "cifar": is for architectures of timm and torchvision; resnet18 has `stem_stride`',
    ),
    "no stem": ({"architecture": "timm/test_convnext", "stem": "cifar"}, "has no stem of one convolution"),
    "size": (
        {"architecture": "timm/test_vit", "input_size": 33},
        r"timm/test_vit: cannot take images of 3 x 33 x 33 \(.*16.*\); encoder.input_size scales to another",
    ),
    "too small": ({"architecture": "timm/convnext_atto"}, r"cannot take images of 1 x 8 x 8 .*encoder.input_size"),
    "grey": (
        {"architecture": "torchvision/resnet18"},
        "takes colour images only; with encoder.grey_as_colour: true grey ones become such",
    ),
    "no classifier": (
        {"architecture": "torchvision/squeezenet1_1", "grey_as_colour": True},
        "does not end in a linear classifier",
    ),
    "statistics": ({"architecture": "timm/test_vit", "mean": [0.5, 0.5], "std": [0.5, 0.5]}, "takes 1 numbers or one"),
    "half of them": ({"architecture": "timm/test_vit", "mean": [0.5]}, "set mean and std both"),
    "missing file": ({"architecture": "timm/test_vit", "pretrained": "away.pt"}, "away.pt: no such file of weights"),
    "hub of ours": (
        {"architecture": "resnet18", "width": 4, "stem_stride": 1, "pretrained": "default"},
        "no hub has weights of resnet18; name a file",
    ),
    "hub and stem": (
        {"architecture": "timm/test_resnet", "stem": "cifar", "pretrained": "hf-hub:timm/x"},
        "a hub's weights are of the original stem",
    ),
    "timm's hub": (
        {"architecture": "torchvision/resnet18", "grey_as_colour": True, "pretrained": "hf-hub:timm/x"},
        "hf-hub:timm/x holds timm's weights; torchvision's own are `default`",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_built_is_one_line(what: str) -> None:
    content, message = REFUSED[what]
    with pytest.raises(UserError, match=message) as caught:
        build((3, 33, 33) if what == "size" else (1, 8, 8), **content)
    assert "\n" not in str(caught.value)


def test_offline_a_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host\nand a traceback")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"weights 'default' cannot be had \(ConnectionError: no route to host\)") as e:
        build(architecture="timm/test_vit", pretrained="default")
    assert str(e.value).endswith("name a file in encoder.pretrained")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: network("test_vit").state_dict(), r"missing: stem\.0\.weight.* and \d+ more; unexpected: cls_"),
        (lambda state: state | {"stem.0.weight": torch.ones(24, 1, 4, 4)}, r"stem\.0\.weight has shape 24 x 1 x 4 x 4"),
        (lambda state: state | {"norm.extra": torch.ones(1)}, r"unexpected: norm\.extra$"),
        (
            lambda state: state | {"stem.0.bias": torch.full((24,), torch.nan)},
            r"stem\.0\.bias holds values that are n",
        ),
        (lambda state: {"model": state, "args": Path("x")}, r"not a file of tensors alone \(it holds a pathlib"),
    ],
)
def test_weights_of_another_network_are_one_line(tmp_path: Path, change: Callable, message: str) -> None:
    path = saved(tmp_path, change(network().state_dict()))
    with pytest.raises(UserError, match=message) as caught:
        build(architecture="timm/test_convnext", pretrained=path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and path in str(caught.value)


# ---- in the pipeline


def grid_of(folder: Path, **variants: object) -> Grid:
    """A project with small colour images; ``variants`` as in a preset."""
    section = {"methods": ["random", *variants], "variants": variants, "ablation": [], "search": None}
    return small_grid(folder, {"tracks": ["unremix"], "unremix": section}, "own")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw, splits = np.random.default_rng(0), {}
    for split, count in (("train", 96), ("validation", 40), ("test", 40)):
        y = np.arange(count) % 2
        splits[split] = Split(
            (draw.integers(0, 99, (count, SIDE, SIDE, 3)) + 99 * y[:, None, None, None]).astype("u1"), y
        )
    write_prepared(Path("data/prepared/digits"), replace(ADAPTER, classes=("dark", "light")), splits, "test")
    saved(tmp_path, network().state_dict(), "weights.pth")
    return tmp_path


OWN = {"architecture": "timm/test_convnext", "input_size": 32}
FROZEN = {"method": "frozen", "encoder": OWN | {"pretrained": "weights.pth"}}


def job(label: str) -> Job:
    return Job("unremix", "digits", label, 0)


def test_a_ready_checkpoint_is_judged_without_training(project: Path) -> None:
    grid = grid_of(project, ready=FROZEN)
    run(grid, "pretrain", job("ready"))
    Path("weights.pth").rename("gone.pth")
    grid = grid_of(project, ready=FROZEN)
    encoder = load_trained(grid, job("ready")).encoder
    images = torch.rand(2, 3, SIDE, SIDE)
    scaled = functional.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    assert torch.equal(encoder(images), pooled(network(), scaled))
    record = json.loads((grid.trained(job("ready")) / "run.json").read_text())
    digest = file_hash(Path("gone.pth"))
    assert record["steps"] == 0 and record["imported"] == {"path": "weights.pth", "sha256": digest}
    assert record["params"]["encoder"] == OWN | {"pretrained": f"sha256:{digest}"}
    run(grid, "features", job("ready"))
    assert judged(grid, "probe", job("ready"))["linear"].value == 1.0
    with pytest.raises(RuntimeError, match="judged as it is and is not trained"):
        load_trained(grid, job("ready")).training_step(None, None)  # type: ignore[arg-type]


def test_a_method_trains_a_librarys_encoder_and_starts_from_weights(project: Path) -> None:
    grid = grid_of(project, mine={"method": "simclr", "encoder": FROZEN["encoder"]})
    run(grid, "pretrain", job("mine"))
    trained, start = load_trained(grid, job("mine")).encoder.trunk.state_dict(), network().state_dict()
    moved = {name: float((tensor - start[name]).abs().max()) for name, tensor in trained.items()}
    assert 0 < max(moved.values()) < 0.2, "it was trained, from where the file is"


def test_contents_of_weights_count_not_their_path(project: Path) -> None:
    def state(path: str, method: str = "frozen", stage: str = "pretrain") -> str:
        grid = grid_of(project, mine={"method": method, "encoder": OWN | {"pretrained": path}})
        return grid.state(stage, job("mine"))

    for path, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        Path(path).write_bytes(content)
    for method, stage in (("frozen", "pretrain"), ("simclr", "pretrain"), ("frozen", "corruptions")):
        assert state("a.pth", method, stage) == state("b.pth", method, stage) != state("c.pth", method, stage)
    assert state("default") != state("hf-hub:timm/other")
    named = grid_of(project, mine={"method": "frozen", "encoder": OWN | {"pretrained": "default"}})
    assert named.pretrain_params(job("mine")).encoder.pretrained == "hub:default"  # type: ignore[union-attr]
    build(**OWN, pretrained="hub:default")  # as later stages do, without the network


def test_what_a_librarys_encoder_does_not_read_is_left_out(project: Path) -> None:
    grid = grid_of(project, mine={"method": "simclr", "encoder": OWN}, plain={"method": "random", "encoder": OWN})
    assert grid.track("unremix").encoder.width == 4  # type: ignore[attr-defined]
    found = grid.pretrain_params(job("mine"))
    assert found is not None and found.model_dump()["encoder"] == OWN
    with pytest.raises(UserError, match=r"unremix.variants.mine.encoder.width: simclr does not read this key"):
        _ = grid_of(project, mine={"method": "simclr", "encoder": OWN | {"width": 8}}).params
    with pytest.raises(UserError, match=r"unremix.variants.mine: frozen judges a ready encoder; name its file"):
        _ = grid_of(project, mine={"method": "frozen", "encoder": OWN}).params
    with pytest.raises(UserError, match=r"random does not read this key"):
        _ = grid_of(project, mine={"method": "random", "encoder": OWN | {"pretrained": "weights.pth"}}).params


def test_a_run_does_not_begin_with_what_is_not_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(resolved.PARAMS_VARIABLE, raising=False)
    for changes, message in (
        ({"pretrained": "away.pth"}, "unremix, mine: away.pth: no such file of weights$"),
        ({"pretrained": "data"}, "unremix, mine: data: no such file of weights; it is a folder, name a file in it"),
        ({"architecture": "timm/test_convnex"}, "timm has no model 'test_convnex'; did you mean test_convnext"),
    ):
        grid_of(project, mine={"method": "frozen", "encoder": FROZEN["encoder"] | changes})
        with pytest.raises(UserError, match=message):
            begin({"preset": "own", "device": "cpu"})


def test_code_of_librarys_encoders_makes_our_own_no_older(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contrastbench import registry

    jobs = [job("random"), job("mine"), job("slim")]
    variants = {"mine": {"method": "simclr", "encoder": OWN}, "slim": {"method": "simclr", "encoder": {"width": 8}}}
    before = [grid_of(project, **variants).training_code(each) for each in jobs]
    monkeypatch.setitem(registry.MODALITIES, "library-image", "contrastbench.objectives.nnclr:Changed")
    after = [grid_of(project, **variants).training_code(each) for each in jobs]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_parameters_without_a_choice_are_what_they_were() -> None:
    """Recorded rows name their hash."""
    ours = EncoderParams(architecture="resnet-slim", width=4, stem_stride=1)
    assert ours.model_dump() == {"architecture": "resnet-slim", "width": 4, "stem_stride": 1} and ours.is_plain
    assert params_hash(ours) == "b35419c6f513"


# ---- sound


POOLED = {"fc_norm": lambda state: {f"fc_{n}" if n.startswith("norm.") else n: t for n, t in state.items()}}


@pytest.mark.parametrize("how", ["plain", "AudioMAE's", "parallel, compiled", "with a decoder", "fc_norm"])
def test_a_ready_checkpoint_of_sound(tmp_path: Path, how: str) -> None:
    track = smallest_track()
    theirs, spectrograms = built(track, "mae", seed=7).encoder.eval(), torch.rand(2, 1, FRAMES, MELS)
    state = {
        name.replace("norm.", "fc_norm.") if how == "fc_norm" else name: t for name, t in theirs.state_dict().items()
    }
    path = saved(tmp_path, WRAPPED.get(how, WRAPPED["plain"])(state))
    params = track.pretrain("random", "instruments").model_copy(update={"method": "frozen", "checkpoint": path})
    method = Frozen.from_params(params, (1, FRAMES, MELS), 2).eval()
    assert not torch.equal(method.encoder(spectrograms), theirs(spectrograms)) and not method.trains
    method.import_weights()
    assert torch.equal(method.encoder(spectrograms), theirs(spectrograms))


def test_mae_imports_audiomaes_own_file_and_refuses_values_that_are_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command: who reads the file in the stage is older than this (cli/stages.py)."""
    monkeypatch.chdir(tmp_path)
    theirs = built(smallest_track(), "mae", seed=7).encoder.state_dict()
    section = SIZES | {"methods": ["mae"], "search": None, "ablation": []}
    section = overlay(section, {"pretraining": {"checkpoint": "audiomae.pth"}})
    grid = small_grid(tmp_path, {"tracks": ["uamix"], "uamix": section}, "own")
    write_data(grid)
    there = Job("uamix", "instruments", "mae", 0)
    for broken in (True, False):
        state = theirs | ({"norm.bias": torch.full_like(theirs["norm.bias"], torch.inf)} if broken else {})
        torch.save({"model": state, "args": argparse.Namespace(lr=1.0)}, "audiomae.pth")
        if broken:
            with pytest.raises(UserError, match=r"norm\.bias holds values that are not finite"):
                command("pretrain", *there.folder.parts, "--preset", "own")
    try:
        command("pretrain", *there.folder.parts, "--preset", "own")
    finally:
        torch.serialization.clear_safe_globals()
    assert torch.equal(load_trained(grid, there).encoder.norm.bias, theirs["norm.bias"])


def test_sound_without_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    section = {"methods": ["random", "frozen"]}
    with pytest.raises(UserError, match=r"uamix.settings.frozen: frozen judges a ready .*pretraining.checkpoint"):
        _ = small_grid(tmp_path, {"tracks": ["uamix"], "uamix": section}).params


def test_any_network_of_images_hears_spectrograms(tmp_path: Path) -> None:
    weights = saved(tmp_path, network("test_resnet", in_chans=1).state_dict())
    heard = {"architecture": "timm/test_resnet", "input_size": 32}
    mine = {"method": "frozen", "encoder": heard, "pretraining": {"checkpoint": weights}}
    section = {"methods": ["random", "mine", "plain"], "ablation": [], "search": None}

    def grid_with(**variants: object) -> Grid:
        return small_grid(tmp_path, {"tracks": ["uamix"], "uamix": section | {"variants": variants}}, "own")

    plain = {"method": "random", "encoder": heard}
    grid, own = grid_with(mine=mine, plain=plain), Job("uamix", "instruments", "random", 0)
    params = grid.track("uamix").pretrain("mine", "instruments")
    encoder = Frozen.from_params(params, (1, FRAMES, MELS), 2).encoder.eval()
    spectrograms = torch.randn(2, 1, FRAMES, MELS)
    seen = functional.interpolate(spectrograms, (32, 32), mode="bilinear", antialias=True)
    model = network("test_resnet", in_chans=1)
    assert torch.equal(encoder(spectrograms), model.forward_head(model.forward_features(seen), pre_logits=True))
    there = replace(own, method="mine")
    digest = f"sha256:{file_hash(Path(weights))}"
    assert grid.pretrain_params(there).encoder.pretrained == digest  # type: ignore[union-attr]
    assert grid.track("uamix").pretrain("plain", "instruments").encoder.pretrained == ""  # type: ignore[attr-defined]
    assert grid.code("features", there) != grid.code("features", replace(own, method="frozen"))
    with pytest.raises(UserError, match=r"mae is of the track's own transformer; encoder\.architecture is for"):
        _ = grid_with(mine=mine | {"method": "mae"}, plain=plain).params


# ---- what is exported


def export(*words: object) -> None:
    """``contrastbench export-encoder`` in this process."""
    command("export-encoder", *words)


# Runs, in each folder, the lines of Python of its model card on what lies there. Registry wheels of torchvision are
# built for CUDA: without torch_compat, timm and torchvision do not load on a CPU's torch.
LOAD = r"""
import os, re, sys, torch
from contrastbench import torch_compat
from safetensors.torch import load_file, save_file
for folder in sys.argv[1:]:
    os.chdir(folder)
    found = {}
    exec(re.search(r"```python\n(.*?)```", open("README.md").read(), re.DOTALL)[1], found)
    inputs = load_file("inputs.safetensors")["inputs"]
    if inputs.ndim == 2:
        inputs = torch.cat([found["spectrogram"](wave) for wave in inputs])
    features = found["features"](inputs)
    save_file({"features": features.detach().contiguous()}, "features.safetensors")
"""
EXPORTED: dict[str, dict[str, object]] = {
    "timm": OWN,
    "timm-of-a-fixed-size": {"architecture": "timm/test_vit", "input_size": 32},
    "timm-stem": {"architecture": "timm/resnet18", "stem": "cifar"},
    "torchvision": {"architecture": "torchvision/resnet18", "input_size": 8, "mean": [0.4], "std": [0.3]},
    "grey": {"architecture": "timm/test_resnet", "grey_as_colour": True},
    "ours": {"architecture": "resnet18", "width": 64, "stem_stride": 2},
    "slim": {"architecture": "resnet-slim", "width": 4, "stem_stride": 1, "input_size": 8},
}


def test_exported_encoders_are_loaded_by_others(tmp_path: Path) -> None:
    encoders: dict[str, tuple[nn.Module, Tensor]] = {}
    for which, content in EXPORTED.items():
        shape = (1 if which == "grey" else 3, SIDE, SIDE)
        encoders[which] = build(shape, **content), torch.rand(2, *shape)
        found = exported(encoders[which][0], params(**content), shape)
        write(tmp_path / which, found, encoders[which][1])
        assert found.config["num_features"] == encoders[which][0].features
        assert len(found.config["pretrained_cfg"]["mean"]) == found.config["pretrained_cfg"]["input_size"][0]
    front_end = FrontEnd(frames=FRAMES, mels=MELS, mean=-5.5, std=4.5)
    waves = 0.1 * torch.randn(2, 160 * FRAMES + 4000)
    heard = {"sound": build((1, FRAMES, MELS), architecture="timm/test_resnet", grey_as_colour=True)}
    for readout in ("mean", "mean+std"):
        track = changed(smallest_track(), {"encoder": {"readout": readout}})
        heard[readout] = built(track, "mae", seed=7).encoder.eval()
    for which, encoder in heard.items():
        some = waves[:, :1000].contiguous() if which == "mean" else waves  # a short clip, and a long one
        encoders[which] = encoder, differentiable(front_end)(some)
        content = params(architecture="timm/test_resnet", grey_as_colour=True) if which == "sound" else None
        write(tmp_path / which, exported(encoder, content, (1, FRAMES, MELS), front_end), some)
    folders = [tmp_path / which for which in encoders]
    subprocess.run([sys.executable, "-c", LOAD, *folders], check=True)
    for folder, (encoder, inputs) in zip(folders, encoders.values(), strict=True):
        features = load_file(folder / "features.safetensors")["features"]
        torch.testing.assert_close(features, encoder(inputs), rtol=1e-4, atol=1e-5, msg=folder.name)


def write(folder: Path, found: Exported, inputs: Tensor) -> None:
    folder.mkdir()
    save_file(found.state, folder / "model.safetensors")
    save_file({"inputs": inputs}, folder / "inputs.safetensors")
    (folder / "config.json").write_text(json.dumps(found.config))
    (folder / "README.md").write_text(f"```python\n{found.usage}\n```")


def test_the_command_leaves_a_folder_with_a_model_card(project: Path) -> None:
    grid = grid_of(project, ready=FROZEN)
    run(grid, "pretrain", job("ready"))
    run(grid, "features", job("ready"))
    rows = judged(grid, "probe", job("ready"))
    for stage in ("pretrain", "features"):
        run(grid, stage, job("random"))
    assert judged(grid, "probe", job("random")), "rows of another method"
    export("unremix", "digits", "ready", 0, "out", "--preset", "own")
    card = Path("out/README.md").read_text()
    record = json.loads((grid.trained(job("ready")) / "run.json").read_text())
    for name in ("params_hash", "code_hash", "data_hash"):
        assert record[name] in card and getattr(rows["linear"], name) in card
    assert (
        f"sha256 {file_hash(Path('weights.pth'))}" in card and f"| data, not trained on | {record['data_hash']}" in card
    )
    (line,) = (line for line in card.splitlines() if "| linear |" in line)
    assert f"| {100 * rows['linear'].value:.1f} |" in line and "†" not in line
    model = timm.create_model("local-dir:out", pretrained=True)
    assert all(torch.equal(tensor, network().state_dict()[name]) for name, tensor in model.state_dict().items())
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 32, 32)
    with pytest.raises(UserError, match="out: exists already; name a new folder"):
        export("unremix", "digits", "ready", 0, "out", "--preset", "own")
    export("unremix", "digits", "ready", 0, "out.safetensors", "--preset", "own")
    assert load_file("out.safetensors").keys() == model.state_dict().keys()
    again = build(**OWN, pretrained="out/model.safetensors")
    assert torch.equal(again.trunk.stem[0].weight, model.stem[0].weight)
    grid.layout.rows("probe", job("ready")).unlink()
    export("unremix", "digits", "ready", 0, "bare", "--preset", "own")
    assert "None that count" in Path("bare/README.md").read_text()


# ---- docs/own-encoders.md


def blocks(language: str) -> list[str]:
    page = (REPOSITORY / "docs" / "own-encoders.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def printed(folder: Path, preset: str) -> Grid:
    """The default parameters with a ``preset`` of the page over them."""
    shutil.copy(REPOSITORY / "params.yaml", folder)
    (folder / "presets").mkdir(exist_ok=True)
    (folder / "presets/mine.yaml").write_text(preset)
    return Grid("mine", folder)


def test_the_page_works_as_printed(project: Path) -> None:
    save, load_again = blocks("python")
    judge, train, sound, hears = blocks("yaml")
    assert "pretrained=True)  # offline: pretrained=False" in save
    exec(save.replace("pretrained=True", "pretrained=False"))
    for stage in ("pretrain", "features", "probe"):
        grid = printed(project, judge)
        (each,) = (each for each in grid.jobs(stage, "unremix") if each.method == "my-convnext")
        run(grid, stage, replace(each, seed=0))
    (command,) = (line for block in blocks("sh") for line in block.splitlines() if "export-encoder" in line)
    export(*command.split()[2:])
    found: dict = {}
    exec(load_again, found)
    weights = torch.load("convnext_atto.pth")
    assert torch.equal(found["model"].stem[0].weight, weights["stem.0.weight"])
    grid = printed(project, train)
    data = open_prepared(Path("data/prepared/digits"))
    for label in ("simclr-resnet", "simclr-convnext"):
        method = build_method(grid.track("unremix").pretrain(label, "digits"), data, 0)
        assert method.encoder(torch.rand(2, 3, SIDE, SIDE)).shape == (2, method.encoder.features)
    start = method.encoder.trunk.stem[0].weight
    assert torch.equal(start, weights["stem.0.weight"]), "simclr-convnext starts from the file"
    track = printed(project, sound).track("uamix")
    shape, params = (1, 128, 64), track.pretrain("frozen", "instruments")
    saved(project, Frozen.from_params(params, shape, 2).encoder.state_dict(), "audio_encoder.pth")
    Frozen.from_params(params, shape, 2).import_weights()
    saved(project, network("resnet18").state_dict(), "resnet18.pth")
    track = printed(project, hears).track("uamix")
    encoder = Frozen.from_params(track.pretrain("my-resnet", "instruments"), shape, 2).encoder
    assert encoder(torch.rand(2, *shape)).shape == (2, 512)
