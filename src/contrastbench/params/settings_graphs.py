"""Settings of methods on graphs (specification of graphs, section 4)."""

from typing import Literal

from contrastbench.params.settings import MethodSettings
from contrastbench.params.settings_contrastive import NegativeWeights, TauPlus, WithTemperature
from contrastbench.params.values import NonNegative


class GraphCLSettings(WithTemperature):
    """GraphCL's loss as published."""


class InfoGraphHCLSettings(MethodSettings):
    """Hard negatives for InfoGraph, HCL's ``JSD_hard``.

    tau_plus  assumed share of false negatives
    beta      concentration of the weights of negatives
    sign      ``published``: the weight falls with the score, as the minus sign in HCL's code has it; ``hard``: it rises
    """

    tau_plus: TauPlus
    beta: NonNegative
    sign: Literal["published", "hard"]


class InfoGraphUnReMixSettings(NegativeWeights):
    """UnReMix's weights for the graphs that are a node's negatives."""
