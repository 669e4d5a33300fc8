"""What a row measures: a protocol's parts, and how its name is written. Names are written here and read nowhere."""

from string import Formatter
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

# How the protocols of a family are named, in tables and on the command line.
FORMS: dict[str, str] = {
    "linear": "linear",
    "knn": "knn",
    "low-label": "low-label-{shots}",
    "fold-svm": "fold-svm",
    "fold-linear": "fold-linear",
    "fold-knn": "fold-knn",
    "fold-low-label": "fold-low-label-{shots}",
    "inductive-svm": "inductive-svm",
    "inductive-linear": "inductive-linear",
    "few-shot": "few-shot-{way}-way-{shots}-shot-{classifier}",
    "low-shot": "low-shot-{shots}",
    "low-shot-row-centred": "low-shot-row-centred-{shots}",
    "corrupted": "corrupted",
    "corrupted-at": "corrupted-at-{severity}",
    "corrupted-by": "corrupted-by-{corruption}",
    "gradient-cosine": "gradient-cosine",
    "gradient-norm-ratio": "gradient-norm-ratio",
    "gradient-cosine-best": "gradient-cosine-best",
    "false-negatives": "false-negatives-{score}",
    "effective-negatives": "effective-negatives",
    "clean": "clean",
    "noise": "noise@{eps:.4g}",
    "fgsm": "fgsm@{eps:.4g}",
    "square": "square@{eps:.4g}",
    "pgd": "pgd-{steps}-{norm}@{eps:.4g}",
    "foolbox-pgd": "foolbox-pgd-{steps}-{norm}@{eps:.4g}",
    "apgd": "apgd-{norm}@{eps:.4g}",
    "autoattack": "autoattack-{norm}@{eps:.4g}",
    "own-attack": "own-{attack}-{norm}@{eps:.4g}",
    "worst-case": "worst-case-{norm}@{eps:.4g}",
    "validation-pgd": "validation-pgd-{steps}-{norm}@{eps:.4g}",
    "validation-knn": "validation-knn",
    "validation-few-shot": "validation-few-shot-{way}-way-{shots}-shot-{classifier}",
    "deepfool": "deepfool-{norm}",
    "cw": "cw-{norm}",
    "ddn": "ddn-{norm}",
    "hopskipjump": "hopskipjump-{norm}",
    "transfer": "transfer-from-{source}@{eps:.4g}",
    "audio-clean": "audio-clean",
    "audio-pgd-spectrogram": "audio-pgd-{steps}-spectrogram@{eps:.4g}",
    "audio-pgd-waveform": "audio-pgd-{steps}-waveform@{snr_db:g}dB",
    "audio-noise": "audio-noise-waveform@{snr_db:g}dB",
}
PARTS = {family: {part for _, part, _, _ in Formatter().parse(form) if part} for family, form in FORMS.items()}
MOST = 1_000_000_000  # examples, steps, seconds: what is more is damage, and sums over rows must not overflow
Count = Annotated[int, Field(ge=0, le=MOST)]
# Heads whose rows share a column: the standard linear classifier, and the classifier of a supervised method.
STANDARD_HEADS = ("slf", "own")


class Protocol(BaseModel):
    """The parts of one protocol; those that a family does not have are None.

    family      key of ``FORMS``
    shots, way  labels per class; classes of an episode
    classifier  of few-shot episodes
    severity    of corruptions, 1 to 5, 0 for none; ``corruption`` is one kind of them
    score       what ranks negatives: a method's ``weights``, one of its scores, ``random``, or ``all`` alike
    head        the classifier under attack: ``slf``, ``own``, ``alf``, ``aff`` or ``lpaft``
    attack      of the user's own, by name
    norm, eps, steps  of an attack; ``snr_db`` bounds one on waveforms
    source      the method that a transferred perturbation was made against, or whose encoder negatives are ranked on
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: str
    shots: Count | None = None
    way: Count | None = None
    classifier: str | None = None
    severity: Count | None = None
    corruption: str | None = None
    score: str | None = None
    head: str | None = None
    attack: str | None = None
    norm: str | None = None
    eps: float | None = Field(default=None, ge=0, le=MOST)
    steps: Count | None = None
    snr_db: float | None = Field(default=None, ge=-MOST, le=MOST)
    source: str | None = None

    @model_validator(mode="after")
    def _is_known_and_complete(self) -> "Protocol":
        if self.family not in FORMS:
            raise ValueError(f"unknown protocol {self.family!r}; known: {', '.join(FORMS)}")
        missing = sorted(part for part in PARTS[self.family] if getattr(self, part) is None)
        if missing:
            raise ValueError(f"{self.family!r} needs {', '.join(missing)}")
        return self

    @property
    def name(self) -> str:
        """For example ``pgd-20-linf@0.1``, or ``alf-pgd-20-linf@0.1`` for a head that is not standard."""
        prefix = "" if self.head is None or self.head in STANDARD_HEADS else f"{self.head}-"
        return prefix + FORMS[self.family].format_map(dict(self))

    @property
    def column(self) -> "Protocol":
        """The protocol without what does not separate columns: whose the standard head is."""
        return self.model_copy(update={"head": None}) if self.head in STANDARD_HEADS else self
