"""Parameters of sound: log-mel front end, augmentation of spectrograms, attacks."""

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from contrastbench.params.base import Section
from contrastbench.params.evaluation import DatasetNames
from contrastbench.params.values import (
    LONGEST_LIST,
    Examples,
    Frames,
    Positive,
    Probability,
    Scale,
    Steps,
    Strengths,
    told_apart,
)


class FrontEndParams(Section):
    """AudioMAE's log-mel front end (specification of uaMix-MAE, section 2).

    frames    length of one segment in frames of 10 ms; shorter clips are padded with 0 before normalisation
    mels      mel bins
    segments  a longer clip is cut into at most this many segments, one after another; 1 keeps its beginning
    mean, std statistics for (x - mean) / (2 std); null takes them from the training split. Fix both to
              a checkpoint's own when it was trained elsewhere (AudioMAE on AudioSet: -4.2677393, 4.5689974)
    """

    frames: Annotated[Frames, Field(ge=16)]
    mels: int = Field(ge=16, le=256)
    segments: int = Field(ge=1, le=10_000)
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
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
    canvas: tuple[Annotated[Scale, Field(ge=1)], Annotated[Scale, Field(ge=1)]]
    crop_time: tuple[Scale, Scale]
    crop_mel: tuple[Scale, Scale]
    time_mask: Frames
    mel_mask: int = Field(ge=0, le=256)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, (low, high) in (("crop_time", self.crop_time), ("crop_mel", self.crop_mel)):
            if low > high:
                raise ValueError(f"{name} must be [low, high] with low <= high")
        return self


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

    datasets: dict[str, DatasetNames]
    segments: Annotated[Examples, Field(ge=1)]
    steps: Steps
    spectrogram: tuple[Positive, ...] = Field(min_length=1, max_length=LONGEST_LIST)
    snr_db: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] = Field(min_length=1, max_length=LONGEST_LIST)
    l2_grid: Strengths

    @field_validator("spectrogram", "snr_db")
    @classmethod
    def _no_repeats(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        return told_apart(values, ".4g" if info.field_name == "spectrogram" else "g")  # as the protocols write them

    def on(self, trained: str, judged: str) -> Section:
        """Without other data sets."""
        return self.model_copy(update={"datasets": {trained: (judged,)}})
