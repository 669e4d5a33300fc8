"""Families of protocols: which columns share a table, and how such a table is read."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Protocols that belong in one table.

    pattern  what the whole protocol name matches
    title    heading of the table
    reading  how to read it, one sentence or two
    """

    pattern: str
    title: str
    reading: str


_ATTACKED = "Share of test images still classified correctly under the strongest perturbation found within the radius"

FAMILIES = (
    Family(
        r"linear|knn|low-label-\d+",
        "Frozen features",
        "The encoder is frozen. `linear`: logistic regression on all training labels; `low-label-N`: on N labels per "
        "class, several draws; `knn`: nearest neighbours. The rows `pixels` and `random` say what learning added.",
    ),
    Family(
        r"few-shot-.*",
        "Few-shot episodes",
        "N-way K-shot episodes on test clips: the accuracy of a classifier that saw K clips of each of N classes; "
        "n is the number of episodes, chance is 1/N.",
    ),
    Family(
        r"low-shot-\d+",
        "Low-shot regression",
        "Logistic regression on N labelled clips per class, frozen encoder; `A-to-B` is trained on A, judged on B.",
    ),
    Family(
        r"audio-.*",
        "Attacks on sound",
        "Share of test segments still classified correctly by a linear head on the frozen encoder. `spectrogram`: PGD "
        "within the l_inf radius after @ on normalised log-mels (1 is two standard deviations); `waveform`: PGD on the "
        "samples through the front end, at the signal-to-noise ratio after @; `noise`: random noise of that energy.",
    ),
    Family(
        r"clean|autoattack-linf@.*|worst-case@.*",
        "Robust accuracy in l_inf",
        f"{_ATTACKED} (the number after @, on pixels in [0, 1]). Standard linear head on the frozen encoder; "
        "supervised methods keep their own. `worst-case` counts an image only if it withstands every attack up to "
        "the radius.",
    ),
    Family(
        r"pgd-\d+-linf@.*",
        "PGD in l_inf",
        f"{_ATTACKED} (the number after @), by projected gradient descent with as many steps as the name says.",
    ),
    Family(
        r"((noise|fgsm|square)@|(foolbox-pgd|apgd)-.*linf@).*",
        "Other attacks in l_inf",
        f"{_ATTACKED} (the number after @). Noise is no attack and should do least harm; Square sees no gradients.",
    ),
    Family(
        r"(pgd|foolbox-pgd|autoattack|apgd).*-l2@.*",
        "Attacks bounded in l2",
        f"{_ATTACKED} (the number after @, on pixels in [0, 1]).",
    ),
    Family(
        r"(pgd|foolbox-pgd|autoattack|apgd).*-l1@.*",
        "Attacks bounded in l1",
        f"{_ATTACKED} (the number after @, on pixels in [0, 1]).",
    ),
    Family(
        r"(deepfool|cw|ddn|hopskipjump)-.*",
        "Smallest perturbation that fools",
        "Median over test images of the l2 distance to the nearest misclassified image that the attack found; larger "
        "is more robust.",
    ),
    Family(
        r"alf-.*",
        "Adversarial linear head (ALF)",
        f"{_ATTACKED}; the linear head was trained on perturbed images, the encoder is frozen.",
    ),
    Family(
        r"aff-.*",
        "Adversarial full fine-tuning (AFF)",
        f"{_ATTACKED}; encoder and head were trained on perturbed images with labels.",
    ),
    Family(
        r"transfer-from-.*",
        "Transfer of attacks",
        "Images that were perturbed against SOURCE, shown to the row's method (black box). The matrix is square: low "
        "values off the diagonal mean that perturbations carry over.",
    ),
)
OTHER = Family(r".*", "Other protocols", "Each column is one protocol; see docs/protocols/.")


def family_of(protocol: str) -> Family:
    """The family whose pattern the whole name matches; the order of FAMILIES is that of the tables."""
    return next((family for family in FAMILIES if re.fullmatch(family.pattern, protocol)), OTHER)
