"""The uaMix-MAE track: methods and stages on small spectrograms, freezing, rates, resume, presets."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.methods import Batch, Step
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.methods.mae import MAE
from contrastbench.methods.mae_joint import MAEJoint
from contrastbench.methods.random_encoder import RandomEncoder
from contrastbench.methods.uamix_mae import UaMixMAE
from contrastbench.params.root import load
from contrastbench.params.uamix import TuneParams, UaMixTrack
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.stages.pretrain import pretrain
from contrastbench.stages.runs import build_method, load_method
from contrastbench.stages.tune import tune
from contrastbench.training.optimizers import build_optimizer

FRAMES, MELS, TRAINING = 32, 16, 48


@pytest.fixture(scope="module")
def track(repository: Path) -> UaMixTrack:
    """The preset smoke with spectrograms and networks of the least size."""
    base = load("smoke", repository).uamix
    sizes = {
        "front_end": {"frames": FRAMES, "mels": MELS},
        "encoder": {"patch": 4, "width": 16, "depth": 4, "heads": 2},
        "decoder": {"attention": "local", "width": 8, "depth": 2, "heads": 2},
        "pretraining": {"training": {"epochs": 2, "batch_size": 16}},
        "tuning": {
            "head": {"projector_hidden": 16, "output": 8, "predictor_hidden": 16, "queue": 32},
            "head_step": {"training": {"epochs": 2, "batch_size": 16, "checkpoint_every_steps": 2}},
            "encoder_step": {
                "frozen_blocks": 2,
                "layer_decay": 0.65,
                "training": {"epochs": 2, "batch_size": 16, "checkpoint_every_steps": 2},
            },
        },
    }
    return changed(base, sizes)


def changed(section, changes):
    """A copy of ``section`` with nested ``changes`` made."""
    values = {
        key: changed(getattr(section, key), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return section.model_copy(update=values)


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


def built(track: UaMixTrack, label: str, seed: int = 0):
    torch.manual_seed(seed)
    params = track.pretrain(label, "instruments")
    from contrastbench.methods import method_class

    return method_class(params.method).from_params(params, (1, FRAMES, MELS), 2)


def batch_for(method, size: int = 8, seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 1, FRAMES, MELS, generator=draw)
    views = [x + 0.1 * torch.randn(x.shape, generator=draw) for _ in range(method.number_of_views)]
    return Batch(x, views, torch.arange(size), None)


def step_for(number: int = 0) -> Step:
    return Step(number, 10, 5, torch.Generator().manual_seed(number))


def one_step(method, params, number: int = 0) -> dict:
    optimizer = build_optimizer(method, params)
    output = method.training_step(batch_for(method), step_for(number))
    output["loss"].backward()
    optimizer.step()
    method.after_step(step_for(number))
    return output


LABELS = [
    "mae-ct",
    "uamix-mae",
    "uamix-cutmix",
    "uamix-mixup",
    "uamix-input-only",
    "uamix-one-sided",
    "uamix-augmented",
    "uamix-clean",
    "uamix-unremix",
    "mae-ct-unremix",
]


@pytest.mark.parametrize("label", LABELS)
def test_every_arm_moves_just_what_its_step_learns(track, label):
    method = built(track, label)
    params: TuneParams = track.pretrain(label, "instruments")
    for step, frozen in ((params.head_step, range(4)), (params.encoder_step, range(2))):
        method.begin(step)
        method.train()
        before = {name: tensor.clone() for name, tensor in method.named_parameters()}
        one_step(method, step.training)
        moved = {n.split(".target_projector")[0] for n, p in method.named_parameters() if not torch.equal(p, before[n])}
        still = ("encoder.patch_embed", "encoder.cls_token", *(f"encoder.blocks.{b}." for b in frozen))
        assert not [name for name in moved if name.startswith(still)]
        encoder_moved = {name for name in moved if name.startswith("encoder.")}
        if step is params.head_step:
            assert not encoder_moved and not any(m.training for m in method.encoder.modules())
        else:
            assert {name.split(".")[2] for name in encoder_moved if "blocks" in name} == {"2", "3"}
            assert "encoder.norm.weight" in encoder_moved
            assert not any(m.training for block in method.encoder.blocks[:2] for m in block.modules())
            assert method.encoder.blocks[3].training
        assert any(name.startswith("head.") for name in moved)
        assert torch.equal(method.encoder.pos_embed, built(track, label).encoder.pos_embed)


def test_rates_decay_layer_by_layer(track):
    method = built(track, "uamix-mae")
    params = track.pretrain("uamix-mae", "instruments").encoder_step
    method.begin(params)
    groups = method.parameter_groups(1.0, 0.05)
    rate_of = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rate_of)
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in rate_of, name
            continue
        rate, decay = rate_of[id(parameter)]
        if name.startswith("head."):
            assert rate == params.head_learning_rate
            assert decay == (params.head_weight_decay if parameter.ndim > 1 else 0)
            continue
        assert decay == (0.05 if parameter.ndim > 1 else 0), name
        number = int(name.split(".")[2]) if "blocks" in name else None
        expected = 1.0 if number is None else 0.65 ** (4 - number)  # the final norm is not scaled
        assert rate == pytest.approx(expected), name


@pytest.mark.parametrize(("label", "both"), [("uamix-mae", True), ("uamix-one-sided", False), ("mae-ct", True)])
def test_gradient_reaches_the_first_branch_only_when_symmetrised(track, label, both):
    """The warning of the specification's 1.4: otherwise the mixture is a soft target and teaches nothing itself."""
    method = built(track, label)
    method.begin(track.pretrain(label, "instruments").encoder_step)
    seen: list[torch.Tensor] = []

    def keep(module, inputs, output):
        if output.requires_grad:
            output.retain_grad()
        seen.append(output)

    method.encoder.register_forward_hook(keep)
    method.training_step(batch_for(method), step_for())["loss"].backward()
    gradients = [out.grad is not None and bool(out.grad.abs().sum() > 0) for out in seen]
    assert sorted(gradients) == [both, True]


def test_mixtures_are_made_of_raw_spectrograms_and_feed_the_queue(track):
    method = built(track, "uamix-mae")
    inputs: list[torch.Tensor] = []
    method.encoder.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    batch = batch_for(method)
    method.training_step(batch, step_for())
    view, mixture = inputs
    assert torch.equal(view, batch.views[0])
    own = (mixture == batch.clean) | (mixture == batch.clean.flip(0))
    assert own.all() and not torch.equal(mixture, batch.clean)
    assert method.head.queue_ids[:8].tolist() == list(range(8))
    assert method.head.queue_next.item() == 8


def test_no_mixing_gives_identity_labels_and_hard_labels_do_so_too(track, monkeypatch):
    seen = {}
    original = ContrastiveTuning.contrast

    def record(self, first, second, labels, ids, step):
        seen[label] = labels
        return original(self, first, second, labels, ids, step)

    monkeypatch.setattr(ContrastiveTuning, "contrast", record)
    for label in ("uamix-mae", "uamix-input-only", "mae-ct"):
        method = built(track, label)
        method.training_step(batch_for(method), step_for())
    assert torch.equal(seen["mae-ct"], torch.eye(8)) and torch.equal(seen["uamix-input-only"], torch.eye(8))
    assert not torch.equal(seen["uamix-mae"], torch.eye(8))


def test_step_two_starts_from_step_ones_weights_and_its_ema_from_the_projector(track):
    method = built(track, "uamix-mae")
    params = track.pretrain("uamix-mae", "instruments")
    one_step(method, params.head_step.training)
    for live, target in zip(method.head.projector.parameters(), method.head.target_projector.parameters(), strict=True):
        assert torch.equal(live, target)  # step 1 has no EMA
    queue = method.head.queue.clone()
    method.begin(params.encoder_step)
    assert torch.equal(method.head.queue, queue)
    before = [p.clone() for p in method.head.projector.parameters()]
    one_step(method, params.encoder_step.training)
    momentum = params.encoder_step.ema_momentum
    for old, live, target in zip(
        before, method.head.projector.parameters(), method.head.target_projector.parameters(), strict=True
    ):
        torch.testing.assert_close(target, momentum * old + (1 - momentum) * live.detach())


def test_joint_training_reaches_encoder_decoder_and_head_and_costs_more(track):
    from torch.utils.flop_counter import FlopCounterMode

    cost = {}
    for label in ("mae", "mae-joint"):
        method = built(track, label)
        with FlopCounterMode(display=False) as counter:
            output = method.training_step(batch_for(method), step_for())
            output["loss"].backward()
        cost[label] = counter.get_total_flops()
    assert isinstance(method, MAEJoint)
    without = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    contrast, reconstruction = output["contrast"].item(), output["reconstruction"].item()
    weight = method.settings.contrast_weight
    assert output["loss"].item() == pytest.approx(reconstruction + weight * contrast, rel=1e-5)
    assert cost["mae-joint"] > 3 * cost["mae"]  # two whole passes beside one of a fifth of the patches


def test_random_row_is_the_encoder_that_mae_starts_from(track):
    reference, mae = built(track, "random"), built(track, "mae")
    assert isinstance(reference, RandomEncoder) and isinstance(mae, MAE)
    for name, tensor in reference.encoder.state_dict().items():
        assert torch.equal(tensor, mae.encoder.state_dict()[name]), name


def test_random_row_of_images_is_the_encoder_of_the_image_methods(repository):
    from contrastbench.methods.simclr import SimCLR

    unremix = load("smoke", repository).unremix
    torch.manual_seed(0)
    reference = RandomEncoder.from_params(unremix.pretrain("random", "digits"), (1, 8, 8), 10)
    torch.manual_seed(0)
    simclr = SimCLR.from_params(unremix.pretrain("simclr", "digits"), (1, 8, 8), 10)
    for name, tensor in reference.encoder.state_dict().items():
        assert torch.equal(tensor, simclr.encoder.state_dict()[name]), name


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
    import pandas as pd

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
    from contrastbench.datasets.store import open_prepared
    from contrastbench.models.vit_checkpoint import export_encoder

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
        build_method(other.pretrain("mae", "notes"), open_prepared(data_folder), 0)
