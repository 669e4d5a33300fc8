"""Nearest neighbours on the validation split: of a trained encoder's features, and of an encoder in training."""

import numpy as np
import torch
from torch import nn

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import is_correct
from contrastbench.jobs.features_file import examples
from contrastbench.modalities import modality_of
from contrastbench.params.evaluation import ProbeParams
from contrastbench.params.track import TrackParams
from contrastbench.training.curve import LearningCurve


def validation_verdicts(
    features: dict[str, np.ndarray], data: Prepared, params: ProbeParams, device: str
) -> np.ndarray:
    """Whether the probe's kNN, whose neighbours are training examples, is right on each validation example, (C,)."""
    train, validation = (examples(features, data, split) for split in ("train", "validation"))
    knn = fit_knn(train, neighbours=params.knn_neighbours, temperature=params.knn_temperature, device=device)
    return is_correct(knn, validation)


def learning_curve(track: TrackParams, data: Prepared, device: str) -> LearningCurve | None:
    """The accuracy of these verdicts on an encoder that is trained on ``data``; None where the switch is off."""
    if track.curve.every_epochs == 0:
        return None
    kind = modality_of(data)

    def accuracy(encoder: nn.Module) -> float:
        features = {
            split: extract_features(encoder, kind.examples(data, split), kind.inputs, device=torch.device(device))
            for split in ("train", "validation")
        }
        return float(validation_verdicts(features, data, track.probe, device).mean())

    return LearningCurve("validation_knn", track.curve.every_epochs, accuracy)
