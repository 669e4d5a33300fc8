"""Settings of methods around a masked autoencoder of sound.

Where the specification of uaMix-MAE lists an unknown (section 5), the default in params.yaml is its choice.
"""

from typing import Literal

from contrastbench.params.settings import MethodSettings
from contrastbench.params.settings_contrastive import NegativeWeights
from contrastbench.params.values import Neighbours, NonNegative, Positive


class MAECTSettings(MethodSettings):
    """Tuning without mixing, on two augmented views.

    objective  ``nnclr``: neighbours from the queue are the positives; ``unremix``: the other view is, and the
               negatives of the batch are weighted by ``negatives``
    symmetric  both sides are predicted (NNCLR's and MAE-CT's code); False: the second side only
    """

    objective: Literal["nnclr", "unremix"]
    temperature: Positive
    symmetric: bool
    negatives: NegativeWeights


class UaMixSettings(MAECTSettings):
    """Tuning with mixtures.

    mixing             ``t-cutmix``, ``cutmix`` (2-D), ``mixup``, or ``none``
    alpha              of lambda ~ Beta(alpha, alpha)
    mix_labels         False: mixing in the input only, each mixture is labelled as its own sample
    augment_mixture    False: mixtures are made of raw spectrograms, as Fig-A draws; True: of augmented ones
    clean_loss_weight  weight of an added unmixed loss on two augmented views (Un-Mix and MixCo have one)
    """

    mixing: Literal["t-cutmix", "cutmix", "mixup", "none"]
    alpha: Positive
    mix_labels: bool
    augment_mixture: bool
    clean_loss_weight: NonNegative


class JointSettings(MethodSettings):
    """Naive joint training from scratch: reconstruction loss + ``contrast_weight`` * NNCLR."""

    contrast_weight: Positive
    temperature: Positive
    top_k: Neighbours
