"""Stage ``spectrograms``: a prepared audio data set -> normalised log-mel segments, computed once in batches."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch

from contrastbench.augment.log_mel import log_mel, normalise, number_of_frames, pad_or_cut
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import FrontEnd, Prepared, open_prepared, spectrogram_hash, write_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.segments import Segments, segments_of, waveforms
from contrastbench.params.audio import FrontEndParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

BATCH = 128  # segments
TRAINED_ON = {"train", "unlabeled"}


def spectrograms(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Read the prepared sound of the job's data set and leave its spectrograms, in the same store format.

    ``SPLIT_x`` is float16 (N, frames, mels), one row per segment; every column of the clips is repeated for their
    segments, and ``clip`` says which clip a segment belongs to. Frames that a clip lacks are 0 before the
    normalisation, as in AudioMAE; they do not count in the statistics. The data set's hash is of the sound and of
    ``params``, not of the spectrograms, whose last bits differ between machines.
    """
    prepared, folder = grid.layout.prepared(job.dataset), grid.layout.spectrograms(job.track, job.dataset)
    params = grid.sound(job.track).front_end
    data = open_prepared(prepared)
    if data.meta.modality != "audio" or data.meta.front_end is not None:
        raise UserError(f"{prepared}: holds no sound; spectrograms are made of prepared audio data sets")
    mean, std = params.mean, params.std
    if mean is None or std is None:
        mean, std = statistics(data, params)
    front_end = FrontEnd(frames=params.frames, mels=params.mels, mean=mean, std=std)
    splits = {split: _spectrograms_of(data, split, front_end, params, folder) for split in data.meta.splits}
    data_hash = spectrogram_hash(data.meta.hash, params)
    meta = write_prepared(folder, data.meta, splits, data.meta.split_rule, front_end, data_hash)
    counts = ", ".join(f"{split} {facts.count:,}" for split, facts in meta.splits.items())
    runtime.tell(f"{folder}: segments: {counts}; data hash {meta.hash}")


def statistics(data: Prepared, params: FrontEndParams) -> tuple[float, float]:
    """Mean and standard deviation of the log-mel energies that are trained on, padding left out."""
    count, total, squares = 0, 0.0, 0.0
    for split in sorted(TRAINED_ON & data.meta.splits.keys()):
        for energies, lengths in _batches(data, split, segments_of(data, split, params), params):
            values = energies[torch.arange(params.frames) < lengths.unsqueeze(1)].double()
            count += values.numel()
            total += float(values.sum())
            squares += float(values.square().sum())
    mean = total / count
    return mean, (squares / count - mean**2) ** 0.5


def _spectrograms_of(data: Prepared, split: str, front_end: FrontEnd, params: FrontEndParams, folder: Path) -> Split:
    segments = segments_of(data, split, params)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(segments.clip), front_end.frames, front_end.mels)
    with TemporaryFile(dir=folder.parent) as spool:
        for energies, _ in _batches(data, split, segments, params):
            spool.write(normalise(energies, front_end.mean, front_end.std).half().numpy().data)
        spool.flush()
        x = np.memmap(spool, np.float16, "r", shape=shape)
    names = [name for name in data.meta.splits[split].arrays if name not in ("x", "y", "offsets")]
    columns = {name: np.asarray(data.column(split, name))[segments.clip] for name in names}
    labels = data.y(split)
    skipped = tuple(data.meta.skipped.get(split, ()))
    y = None if labels is None else np.asarray(labels)[segments.clip]
    return Split(x, y, columns | {"clip": segments.clip}, skipped)


def _batches(
    data: Prepared, split: str, segments: Segments, params: FrontEndParams
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Log-mel energies (B, frames, mels), 0 where a clip has ended, and each segment's own frames (B,)."""
    samples = data.x(split)
    for first in range(0, len(segments.clip), BATCH):
        start, stop = segments.start[first : first + BATCH], segments.stop[first : first + BATCH]
        lengths = torch.tensor([number_of_frames(int(n)) for n in stop - start])
        wave = waveforms(samples, start, stop, params.frames)
        energies = pad_or_cut(log_mel(wave, params.mels), params.frames)
        ended = torch.arange(params.frames) >= lengths.unsqueeze(1)
        yield energies.masked_fill(ended.unsqueeze(2), 0.0), lengths
