"""Optimisers, the learning-rate schedule, and the measure of the collapse monitor."""

from pathlib import Path

import pytest
import torch
from torch import nn

from contrastbench.methods import Method
from contrastbench.params.root import load
from contrastbench.params.training import TrainingParams
from contrastbench.training.collapse import collapse_warning, effective_rank
from contrastbench.training.optimizers import build_optimizer, learning_rate_factor

ROOT = Path(__file__).resolve().parent.parent


class Weight(Method):
    """The smallest method."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 1)

    @classmethod
    def from_params(cls, params, input_shape, number_of_classes):
        return cls()

    def training_step(self, batch, step):
        return {"loss": self.encoder.weight.sum()}


def test_effective_rank_of_known_spectra():
    torch.manual_seed(0)
    line = torch.linspace(-1, 1, 50).unsqueeze(1) * torch.randn(1, 6)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.ones(50, 6)) == 1.0
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(axes) == pytest.approx(4.0, abs=1e-3)
    assert effective_rank(axes + 100) == pytest.approx(4.0, abs=1e-2)  # the mean has no effect
    assert collapse_warning(1.2) is not None and collapse_warning(5.0) is None


def training_params(**changes) -> TrainingParams:
    return load("smoke", ROOT).track("unremix").training.model_copy(update=changes)


@pytest.mark.parametrize(("name", "expected"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD"), ("lars", "Lars")])
def test_optimisers_by_name_with_the_stated_decay(name, expected):
    optimizer = build_optimizer(Weight(), training_params(optimizer=name, learning_rate=0.25, weight_decay=0.125))
    assert type(optimizer).__name__ == expected
    assert all(group["lr"] == 0.25 and group["weight_decay"] == 0.125 for group in optimizer.param_groups)


def test_optimisers_have_the_momentum_of_the_published_recipes():
    def group(name: str) -> dict:
        return build_optimizer(Weight(), training_params(optimizer=name)).param_groups[0]

    assert group("adam")["betas"] == (0.9, 0.999)
    assert group("adamw")["betas"] == (0.9, 0.95), "MAE's"
    assert group("sgd")["momentum"] == group("lars")["momentum"] == 0.9
    assert group("lars")["trust_coeff"] == 0.001, "SwAV's"


def test_the_schedule_is_linear_then_half_a_cosine():
    factors = [learning_rate_factor(step, 100, 9, 0.1) for step in range(100)]
    assert factors[:9] == pytest.approx([(step + 1) / 10 for step in range(9)])
    assert factors[9] == 1.0 and max(factors) == 1.0
    middle = (9 + 100) / 2
    assert learning_rate_factor(middle, 100, 9, 0.1) == pytest.approx(0.55)
    assert learning_rate_factor(100, 100, 9, 0.1) == pytest.approx(0.1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert {learning_rate_factor(step, 100, 0, 1.0) for step in range(100)} == {1.0}
