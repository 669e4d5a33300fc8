"""Settings of methods that attack their own training images, with labels and without.

Where the specification of SwARo lists an unknown (section 5), the default in presets/paper.yaml is its choice;
params.yaml scales it down to grey digits.
"""

from typing import Annotated, Literal

from pydantic import Field

from contrastbench.params.settings import MethodSettings
from contrastbench.params.settings_contrastive import HCLSettings, SwAVSettings
from contrastbench.params.values import Epsilon, NonNegative, Positive, Probability, Steps


class AttackSettings(MethodSettings):
    """The l_inf attack inside training, on pixels in [0, 1]; fractions such as 8/255 may be written as such."""

    eps: Epsilon
    step_size: Epsilon
    steps: Steps


class SwARoSettings(SwAVSettings, AttackSettings):
    """SwARo: every switch of the specification's sections 1.3 and 1.4.

    target        what the attack moves view 1 to: the ``permuted`` code of another image, a ``random-prototype``, or
                  away from its own code (``own-untargeted``)
    cluster_test  only rows whose target lies in another cluster are attacked towards it
    failing_rows  the others: attacked ``untargeted``, away from their own code, or left ``clean``
    loss          ``replace`` trains on (adversarial, view 2), ``add`` on (view 1, view 2, adversarial),
                  ``clean-codes`` on (adversarial, view 2) with codes of the clean views only
    """

    target: Literal["permuted", "own-untargeted", "random-prototype"]
    cluster_test: bool
    failing_rows: Literal["untargeted", "clean"]
    loss: Literal["replace", "add", "clean-codes"]


class RoCLSettings(AttackSettings):
    """RoCL: ``regularization`` weighs the additional NT-Xent(adversarial, view 2).

    ``reforward_target`` forwards view 2 again in every step of the attack, as the authors' code does; without it the
    same embeddings are computed once, and the attack is the same.
    """

    temperature: Positive
    regularization: NonNegative
    reforward_target: bool


class ACLSettings(AttackSettings):
    """ACL, dual stream."""

    temperature: Positive


class DynACLSettings(ACLSettings):
    """DynACL: what changes during training does so ``stages`` times.

    reweighting   what the adversarial loss gains over the clean one when the augmentation has vanished: weights go from
                  1 and 1 to 1 + ``reweighting`` and 1 - ``reweighting``, halved
    momentum      of the copy of the network that sees view 2 and is evaluated
    """

    stages: Annotated[int, Field(ge=1, le=1000)]
    reweighting: Probability
    momentum: Probability


class AInfoNCESettings(RoCLSettings, HCLSettings):
    """A-InfoNCE on RoCL.

    clean_share      of the pull between a clean and an adversarial view, the part that moves the clean one
    tau_plus, beta   assumed share of false negatives, and concentration on hard negatives, as in HCL
    """

    clean_share: Probability


class CLAESettings(MethodSettings):
    """CLAE: ``weight`` (alpha) of the adversarial term, whose views come from one FGSM step of size ``eps``.

    The authors' 0.03 is a step in pixels normalised by a deviation of 0.5: 0.015 in [0, 1].
    """

    temperature: Positive
    eps: Epsilon
    weight: NonNegative


class TRADESSettings(AttackSettings):
    """TRADES: ``beta`` weighs the divergence between clean and adversarial predictions."""

    beta: NonNegative
