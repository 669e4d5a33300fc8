"""How rows are shown: which protocols share a table, how it is read, and what is drawn as lines."""

from dataclasses import dataclass

from contrastbench.results.protocols import Protocol


@dataclass(frozen=True)
class Curve:
    """Accuracy as a line over one part of a protocol.

    over  the part of the protocol; axis what it is called; zero the family whose value belongs at 0
    """

    over: str
    axis: str
    reading: str
    zero: str | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Group:
    """Protocols that share a table: those of ``families`` (all if empty) with this ``head``, and this ``norm`` or none.

    title    heading of the table
    reading  how to read it, one sentence or two
    curves   how it is drawn as lines, over each part that some of its protocols have
    heat     whether its columns belong in the map of which attack broke what
    """

    title: str
    reading: str
    families: tuple[str, ...] = ()
    norm: str | None = None
    head: str | None = None
    curves: tuple[Curve, ...] = ()
    heat: bool = False

    def holds(self, protocol: Protocol) -> bool:
        """Whether ``protocol`` belongs in this table."""
        column = protocol.column
        return (
            (not self.families or column.family in self.families)
            and (self.norm is None or column.norm in (None, self.norm))
            and column.head == self.head
        )


FROZEN = (
    Group(
        "Frozen features",
        "The encoder is frozen. `linear`: logistic regression on all training labels; `low-label-N`: on N labels per "
        "class, several draws; `knn`: nearest neighbours. The rows `pixels` and `random` say what learning added.",
        ("linear", "knn", "low-label"),
        curves=(
            Curve("shots", "labels per class", "Frozen features, logistic regression on few labels.", logarithmic=True),
        ),
    ),
)


FOLDS = (
    Group(
        "Stratified folds",
        "Graphs are split into stratified folds (`folds.outer`) anew for every seed; each fold is the test set once, "
        "and the encoder, which uses no labels, saw all graphs. `fold-svm`: the published protocol, a support vector "
        "machine whose C is chosen by cross-validation inside each training part; `fold-linear`: logistic regression; "
        "`fold-low-label-N`: that on N labels per class; `fold-knn`: nearest neighbours. `random` is the untrained "
        "encoder; `histogram` counts nodes by label and degree; `wl-kernel` is the Weisfeiler-Lehman subtree kernel.",
        ("fold-svm", "fold-linear", "fold-knn", "fold-low-label"),
    ),
)
INDUCTIVE = (
    Group(
        "Stratified folds, encoders of the training part",
        "As above, with an encoder of its own for every test fold, trained on the other folds' graphs alone.",
        ("inductive-svm", "inductive-linear"),
    ),
)


def _corruptions(of: str, head: str | None = None) -> tuple[Group, Group]:
    """Tables of the accuracy under common corruptions ``of`` one head's classifiers."""
    corrupted = f"Share of corrupted test images that {of} gets right"
    return (
        Group(
            f"Common corruptions{f', {head.upper()}' if head else ''}",
            f"{corrupted}. `corrupted`: mean over all kinds and severities; `corrupted-at-S`: mean over the kinds at "
            "severity S, 0 being the same images without corruption.",
            ("corrupted", "corrupted-at"),
            head=head,
            curves=(Curve("severity", "severity", f"{corrupted}: mean over the kinds; severity 0 is clean accuracy."),),
        ),
        Group(
            f"Common corruptions, by kind{f', {head.upper()}' if head else ''}",
            f"{corrupted}: mean over the severities.",
            ("corrupted-by",),
            head=head,
        ),
    )


CORRUPTIONS = _corruptions(
    "a linear classifier on the frozen encoder, fitted on clean ones (where a track attacks its classifiers, the "
    "attacked one: of supervised methods their own),"
)
HEAD_CORRUPTIONS = (
    *_corruptions("the linear head trained on perturbed ones, the encoder frozen,", "alf"),
    *_corruptions("the network fine-tuned with labels on perturbed ones", "aff"),
    *_corruptions("the linear head on the encoder tuned on perturbed ones without labels", "lpaft"),
)
DIAGNOSTICS = (
    Group(
        "Gradients beside NT-Xent's",
        "The loss's gradient with respect to the projector's outputs, mean over the logged steps of training: its "
        "cosine with NT-Xent's at the same temperature and length over that one's, and the largest cosine over "
        "NT-Xent's temperatures. 1 means that every embedding is moved alike. A method whose cosine at the same "
        "temperature is 0.995 or more is marked `as NT-Xent` in all tables; the length is left out of that, because "
        "Adam does not see it.",
        ("gradient-cosine", "gradient-norm-ratio", "gradient-cosine-best"),
    ),
    Group(
        "Selection of negatives on one encoder",
        "Labels are used only to look. Share of same-class samples among the heaviest tenth (`diagnostics.top`) of "
        "each anchor's negatives, on batches of training examples that pass through the same trained encoder for all "
        "methods: by the method's `weights`, by each score alone, at `random`, and among `all` negatives (the base "
        "rate). `effective-negatives`: 100 % where all count alike. It says what a loss would choose there, and not "
        "what it chose in its own training.",
        ("false-negatives", "effective-negatives"),
    ),
)
_ATTACKED = "Share of test images still classified correctly under the strongest perturbation found within the radius"
_RADIUS = Curve(
    "eps",
    "radius",
    "Share of test images still classified correctly as the radius grows, pixels in [0, 1]; radius 0 is clean "
    "accuracy.",
    "clean",
)
_BOUNDED = ("worst-case", "pgd", "foolbox-pgd", "apgd")
_OTHER_HEADS = ("clean", "worst-case", "pgd", "apgd")
ATTACKS = (
    Group(
        "Robust accuracy in l_inf",
        f"{_ATTACKED} (the number after @, on pixels in [0, 1]). Standard linear head on the frozen encoder; "
        "supervised methods keep their own. `worst-case` counts an image only if it withstands every attack up to the "
        "radius.",
        ("clean", "worst-case"),
        norm="linf",
        curves=(_RADIUS,),
        heat=True,
    ),
    Group(
        "PGD and APGD in l_inf",
        f"{_ATTACKED} (the number after @): by projected gradient descent with as many steps as the name says, and by "
        "that together with APGD-CE and APGD-T.",
        ("pgd", "apgd"),
        norm="linf",
        curves=(_RADIUS,),
        heat=True,
    ),
    Group(
        "Other attacks in l_inf",
        f"{_ATTACKED} (the number after @). Noise is no attack and should do least harm.",
        (
            "noise",
            "fgsm",
        ),
        norm="linf",
        curves=(_RADIUS,),
        heat=True,
    ),
    *(
        Group(
            f"Checks on few images{f', {head.upper()}' * bool(head)}",
            "Attacks in l_inf that check the others: Square, which sees no gradients, another implementation of PGD, "
            "and AutoAttack. Each takes as few images as its heading says: no measure of robustness, and not to be "
            "compared with other columns.",
            ("square", "foolbox-pgd", "autoattack"),
            norm="linf",
            head=head or None,
        )
        for head in ("", "alf", "aff", "lpaft")
    ),
    *(
        Group(
            f"Attacks bounded in {norm}",
            f"{_ATTACKED} (the number after @, on pixels in [0, 1]).",
            _BOUNDED,
            norm=norm,
            curves=(_RADIUS,),
            heat=True,
        )
        for norm in ("l2", "l1")
    ),
    Group(
        "Smallest perturbation that fools",
        "Median over test images of the l2 distance to the nearest misclassified image that the attack found; larger "
        "is more robust.",
        ("deepfool", "cw", "ddn", "hopskipjump"),
    ),
    Group(
        "Adversarial linear head (ALF)",
        f"{_ATTACKED}; the linear head was trained on perturbed images, the encoder is frozen.",
        _OTHER_HEADS,
        head="alf",
        curves=(_RADIUS,),
    ),
    Group(
        "Adversarial full fine-tuning (AFF)",
        f"{_ATTACKED}; encoder and head were trained on perturbed images with labels.",
        _OTHER_HEADS,
        head="aff",
        curves=(_RADIUS,),
    ),
    Group(
        "Standard linear head after post-processing (LPAFT)",
        f"{_ATTACKED}; the encoder was tuned on perturbed images with the numbers of clusters for labels (DynACL++).",
        _OTHER_HEADS,
        head="lpaft",
        curves=(_RADIUS,),
    ),
)
VALIDATION = (
    Group(
        "On validation images",
        "Share of validation images still classified correctly under PGD within the radius (the number after @): what "
        "a choice of training parameters is made by.",
        ("validation-pgd",),
    ),
)
VALIDATION_KNN = (
    Group(
        "Nearest neighbours of validation images",
        "Share of validation images that the probe's nearest neighbours among the training images classify correctly: "
        "what a choice of training parameters is made by.",
        ("validation-knn",),
    ),
)
VALIDATION_FEW_SHOT = (
    Group(
        "Few-shot episodes of validation clips",
        "The few-shot protocol's episodes on validation clips, the same for every trial: what a choice of training "
        "parameters is made by, their mean over shots and classifiers.",
        ("validation-few-shot",),
    ),
)
TRANSFERRED = (
    Group(
        "Transfer of attacks",
        "Images that were perturbed against SOURCE, shown to the row's method (black box). The matrix is square: low "
        "values off the diagonal mean that perturbations carry over.",
        ("transfer",),
    ),
)
FEW_SHOT = (
    Group(
        "Few-shot episodes",
        "N-way K-shot episodes on test clips: the accuracy of a classifier that saw K clips of each of N classes; "
        "n is the number of episodes, chance is 1/N.",
        ("few-shot",),
        curves=(Curve("shots", "shots", "Mean accuracy over episodes.", logarithmic=True),),
    ),
)
_FEW_CLIPS = "Logistic regression on N labelled clips per class, frozen encoder; `A-to-B` is trained on A, judged on B."
LOW_SHOT = tuple(
    Group(
        title,
        f"{_FEW_CLIPS} {centred}",
        (family,),
        curves=(Curve("shots", "labels per class", f"Logistic regression on few clips. {centred}", logarithmic=True),),
    )
    for title, family, centred in (
        ("Low-shot regression", "low-shot", "Features are centred on the mean of the training clips."),
        (
            "Low-shot regression, rows centred",
            "low-shot-row-centred",
            "Each clip's features are centred on their own mean, as MSN's and MAE-CT's code does.",
        ),
    )
)
_SOUND = "Share of test segments still classified correctly by a linear head on the frozen encoder"
OWN_ATTACKS = tuple(
    Group(
        f"Own attacks{f', {head.upper()}' * bool(head)}",
        f"{_ATTACKED} (the number after @) by attacks of this project's own.",
        ("own-attack",),
        head=head or None,
        curves=(_RADIUS,),
    )
    for head in ("", "alf", "aff", "lpaft")
)
AUDIO_ATTACKS = (
    Group(
        "Attacks on sound",
        f"{_SOUND}. `spectrogram`: PGD within the l_inf radius after @ on normalised log-mels (1 is two standard "
        "deviations); `waveform`: PGD on the samples through the front end, at the signal-to-noise ratio after @; "
        "`noise`: random noise of that energy.",
        ("audio-clean", "audio-pgd-spectrogram", "audio-pgd-waveform", "audio-noise"),
        curves=(
            Curve(
                "eps",
                "radius",
                f"{_SOUND} as the l_inf radius on its spectrogram grows (1 is two standard deviations); radius 0 is "
                "clean accuracy.",
                "audio-clean",
            ),
            Curve("snr_db", "signal-to-noise ratio in dB", f"{_SOUND}, over how quiet the perturbation is."),
        ),
    ),
)
