"""Attacks of the user's own in a track: the section ``own_attacks`` has one for every attack that a plugin declares."""

from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model

from contrastbench.params.base import Section
from contrastbench.params.values import LONGEST_LIST, Examples, Radius, told_apart
from contrastbench.registry import ATTACKS, settings_key


class OwnAttack(Section):
    """What every attack has besides the settings that it declares.

    eps     radii of its norm's ball; null takes the data set's of that norm in ``robustness.budgets``
    images  how many test images it attacks; null takes ``robustness.images.gradient``
    """

    eps: (
        Annotated[tuple[Radius, ...], Field(min_length=1, max_length=LONGEST_LIST), AfterValidator(told_apart)] | None
    ) = None
    images: Annotated[Examples, Field(ge=1)] | None = None


@cache
def own_attacks_section() -> type[Section]:
    """The section ``own_attacks`` of a track: an optional section for every attack that is registered."""
    absent = Field(default=None, exclude_if=lambda value: value is None)
    fields: dict[str, Any] = {settings_key(name): (entry.settings | None, absent) for name, entry in ATTACKS.items()}
    return create_model("OwnAttacks", __base__=Section, **fields)


def own_attacks(section: Section | None) -> dict[str, OwnAttack]:
    """The attacks that a track's section names, by name."""
    found = ((name, getattr(section, settings_key(name), None)) for name in ATTACKS)
    return {name: attack for name, attack in found if attack is not None}
