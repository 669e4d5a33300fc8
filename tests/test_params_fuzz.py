"""Parameters spoilt at random and one by one are loaded, or refused in one line; every number has its bounds."""

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contrastbench.errors import UserError
from contrastbench.params.base import overlay, read_yaml, validate
from contrastbench.params.root import load

REPOSITORY = Path(__file__).resolve().parent.parent
ALL = type(load(root=REPOSITORY))
Place = tuple[str | int, ...]
VALUES: list[Any] = [
    0, 1, -1, 2.5, 1e308, -1e-308, 10**9, 10**30, -(10**400), float("nan"), float("inf"), True, False, None,
    "", "x", "x" * 5000, "a\nb", "\x00", "{}", "8/255", "1/0", "1e999/1", "1/2/3", "all", "a-to-b", "pixels",
    "mnist5k", "esc50", "simclr", "uamix-mae", "unremix-exp", [], [[]], [1, 1], ["simclr"], ["a", "b"], [None], {},
    [{}], {"a": 1}, {"method": "simclr", "settings": {}}, {"method": "unremix-exp", "settings": {}}, {"": {}},
    {"a\nb": {"method": "simclr", "settings": {"c\nd": []}}},
]  # fmt: skip


def places(content: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every key path of ``content`` with its value."""
    if path:
        yield path, content
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def spoilt(content: dict, path: Place, value: Any) -> dict:
    """A copy of ``content`` with ``value`` at ``path``."""
    changed = copy.deepcopy(content)
    section: Any = changed
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    return changed


def answer(folder: Path, content: Any) -> str | None:
    """What ``load`` says of ``content``: None where it takes it. Anything but one line of UserError is a failure."""
    text = content if isinstance(content, bytes) else yaml.dump(content, Dumper=yaml.CSafeDumper).encode()
    (folder / "params.yaml").write_bytes(text)
    try:
        load(root=folder)
    except UserError as error:
        message = str(error)
        assert message.startswith(f"{folder / 'params.yaml'}: ") and len(message.splitlines()) == 1, message
        assert len(message) < 2000
        return message
    return None


@pytest.fixture(scope="module")
def content() -> dict:
    """The default parameters, with the sections that only presets have."""
    return overlay(
        read_yaml(REPOSITORY / "params.yaml"), {"swaro": {"training": {"max_examples": 10, "max_steps": 10}}}
    )


def test_random_changes_are_taken_or_refused_in_one_line(content, tmp_path):
    draw, found = random.Random(0), [path for path, _ in places(content)]
    refused = 0
    for _ in range(300):
        changed = content
        for _ in range(draw.choice((1, 1, 3))):
            path = draw.choice(found)
            try:
                changed = spoilt(changed, path, draw.choice(VALUES))
            except (KeyError, TypeError, IndexError):  # an earlier change took the place away
                continue
        refused += answer(tmp_path, changed) is not None
    assert refused > 200


def test_missing_and_renamed_keys_are_taken_or_refused_in_one_line(content, tmp_path):
    draw = random.Random(1)
    keys = [path for path, _ in places(content) if isinstance(path[-1], str)]
    for path in draw.sample(keys, 100):
        changed = copy.deepcopy(content)
        section: Any = changed
        for part in path[:-1]:
            section = section[part]
        value = section.pop(path[-1])
        if draw.random() < 0.5:
            section[draw.choice(["x", "", "a\nb", "all", f"{path[-1]}s", "simclr"])] = value
        answer(tmp_path, changed)


def test_damaged_text_is_taken_or_refused_in_one_line(content, tmp_path):
    draw, text = random.Random(2), (REPOSITORY / "params.yaml").read_bytes()
    for _ in range(100):
        damaged = bytearray(text)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(damaged))
            damaged[at : at + draw.randint(0, 3)] = draw.choices(b"\x00\xff\n\t :-[]{}&*!|>'\"%@`#,?\xc3\xa901eo_", k=2)
        answer(tmp_path, bytes(damaged))


def refusal_of(content: dict) -> str | None:
    """Like :func:`answer`, without the detour through a file."""
    try:
        validate(ALL, content, lambda _: "params.yaml")
    except UserError as error:
        return str(error)
    return None


def test_half_a_character_is_refused_in_one_line(content, tmp_path):
    text = yaml.dump(content, Dumper=yaml.CSafeDumper).replace("optimizer: adam\n", 'optimizer: "\\ud800"\n')
    assert answer(tmp_path, text.encode())


def numbers(content: dict) -> list[tuple[Place, int | float]]:
    return [
        (path, value)
        for path, value in places(content)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def test_true_is_no_number_anywhere(content):
    """In tuples, in optional values, and in the settings of variants, which are a free mapping at first."""
    for path, _ in numbers(content):
        message = refusal_of(spoilt(content, path, True))
        assert message and ".".join(map(str, path)) in message and "true" in message, path


def test_no_integer_may_be_a_thousand_million(content):
    """Sizes, counts, lengths. A seed may: it is a name. So may numbers that size nothing, in floating point."""
    whole = [path for path, value in numbers(content) if isinstance(value, int) and not {"seed", "seeds"} & {*path}]
    assert len(whole) > 100
    for path in whole:
        if path[:3] == ("uamix", "audio_attack", "snr_db"):
            continue
        message = refusal_of(spoilt(content, path, 10**9))
        assert message and ".".join(map(str, path)) in message and "1000000000" in message, path
    assert refusal_of(spoilt(content, ("unremix", "seeds"), [10**9])) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("unremix.seeds", [*range(1001)]),
        ("unremix.training.warmup_epochs", 1e9),
        ("swaro.settings.swav.freeze_epochs", 1e9),
        ("uamix.augment.canvas", [1e9, 1.0]),
        ("uamix.augment.crop_time", [1.0, 1e9]),
        ("unremix.probe.l2_grid", [float(number) for number in range(1, 1002)]),
        ("unremix.probe.low_label_shots", [*range(1, 1002)]),
        ("swaro.robustness.budgets.mnist5k.l2", [float(number) for number in range(1, 1002)]),
    ],
)
def test_lengths_of_lists_and_factors_of_sizes_are_bounded(content, tmp_path, path, value):
    message = answer(tmp_path, spoilt(content, tuple(path.split(".")), value))
    assert message and path in message and ("at most" in message or "less than or equal to" in message)
