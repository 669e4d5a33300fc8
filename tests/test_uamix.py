"""The methods of the uaMix-MAE track on small spectrograms: what is trained, at which rate, on what."""

import copy

import pytest
import torch
from torch.nn import functional
from uamix_cases import FRAMES, MELS, built, changed, flop_counter, smallest_track

from contrastbench.augment.mixing import mix
from contrastbench.methods import Batch, Step
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.methods.mae import MAE
from contrastbench.methods.mae_joint import MAEJoint
from contrastbench.methods.random_encoder import RandomEncoder
from contrastbench.models.masked_autoencoder import random_mask
from contrastbench.models.patches import patchify
from contrastbench.objectives.masked_autoencoding import masked_reconstruction_loss
from contrastbench.params.audio_track import AudioTrack, TuneParams
from contrastbench.params.root import load
from contrastbench.training.optimizers import build_optimizer


@pytest.fixture(scope="module")
def track() -> AudioTrack:
    return smallest_track()


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


def nnclr_by_hand(head, queries, projections, ids, labels, temperature, top_k, draw, *, symmetric=True):
    """NNCLR between two sides: neighbours of each side's queries, matched with the *other* side's predictions."""
    found = []
    for q in queries[: 1 + symmetric]:
        similarity = (q @ head.queue.T).masked_fill(ids.unsqueeze(1) == head.queue_ids, -1)
        best = similarity.sort(dim=1, descending=True).indices[:, :top_k]
        found.append(head.queue[best[torch.arange(len(q)), torch.randint(top_k, (len(q), 1), generator=draw)[:, 0]]])
    predicted = [functional.normalize(head.predictor(z), dim=1) for z in projections]
    terms = [
        -(y * (q @ p.T / temperature).log_softmax(dim=1)).sum(dim=1).mean()
        for q, p, y in zip(found, predicted[::-1], (labels, labels.T), strict=False)
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize(
    "label", ["mae-ct", "uamix-mae", "uamix-augmented", "uamix-input-only", "uamix-one-sided", "uamix-clean"]
)
def test_a_tuning_step_is_what_is_written_out_here(track, label):
    """What is mixed, which sides are matched, the settings that count, and what the queue gets."""
    params: TuneParams = track.pretrain(label, "instruments")
    settings, top_k = params.settings, params.encoder_step.top_k
    assert top_k > 1
    method = built(track, label)
    method.begin(params.encoder_step)
    method.train()
    method.training_step(batch_for(method, seed=2), step_for(1))  # so that the queue holds samples
    other, batch, draw = copy.deepcopy(method), batch_for(method), step_for().generator
    output = method.training_step(batch, step_for())

    encoder, head, ids, identity = other.encoder, other.head, batch.index, torch.eye(8)

    def contrast(first, second, labels):
        queries = [functional.normalize(head.target_projector(side), dim=1).detach() for side in (first, second)]
        projections = [head.projector(side) for side in (first, second)]
        rest = (ids, labels, settings.temperature, top_k, draw)
        return nnclr_by_hand(head, queries, projections, *rest, symmetric=settings.symmetric), queries[0]

    if label == "mae-ct":
        expected, remembered = contrast(*map(encoder, batch.views), identity)
    else:
        source = batch.views[1] if label == "uamix-augmented" else batch.clean
        mixture = mix(source, "t-cutmix", settings.alpha, draw)
        labels = identity if label == "uamix-input-only" else mixture.labels
        expected, remembered = contrast(encoder(mixture.x), encoder(batch.views[0]), labels)
        if label == "uamix-clean":
            expected = expected + contrast(*map(encoder, batch.views[::-1]), identity)[0]
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(method.head.queue[8:16], remembered)
    assert method.head.queue_ids[:16].tolist() == [*range(8)] * 2 and method.head.queue_next.item() == 16


@pytest.mark.parametrize("target", ["raw", "normalised"])
def test_a_step_of_joint_training_is_what_is_written_out_here(track, target):
    params = track.pretrain("mae-joint", "instruments").model_copy(update={"target": target})
    method = MAEJoint.from_params(params, (1, FRAMES, MELS), 2)
    method.train()
    method.training_step(batch_for(method, seed=2), step_for(1))
    other, batch, draw = copy.deepcopy(method), batch_for(method), step_for().generator
    output = method.training_step(batch, step_for())

    x, settings = batch.views[0], params.settings
    mask = random_mask(8, method.encoder.patch_embed.num_patches, params.mask_ratio, draw)
    patches = patchify(x, params.encoder.patch)
    reconstruction = masked_reconstruction_loss(other.autoencoder(x, mask)[0], patches, mask.hidden, target)
    projections = [other.head.projector(other.encoder(view)) for view in batch.views]
    queries = [functional.normalize(z.detach(), dim=1) for z in projections]
    rest = (batch.index, torch.eye(8), settings.temperature, settings.top_k, draw)
    contrast = nnclr_by_hand(other.head, queries, projections, *rest)
    assert settings.top_k > 1
    assert output["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-4)
    assert output["contrast"].item() == pytest.approx(contrast.item(), rel=1e-4)
    torch.testing.assert_close(method.head.queue[8:16], queries[0])
    assert method.head.queue_ids[:16].tolist() == [*range(8)] * 2 and method.head.queue_next.item() == 16


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
    """The warning in the specification's 1.4: otherwise the mixture is only a soft target and teaches nothing."""
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
    cost = {}
    for label in ("mae", "mae-joint"):
        method = built(track, label)
        with flop_counter() as counter:
            output = method.training_step(batch_for(method), step_for())
            output["loss"].backward()
        cost[label] = counter.get_total_flops()
    assert isinstance(method, MAEJoint)
    without = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    contrast, reconstruction = output["contrast"].item(), output["reconstruction"].item()
    weight = method.settings.contrast_weight
    assert output["loss"].item() == pytest.approx(reconstruction + weight * contrast, rel=1e-5)
    assert cost["mae-joint"] > 3 * cost["mae"]  # two full passes besides one over a fifth of the patches


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


@pytest.mark.parametrize("readout", ["mean", "mean+std"])
def test_encoders_and_the_spectrogram_are_read_out_alike(track, readout):
    """Mean, or mean and deviation, over patch tokens or frames; a head is built for as many features."""
    wide = changed(track, {"encoder": {"readout": readout}})
    x = batch_for(built(wide, "mae"), size=3).clean
    methods = {label: built(wide, label).eval() for label in ("log-mel", "random", "mae", "mae-ct", "mae-joint")}
    for label, method in methods.items():
        with torch.no_grad():
            tokens = x[:, 0] if label == "log-mel" else method.encoder.tokens(x)[:, 1:]
            parts = [tokens.mean(dim=1), tokens.std(dim=1, correction=0)]
            found = method.encoder(x)
        expected = torch.cat(parts[: 1 + (readout == "mean+std")], dim=1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert method.encoder.features == found.shape[1]
    one_step(methods["mae-ct"].train(), wide.pretrain("mae-ct", "instruments").head_step.training)
    assert not methods["log-mel"].state_dict() and not methods["log-mel"].trains
