"""Stage ``audio_attack``: white-box attacks on a linear classifier of sound, on the spectrogram and on the waveform."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.attacks.audio import WaveformClassifier, attack_waveforms, snr
from contrastbench.attacks.pgd import pgd
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import check_logits, standard_linear
from contrastbench.jobs.cache import labelled
from contrastbench.jobs.classify import ready, trained_method
from contrastbench.jobs.context import RowWriter
from contrastbench.jobs.judged import features_on, row_writer
from contrastbench.jobs.segments import Segments, samples_in, segments_of, waveforms
from contrastbench.modalities import modality_of
from contrastbench.modalities.audio import differentiable
from contrastbench.params.audio import AudioAttackParams, FrontEndParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.training.seeds import generator_for

ANYTHING = (-torch.inf, torch.inf)  # a normalised log-mel value has no bounds
BATCH = 64
SLACK_DB = 0.01  # rounding in float32


def audio_attack(
    grid: Grid, job: Job, judged: str, params: AudioAttackParams, front_end: FrontEndParams, device: str = "cpu"
) -> None:
    """Fit the classifier on a job's frozen features of ``judged``, attack it and write a row for each attack.

    All methods of a seed meet the same segments and the same random starts. Raises UserError when no test clip
    fills a segment, or the training split lacks a class.
    """
    encoder = trained_method(grid, job, open_prepared(grid.data_folder(job))).encoder
    features, data = features_on(grid, job, judged, device)
    train, validation = (labelled(features, data, split) for split in ("train", "validation"))
    check_classes(train.labels, len(data.meta.classes), judged)
    classifier, chosen = standard_linear(encoder, train, validation, params.l2_grid, job.seed)

    sound = open_prepared(grid.layout.prepared(judged))
    segments = segments_of(sound, "test", front_end)
    index = whole_segments(segments, front_end.frames, params.segments, job.seed, judged)
    labels = torch.from_numpy(labelled(features, data, "test").labels[index])
    spectrograms = modality_of(data).inputs(data.x("test")[index], torch.device("cpu"))
    wave = waveforms(sound.x("test"), segments.start[index], segments.stop[index], front_end.frames)

    rows, common = row_writer(grid, job, "audio_attack", data, params)
    target = Target(ready(classifier).to(device), labels, torch.device(device), job.seed, rows, common | chosen)
    check_logits(target.model, spectrograms[:BATCH].to(device))
    target.judge("audio-clean", target.stands(target.model, spectrograms), {}, [], metric="top1")
    attack_spectrograms(target, spectrograms, params)
    assert data.meta.front_end is not None, "spectrograms always say what front end made them"
    attack_sound(target, wave, differentiable(data.meta.front_end), params)


@dataclass(frozen=True)
class Target:
    """A classifier under attack, and where its rows go.

    labels  (N,) int64
    detail  what every row says: how the classifier was chosen, what its training warned of
    """

    model: nn.Module
    labels: Tensor
    device: torch.device
    seed: int
    rows: RowWriter
    detail: dict

    def generator(self, name: str) -> torch.Generator:
        """Random starts of one attack, the same for all methods of a seed."""
        return generator_for(self.device, "audio-attack", name, self.seed)

    @torch.no_grad()
    def stands(self, model: nn.Module, inputs: Tensor) -> np.ndarray:
        """Whether ``model`` classifies each of ``inputs`` (N, ...) correctly (N,)."""
        predicted = [model(part.to(self.device)).argmax(1).cpu() for part in inputs.split(BATCH)]
        return (torch.cat(predicted) == self.labels).numpy()

    def judge(
        self, protocol: str, stands: np.ndarray, facts: dict, failures: list[str], metric: str = "robust-top1"
    ) -> None:
        """Write the row of one attack; failed checks mark it."""
        lines = [*self.detail.get("failed_checks", []), *failures]
        detail = self.detail | facts | ({"failed_checks": lines} if lines else {})
        self.rows.accuracy(protocol, stands, detail, metric)


def attack_spectrograms(target: Target, spectrograms: Tensor, params: AudioAttackParams) -> None:
    """PGD in each l_inf ball on ``spectrograms`` (N, 1, frames, mels)."""
    for eps in params.spectrogram:
        result = pgd(
            target.model,
            spectrograms,
            target.labels,
            eps=eps,
            steps=params.steps,
            generator=target.generator(f"spectrogram {eps:.4g}"),
            bounds=ANYTHING,
            batch_size=BATCH,
        )
        facts = {"norm": "linf", "eps": eps, "steps": params.steps}
        failures = check_ball(spectrograms, result.images, eps)
        target.judge(params.on_spectrogram(eps), target.stands(target.model, result.images), facts, failures)


def attack_sound(
    target: Target, wave: Tensor, front_end: Callable[[Tensor], Tensor], params: AudioAttackParams
) -> None:
    """Noise and PGD on ``wave`` (N, samples) at each signal-to-noise ratio. PGD without a step is noise."""
    heard = WaveformClassifier(front_end, target.model)
    for snr_db in params.snr_db:
        stands = {}
        for protocol, steps in ((params.noise(snr_db), 0), (params.on_waveform(snr_db), params.steps)):
            result = attack_waveforms(
                front_end,
                target.model,
                wave,
                target.labels,
                snr_db=snr_db,
                steps=steps,
                generator=target.generator(f"waveform {snr_db:g} dB"),
                batch_size=BATCH,
            )
            stands[steps] = target.stands(heard, result.images)
            failures = check_sound(wave, result.images, snr_db)
            if stands[steps].sum() > stands[0].sum():
                failures.append("gradients do less than noise of the same energy")
            target.judge(protocol, stands[steps], {"snr_db": snr_db, "steps": steps}, failures)


def check_classes(labels: np.ndarray, classes: int, name: str) -> None:
    """Refuse training labels without some class, as in a class-disjoint split: logits would not be class numbers."""
    missing = classes - len(np.unique(labels))
    if missing:
        raise UserError(
            f"{name}: {missing} of its {classes} classes have no training clip (a class-disjoint split?); "
            "audio_attack.datasets must name data whose classes are all trained on"
        )


def whole_segments(segments: Segments, frames: int, count: int, seed: int, name: str) -> np.ndarray:
    """Positions of ``count`` segments, in a random order of the seed, that their clips fill; all, where fewer do.

    In a frame behind a clip's end the spectrogram holds a constant, which no waveform makes: the two attacks would
    not be on the same input there.
    """
    whole = np.flatnonzero(segments.stop - segments.start >= samples_in(frames))
    if not len(whole):
        raise UserError(f"{name}: no test clip fills a segment of {frames} frames; lower uamix.front_end.frames")
    order = torch.randperm(len(whole), generator=generator_for(torch.device("cpu"), "audio-attack", "segments", seed))
    return np.sort(whole[order[:count].numpy()])


def check_ball(clean: Tensor, perturbed: Tensor, eps: float) -> list[str]:
    """A line when a perturbed spectrogram is not finite or left the l_inf ball."""
    inside = bool(torch.isfinite(perturbed).all()) and float((perturbed - clean).abs().max()) <= eps * (1 + 1e-4) + 1e-5
    return [] if inside else ["perturbations outside the ball"]


def check_sound(clean: Tensor, perturbed: Tensor, snr_db: float) -> list[str]:
    """A line when a perturbed waveform cannot be played or is noisier than ``snr_db``."""
    playable = bool(torch.isfinite(perturbed).all()) and float(perturbed.abs().max()) <= 1
    if playable and float(snr(clean, perturbed).min()) >= snr_db - SLACK_DB:
        return []
    return ["perturbations outside the stated signal-to-noise ratio"]
