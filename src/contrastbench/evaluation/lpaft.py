"""LPAFT: linear probing, then adversarial full fine-tuning of an encoder, on pseudo-labels. No label enters.

The post-processing of DynACL++ (Luo, Wang and Wang, ICLR 2023, section 4.2 and its code, PKU-ML/DYNACL at 7d143db):
k-means on the features of clean training images gives each of them a pseudo-label; a linear head learns these while the
encoder is frozen, so that tuning starts from a head that fits it; then TRADES changes both. The head is thrown away.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, nn

from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier, LabelledImages, centre_and_scale, epochs, tuned
from contrastbench.evaluation.features import extract_features
from contrastbench.modalities.base import Inputs
from contrastbench.params.robustness import PostProcessingParams, SgdParams


def post_processed(
    encoder: nn.Module,
    x: np.ndarray,
    inputs: Inputs,
    params: PostProcessingParams,
    *,
    eps: float,
    seed: int,
    generator: Generator,
) -> nn.Module:
    """A tuned copy of ``encoder`` (B, C, H, W) -> (B, D), on the generator's device, in eval mode.

    x       stored training images (N, ...); ``inputs`` turns rows of them into tensors in [0, 1]
    eps     radius of TRADES in l_inf
    seed    of k-means

    Fewer images than clusters are a UserError.
    """
    device, encoder = generator.device, copy.deepcopy(encoder)
    unlabelled = LabelledImages(x, np.zeros(len(x), np.int64), inputs, device)
    index = unlabelled.first(params.max_examples or len(x))
    features = extract_features(encoder, unlabelled.rows(index), inputs, device=device)
    unlabelled.y[index] = pseudo_labels = clusters_of(features, params.clusters, seed)
    head = linear_probe(features, pseudo_labels, params.clusters, params.probe, generator)
    return tuned(Classifier(encoder, head), unlabelled, index, params, eps=eps, generator=generator).encoder


def clusters_of(features: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Which of ``clusters`` k-means puts each of ``features`` (N, D) in: (N,) int64."""
    from sklearn.cluster import KMeans  # a second of importing

    if len(features) < clusters:
        raise UserError(f"robustness.lpaft.clusters = {clusters}: there are {len(features)} training images")
    # In float64, threads that add in another order find the same clusters.
    return KMeans(clusters, random_state=seed).fit_predict(features.astype(np.float64)).astype(np.int64)


def linear_probe(
    features: np.ndarray, labels: np.ndarray, classes: int, params: SgdParams, generator: Generator
) -> nn.Linear:
    """A linear layer (D -> classes) trained by SGD from zero on ``features`` (N, D), centred and scaled as for slf."""
    mean, scale = centre_and_scale(features)
    rows = LabelledImages(
        (features - mean) / scale, labels, lambda rows, device: torch.from_numpy(rows).to(device), generator.device
    )
    head = nn.Linear(features.shape[1], classes).to(generator.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    for scaled, targets in epochs(list(head.parameters()), rows, np.arange(len(labels)), params, generator):
        F.cross_entropy(head(scaled), targets).backward()
    with torch.no_grad():
        head.weight.div_(scale)
        head.bias.sub_(head.weight @ torch.from_numpy(mean).to(head.weight))
    return head
