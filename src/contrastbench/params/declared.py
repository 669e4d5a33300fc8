"""Data sets of the user's own, declared under ``datasets`` in params.yaml or a preset."""

from typing import Any

from contrastbench.params.base import Section


class DeclaredDataset(Section):
    """One data set: where it lies and how it is read."""


def declare(datasets: Any) -> None:
    """Let the names that the section ``datasets`` declares be known to the registry; to do so again changes nothing."""


def fitted(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``content`` with the sections of tracks on own data set to what fits them, where ``changes`` does not set them.

    ``content`` are all sections, ``changes`` what the project or preset says over the defaults.
    """
    return content
