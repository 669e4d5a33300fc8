"""Trained encoders as modules that take raw pictures or sound, and the features of any module."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from os.path import abspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.api.project import Project, inside
from contrastbench.augment.images import to_float
from contrastbench.augment.log_mel import SHIFT, segment_count
from contrastbench.datasets.store import FrontEnd
from contrastbench.errors import UserError
from contrastbench.jobs.segments import samples_in
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.modalities import Modality, modality_of
from contrastbench.modalities.audio import differentiable
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.root import DEFAULT
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

Array = np.ndarray | Tensor
RUN = "runs/PRESET/pretrain/TRACK/DATASET/METHOD/SEED"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Origin:
    """Which job of which preset, in which project folder."""

    project: Path
    preset: str
    job: Job


class TrainedEncoder(nn.Module):
    """A trained encoder behind its preprocessing.

    network   the bare encoder, which takes what its modality makes of examples
    features  D, the length of a feature vector
    origin    what trained it
    """

    def __init__(self, network: Encoder, origin: Origin) -> None:
        super().__init__()
        self.network, self.features, self.origin = network, network.features, origin

    @abstractmethod
    def forward(self, examples: Array) -> Tensor:
        """B raw examples -> features (B, D)."""


class PictureEncoder(TrainedEncoder):
    """Takes raw pictures (see :func:`pixels`), and scales those of another size than it was trained on."""

    def __init__(self, network: Encoder, origin: Origin, kind: Modality, shape: Shape) -> None:
        super().__init__(network, origin)
        self.kind, self.shape = kind, shape

    def forward(self, examples: Array) -> Tensor:
        """Pictures (B, H, W, C) -> features (B, D)."""
        x = pixels(examples).to(device_of(self))
        if x.shape[1] != self.shape[0]:
            raise UserError(f"pictures with {x.shape[1]} channels: the encoder takes {self.shape[0]}")
        if x.shape[1:] != self.shape:
            x = self.kind.adaptation(tuple(x.shape[1:]), self.shape)(x)
        return self.network(x)


class SoundEncoder(TrainedEncoder):
    """Takes raw sound (see :func:`waveforms`); what it says of a clip is the mean over the clip's segments."""

    def __init__(self, network: Encoder, origin: Origin, front_end: FrontEnd, segments: int) -> None:
        super().__init__(network, origin)
        self.front_end, self.segments = front_end, segments

    def forward(self, examples: Array) -> Tensor:
        """Waveforms (B, S) -> features (B, D)."""
        waves, frames = waveforms(examples).to(device_of(self)), self.front_end.frames
        spectrogram = differentiable(self.front_end)
        starts = range(0, segment_count(waves.shape[1], frames, self.segments) * frames * SHIFT, frames * SHIFT)
        parts = [spectrogram(waves[:, start : start + samples_in(frames)]) for start in starts]
        return torch.stack([self.network(part) for part in parts]).mean(dim=0)


def load_encoder(*run: str | Path | int, preset: str = DEFAULT, project: Project = None) -> TrainedEncoder:
    """A trained encoder with its preprocessing in it, in eval mode on the CPU.

    run      the folder that training left, ``runs/PRESET/pretrain/TRACK/DATASET/METHOD/SEED``, or its parts:
             TRACK, DATASET, METHOD, SEED, as commands take them
    preset   of the parts
    project  the project folder; that of the run's folder, or the working directory, if not given

    The module takes pictures or sound as :func:`embed` does, and returns a tensor (B, D).

    Raises UserError for a run that is not there, and where its record names other parameters, code or data than the
    project asks for, as every stage that judges does.
    """
    if len(run) == 1:
        project, preset, run = _parts_of(Path(project or "", str(run[0])))
    if len(run) != 4 or not str(run[3]).isdecimal():
        raise UserError(f"{' '.join(map(str, run))}: must be the folder {RUN}, or TRACK, DATASET, METHOD, SEED")
    track, dataset, method, seed = map(str, run)
    with inside(project):
        grid = Grid(preset)
        job = grid.job("pretrain", track, dataset, method, int(seed))
        if grid.track(track).modality == "graph":
            raise UserError(f"{job.name}: an encoder of graphs; the Python API takes pictures and sound")
        if not (grid.trained(job) / "run.json").is_file():
            command = f"contrastbench {grid.training_stage(job)} {job.name} --preset {preset}"
            raise UserError(f"{grid.trained(job)}: no trained encoder; `{command}` trains it")
        network, data = load_trained(grid, job).encoder, training_data(grid, job)
        assert isinstance(network, Encoder)
        origin = Origin(Path.cwd(), preset, job)
        if data.meta.front_end is not None:
            return SoundEncoder(network, origin, data.meta.front_end, grid.sound(track).front_end.segments).eval()
        kind = modality_of(data)
        return PictureEncoder(network, origin, kind, kind.input_shape(data)).eval()


def _parts_of(folder: Path) -> tuple[Path, str, tuple[str, ...]]:
    """Project, preset and parts of a run's folder."""
    parts = Path(abspath(folder)).parts
    if len(parts) < 8 or parts[-7] != "runs":
        raise UserError(f"{folder}: not the folder of a trained encoder, which is {RUN}")
    return Path(*parts[:-7]), parts[-6], parts[-4:]


def embed(encoder: nn.Module, examples: Array | Sequence, *, batch_size: int = 256) -> np.ndarray:
    """Features (N, D) float32 of pictures or sound, by a trained encoder or any module that returns (B, D).

    examples    pictures: uint8 (N, H, W, C), or float in [0, 1]; (N, H, W) are grey, and (N, C, H, W) is understood.
                Sound at 16 kHz: waves (N, S), int16 or float in [-1, 1]. A list holds examples of any sizes.
    batch_size  how many the module is given at a time

    A module of your own is given float32 pictures (B, C, H, W) in [0, 1], or waves (B, S), on the device of its
    parameters. It is in eval mode meanwhile, and no gradients are kept.

    Raises UserError for arrays that are neither, and for features that are not (B, D) or not finite.
    """
    if not isinstance(encoder, nn.Module):
        raise UserError(f"an encoder of type {type(encoder).__name__}: must be a torch.nn.Module")
    if batch_size < 1:
        raise UserError(f"batch_size = {batch_size}: must be at least 1")
    ready = (lambda x: x) if isinstance(encoder, TrainedEncoder) else _plain
    device, parts = device_of(encoder), []
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        with torch.inference_mode():
            for batch in _batches(examples, batch_size):
                found = encoder(ready(batch).to(device))
                if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(batch):
                    shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
                    raise UserError(f"{type(encoder).__name__}: returns {shape} for {len(batch)} examples, not (B, D)")
                parts.append(found.float().cpu().numpy())
    finally:
        for module in training:
            module.training = True
    if not parts:
        raise UserError("no examples to embed")
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise UserError(f"{type(encoder).__name__}: its features are not finite")
    return features


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters lie; the CPU if it has none."""
    return next((each.device for each in chain(module.parameters(), module.buffers())), CPU)


def pixels(images: Array) -> Tensor:
    """Pictures -> float32 (B, C, H, W) in [0, 1].

    uint8 or float in [0, 1]; (B, H, W, C) with one or three channels, (B, H, W), or (B, C, H, W), which is what it is
    taken for where the last axis cannot be the channels.
    """
    x = torch.as_tensor(images)
    if x.ndim == 3 and x.shape[2] in (1, 3):
        raise UserError(f"a picture of shape {list(x.shape)}: give a list of it, or an array (N, H, W, C)")
    x = x.unsqueeze(3) if x.ndim == 3 else x
    if x.ndim != 4 or (x.shape[3] not in (1, 3) and x.shape[1] not in (1, 3)):
        raise UserError(f"pictures of shape {list(x.shape)}: must be (N, H, W, C), with 1 or 3 channels C")
    if x.shape[3] not in (1, 3):
        x = x.permute(0, 2, 3, 1)
    if x.dtype == torch.uint8:
        return to_float(x)
    found = x.float()
    if not x.is_floating_point() or not 0 <= found.min() <= found.max() <= 1:
        ends = f"{found.min():g} to {found.max():g}"
        raise UserError(f"pictures of {x.dtype} from {ends}: must be uint8, or float in [0, 1]")
    return found.permute(0, 3, 1, 2)


def waveforms(waves: Array) -> Tensor:
    """Sound at 16 kHz -> float32 (B, S) in [-1, 1]; int16, or float."""
    x = torch.as_tensor(waves)
    if x.ndim != 2:
        raise UserError(f"sound of shape {list(x.shape)}: must be (N, samples), one channel at 16 kHz")
    found = x.float()
    if x.dtype == torch.int16:
        return found / 32768
    if not x.is_floating_point() or not found.abs().max() <= 1:
        raise UserError(f"sound of {x.dtype} up to {found.abs().max():g}: must be int16, or float in [-1, 1]")
    return found


def _plain(examples: Array) -> Tensor:
    return waveforms(examples) if examples.ndim == 2 else pixels(examples)


def _batches(examples: Array | Sequence, size: int) -> Iterator[Tensor]:
    """Batches of at most ``size`` examples of one shape, in order."""
    if isinstance(examples, np.ndarray | Tensor):
        for start in range(0, len(examples), size):
            yield _tensor(examples[start : start + size])
    else:
        for _, group in groupby(map(_array, examples), np.shape):
            while part := list(islice(group, size)):
                yield _tensor(np.stack(part))


def _array(example: Any) -> np.ndarray:
    if getattr(example, "mode", None) == "P":  # an image of PIL's, whose array would hold numbers of colours
        raise UserError("a picture with a palette: give image.convert('RGB')")
    return np.asarray(example)


def _tensor(part: Array) -> Tensor:
    if isinstance(part, np.ndarray) and part.dtype.kind not in "uif":
        raise UserError(f"examples of type {part.dtype}: must be numbers")
    return part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
