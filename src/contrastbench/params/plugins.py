"""Methods, data sets and attacks of the user's own, from files that ``plugins`` in params.yaml names."""

from typing import Any


def register_plugins(names: Any) -> None:
    """Register what the files called ``names`` declare; to do so again changes nothing."""
