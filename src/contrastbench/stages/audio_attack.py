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
from contrastbench.evaluation.classifiers import CLEAN, check_logits, clean_accuracy, standard_linear
from contrastbench.jobs.classifiers import ready
from contrastbench.jobs.features_file import labelled
from contrastbench.jobs.judged import features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.segments import Segments, samples_in, segments_of, waveforms
from contrastbench.jobs.weights import load_trained
from contrastbench.modalities import modality_of
from contrastbench.modalities.audio import differentiable
from contrastbench.params.audio import AudioAttackParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import generator_for

ANYTHING = (-torch.inf, torch.inf)  # a normalised log-mel value has no bounds
BATCH = 64
SLACK_DB = 0.01  # rounding in float32


def audio_attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Fit the classifier on a job's frozen features, attack it and give a row for each attack.

    All methods of a seed meet the same segments and the same random starts. Raises UserError when no test clip
    fills a segment, or the training split lacks a class.
    """
    section, judged = grid.sound(job.track), job.judged
    params, front_end = section.audio_attack, section.front_end
    assert params is not None
    encoder = load_trained(grid, job).encoder
    features, data = features_on(grid, job, runtime.device)
    train, validation = (labelled(features, data, split) for split in ("train", "validation"))
    check_classes(train.labels, len(data.meta.classes), judged)
    classifier, best, scores = standard_linear(
        encoder, train, params.l2_grid, job.seed, lambda each: clean_accuracy(each, validation), by=CLEAN
    )

    sound = open_prepared(grid.layout.prepared(judged))
    segments = segments_of(sound, "test", front_end)
    index = whole_segments(segments, front_end.frames, params.segments, job.seed, judged)
    labels = torch.from_numpy(labelled(features, data, "test").labels[index])
    spectrograms = modality_of(data).inputs(data.x("test")[index], torch.device("cpu"))
    wave = waveforms(sound.x("test"), segments.start[index], segments.stop[index], front_end.frames)

    rows = RowWriter(grid, "audio_attack", job, data.meta.hash)
    device = torch.device(runtime.device)
    victim = AudioVictim(ready(classifier).to(device), labels, device, job.seed, rows, {"C": best, **scores[best]})
    check_logits(victim.model, spectrograms[:BATCH].to(device))
    victim.add_row(Protocol(family="audio-clean"), victim.is_correct(victim.model, spectrograms), [], metric="top1")
    attack_spectrograms(victim, spectrograms, params)
    assert data.meta.front_end is not None, "spectrograms always say what front end made them"
    attack_sound(victim, wave, differentiable(data.meta.front_end), params)
    return rows.rows


@dataclass(frozen=True)
class AudioVictim:
    """A classifier under attack, and where its rows go.

    labels  (N,) int64
    detail  what every row says: how the classifier was chosen
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
    def is_correct(self, model: nn.Module, inputs: Tensor) -> np.ndarray:
        """Whether ``model`` classifies each of ``inputs`` (N, ...) correctly (N,)."""
        predicted = [model(part.to(self.device)).argmax(1).cpu() for part in inputs.split(BATCH)]
        return (torch.cat(predicted) == self.labels).numpy()

    def add_row(self, protocol: Protocol, correct: np.ndarray, failed: list[str], metric: str = "robust-top1") -> None:
        """Add the row of one attack; failed checks mark it."""
        self.rows.accuracy(protocol, correct, self.detail, failed, metric)


def attack_spectrograms(victim: AudioVictim, spectrograms: Tensor, params: AudioAttackParams) -> None:
    """PGD in each l_inf ball on ``spectrograms`` (N, 1, frames, mels)."""
    for eps in params.spectrogram:
        result = pgd(
            victim.model,
            spectrograms,
            victim.labels,
            eps=eps,
            steps=params.steps,
            step_size=eps / 10,
            generator=victim.generator(f"spectrogram {eps:.4g}"),
            bounds=ANYTHING,
            batch_size=BATCH,
        )
        protocol = Protocol(family="audio-pgd-spectrogram", norm="linf", eps=eps, steps=params.steps)
        failures = check_ball(spectrograms, result.images, eps)
        victim.add_row(protocol, victim.is_correct(victim.model, result.images), failures)


def attack_sound(
    victim: AudioVictim, wave: Tensor, front_end: Callable[[Tensor], Tensor], params: AudioAttackParams
) -> None:
    """Noise and PGD on ``wave`` (N, samples) at each signal-to-noise ratio. PGD without a step is noise."""
    heard = WaveformClassifier(front_end, victim.model)
    for snr_db in params.snr_db:
        correct = {}
        noise = Protocol(family="audio-noise", snr_db=snr_db)
        attack = Protocol(family="audio-pgd-waveform", snr_db=snr_db, steps=params.steps)
        for protocol, steps in ((noise, 0), (attack, params.steps)):
            result = attack_waveforms(
                front_end,
                victim.model,
                wave,
                victim.labels,
                snr_db=snr_db,
                steps=steps,
                generator=victim.generator(f"waveform {snr_db:g} dB"),
                batch_size=BATCH,
            )
            correct[steps] = victim.is_correct(heard, result.images)
            failures = check_sound(wave, result.images, snr_db)
            if correct[steps].sum() > correct[0].sum():
                failures.append("gradients do less than noise of the same energy")
            victim.add_row(protocol, correct[steps], failures)


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
