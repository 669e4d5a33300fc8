"""Settings of methods: what each declares, and the section ``settings`` of a track, which has one per method."""

from functools import cache

from pydantic import Field, create_model

from contrastbench.params.base import Section
from contrastbench.registry import methods_of, settings_class, settings_key


class MethodSettings(Section):
    """What a method can be told; one subclass per method, named in its entry in ``registry.py``."""

    def check_batch(self, batch_size: int) -> None:
        """ValueError where the method cannot be trained on batches of ``batch_size``."""


class NoSettings(MethodSettings):
    """The settings of methods that have none."""


@cache
def settings_of_modality(modality: str) -> type[Section]:
    """The section ``settings`` of a track: an optional section for every method that trains on ``modality``."""
    absent = Field(default=None, exclude_if=lambda value: value is None)
    fields = {settings_key(name): (settings_class(name) | None, absent) for name in methods_of(modality)}
    return create_model(f"{modality.capitalize()}Settings", __base__=Section, **fields)  # type: ignore[call-overload]
