"""A uaMix-MAE track of minimal size, shared by the tests of its methods and stages."""

import torch
from conftest import REPOSITORY
from torch.utils.flop_counter import FlopCounterMode

from contrastbench.methods import method_class
from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.root import load

FRAMES, MELS = 32, 16


# What makes the preset smoke's spectrograms and networks of the least size.
SIZES = {
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


def flop_counter() -> FlopCounterMode:
    """Counts the products of :class:`OneDNNLinear` too, which torch's own counter does not know."""

    def product(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        return 2 * x.numel() * weight[0]

    return FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: product})


def smallest_track() -> AudioTrack:
    """The preset smoke with spectrograms and networks of the least size."""
    return changed(load("smoke", REPOSITORY).uamix, SIZES)


def changed(section, changes):
    """A copy of ``section`` with nested ``changes`` made."""
    values = {
        key: changed(getattr(section, key), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return section.model_copy(update=values)


def built(track: AudioTrack, label: str, seed: int = 0):
    torch.manual_seed(seed)
    params = track.pretrain(label, "instruments")
    return method_class(params.method).from_params(params, (1, FRAMES, MELS), 2)
