"""Parameters of audio: log-mel front end, augmentation of spectrograms, few-shot and low-shot protocols."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from contrastbench.params.base import Section, without_repeats
from contrastbench.params.evaluation import Shots, Strengths

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Judged = Annotated[tuple[str, ...], AfterValidator(without_repeats)]


class FrontEndParams(Section):
    """AudioMAE's log-mel front end (specification of uaMix-MAE, section 2).

    frames    length of one segment in frames of 10 ms; shorter clips are padded with 0 before normalisation
    mels      mel bins
    segments  a longer clip is cut into at most this many segments, one after another; 1 keeps its beginning
    mean, std statistics for (x - mean) / (2 std); null takes them from the training split. Fix both to
              a checkpoint's own when it was trained elsewhere (AudioMAE on AudioSet: -4.2677393, 4.5689974)
    """

    frames: int = Field(ge=16)
    mels: int = Field(ge=16, le=256)
    segments: int = Field(ge=1)
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _both_or_none(self) -> "FrontEndParams":
        if (self.mean is None) != (self.std is None):
            raise ValueError("set mean and std both, or neither")
        return self


class AudioAugmentParams(Section):
    """Random changes of normalised spectrograms, drawn for every sample on its own.

    gain             strength of AudioMAE's gain: x U with U = 1 + gain (Beta(10, 10) - 1/2) x 2 on the waveform,
                     which adds a constant to its log-mel; 0.5 is AudioMAE's Beta(10, 10) + 0.5; 0 is off
    roll             circular shift in time, by up to this share of the frames either way; 0.5 is any shift
    crop_probability how often BYOL-A's random resize crop is made
    canvas           size of BYOL-A's virtual canvas, as multiples of (time, frequency); BYOL-A's own is 1.5 times the
                     spectrogram in time and no larger in frequency (its code writes frequency first: 1.0, 1.5)
    crop_time, crop_mel  range of the crop's size, as multiples of the spectrogram's
    time_mask, mel_mask  SpecAugment: the longest run of frames and of mel bins set to 0 (the mean); 0 is off
    """

    gain: float = Field(ge=0, lt=1)
    roll: float = Field(ge=0, le=0.5)
    crop_probability: Probability
    canvas: tuple[Annotated[float, Field(ge=1)], Annotated[float, Field(ge=1)]]
    crop_time: tuple[Positive, Positive]
    crop_mel: tuple[Positive, Positive]
    time_mask: int = Field(ge=0)
    mel_mask: int = Field(ge=0)

    @model_validator(mode="after")
    def _ranges(self) -> "AudioAugmentParams":
        for name, (low, high) in (("crop_time", self.crop_time), ("crop_mel", self.crop_mel)):
            if low > high:
                raise ValueError(f"{name} must be [low, high] with low <= high")
        return self


class FewShotParams(Section):
    """N-way K-shot episodes (specification of uaMix-MAE, section 3a).

    datasets    for each data set that is trained on, those that episodes are drawn from: from the test split, or
                where clips have a ``role`` (ESC-50, FSDKaggle2018) from the novel classes of all splits
    queries     query clips per class of an episode
    class_of    column whose values are an episode's classes, where that is not ``y`` (instruments: ``group``)
    classifiers ``centroid`` (nearest, L2), ``cl2n`` (SimpleShot: centred on the training split, L2-normalised),
                ``linear`` (multinomial logistic regression on each episode)
    l2          strength of the linear classifier's penalty, on L2-normalised features
    """

    datasets: dict[str, Judged]
    way: int = Field(ge=2)
    shots: Annotated[Shots, Field(min_length=1)]
    queries: int = Field(ge=1)
    episodes: int = Field(ge=2)
    class_of: dict[str, Literal["y", "group"]]
    classifiers: Annotated[
        tuple[Literal["centroid", "cl2n", "linear"], ...], Field(min_length=1), AfterValidator(without_repeats)
    ]
    l2: Positive

    def protocols(self) -> list[str]:
        """Names of the rows' protocols."""
        return [self.protocol(shots, name) for shots in self.shots for name in self.classifiers]

    def protocol(self, shots: int, classifier: str) -> str:
        """Name of one row's protocol."""
        return f"few-shot-{self.way}-way-{shots}-shot-{classifier}"


class LowShotParams(Section):
    """Logistic regression on few labels per class (section 3b), on data sets that may be other than trained on.

    datasets  for each data set that is trained on, those that are judged
    strength  inverse L2 strength C of the regression on centred, L2-normalised features (MAE-CT: 4000); fixed,
              nothing is chosen, so that no validation labels are used
    """

    datasets: dict[str, Judged]
    shots: Annotated[Shots, Field(min_length=1)]
    draws: int = Field(ge=1)
    strength: Positive

    def protocols(self) -> list[str]:
        """Names of the rows' protocols."""
        return [self.protocol(shots) for shots in self.shots]

    def protocol(self, shots: int) -> str:
        """Name of one row's protocol."""
        return f"low-shot-{shots}"


class AudioAttackParams(Section):
    """White-box attacks on a linear classifier of sound (specification of the suite: docs/protocols/robustness.md).

    datasets     for each data set that is trained on, those whose test segments are attacked; the classifier is fitted
                 on their training split. Segments that their clip does not fill are left out
    segments     test segments that every attack gets
    steps        of PGD, each a tenth of the radius
    spectrogram  l_inf radii on the normalised log-mel spectrogram, where 1 is two standard deviations
    snr_db       signal-to-noise ratios in dB that a perturbation of the waveform keeps
    l2_grid      inverse L2 strengths of the classifier, chosen on the validation split
    """

    datasets: dict[str, Judged]
    segments: int = Field(ge=1)
    steps: int = Field(ge=1)
    spectrogram: tuple[Annotated[Positive, Field(allow_inf_nan=False)], ...] = Field(min_length=1)
    snr_db: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(min_length=1)
    l2_grid: Strengths

    @field_validator("spectrogram", "snr_db")
    @classmethod
    def _none_stands_twice(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        digits = ".4g" if info.field_name == "spectrogram" else "g"  # as the protocols below write them
        without_repeats(tuple(f"{value:{digits}}" for value in values))
        return values

    def protocols(self) -> list[str]:
        """Names of the rows' protocols."""
        return [
            "audio-clean",
            *map(self.on_spectrogram, self.spectrogram),
            *(protocol for snr in self.snr_db for protocol in (self.noise(snr), self.on_waveform(snr))),
        ]

    def on_spectrogram(self, eps: float) -> str:
        """Name of the protocol of PGD within ``eps`` on the spectrogram."""
        return f"audio-pgd-{self.steps}-spectrogram@{eps:.4g}"

    def on_waveform(self, snr_db: float) -> str:
        """Name of the protocol of PGD on the waveform."""
        return f"audio-pgd-{self.steps}-waveform@{snr_db:g}dB"

    def noise(self, snr_db: float) -> str:
        """Name of the protocol of random noise on the waveform."""
        return f"audio-noise-waveform@{snr_db:g}dB"
