"""Data sets of the user's own, declared under ``datasets`` in params.yaml or a preset."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, SerializeAsAny, ValidationError, model_validator

from contrastbench.params.base import Section, from_plain, moved, refusal
from contrastbench.params.values import Share
from contrastbench.registry import DATASETS, DECLARED, KINDS, RESERVED_IN_NAMES, RESERVED_NAME, declare_datasets

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _absent(value: object) -> bool:
    return value is None


def _grey_or_colour(value: int) -> int:
    if value not in (1, 3):
        raise ValueError("must be 1 (grey) or 3 (colour)")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return value


Size = Annotated[int, Field(ge=8, le=1024)]  # pixels a side
Channels = Annotated[int, AfterValidator(_grey_or_colour)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
Path = Annotated[str, Field(min_length=1)]


class SplitRule(Section):
    """What is trained on, and what is tested on. ``data.validation_fraction`` of train becomes validation without one.

    by    ``folders``: those called train and test, and validation (or val) where there is one; ``fraction``: ``test``
          of each class's files, by the sha256 of their names; ``csv``: the table ``file``, with columns ``file`` and
          ``split``, and ``label`` and ``group`` where they are not said by folders and names
    test  a share
    file  a path from the data's folder
    """

    by: Literal["folders", "fraction", "csv"]
    test: Share | None = Field(default=None, exclude_if=_absent)
    file: Path | None = Field(default=None, exclude_if=_absent)

    @model_validator(mode="after")
    def _what_the_rule_reads(self) -> Self:
        for key, reader in (("test", "fraction"), ("file", "csv")):
            if (getattr(self, key) is None) == (self.by == reader):
                raise ValueError(f"`{key}` goes with `by: {reader}`, and with nothing else")
        return self


class GivenSplit(Section):
    """The same where data have no folders: as they are ``given``, or a ``fraction``."""

    by: Literal["given", "fraction"]
    test: Share | None = Field(default=None, exclude_if=_absent)

    @model_validator(mode="after")
    def _what_the_rule_reads(self) -> Self:
        if (self.test is None) == (self.by == "fraction"):
            raise ValueError("`test` goes with `by: fraction`, and with nothing else")
        return self


class DeclaredDataset(Section):
    """One data set: of what kind it is, and where it lies, from the project folder.

    Each kind has a subclass, which adds what is read of it.
    """

    kind: Literal["image-folder", "sound-folder", "npz", "graph-folder", "huggingface"]
    path: Path

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        kind = content.get("kind") if isinstance(content, dict) else None
        if cls is not DeclaredDataset or kind not in BY_KIND:
            return handler(content)
        try:
            return from_plain(BY_KIND[kind], content)  # type: ignore[return-value]
        except ValidationError as error:
            raise moved(error, BY_KIND[kind]) from None

    @property
    def module(self) -> str:
        """Dotted name of the module that reads it."""
        return KINDS[self.kind].module


class FileFolder(DeclaredDataset):
    """A folder of files, sorted into one folder per class.

    group        a regular expression that is looked for in a file's path below the folder of its class: what it (or
                 its first bracket) matches names the file's group, which stays in one split
    on_bad_file  ``refuse`` the data set, or ``skip`` what cannot be read, which is then counted and named in meta.json
    """

    split: SplitRule
    group: Pattern | None = Field(default=None, exclude_if=_absent)
    on_bad_file: Literal["refuse", "skip"] = "refuse"


class ImageFolder(FileFolder):
    """Pictures: the middle square of each, scaled to ``size`` pixels a side; ``channels`` 3 is colour, 1 grey."""

    kind: Literal["image-folder"]
    size: Size
    channels: Channels = 3


class SoundFolder(FileFolder):
    """Sounds, at 16 kHz: ``average`` the channels, or take what is not mono for a bad file (``refuse``)."""

    kind: Literal["sound-folder"]
    stereo: Literal["average", "refuse"] = "average"


class Arrays(DeclaredDataset):
    """A file of ``np.savez``: images, or graphs, of which neither ``channels`` nor ``split`` is said."""

    kind: Literal["npz"]
    modality: Literal["image", "graph"] = "image"
    channels: Channels | None = Field(default=None, exclude_if=_absent)
    split: GivenSplit | None = Field(default=None, exclude_if=_absent)

    @model_validator(mode="after")
    def _images_have_both(self) -> Self:
        for key in ("channels", "split"):
            if (getattr(self, key) is None) == (self.modality == "image"):
                told = "required for images" if self.modality == "image" else "not read for graphs; remove the key"
                raise refusal(told, key)
        return self


class GraphFolder(DeclaredDataset):
    """Graphs in the layout of the TU Dortmund collection, all judged in folds."""

    kind: Literal["graph-folder"]


class HuggingFace(DeclaredDataset):
    """A data set of Hugging Face's package ``datasets``: a name on the hub, or a folder that ``save_to_disk`` wrote.

    name      the configuration, where there are several
    revision  the commit on the hub
    size, channels  of images
    """

    kind: Literal["huggingface"]
    modality: Literal["image", "audio"]
    split: GivenSplit
    name: Path | None = Field(default=None, exclude_if=_absent)
    revision: Path | None = Field(default=None, exclude_if=_absent)
    size: Size | None = Field(default=None, exclude_if=_absent)
    channels: Channels | None = Field(default=None, exclude_if=_absent)
    on_bad_file: Literal["refuse", "skip"] = "refuse"

    @model_validator(mode="after")
    def _images_have_both(self) -> Self:
        for key in ("size", "channels"):
            if (getattr(self, key) is None) == (self.modality == "image"):
                told = "required for images" if self.modality == "image" else "not read for sound; remove the key"
                raise refusal(told, key)
        return self


BY_KIND: dict[str, type[DeclaredDataset]] = {
    "image-folder": ImageFolder,
    "sound-folder": SoundFolder,
    "npz": Arrays,
    "graph-folder": GraphFolder,
    "huggingface": HuggingFace,
}


def _free(name: str) -> str:
    """``name``, where a data set of one's own may be called so; else ValueError."""
    if not NAME.fullmatch(name) or RESERVED_IN_NAMES in name or name == RESERVED_NAME:
        raise ValueError(
            f"a data set's name is lower-case letters, digits, - and _, "
            f"not {RESERVED_NAME!r} and without {RESERVED_IN_NAMES!r}"
        )
    if name in DATASETS and name not in DECLARED:
        raise ValueError("is the name of a data set that comes with contrastbench; choose another")
    return name


DatasetName = Annotated[str, AfterValidator(_free)]
Declared = Annotated[DeclaredDataset, SerializeAsAny()]


def declare(datasets: Any) -> None:
    """Let the registry know the names that the section ``datasets`` declares, and no others declared before.

    What is no declaration is passed over: whoever validates the section refuses it.
    """
    found = {}
    for name, content in datasets.items() if isinstance(datasets, dict) else ():
        kind = content.get("kind") if isinstance(content, dict) else None
        if isinstance(kind, str) and kind in KINDS:
            modality = KINDS[kind].modality or content.get("modality", "image")
            found[name] = (modality, KINDS[kind].module)
    declare_datasets(found)
