"""Each method's training step against the same step written by hand on a twin network, with settings of the test's own.

Losses have tests of their own; here is what a method makes of them: which loss, of which views, with whose settings,
through which BatchNorm, from which queue.
"""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from audio_sets import about
from conftest import REPOSITORY
from small_project import small_grid
from torch import Tensor
from torch.nn import functional
from training_cases import make_method, step_of, views_of
from uamix_cases import FRAMES, MELS, built, changed, smallest_track

from contrastbench.augment.mixing import mix
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.jobs.weights import build_method, required_params, training_data
from contrastbench.methods import Batch, Method, Step
from contrastbench.models.heads import Projection
from contrastbench.models.masked_autoencoder import random_mask
from contrastbench.models.nnclr_head import NNCLRHead
from contrastbench.models.patches import patchify
from contrastbench.objectives.contrastive import dcl, hcl, nt_xent
from contrastbench.objectives.diagnostics import effective_negatives
from contrastbench.objectives.masked_autoencoding import masked_reconstruction_loss
from contrastbench.objectives.mixed_unremix import mixed_unremix_loss
from contrastbench.objectives.mochi import mochi_loss
from contrastbench.objectives.swav import sinkhorn_codes
from contrastbench.objectives.unremix import unremix_loss
from contrastbench.pipeline.layout import Job
from contrastbench.registry import METHODS
from contrastbench.stages import diagnostics

IMAGES = 24
# Compared in the file of their own.
ELSEWHERE = {
    "test_instance_attacks.py": ("rocl", "acl", "clae"),
    "test_asymmetric.py": ("a-infonce",),
    "test_dynacl.py": ("dynacl",),
    "test_swaro.py": ("swaro",),
    "test_adversarial_methods.py": ("pgd-at", "trades"),
    "test_uamix.py": ("log-mel",),
    "test_own_encoders.py": ("frozen",),
    "test_graphcl.py": ("graphcl", "graphcl-simclr", "graphcl-dcl", "graphcl-hcl", "graphcl-unremix"),
    "test_infograph.py": ("infograph", "infograph-hcl", "infograph-unremix"),
}


def project(method: Method, images: Tensor) -> Projection:
    hidden = method.projector.body(method.encoder(images))
    return Projection(hidden, method.projector.last(hidden))


def pair(method: Method, batch: Batch) -> tuple[Projection, Projection]:
    """Two passes: BatchNorm sees each view for itself."""
    first, second = batch.views
    return project(method, first), project(method, second)


def simclr(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = pair(method, batch)
    return nt_xent(first.output, second.output, temperature=0.3)


def dcl_step(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = pair(method, batch)
    return dcl(first.output, second.output, temperature=0.3, tau_plus=0.03)


def hcl_step(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = pair(method, batch)
    return hcl(first.output, second.output, temperature=0.3, tau_plus=0.03, beta=0.7)


def mochi(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = pair(method, batch)
    counts = {"hardest": 9, "mixed_negatives": 5, "mixed_with_query": 3}
    return mochi_loss(first.output, second.output, temperature=0.3, **counts, generator=step.generator)


def unremix(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = pair(method, batch)
    loss = unremix_loss(first, second, **method.settings.model_dump() | IMAGE_STEPS["unremix"][1])
    assert abs(loss - nt_xent(first.output, second.output, temperature=0.3)) > 1e-3
    return loss


def swav(method: Method, batch: Batch, step: Step) -> Tensor:
    """Both views in one pass, as in SwAV's code; each view's code is what the other has to predict."""
    output = project(method, torch.cat(batch.views)).output
    first, second = (functional.normalize(output, dim=1) @ method.prototypes.weight.T).split(IMAGES)
    codes = [sinkhorn_codes(scores.detach(), epsilon=0.05, iterations=2) for scores in (first, second)]
    return (soft_cross_entropy(first / 0.3, codes[1]) + soft_cross_entropy(second / 0.3, codes[0])) / 2


def supervised(method: Method, batch: Batch, step: Step) -> Tensor:
    (view,) = batch.views
    logits = method.encoder(view) @ method.classifier.weight.T + method.classifier.bias
    return -logits.log_softmax(1)[torch.arange(IMAGES), batch.labels].mean()


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -(labels * logits.log_softmax(1)).sum(1).mean()


# Each method's step by hand, and the settings that it is to be called with.
IMAGE_STEPS: dict[str, tuple[Callable[[Method, Batch, Step], Tensor], dict[str, object]]] = {
    "simclr": (simclr, {"temperature": 0.3}),
    "dcl": (dcl_step, {"temperature": 0.3, "tau_plus": 0.03}),
    "hcl": (hcl_step, {"temperature": 0.3, "tau_plus": 0.03, "beta": 0.7}),
    "mochi": (mochi, {"temperature": 0.3, "hardest": 9, "mixed_negatives": 5, "mixed_with_query": 3}),
    "unremix": (
        unremix,
        {
            "temperature": 0.3,
            "weights": (0.5, 0.3, 0.2),
            "posterior_temperature": 0.1,
            "standardized": True,
            "normalization": "exp",
            "sharpness": (2.0, 3.0, 1.5),
            "tau_plus": 0.03,
        },
    ),
    "swav": (swav, {"temperature": 0.3, "sinkhorn_epsilon": 0.05, "sinkhorn_iterations": 2}),
    "supervised": (supervised, {}),
}


def compare(method: Method, by_hand: Callable[[Method, Batch, Step], Tensor], batch: Batch, number: int) -> None:
    """Loss, gradients and buffers (statistics of BatchNorm, queues) of one step are those of the step by hand."""
    twin = copy.deepcopy(method)
    loss = method.training_step(batch, step_of(number))["loss"]
    expected = by_hand(twin, batch, step_of(number))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for (name, ours), theirs in zip(method.named_parameters(), twin.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, ours), theirs in zip(method.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_every_method_is_compared():
    """A new one joins ``IMAGE_STEPS`` or ``AUDIO_STEPS``, or has such a test in a file of its own."""
    elsewhere = [name for names in ELSEWHERE.values() for name in names]
    audio = {smallest_track().base_method(label) for label in AUDIO_STEPS}
    assert {*IMAGE_STEPS, *audio, *elsewhere} == METHODS.keys() - {"random"}
    for file, names in ELSEWHERE.items():
        assert all(f'"{name}"' in (REPOSITORY / "tests" / file).read_text(encoding="utf-8") for name in names)


@pytest.mark.parametrize("name", IMAGE_STEPS)
def test_a_step_on_images(name):
    by_hand, settings = IMAGE_STEPS[name]
    method = make_method(name, **settings)
    compare(method, by_hand, views_of(method, IMAGES), number=3)


# ---- what is measured with labels


def test_diagnostics_know_which_sample_has_which_label(tmp_path, monkeypatch):
    """Every pixel of an image is its label, and neither augmentation nor encoder changes it."""
    monkeypatch.chdir(tmp_path)
    unchanged = {"jitter_probability": 0.0, "blur_probability": 0.0}
    grid = small_grid(tmp_path, {"unremix": {"augment": unchanged, "training": {"batch_size": IMAGES}}})
    y = np.random.default_rng(0).permutation(2 * IMAGES)
    pictures = np.tile(y.astype(np.uint8)[:, None, None, None], (1, 8, 8, 1))
    splits = {split: Split(pictures, y) for split in ("train", "validation", "test")}
    classes = tuple(str(number) for number in range(2 * IMAGES))
    write_prepared(grid.layout.prepared("digits"), about("digits", "image", classes), splits, "as made")
    job = Job("unremix", "digits", "simclr", 0)
    method = build_method(required_params(grid, job), training_data(grid, job), 0)
    method.project = lambda view: Projection(view[:, 0, 4], 255 * view[:, 0, 4])
    monkeypatch.setattr(diagnostics, "load_trained", lambda grid, job: method)
    batches = list(diagnostics.projected(grid, job, 2, torch.device("cpu")))
    assert len(batches) == 2
    for first, second, labels in batches:
        seen = torch.cat([first.output, second.output])
        assert len(labels.unique()) == IMAGES
        torch.testing.assert_close(seen, labels.unsqueeze(1).expand_as(seen).float())


def test_hcls_diagnostics_are_of_its_own_weights():
    method = make_method("hcl", temperature=0.3, beta=2.0).eval()
    batch = views_of(method, IMAGES)
    with torch.no_grad():
        found = method.weightings(*(method.project(view) for view in batch.views))["weights"]
        z = functional.normalize(project(method, torch.cat(batch.views)).output, dim=1)
    similarity = z @ z.T / 0.3
    other = ~torch.eye(IMAGES, dtype=torch.bool).repeat(2, 2)
    share = (2.0 * similarity).masked_fill(~other, -torch.inf).softmax(1)
    torch.testing.assert_close(found.where(other, 0) / found.where(other, 0).sum(1, keepdim=True), share)
    effective = torch.special.entr(share).sum(1).exp() / (2 * IMAGES - 2)
    assert effective_negatives(found) == pytest.approx(effective.mean().item(), rel=1e-4)


# ---- sound


def neighbours(head: NNCLRHead, queries: Tensor, ids: Tensor, top_k: int, step: Step) -> Tensor:
    """One of each query's ``top_k`` nearest entries that are not of the sample itself."""
    similarity = queries @ head.queue.T
    similarity[ids.unsqueeze(1) == head.queue_ids] = -1.0
    nearest = similarity.sort(dim=1, descending=True).indices[:, :top_k]
    pick = torch.randint(top_k, (len(ids), 1), generator=step.generator)
    return head.queue[nearest.gather(1, pick)[:, 0]]


def unit(z: Tensor) -> Tensor:
    return functional.normalize(z.detach().float(), dim=1)


def contrast(
    method: Method, first: Tensor, second: Tensor, labels: Tensor, batch: Batch, step: Step
) -> tuple[Tensor, Tensor]:
    """The loss between two sides' features, and what the first one puts into the queue."""
    head, known = method.head, method.settings
    if known.objective == "unremix":
        sides = [head(side) for side in (first, second)]
        loss = mixed_unremix_loss(
            *sides, labels, temperature=known.temperature, symmetric=known.symmetric, **known.negatives.model_dump()
        )
        return loss, sides[0].output
    queries = [unit(head.target_projector(first))]
    found = [neighbours(head, queries[0], batch.index, TOP_K, step)]
    predicted = functional.normalize(head.predictor(head.projector(second)), dim=1)
    loss = soft_cross_entropy(found[0] @ predicted.T / known.temperature, labels)
    if known.symmetric:
        queries.append(unit(head.target_projector(second)))
        found.append(neighbours(head, queries[1], batch.index, TOP_K, step))
        predicted = functional.normalize(head.predictor(head.projector(first)), dim=1)
        loss = (loss + soft_cross_entropy(found[1] @ predicted.T / known.temperature, labels.T)) / 2
    return loss, queries[0]


def fill(head: object, rows: Tensor, ids: Tensor) -> None:
    """Put ``rows`` where the oldest entries are; the queues of these tests start at entry 8, and hold 16 behind it."""
    if isinstance(head, NNCLRHead):
        head.queue[8 : 8 + len(ids)], head.queue_ids[8 : 8 + len(ids)] = rows, ids
        head.queue_next[0] = 8 + len(ids)


def mae_ct(method: Method, batch: Batch, step: Step) -> Tensor:
    first, second = (method.encoder(view) for view in batch.views)
    loss, queries = contrast(method, first, second, torch.eye(8), batch, step)
    fill(method.head, queries, batch.index)
    return loss


def uamix_mae(method: Method, batch: Batch, step: Step) -> Tensor:
    """Mixtures, of the raw spectrograms or of the other view, against the augmented view of the samples in them."""
    known = method.settings
    mixture = mix(batch.views[1] if known.augment_mixture else batch.clean, known.mixing, 1.0, step.generator)
    labels = mixture.labels if known.mix_labels else torch.eye(8)
    clean = method.encoder(batch.views[0])
    loss, queries = contrast(method, method.encoder(mixture.x), clean, labels, batch, step)
    if known.clean_loss_weight:
        other = method.encoder(batch.views[1])
        loss = loss + known.clean_loss_weight * contrast(method, other, clean, torch.eye(8), batch, step)[0]
    fill(method.head, queries, batch.index)
    return loss


def mae(method: Method, batch: Batch, step: Step) -> Tensor:
    """Patches of view 1 are hidden, and predicted from the others."""
    view = batch.views[0]
    mask = random_mask(8, FRAMES * MELS // 16, 0.5, step.generator)
    prediction, _ = method.autoencoder(view, mask)
    return masked_reconstruction_loss(prediction, patchify(view, 4), mask.hidden, "standardised")


def mae_joint(method: Method, batch: Batch, step: Step) -> Tensor:
    """Each view's prediction against the other view's neighbours, besides the reconstruction of view 1."""
    loss, head = mae(method, batch, step), method.head
    z = [head.projector(method.encoder(view)) for view in batch.views]
    found = [neighbours(head, unit(each), batch.index, TOP_K, step) for each in z]
    predicted = [functional.normalize(head.predictor(each), dim=1) for each in z]
    sides = ((found[0], predicted[1]), (found[1], predicted[0]))
    contrasts = [soft_cross_entropy(near @ other.T / 0.3, torch.eye(8)) for near, other in sides]
    fill(head, unit(z[0]), batch.index)
    return loss + 0.7 * sum(contrasts) / 2


TOP_K = 3
AUDIO_STEPS: dict[str, Callable[[Method, Batch, Step], Tensor]] = {
    "mae": mae,
    "mae-joint": mae_joint,
    "mae-ct": mae_ct,
    "mae-ct-unremix": mae_ct,
    "uamix-mae": uamix_mae,
    "uamix-mixup": uamix_mae,
    "uamix-input-only": uamix_mae,
    "uamix-one-sided": uamix_mae,
    "uamix-augmented": uamix_mae,
    "uamix-clean": uamix_mae,
    "uamix-unremix": uamix_mae,
}
OWN = {
    "pretraining": {"mask_ratio": 0.5, "target": "standardised"},
    "settings": {"mae_joint": {"contrast_weight": 0.7, "temperature": 0.3, "top_k": TOP_K}},
    "tuning": {"encoder_step": {"top_k": TOP_K}},
}


@pytest.mark.parametrize("label", AUDIO_STEPS)
def test_a_step_on_spectrograms(label):
    """With a queue that holds samples of the batch, in tuning with an EMA projector that has gone its own way."""
    track = changed(smallest_track(), OWN)
    method, draw = built(track, label), torch.Generator().manual_seed(5)
    if hasattr(method, "begin"):
        method.begin(track.pretrain(label, "instruments").encoder_step)
    method.train()
    head = getattr(method, "head", None)
    if isinstance(head, NNCLRHead):
        head.enqueue(functional.normalize(torch.randn(8, 8, generator=draw), dim=1), torch.arange(8))
        for parameter in head.target_projector.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    x = torch.randn(8, 1, FRAMES, MELS, generator=draw)
    views = [x + 0.5 * torch.randn(x.shape, generator=draw) for _ in range(method.number_of_views)]
    compare(method, AUDIO_STEPS[label], Batch(x, views, torch.arange(8), None), number=2)
