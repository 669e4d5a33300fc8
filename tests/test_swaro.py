"""SwARo: targets, the attack's invariants (specification 1.6), the three losses, and what the schema refuses."""

import math

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch.nn import functional
from training_cases import make_method, step_of, train_on, views_of

from contrastbench.attacks.training import training_attack
from contrastbench.errors import UserError
from contrastbench.objectives.swaro import attack_targets
from contrastbench.objectives.swav import assignment_loss, sinkhorn_codes
from contrastbench.params.base import overlay, read_yaml, validate
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.root import load
from contrastbench.registry import METHODS


def codes_of(batch: int = 64, prototypes: int = 10, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, prototypes, generator=generator) * 2 - 1
    return sinkhorn_codes(scores, epsilon=0.05, iterations=3)


def targets_of(codes: torch.Tensor, seed: int = 1, target: str = "permuted", cluster_test: bool = True):
    generator = torch.Generator().manual_seed(seed)
    return attack_targets(codes, target=target, cluster_test=cluster_test, generator=generator)


def test_permuted_targets_are_other_rows_and_fixed_points_always_fail():
    codes = codes_of()
    fixed_points = 0
    for seed in range(20):
        targets = targets_of(codes, seed)
        sigma = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
        same_cluster = codes[sigma].argmax(1) == codes.argmax(1)
        fixed = sigma == torch.arange(64)
        fixed_points += int(fixed.sum())
        assert torch.equal(targets.failed, same_cluster) and targets.failed[fixed].all()
        assert torch.equal(targets.codes[~targets.failed], codes[sigma][~targets.failed])
        assert torch.equal(targets.codes[targets.failed], codes[targets.failed])
        assert torch.equal(targets.direction, torch.where(targets.failed, 1.0, -1.0))
    assert fixed_points > 5  # sigma is a plain permutation, no derangement


def test_how_often_the_cluster_test_bites():
    """About 1/B + sum_k p_k^2 of the rows fail (specification 1.3)."""
    codes = codes_of(200, 10)
    share = codes.argmax(1).bincount(minlength=10) / 200
    expected = float(1 / 200 + (share**2).sum())
    failed = np.mean([targets_of(codes, seed).failed.float().mean() for seed in range(50)])
    assert failed == pytest.approx(expected, abs=0.01)


def test_other_targets():
    codes = codes_of()
    own = targets_of(codes, target="own-untargeted")
    assert torch.equal(own.codes, codes) and (own.direction == 1).all() and not own.failed.any()
    drawn = targets_of(codes, target="random-prototype")
    chosen = drawn.codes[~drawn.failed]
    assert (chosen.sum(1) == 1).all() and (chosen.max(1).values == 1).all()
    assert (chosen.argmax(1) != codes[~drawn.failed].argmax(1)).all()
    assert len(chosen.argmax(1).unique()) == 10
    unchecked = targets_of(codes, cluster_test=False)
    assert (unchecked.direction == -1).all() and not unchecked.failed.any()


@pytest.mark.parametrize("name", ["swav", "swaro"])
@pytest.mark.parametrize("prototypes", [10, 60])
def test_loss_of_an_untrained_network_is_about_ln_k(name, prototypes):
    """Above it by what cosines of 128-dimensional embeddings vary: 0.15 to 0.40 measured over five initialisations."""
    for seed in range(3):
        method = make_method(name, seed, prototypes=prototypes, embedding=128, temperature=0.1)
        loss = method.training_step(views_of(method, 128), step_of(0))["loss"].item()
        assert 0 < loss - math.log(prototypes) < 0.5


def trained(**settings: object):
    method = make_method("swaro", prototypes=10, **settings)
    train_on(method, steps=30)
    return method


@pytest.mark.parametrize("target", ["permuted", "random-prototype", "own-untargeted"])
@pytest.mark.parametrize("failing_rows", ["untargeted", "clean"])
def test_attack_keeps_its_invariants(target, failing_rows):
    method = make_method("swaro", prototypes=10, target=target, failing_rows=failing_rows)
    first, second = views_of(method, 64).views
    before = {name: value.clone() for name, value in method.state_dict().items()}
    adversarial, failed = method.attack(first, second, step_of(0))
    assert (adversarial - first).abs().max() <= method.settings.eps + 1e-6
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    assert not adversarial.requires_grad
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(module.training for module in method.modules())
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    moved = (adversarial - first).flatten(1).abs().amax(1)
    assert failed.any() == (target != "own-untargeted")
    assert (moved[~failed] > 0.01).all()
    assert (moved[failed] == 0).all() if failing_rows == "clean" else (moved[failed] > 0.01).all()


@pytest.mark.parametrize("seed", range(3))
def test_targeted_attack_lowers_the_loss_to_the_target_and_raises_it_to_the_own_code(seed):
    method = trained()
    first, second = views_of(method, 64, seed).views
    adversarial, failed = method.attack(first, second, step_of(0, seed))
    method.eval()
    with torch.no_grad():
        (z_first,), (z_second,), (z_adversarial,) = method.embed(first), method.embed(second), method.embed(adversarial)
        codes = sinkhorn_codes(method.prototypes(z_second), epsilon=method.settings.sinkhorn_epsilon, iterations=3)
        sigma = torch.randperm(64, generator=step_of(0, seed).generator)
        assert torch.equal(failed, codes[sigma].argmax(1) == codes.argmax(1))

        def change(target: torch.Tensor, rows: torch.Tensor) -> float:
            temperature = method.settings.temperature
            after = assignment_loss(method.prototypes(z_adversarial), target, temperature=temperature)
            before = assignment_loss(method.prototypes(z_first), target, temperature=temperature)
            return float((after - before)[rows].mean())

        assert change(codes[sigma], ~failed) < -0.1
        assert change(codes, ~failed) > 0.1
        assert change(codes, failed) > 0.1  # failing rows: away from the own code


@pytest.mark.parametrize("codes", ["soft", "argmax"])
def test_the_three_losses_equal_their_formulas(codes):
    """Section 1.4 by hand, from the same attack and a twin network in train mode."""
    batch = views_of(make_method("swaro"), 32)
    for loss in ("replace", "add", "clean-codes"):
        method, twin = (make_method("swaro", loss=loss, codes=codes, prototypes=10) for _ in range(2))
        ours = method.training_step(batch, step_of(0))["loss"].item()
        first, second = batch.views
        adversarial, _ = twin.attack(first, second, step_of(0))
        # Batch statistics do not depend on the order of the views.
        views = [second, adversarial] if loss == "replace" else [second, adversarial, first]
        output = twin.projector(twin.encoder(torch.cat(views))).output
        s = [z @ twin.prototypes.weight.T for z in functional.normalize(output, dim=1).chunk(len(views))]
        settings = twin.settings
        q = [
            sinkhorn_codes(
                scores, epsilon=settings.sinkhorn_epsilon, iterations=settings.sinkhorn_iterations, kind=codes
            )
            for scores in s
        ]

        def term(view, assigning, s=s, q=q, temperature=settings.temperature):
            return -(q[assigning] * (s[view] / temperature).log_softmax(1)).sum(1).mean()

        expected = {
            "replace": lambda t: (t(0, 1) + t(1, 0)) / 2,
            "add": lambda t: sum(t(view, other) for view in range(3) for other in range(3) if view != other) / 6,
            "clean-codes": lambda t: (t(1, 0) + t(0, 2)) / 2,
        }[loss](term)
        assert ours == pytest.approx(expected.item(), rel=1e-3)


def test_queue_fills_from_its_epoch_counts_once_full_and_balances_the_codes():
    method = make_method("swav", prototypes=10, queue_length=64, queue_start_epoch=1.0)
    batch = views_of(method, 32)
    method.training_step(batch, step_of(9))  # epoch 0.9
    assert method.queue.pushed.tolist() == [0, 0, 0]
    for number in (10, 11):
        method.training_step(batch, step_of(number))
    assert method.queue.full(0) and method.queue.full(1) and not method.queue.full(2)
    torch.testing.assert_close(method.queue.embeddings[:2].norm(dim=2), torch.ones(2, 64))
    with torch.no_grad():
        (z,) = method.embed(batch.views[0])
        scores = method.prototypes(z)
        stacked = torch.cat([method.prototypes(method.queue.embeddings[0]), scores])
        expected = sinkhorn_codes(stacked, epsilon=method.settings.sinkhorn_epsilon, iterations=3)[-32:]
        codes = method.codes(0, z, scores, step_of(12), remember=False)
        torch.testing.assert_close(codes, expected)
        alone = sinkhorn_codes(scores, epsilon=method.settings.sinkhorn_epsilon, iterations=3)
        assert (codes - alone).abs().max() > 1e-3


def filled_queue_method(loss: str):
    """A SwARo whose three queues are full, each crowded around a prototype of its own; and what they hold."""
    method = make_method("swaro", loss=loss, prototypes=10, queue_length=48, queue_start_epoch=0.0)
    generator = torch.Generator().manual_seed(0)
    for view in range(3):
        rows = method.prototypes.weight[view].detach() + 0.2 * torch.randn(48, 16, generator=generator)
        method.queue.push(view, functional.normalize(rows, dim=1))
    return method, method.queue.embeddings.clone()


@pytest.mark.parametrize(
    ("loss", "trained_on", "assigning"),
    [("replace", (1, 2), (1, 2)), ("add", (0, 1, 2), (0, 1, 2)), ("clean-codes", (0, 1, 2), (0, 1))],
)
def test_a_step_puts_the_training_embeddings_of_assigning_views_into_their_queues_and_the_attack_none(
    loss, trained_on, assigning
):
    """Section 1.2: one queue per assigning view. Views: 0 and 1 are clean, 2 is the adversarial one."""
    (method, old), (twin, _) = filled_queue_method(loss), filled_queue_method(loss)
    first, second = views_of(method, 32).views
    adversarial, _ = twin.attack(first, second, step_of(0))
    assert torch.equal(twin.queue.embeddings, old) and twin.queue.pushed.tolist() == [48] * 3
    method.training_step(views_of(method, 32), step_of(0))
    # Train mode, in which BatchNorm tells these embeddings from those of the attack's passes.
    together = torch.cat([(first, second, adversarial)[view] for view in trained_on])
    new = functional.normalize(twin.projector(twin.encoder(together)).output, dim=1).chunk(len(trained_on))
    for view in range(3):
        # The newest rows come first, the oldest have left.
        expected = torch.cat([new[trained_on.index(view)], old[view]])[:48] if view in assigning else old[view]
        torch.testing.assert_close(method.queue.embeddings[view], expected, rtol=0, atol=1e-5)
    assert method.queue.pushed.tolist() == [48 + 32 * (view in assigning) for view in range(3)]


def test_the_attack_aims_at_codes_of_the_second_view_balanced_with_the_second_views_queue():
    """Section 1.3 by hand: the codes, the permutation, the cluster test, and the attack on a twin network."""
    (method, queues), (twin, _) = filled_queue_method("add"), filled_queue_method("add")
    first, second = views_of(method, 32).views
    adversarial, failed = method.attack(first, second, step_of(0))
    twin.eval()

    def scores(x: torch.Tensor) -> torch.Tensor:
        return functional.normalize(twin.projector(twin.encoder(x)).output, dim=1) @ twin.prototypes.weight.T

    with torch.no_grad():
        own = scores(second)
        first_queue, second_queue, alone = (
            sinkhorn_codes(torch.cat([*rows, own]), epsilon=twin.settings.sinkhorn_epsilon, iterations=3)[-32:]
            for rows in ([queues[0] @ twin.prototypes.weight.T], [queues[1] @ twin.prototypes.weight.T], [])
        )
    for other in (first_queue, alone):  # the queue matters, and which one
        assert (other.argmax(1) != second_queue.argmax(1)).float().mean() > 0.1
    generator = step_of(0).generator
    sigma = torch.randperm(32, generator=generator)
    same = second_queue[sigma].argmax(1) == second_queue.argmax(1)
    assert torch.equal(failed, same) and 0 < same.sum() < 32
    codes = torch.where(same.unsqueeze(1), second_queue, second_queue[sigma])
    sign = torch.where(same, 1.0, -1.0)  # away from the own code, or down to the other image's
    settings = twin.settings
    expected = training_attack(
        twin,
        first,
        lambda x: -sign * (codes * (scores(x) / settings.temperature).log_softmax(1)).sum(1),
        eps=settings.eps,
        step_size=settings.step_size,
        steps=settings.steps,
        generator=generator,
    )
    # Another rounding may turn the sign of a gradient that is nearly zero.
    assert ((adversarial - expected).abs() > 1e-5).float().mean() < 0.01


def test_prototypes_are_frozen_for_a_while_and_stay_on_the_sphere():
    method = make_method("swaro", freeze_epochs=0.5)
    before = method.prototypes.weight.detach().clone()
    train_on(method, steps=5)  # ten steps an epoch
    torch.testing.assert_close(method.prototypes.weight, before, rtol=0, atol=1e-6)
    train_on(method, steps=8)
    assert (method.prototypes.weight - before).abs().max() > 1e-3
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(len(before)))


def test_the_same_step_gives_the_same_loss_whatever_the_global_generator():
    losses = []
    for seed in range(2):
        method = make_method("swaro")
        torch.manual_seed(100 + seed)
        losses.append(method.training_step(views_of(method, 32), step_of(3))["loss"].item())
    assert losses[0] == losses[1]


def test_a_loss_stuck_at_ln_k_is_recognised_and_the_remedy_named():
    method = make_method("swav", prototypes=30, sinkhorn_epsilon=0.05, codes="soft")
    stuck = [math.log(30) + 0.01 * (-1) ** n for n in range(20)]
    advice = method.advice(stuck)
    assert advice is not None and "\n" not in advice
    assert "ln K = 3.401" in advice and "sinkhorn_epsilon (0.05) to 0.03" in advice
    assert "freeze_epochs" in advice and "codes to argmax" in advice
    assert method.advice([*stuck, 3.2]) is None
    assert method.advice(stuck[:5]) is None  # too early to tell
    done = make_method("swav", prototypes=30, sinkhorn_epsilon=0.03, codes="argmax").advice(stuck)
    assert done is not None and "sinkhorn_epsilon (0.03) further" in done and "argmax" not in done


def test_training_on_noise_alone_is_what_the_monitor_warns_of():
    """A network that cannot tell views apart: random pixels, two unrelated views."""
    method = make_method("swav", prototypes=30)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    losses = []
    for number in range(20):
        views = [torch.rand(64, 1, 8, 8, generator=generator) for _ in range(2)]
        batch = views_of(method, 64)
        output = method.training_step(type(batch)(views[0], views, batch.index, None), step_of(number))
        optimizer.zero_grad(set_to_none=True)
        output["loss"].backward()
        optimizer.step()
        method.after_step(step_of(number))
        losses.append(float(output["loss"].detach()))
    assert method.advice(losses) is not None


def checked(changes: dict) -> ImageTrack:
    content = overlay(read_yaml(REPOSITORY / "params.yaml")["swaro"], changes)
    return validate(ImageTrack, content, lambda path: "params.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"swaro": {"eps": -0.1}}}, r"settings\.swaro\.eps = -0\.1: .*greater than or equal to 0"),
        ({"settings": {"rocl": {"steps": 0}}}, r"settings\.rocl\.steps = 0"),
        ({"settings": {"swaro": {"target": "permute"}}}, r"settings\.swaro\.target = \"permute\".*permuted"),
        ({"settings": {"swav": {"prototypes": 300}}}, r"swav: prototypes 300 exceed the 128 .* no queue; .* 172 or"),
        ({"settings": {"swaro": {"prototypes": 4000, "queue_length": 3840}}}, r"swaro: prototypes 4000 exceed the"),
        ({"variants": {"many": {"method": "swaro", "settings": {"prototypes": 500}}}}, r"many: prototypes 500 exceed"),
        ({"variants": {"bad": {"method": "swaro", "settings": {"eps": -1.0}}}}, r"variants\.bad\.settings\.eps = -1"),
        ({"datasets": ["digits", "cifar100"]}, r"no radii for it in robustness\.budgets; there are mnist5k"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_in_one_line_before_any_training(changes, message):
    with pytest.raises(UserError, match=message) as refused:
        checked(changes)
    assert "\n" not in str(refused.value)


def test_more_prototypes_than_batch_are_fine_with_a_queue():
    track = checked({"settings": {"swaro": {"prototypes": 3000, "queue_length": 3840, "eps": "8/255"}}})
    assert track.settings.swaro.eps == pytest.approx(8 / 255)


@pytest.mark.parametrize("preset", ["default", "smoke", "cifar", "paper"])
def test_presets_train_all_methods_for_the_same_number_of_epochs_and_ablate_every_unknown(preset):
    track = load(preset, REPOSITORY).swaro
    for label in (*track.methods, *track.ablation):
        params = track.pretrain(label, track.datasets[0])
        assert params.method in METHODS
        if preset == "paper" and label in ("pgd-at-sgd", "trades-sgd"):  # with labels, as published: SGD, fewer epochs
            assert params.training.optimizer == "sgd" and params.training.epochs < track.training.epochs
        else:
            assert params.training == track.training
    if preset in ("default", "paper"):
        base = track.settings.swaro.model_dump()
        ablated = [track.settings_of(label).model_dump() for label in track.ablation if label.startswith("swaro")]
        varied = {key for settings in ablated for key in base if settings[key] != base[key]}
        assert {"target", "cluster_test", "failing_rows", "loss", "codes", "prototypes", "steps"} <= varied


@pytest.mark.parametrize("name", ["swaro", "rocl", "trades"])
def test_preset_paper_runs_two_steps_at_full_width(name):
    """ResNet-18 of width 64 on 32 x 32 colour images; a batch of 2 instead of 512 keeps it to seconds."""
    from contrastbench.methods import Batch, method_class
    from contrastbench.training.optimizers import build_optimizer

    params = load("paper", REPOSITORY).swaro.pretrain(name, "cifar10")
    assert (
        params.encoder.architecture == "resnet18" and params.encoder.width == 64 and params.training.batch_size == 512
    )
    torch.manual_seed(0)
    method = method_class(name).from_params(params, (3, 32, 32), 10).train()
    method.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method, params.training)
    before = {key: value.clone() for key, value in method.named_parameters()}
    for number in range(2):
        step = step_of(number, per_epoch=1)
        clean = torch.rand(2, 3, 32, 32, generator=step.generator)
        views = [torch.rand(2, 3, 32, 32, generator=step.generator) for _ in range(method.number_of_views)]
        labels = torch.arange(2) if method.uses_labels else None
        output = method.training_step(Batch(clean, views, torch.arange(2), labels), step)
        assert torch.isfinite(output["loss"])
        optimizer.zero_grad(set_to_none=True)
        output["loss"].backward()
        method.after_backward(step)
        optimizer.step()
        method.after_step(step)
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())
    assert sum(not torch.equal(before[key], value) for key, value in method.named_parameters()) > 50
