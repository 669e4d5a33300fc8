"""Attacks of the user's own in a track: the section ``own_attacks`` has one for every attack that a plugin declares."""

from functools import cache
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from contrastbench.params.base import Section
from contrastbench.params.robustness import Budget
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

    def settings(self) -> dict[str, Any]:
        """The settings that the attack itself declares."""
        return {key: getattr(self, key) for key in type(self).model_fields if key not in OwnAttack.model_fields}

    def radii(self, name: str, budget: Budget) -> tuple[float, ...]:
        """The radii that the attack called ``name`` gets on a data set."""
        return getattr(budget, ATTACKS[name].norm) if self.eps is None else self.eps


class OwnAttacks(Section):
    """At least one attack."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not own_attacks(self):
            known = ", ".join(type(self).model_fields) or "none, see `plugins`"
            raise ValueError(f"names no attack; leave the section out, or name one of: {known}")
        return self


@cache
def own_attacks_section() -> type[Section]:
    """The section ``own_attacks`` of a track: an optional section for every attack that is registered."""
    absent = Field(default=None, exclude_if=lambda value: value is None)
    fields: dict[str, Any] = {settings_key(name): (entry.settings | None, absent) for name, entry in ATTACKS.items()}
    return create_model("OwnAttacks", __base__=OwnAttacks, **fields)


def own_attacks(section: Section | None) -> dict[str, OwnAttack]:
    """The attacks that a track's section names, by name."""
    found = ((name, getattr(section, settings_key(name), None)) for name in ATTACKS)
    return {name: attack for name, attack in found if attack is not None}
