"""The verdict store, what is derived from verdicts, and a killed evaluation that continues."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from contrastbench.attacks import autoattack as aa
from contrastbench.errors import UserError
from contrastbench.evaluation import robustness
from contrastbench.evaluation.robustness import Victim, evaluate, minimal_distance, survivors
from contrastbench.evaluation.suite import AttackSpec, attacks_on
from contrastbench.evaluation.transfer import transfer_matrix
from contrastbench.evaluation.verdicts import (
    PartialStore,
    Verdict,
    attack_order,
    read_verdicts,
    write_verdicts,
)
from contrastbench.params.root import load

ATTACKS = [
    AttackSpec("clean", "linf", None, 10**9),
    AttackSpec("noise", "linf", 0.15, 40),
    AttackSpec("fgsm", "linf", 0.15, 40),
    AttackSpec("pgd", "linf", 0.05, 40, 5, 0.0125),
    AttackSpec("pgd", "linf", 0.15, 40, 5, 0.0375),
    AttackSpec("pgd", "l2", 0.8, 40, 5, 0.2),
    AttackSpec("foolbox-pgd", "l1", 5.0, 20, 5, 1.25),
    AttackSpec("apgd", "linf", 0.15, 40, 4),
    AttackSpec("apgd", "linf", 0.05, 40, 4),
    AttackSpec("apgd", "l2", 0.8, 40, 4),
    AttackSpec("longer-apgd", "linf", 0.05, 10, 8, has_row=False),
    AttackSpec("deepfool", "l2", None, 20, 10),
    AttackSpec("ddn", "l2", None, 20, 10),
    AttackSpec("hopskipjump", "l2", None, 10, 2),
    AttackSpec("apgd", "l1", 5.0, 40, 4),
    AttackSpec("square", "linf", 0.15, 20, 50),
    AttackSpec("autoattack", "linf", 0.15, 24),
]


CPU = torch.device("cpu")


def inputs(rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device).permute(0, 3, 1, 2).float() / 255


def victim_of(seed: int) -> Victim:
    """A linear classifier of digits; different seeds start differently."""
    digits = load_digits()
    x, y = (digits.images * 15.9375).astype(np.uint8)[..., None], digits.target
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-2)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs(x[:900], CPU)), torch.tensor(y[:900])).backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    return Victim(net, x[900:1100], y[900:1100], inputs, CPU, seed=0, batch_size=16)


@pytest.fixture(scope="module")
def victim() -> Victim:
    return victim_of(0)


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack with 4 iterations: the test is about verdicts, not about strength."""
    build = aa.build

    def cheap(model, settings, *rest):  # type: ignore[no-untyped-def]
        front = build(model, settings, *rest)
        front.fab.n_iter = 4
        front.square.n_queries = 30
        return front

    monkeypatch.setattr(aa, "build", cheap)


class Killed(Exception):
    pass


class DyingStore(PartialStore):
    """A store whose process is killed right after ``alive`` writes."""

    def __init__(self, folder: Path, identity: str, alive: int) -> None:
        super().__init__(folder, identity)
        self.alive = alive

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        super().save(name, arrays)
        self.alive -= 1
        if not self.alive:
            raise Killed


def same(first: dict[str, Verdict], second: dict[str, Verdict]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name].broken, second[name].broken)
        and np.array_equal(first[name].valid, second[name].valid)
        and np.array_equal(first[name].distance, second[name].distance, equal_nan=True)
        for name in first
    )


def test_a_killed_evaluation_continues_and_ends_with_the_same_verdicts(victim: Victim, tmp_path: Path) -> None:
    whole = evaluate(victim, ATTACKS, PartialStore(tmp_path / "whole", "model-1"))
    deaths = 0
    while True:
        try:
            resumed = evaluate(victim, ATTACKS, DyingStore(tmp_path / "killed", "model-1", alive=7))
            break
        except Killed:
            deaths += 1
    assert deaths > 5
    assert same(whole, resumed)
    assert len(whole["clean"].broken) == 200 and len(whole["autoattack-linf@0.15"].broken) == 24
    assert all(verdict.valid.all() for verdict in whole.values())


def test_a_finished_evaluation_runs_nothing_again(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(victim, ATTACKS[:4], PartialStore(tmp_path, "model-1"))
    monkeypatch.setattr(robustness, "_attack_batch", lambda *_: pytest.fail("ran again"))
    assert same(first, evaluate(victim, ATTACKS[:4], PartialStore(tmp_path, "model-1")))
    assert PartialStore(tmp_path, "model-2").load("clean") == {}, "verdicts on another model must not be used"


def test_verdicts_do_not_depend_on_earlier_batches(victim: Victim, tmp_path: Path) -> None:
    """A longer evaluation agrees with a shorter one on their common batches."""
    short, long = (
        evaluate(victim, [AttackSpec("pgd", "linf", 0.1, count, 5, 0.025)], PartialStore(tmp_path / str(count), "m"))
        for count in (32, 48)
    )
    assert np.array_equal(short["pgd-5-linf@0.1"].broken, long["pgd-5-linf@0.1"].broken[:32])


def test_pgd_learns_from_the_clean_verdict_which_images_are_wrong(victim: Victim, tmp_path: Path) -> None:
    """Over several batches: the same verdicts, with one pass over all images less."""
    attacks = [AttackSpec("clean", "linf", None, 200), AttackSpec("pgd", "linf", 0.05, 48, 5, 0.0125)]
    name = attacks[1].name
    told, alone = (
        evaluate(victim, some, PartialStore(tmp_path / str(len(some)), "m")) for some in (attacks, attacks[1:])
    )
    assert not told["clean"].broken[:48].all() and told["clean"].broken[:48].any()
    assert np.array_equal(told[name].broken, alone[name].broken) and not told[name].broken.all()
    assert alone[name].passes - told[name].passes == 48


def test_foolboxs_pgd_has_the_starts_of_ours(victim: Victim, tmp_path: Path) -> None:
    """So the two differ only where ours stops early or keeps a better iterate: never in the defender's favour."""
    attacks = [AttackSpec("pgd", "linf", 0.08, 48, 5, 0.02), AttackSpec("foolbox-pgd", "linf", 0.08, 20, 5, 0.02)]
    ours, theirs = evaluate(victim, attacks, PartialStore(tmp_path, "m")).values()
    assert (ours.broken[:20] | ~theirs.broken).all() and not theirs.broken.all() and theirs.broken.any()


def test_carlini_wagner_takes_the_step_of_its_data_set(victim: Victim, tmp_path: Path) -> None:
    """With a tiny step only far images are found; the attacks have the data set's step."""
    near, far = (
        evaluate(victim, [AttackSpec("cw", "l2", None, 16, 20, size)], PartialStore(tmp_path / str(size), "m"))["cw-l2"]
        for size in (0.1, 1e-4)
    )
    assert np.median(far.distance) > 2 * np.median(near.distance) > 0
    attacks = attacks_on(load("paper", Path(__file__).resolve().parent.parent).swaro.robustness, "cifar10", "slf")
    assert [attack.step_size for attack in attacks if attack.kind == "cw"] == [0.01]
    pgds = [attack for attack in attacks if attack.kind in ("pgd", "foolbox-pgd")]
    assert {attack.norm for attack in pgds if attack.step_size == attack.eps / 4} == {"linf", "l2", "l1"}
    assert all(attack.step_size == attack.eps / 4 for attack in pgds)
    assert not any(attack.step_size for attack in attacks if attack.kind not in ("cw", "pgd", "foolbox-pgd"))


def test_written_verdicts_are_read_back(victim: Victim, tmp_path: Path) -> None:
    verdicts = evaluate(victim, ATTACKS[:3], PartialStore(tmp_path / "work", "m"))
    write_verdicts(tmp_path / "slf.npz", verdicts)
    assert same(verdicts, read_verdicts(tmp_path / "slf.npz"))
    with pytest.raises(UserError, match="run the stage attack first"):
        read_verdicts(tmp_path / "absent.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"text"])
def test_damaged_verdicts_are_one_line(tmp_path: Path, content: bytes) -> None:
    store = PartialStore(tmp_path / "store", "identity")
    for path in (tmp_path / "slf.npz", store.folder / "fgsm.npz"):
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"slf.npz: not a readable file of verdicts .*; delete it and run"):
        read_verdicts(tmp_path / "slf.npz")
    with pytest.raises(UserError, match=r"fgsm.npz: not a readable file .*; delete .*store to start again$"):
        store.load("fgsm")
    np.savez(tmp_path / "slf.npz", **{"fgsm/broken": np.zeros(2, bool)})
    with pytest.raises(UserError, match=r"slf.npz: not a readable file of verdicts \(KeyError: 'valid'\)"):
        read_verdicts(tmp_path / "slf.npz")


def verdict(*broken: int) -> Verdict:
    flags = np.asarray(broken, bool)
    return Verdict(flags, np.ones(len(flags), bool), np.zeros(len(flags), np.float32))


def test_the_survivors_of_a_ball_withstand_every_attack_within_it() -> None:
    attacks = [
        AttackSpec("clean", "linf", None, 10**9),
        AttackSpec("pgd", "linf", 0.1, 6, 5),
        AttackSpec("apgd", "linf", 0.2, 6, 5),
        AttackSpec("autoattack", "linf", 0.2, 4),  # on fewer images
        AttackSpec("pgd", "linf", 0.3, 6, 5),  # outside the ball
        AttackSpec("apgd", "l2", 0.2, 6, 5),  # of another norm
        AttackSpec("ddn", "l2", None, 6, 5),  # by distance
    ]
    broken = [(1, 0, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0), (1, 0, 1, 0, 0, 0), (1, 0, 0, 1), (1, 1, 1, 1, 1, 0), (1,) * 6]
    verdicts = {attack.name: verdict(*flags) for attack, flags in zip(attacks, [*broken, (1,) * 6], strict=True)}
    verdicts["clean"].distance[1:] = np.inf
    verdicts["ddn-l2"].distance[:] = [0, 0.1, 0.19, 0.21, 9, np.inf]
    verdicts["apgd-l2@0.2"].broken[:] = [1, 0, 0, 0, 0, 1]
    assert survivors(attacks, verdicts, ("linf", 0.2)).tolist() == [False, False, False, False, True, True]
    assert survivors(attacks, verdicts, ("linf", 0.2), ("clean", "pgd")).tolist() == [False, False, *[True] * 4]
    assert survivors(attacks, verdicts, ("l2", 0.2)).tolist() == [False, False, False, True, True, False]


def test_worst_case_of_a_run_is_at_most_every_attack(victim: Victim, tmp_path: Path) -> None:
    verdicts = evaluate(victim, ATTACKS, PartialStore(tmp_path, "m"))
    small, large = (survivors(ATTACKS, verdicts, ("linf", eps)) for eps in (0.05, 0.15))
    assert len(small) == len(large) == 40, "the same images at every radius, whatever AutoAttack saw"
    for attack in ATTACKS:
        if attack.norm == "linf" and attack.eps == 0.15:
            seen = min(40, attack.images)
            assert not (large[:seen] & verdicts[attack.name].broken[:seen]).any()
    assert large.mean() < small.mean() < 1
    assert survivors(ATTACKS, verdicts, ("l2", 0.8)).mean() <= verdicts["pgd-5-l2@0.8"].robust.mean()


def test_apgd_is_run_on_what_is_left_and_its_targets_on_what_did_not_withstand_them_before(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[str, float, int], dict[str, Tensor]] = {}
    attack = aa.autoattack

    def seen(model, images, labels, settings, **others):  # type: ignore[no-untyped-def]
        asked[settings.norm, settings.eps, settings.iterations] = others["wanted"]
        return attack(model, images, labels, settings, **others)

    monkeypatch.setattr(aa, "autoattack", seen)
    attacks = [each for each in ATTACKS if each.kind in ("clean", "pgd", "apgd", "longer-apgd")]
    verdicts = evaluate(victim, attacks, PartialStore(tmp_path, "m"))
    pgd = {eps: verdicts[f"pgd-5-linf@{eps}"].broken | verdicts["clean"].broken[:40] for eps in (0.05, 0.15)}
    large, small = asked["linf", 0.15, 4], asked["linf", 0.05, 4]
    assert np.array_equal(large["apgd-ce"], ~(pgd[0.05] | pgd[0.15])) and torch.equal(large["apgd-t"], large["apgd-ce"])
    assert np.array_equal(small["apgd-ce"], ~pgd[0.05])
    assert np.array_equal(small["apgd-t"], ~pgd[0.05] & verdicts["apgd-linf@0.15"].broken)
    assert 0 < int(small["apgd-t"].sum()) < int(small["apgd-ce"].sum())
    left = np.flatnonzero(verdicts["apgd-linf@0.05"].robust)[:10]
    assert all(np.flatnonzero(part).tolist() == left.tolist() for part in asked["linf", 0.05, 8].values())
    assert (verdicts["apgd-linf@0.15"].broken >= pgd[0.15]).all(), "what was broken before stays broken"


def test_the_order_is_fixed_and_each_seed_has_its_own() -> None:
    assert sorted(attack_order(50, 0)) == list(range(50))
    assert attack_order(1000, 0)[:5].tolist() == [459, 206, 222, 162, 711], "rows of other versions are paired with it"
    assert set(attack_order(1000, 0)[:50]) != set(attack_order(1000, 1)[:50])


def test_every_seed_attacks_images_of_its_own(victim: Victim) -> None:
    for seed in (0, 1):
        images, labels = replace(victim, seed=seed).images(3, 9)
        chosen = attack_order(200, seed)[3:9]
        assert np.array_equal(labels, victim.y[chosen]) and torch.equal(images, inputs(victim.x[chosen], CPU))


def test_autoattack_has_the_seed_of_its_victim_and_the_longer_apgd_another(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: dict[tuple[str, ...], set[int]] = {}
    build = aa.build

    def seen(model, settings, seed, *rest):  # type: ignore[no-untyped-def]
        seeds.setdefault((*settings.attacks, str(settings.iterations)), set()).add(seed)
        return build(model, settings, seed, *rest)

    monkeypatch.setattr(aa, "build", seen)
    wanted = ("clean", "apgd", "longer-apgd", "square", "autoattack")
    attacks = [each for each in ATTACKS if each.kind in wanted and each.norm == "linf"]
    evaluate(replace(victim, seed=5), attacks, PartialStore(tmp_path, "m"))
    assert seeds[(*aa.STANDARD, "None")] == seeds["square", "None"] == {5}
    rounds = seeds["apgd-ce", "apgd-t", "4"]
    assert rounds == set(range(5, 5 + len(rounds))), "every round starts elsewhere"
    assert len(longer := seeds["apgd-ce", "apgd-t", "square", "8"]) == 1 and not longer & rounds


def test_distances_of_attacks_that_found_nothing_are_the_diameter() -> None:
    distances = np.asarray([0.5, np.inf, 0.0], np.float32)
    found = Verdict(np.asarray([1, 0, 1], bool), np.ones(3, bool), distances)
    assert minimal_distance(found, 784).tolist() == [0.5, 28.0, 0.0]


def test_transfer_matrix(tmp_path: Path) -> None:
    models = {"a": victim_of(0), "b": victim_of(1)}
    matrix = transfer_matrix(
        models, PartialStore(tmp_path / "transfer", "m"), eps=0.15, steps=10, step_size=0.015, count=48
    )
    for source in models:
        for name, victim in models.items():
            robust = matrix.robust[source][name]
            assert robust.shape == (48,)
            clean = evaluate(victim, ATTACKS[:1], PartialStore(tmp_path / name, "m"))["clean"]
            assert not (robust & clean.broken[:48]).any(), "what is wrong without an attack stays wrong"
    assert matrix.robust["a"]["a"].mean() < matrix.robust["b"]["a"].mean() < 1
    assert matrix.failed_checks("b", "a") == matrix.failed_checks("a", "a") == []
    matrix.robust["a"]["a"][:] = True
    assert "transfer from b is stronger" in matrix.failed_checks("b", "a")[0]
    assert all(valid.all() and valid.shape == (48,) for valid in matrix.valid.values())
    matrix.valid["b"][3] = False
    assert "transfer from b: 1 of 48 images left the ball" in matrix.failed_checks("b", "b")[0]


def test_a_killed_transfer_matrix_continues_and_ends_the_same(tmp_path: Path) -> None:
    models = {"a": victim_of(0), "b": victim_of(1)}
    settings = {"eps": 0.15, "steps": 3, "step_size": 0.04, "count": 40}
    whole = transfer_matrix(models, PartialStore(tmp_path / "whole", "m"), **settings)
    deaths = 0
    while True:
        try:
            resumed = transfer_matrix(models, DyingStore(tmp_path / "killed", "m", alive=2), **settings)
            break
        except Killed:
            deaths += 1
    assert deaths > 1
    for source in models:
        assert np.array_equal(whole.valid[source], resumed.valid[source])
        for name in models:
            assert np.array_equal(whole.robust[source][name], resumed.robust[source][name])
