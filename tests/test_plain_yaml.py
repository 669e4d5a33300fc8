"""params.yaml says the same to PyYAML, which jobs read it by, and to DVC, which records it: the rest is refused."""

import random

import pytest
from dvc.utils.serialize import dumps_yaml as dvc_writes
from dvc.utils.serialize import parse_yaml as dvc_reads

from contrastbench.errors import UserError
from contrastbench.params.plain_yaml import parse_yaml


def refused(text: str) -> str | None:
    """The message that refuses ``a: {b: text}``; None where it is read."""
    try:
        parse_yaml(f"a: {{b: {text}}}".encode(), "params.yaml")
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("010", "write 8 or 10"),
        ("-010", "write -8 or -10"),
        ("08", "write 8"),
        ("0o10", "write 8"),
        ("0x1F", "write 31"),
        ("0b101", "write 5"),
        ("1_000", "write 1000"),
        ("1_0.5", "write 10.5"),
        ("1:30", "write 90"),
        ("1:30.5", "write 90.5"),
        ("-.5", "write -0.5"),
        (".5e3", "write 500.0"),
        ("off", "write false"),
        ("No", "write false"),
        ("on", "write true"),
        ("YES", "write true"),
        ("-_", "write a decimal number"),
        ("0" * 200, "write a decimal number"),
        ("!!int '010'", "write 8 or 10"),
        ("!!bool yes", "write true"),
    ],
)
def test_what_parsers_read_differently_is_refused_with_its_remedy(text, remedy):
    message = refused(text)
    assert message and message.startswith("params.yaml: a.b = ")
    assert message.endswith(f": YAML 1.1 and 1.2 differ on this; {remedy}, or put text in quotes")


@pytest.mark.parametrize("text", ["[1, off]", "{off: 1}", "{x: {y: [0o7]}}"])
def test_the_message_leads_to_the_place(text):
    place = {"[1, off]": "a.b.1 = off", "{off: 1}": "a.b.off = off", "{x: {y: [0o7]}}": "a.b.x.y.0 = 0o7"}[text]
    assert f"params.yaml: {place}: " in str(refused(text))


def test_a_value_behind_an_alias_is_refused_once_and_a_cycle_ends():
    with pytest.raises(UserError, match=r"a\.b = off"):
        parse_yaml(b"a: {b: &x off}\nc: *x\n", "params.yaml")
    with pytest.raises(UserError, match="contains itself"):
        parse_yaml(b"a: &x [1, *x]\n", "params.yaml")


def test_aliases_that_multiply_are_refused():
    lines = ["a: &x0 [1, 1]", *(f"b{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 40))]
    with pytest.raises(UserError, match=r"params.yaml: b6: aliases make more than 1,000,000 values of it"):
        parse_yaml("\n".join(lines).encode(), "params.yaml")


def test_a_version_line_is_refused():
    with pytest.raises(UserError, match="the line %YAML changes how values are read; remove it"):
        parse_yaml(b"%YAML 1.1\n---\na: 1\n", "params.yaml")


WORDS = (
    "true false True FALSE yes No ON off y n null ~ Null .inf -.Inf .nan 32-true 8/255 1e-3 1E3 +1 -0 0 00 1. .5 +.5",
    "0.1 1.5e+3 1.e5 1e400 12:30 12:30:45.5 190:20:30 0x 0xg 0o8 0O7 0B1 1__0 1_ _1 1,2 1.2.3 'off' \"010\" 2024-1-1",
    "-1e-3 +0.0 t-cutmix resnet50",
)


def test_what_is_read_is_what_dvc_reads():
    """Several thousand scalars of the characters that numbers and booleans are made of, and words of the files."""
    draw = random.Random(0)
    scalars = ["".join(draw.choices("0011279_.+-eExob:aFn", k=draw.randint(1, 6))) for _ in range(4000)]
    read = 0
    for text in [*" ".join(WORDS).split(), "!!str off", "!!float 1", *scalars]:
        if refused(text) is None:
            document = f"a: {{b: {text}}}"
            ours, theirs = (value["a"]["b"] for value in (parse_yaml(document.encode(), ""), dvc_reads(document, "")))
            assert (type(ours), repr(ours)) == (type(theirs), repr(theirs)), text
            read += 1
    assert read > 1000


def test_the_projects_own_files_are_read_as_dvc_reads_them(repository):
    for path in [repository / "params.yaml", *sorted((repository / "presets").glob("*.yaml"))]:
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text.encode(), str(path)) == dvc_reads(text, str(path))


def test_every_checksum_that_dvc_writes_is_read():
    """dvc.lock holds hundreds of md5 sums; one that began with 0b was once taken for a binary number and refused."""
    draw = random.Random(0)
    begins = ["0b", "0B", "0o", "0x", "0e", "1e", "00", "12", ""]
    sums = [f"{begin}{draw.getrandbits(128):032x}"[:32] for begin in begins for _ in range(200)]
    lock = {"outs": [{"md5": text} for text in [*sums, "0" * 32, "1" * 32, "12345e" + "6" * 26]]}
    assert parse_yaml(dvc_writes(lock).encode(), "dvc.lock") == lock
