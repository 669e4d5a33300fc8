"""Gradients beside NT-Xent's and selection of negatives: by hand, by autograd, and of each method's own step."""

import math

import pytest
import torch
from conftest import REPOSITORY
from reporting_rows import loaded, row
from small_project import LEARNS_DIGITS, judged, run, small_grid
from torch.nn import functional
from training_cases import SMALL, step_of, views_of

from contrastbench.methods import method_class
from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import dcl, hcl, nt_xent
from contrastbench.objectives.diagnostics import beside_nt_xent, effective_negatives, false_negative_rate
from contrastbench.objectives.mochi import mochi_loss
from contrastbench.objectives.unremix import fill_others, unremix_loss
from contrastbench.params.images import ProjectorParams
from contrastbench.params.root import load
from contrastbench.pipeline.layout import Job
from contrastbench.reporting.render import as_latex, as_markdown
from contrastbench.reporting.tables import tables_of


def pair(seed: int = 0, batch: int = 12) -> tuple[Projection, Projection]:
    generator = torch.Generator().manual_seed(seed)
    hidden = [torch.randn(batch, 7, generator=generator) for _ in range(2)]
    first = torch.randn(batch, 5, generator=generator)
    second = first + 0.5 * torch.randn(batch, 5, generator=generator)
    return Projection(hidden[0], first), Projection(hidden[1], second)


def labelled(label: str, **settings: object) -> TwoViews:
    """A method or variant of the track, on the small network."""
    params = load(root=REPOSITORY).track("unremix").pretrain(label, "digits")
    changed = type(params.settings).model_validate(params.settings.model_dump() | settings)
    small = SMALL | {"settings": changed, "projector": ProjectorParams(hidden=32, output=16)}
    torch.manual_seed(0)
    method = method_class(params.method).from_params(params.model_copy(update=small), (1, 8, 8), 10).train()
    assert isinstance(method, TwoViews)
    return method


def gradient_of_loop(outputs, temperature, beta):
    """d loss / d outputs of the hard-negative loss (NT-Xent at beta 0), one anchor at a time, in float64."""
    live = [o.double().requires_grad_() for o in outputs]
    z, n, batch = functional.normalize(torch.cat(live), dim=1), 2 * len(live[0]), len(live[0])
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        negatives = [j for j in range(n) if j % batch != i % batch]
        s = torch.stack([z[i] @ z[j] for j in negatives]) / temperature
        weight = torch.exp(beta * s) / torch.exp(beta * s).mean()
        positive = torch.exp(z[i] @ z[(i + batch) % n] / temperature)
        total = total - torch.log(positive / (positive + (weight * torch.exp(s)).sum())) / n
    return torch.cat(torch.autograd.grad(total, live)).flatten()


def test_cosine_and_ratio_equal_those_of_a_loop():
    first, second = pair()
    outputs = first.output, second.output
    found = beside_nt_xent(
        lambda a, b: hcl(a.output, b.output, temperature=0.3, tau_plus=0.0, beta=2.0), first, second, 0.3
    )
    own = gradient_of_loop(outputs, 0.3, 2.0)
    baselines = {t: gradient_of_loop(outputs, t, 0.0) for t in (0.3, *(step / 20 for step in range(2, 21)))}
    cosines = {t: float(functional.cosine_similarity(own, g, dim=0)) for t, g in baselines.items()}
    best = max(cosines, key=cosines.__getitem__)
    assert found["gradient_cosine"] == pytest.approx(cosines[0.3], abs=1e-5)
    assert found["gradient_norm_ratio"] == pytest.approx(float(own.norm() / baselines[0.3].norm()), rel=1e-4)
    assert found["gradient_cosine_best"] == pytest.approx(cosines[best], abs=1e-5)
    assert found["best_temperature"] == pytest.approx(best) and best != 0.3


def test_nt_xent_is_itself_at_a_temperature_off_the_grid_too():
    first, second = pair()
    found = beside_nt_xent(lambda a, b: 3 * nt_xent(a.output, b.output, temperature=0.37), first, second, 0.37)
    expected = {"gradient_cosine": 1.0, "gradient_norm_ratio": 3.0, "gradient_cosine_best": 1.0}
    assert found == pytest.approx(expected | {"best_temperature": 0.37}, abs=1e-5)


@pytest.mark.parametrize("label", ["dcl", "hcl", "hcl-biased", "mochi", "unremix", "unremix-standardized"])
def test_what_is_logged_is_the_gradient_of_the_step(label):
    """The gradient that reaches the projector's outputs in the step, held against NT-Xent's by hand."""
    method, kept = labelled(label, temperature=0.3), []

    def keep(module, inputs, projection):
        projection.output.retain_grad()
        kept.append(projection.output)

    method.projector.register_forward_hook(keep)
    batch = views_of(method, 64)
    method.training_step(batch, step_of(0))["loss"].backward()
    method.eval()
    with torch.no_grad():
        logged = method.diagnose(batch, torch.zeros(64))
    assert len(kept) == 2, "no further pass"
    outputs = [o.detach().requires_grad_() for o in kept]
    theirs = torch.cat(torch.autograd.grad(nt_xent(*outputs, temperature=0.3), outputs))
    ours = torch.cat([o.grad for o in kept])
    near = {"abs": 2e-3} if label == "mochi" else {"abs": 1e-5}  # other draws of its blends
    assert logged["gradient_cosine"] == pytest.approx(
        float(functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)), **near
    )
    assert logged["gradient_norm_ratio"] == pytest.approx(float(ours.norm() / theirs.norm()), rel=1e-2)


OWN = {
    "dcl": {"temperature": 0.3, "tau_plus": 0.2},
    "hcl": {"temperature": 0.3, "tau_plus": 0.2, "beta": 1.5},
    "mochi": {"temperature": 0.3, "hardest": 9, "mixed_negatives": 20, "mixed_with_query": 30},
    "unremix": {
        "temperature": 0.3,
        "weights": (0.2, 0.5, 0.3),
        "uncertainty": "gradsim",
        "pseudo_label": "alignment",
        "posterior_temperature": 0.1,
        "standardized": True,
        "normalization": "exp",
        "sharpness": (1.0, 2.0, 3.0),
        "distance": "cosine",
        "negatives": "other",
        "detach_weights": False,
        "tau_plus": 0.05,
    },
}


@pytest.mark.parametrize("label", OWN)
def test_each_step_is_its_own_loss_with_its_own_settings(label):
    """Written out, on the projections of both views; every single setting at NT-Xent's value is another loss."""
    method, batch = labelled(label, **OWN[label]), views_of(labelled("dcl"), 32)
    loss = method.training_step(batch, step_of(0))["loss"]
    first, second = (method.projector(method.encoder(view)) for view in batch.views)

    def by_hand(**settings):
        if label == "unremix":
            return unremix_loss(first, second, **settings)
        if label == "mochi":
            return mochi_loss(first.output, second.output, **settings, generator=step_of(0).generator)
        return {"dcl": dcl, "hcl": hcl}[label](first.output, second.output, **settings)

    assert loss.item() == pytest.approx(by_hand(**OWN[label]).item(), rel=1e-6)
    others = {"temperature": 0.5, "tau_plus": 0.0, "beta": 0.0, "hardest": 20, "mixed_negatives": 1}
    others |= {"mixed_with_query": 1, "weights": (0.0, 1.0, 0.0), "uncertainty": "norm", "pseudo_label": "argmax"}
    others |= {"posterior_temperature": None, "standardized": False, "normalization": "minmax", "sharpness": (1.0,) * 3}
    others |= {"distance": "euclidean", "negatives": "both"}
    for name in OWN[label].keys() & others.keys():
        assert by_hand(**OWN[label] | {name: others[name]}).item() != pytest.approx(loss.item(), rel=1e-6), name


def test_diagnosing_draws_nothing_from_the_step():
    method, step = labelled("mochi"), step_of(0)
    batch = views_of(method, 32)
    method.training_step(batch, step)
    before = step.generator.get_state()
    method.diagnose(batch, torch.zeros(32))
    assert torch.equal(step.generator.get_state(), before)


def test_false_negatives_and_effective_share_by_hand():
    labels = torch.tensor([0, 0, 1, 1]).repeat(2)  # B = 4: of each anchor's 6 negatives, 2 share its class
    same = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()

    def among_negatives(weight: torch.Tensor) -> torch.Tensor:
        return fill_others(weight.clone(), -math.inf, "both")

    uniform, hard, easy = (among_negatives(each) for each in (torch.ones(8, 8), same, 1 - same))
    assert false_negative_rate(uniform, labels, 1.0) == pytest.approx(1 / 3)
    assert false_negative_rate(hard, labels, 1 / 3) == 1.0
    assert false_negative_rate(easy, labels, 1 / 3) == 0.0
    assert false_negative_rate(hard, labels, 0.5) == pytest.approx(2 / 3)
    assert effective_negatives(uniform) == pytest.approx(1.0)
    assert effective_negatives(hard) == pytest.approx(1 / 3)


def test_rankings_are_those_of_the_losses():
    """HCL's weights rank as similarity does; UnReMix's scores are those that its weights are made of."""
    first, second = pair()
    z = functional.normalize(torch.cat([first.output, second.output]), dim=1)
    cosine = fill_others(z @ z.T, -math.inf, "both")
    hard = labelled("hcl", beta=2.0).weightings(first, second)["weights"]
    expected = torch.exp(2.0 * cosine / 0.5)
    torch.testing.assert_close(hard / hard.amax(1, keepdim=True), expected.where(cosine.isfinite(), -math.inf)
                               / expected.amax(1, keepdim=True))  # fmt: skip
    found = labelled("unremix-similarity").weightings(first, second)
    assert list(found) == ["weights", "uncertainty", "similarity", "representativeness"]
    torch.testing.assert_close(found["similarity"], cosine)
    assert torch.equal(found["weights"].argsort(dim=1), cosine.argsort(dim=1))
    assert all(torch.equal(each.isfinite(), cosine.isfinite()) for each in found.values())
    other = labelled("unremix", negatives="other").weightings(first, second)
    assert int(other["weights"].isfinite().sum()) == 24 * 11
    assert labelled("dcl").weightings(first, second) == {}


def test_the_stage_looks_at_all_methods_on_one_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = LEARNS_DIGITS | {"methods": ["simclr", "hcl", "unremix"], "ablation": ["hcl-biased"]}
    grid = small_grid(tmp_path, {"unremix": changes})
    run(grid, "prepare", Job("", "digits"))
    jobs = {label: Job("unremix", "digits", label, 0) for label in ("simclr", "hcl", "unremix")}
    for job in jobs.values():
        run(grid, "pretrain", job)
    shares = {}
    for label, job in jobs.items():
        rows = judged(grid, "diagnostics", job)
        shares[label] = {name: found.value for name, found in rows.items()}
        assert all(found.protocol.source in (None, "simclr") for found in rows.values())
    assert shares["simclr"].keys() == {"false-negatives-random", "false-negatives-all"}
    base = shares["simclr"]["false-negatives-all"]
    assert base == pytest.approx(0.1, abs=0.02)
    assert shares["simclr"]["false-negatives-random"] == pytest.approx(base, abs=0.01)
    assert shares["unremix"]["false-negatives-similarity"] > 2.5 * base, "of one encoder: near is often alike"
    assert shares["hcl"]["false-negatives-weights"] == shares["unremix"]["false-negatives-similarity"], "one encoder"
    assert base / 2 < shares["unremix"]["false-negatives-weights"] < shares["hcl"]["false-negatives-weights"]
    assert shares["unremix"]["gradient-cosine"] > 0.995 > shares["hcl"]["gradient-cosine"] > 0.8
    assert shares["hcl"]["gradient-cosine-best"] > shares["hcl"]["gradient-cosine"]
    asked = {job.method for target in ("methods", "ablation") for job in grid.jobs("diagnostics", "unremix", target)}
    assert asked == {"simclr", "hcl", "unremix", "hcl-biased"}


def test_numerically_the_baseline_is_marked_in_every_table():
    cosines = {"hcl": 0.96, "unremix": 0.998, "mochi": 0.9949}
    rows = [row(method, seed, protocol=name, dataset=where)
            for method in cosines for seed in range(2) for name in ("linear", "knn")
            for where in ("mnist5k", "mnist5k-to-digits")]  # fmt: skip
    told = {"protocol": "gradient-cosine", "metric": "cosine", "stage": "diagnostics"}
    rows += [row(method, seed, value, **told) for method, value in cosines.items() for seed in range(2)]
    tables = tables_of(loaded(rows))
    assert len(tables) == 3 and all(table.notes == {"unremix": "as NT-Xent"} for table in tables)
    text = as_markdown(tables)
    assert text.count("| `unremix` (as NT-Xent) |") == 3 and "| `hcl` |" in text and "| `mochi` |" in text
    assert as_latex(tables, "").count("unremix (as NT-Xent)") == 3
    assert not any("gradient" in column.protocol.name for table in tables for _, column in table.marks), "no best"
