"""Presets of the uaMix-MAE track: the full-size recipe runs, wrong parameters are refused in one line."""

import pytest
import torch

from contrastbench.errors import UserError
from contrastbench.methods import Batch, Step
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.methods.mae import MAE
from contrastbench.methods.uamix_mae import UaMixMAE
from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.base import overlay, read_yaml, validate
from contrastbench.params.root import load
from contrastbench.training.optimizers import build_optimizer


def step_for(number: int = 0) -> Step:
    return Step(number, 10, 5, torch.Generator().manual_seed(number))


def test_preset_paper_takes_two_tuning_steps_at_full_size(repository):
    """ViT-B/16 on 1024 x 128, MAE-CT's head: one update of each tuning step on two clips, and one masked step."""
    track = load("paper", repository).uamix
    encoder = track.encoder
    assert (encoder.patch, encoder.width, encoder.depth, encoder.heads) == (16, 768, 12, 12)
    assert (track.front_end.frames, track.front_end.mels, track.pretraining.mask_ratio) == (1024, 128, 0.8)
    params = track.pretrain("uamix-mae", "audioset20k")
    assert params.head.model_dump() == {
        "projector_hidden": 2048, "output": 256, "predictor_hidden": 4096, "queue": 65536,
    }  # fmt: skip
    torch.manual_seed(0)
    method = UaMixMAE.from_params(params, (1, 1024, 128), 527)
    assert isinstance(method, ContrastiveTuning)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 1024, 128, generator=draw)
    batch = Batch(x, [x.roll(100, 2)] * method.number_of_views, torch.arange(2), None)
    for number, step in enumerate((params.head_step, params.encoder_step)):
        method.begin(step)
        method.train()
        optimizer = build_optimizer(method, step.training)
        before = [block.mlp.fc1.weight.detach().clone() for block in method.encoder.blocks]
        loss = method.training_step(batch, step_for(number))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step_for(number))
        assert torch.isfinite(loss)
        after = [block.mlp.fc1.weight for block in method.encoder.blocks]
        moved = {number for number in range(12) if not torch.equal(before[number], after[number])}
        assert moved == (set() if step is params.head_step else set(range(6, 12)))


def test_preset_paper_trains_its_autoencoder_at_full_size(repository):
    track = load("paper", repository).uamix
    torch.manual_seed(0)
    params = track.pretrain("mae", "audioset20k").model_copy(update={"checkpoint": None})
    method = MAE.from_params(params, (1, 1024, 128), 527)
    assert len(method.autoencoder.decoder.blocks) == 16
    x = torch.randn(1, 1, 1024, 128, generator=torch.Generator().manual_seed(0))
    loss = method.training_step(Batch(x, [x], torch.arange(1), None), step_for())["loss"]
    loss.backward()
    assert torch.isfinite(loss) and loss.item() < 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": {"heads": 5}}, "multiple of heads"),
        ({"front_end": {"frames": 100}}, "multiples of encoder.patch"),
        ({"tuning": {"encoder_step": {"frozen_blocks": 99}}}, "at most encoder.depth"),
        ({"tuning": {"head": {"queue": 8}}}, "must hold a batch"),
        (
            {"settings": {"mae_joint": {"top_k": 1025}}},
            "mae_joint: tuning.head.queue 1024 must hold top_k",
        ),
        ({"pretraining": {"training": {"batch_size": 1025}}}, "settings.mae_joint: tuning.head.queue 1024 must hold"),
        ({"tuning": {"head_step": {"top_k": 1025}}}, "top_k 1025 must be at most head.queue"),
        ({"settings": {"uamix_mae": {"mixing": "tcutmix"}}}, "t-cutmix"),
        ({"decoder": {"shift": [4, 0]}}, "smaller than the window"),
        ({"settings": {"uamix_mae": {"alfa": 1.0}}}, "did you mean 'alpha'"),
    ],
)
def test_wrong_parameters_are_one_line(repository, changes, words):
    content = overlay(read_yaml(repository / "params.yaml")["uamix"], changes)
    with pytest.raises(UserError, match=words) as error:
        validate(AudioTrack, content, lambda _: "params.yaml")
    assert "\n" not in str(error.value)
