"""What a message tells the user to type can be typed: every command in the package's own texts exists, as it is called.

What a message puts in for a name is taken from EXAMPLES, so that the whole command is checked; that messages put in the
right thing is for the tests of what they are about.
"""

import ast
from collections.abc import Iterator

import pytest
from conftest import REPOSITORY
from test_docs import shell_lines, wrong_commands

SOURCES = sorted((REPOSITORY / "src" / "contrastbench").rglob("*.py"))
PROGRAMS = ("contrastbench", "snakemake", "make")
# What stands between braces, with what it may hold; anything else is one word.
EXAMPLES = {
    "job.name": "unremix digits simclr 0",
    "job.trained.name": "unremix digits simclr 0",
    "stage": "pretrain",
    "stage.command": "probe",
    "grid.training_stage(job)": "pretrain",
    "name": "unremix",
    "right": "tune uamix instruments uamix-mae 0",
}


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in ``tree``, those between braces filled in; what directly follows a word is left out."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            text = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    text += part.value
                elif not text[-1:].isalnum():
                    text += EXAMPLES.get(ast.unparse(part.value), "x")
            yield text


def commands(text: str) -> list[str]:
    return [line for line in shell_lines(text) if line.split()[:1] and line.split()[0] in PROGRAMS]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY / "src")))
def test_commands_in_messages_exist_as_they_are_called(path):
    for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
        assert wrong_commands(text) == []


def test_there_are_commands_to_check():
    found = [c for path in SOURCES for text in texts(ast.parse(path.read_text("utf-8"))) for c in commands(text)]
    for expected in (
        "contrastbench pretrain unremix digits simclr 0 --preset x",
        "contrastbench spectrograms x unremix --preset x",
        "contrastbench tune uamix instruments uamix-mae 0 --preset x",
        "contrastbench restore --force",
        "snakemake --unlock",
        "make install",
    ):
        assert expected in found


@pytest.mark.parametrize(
    "line", ["contrastbench restor", "contrastbench restore --forced", "contrastbench pretrain {name}", "make instal"]
)
def test_a_command_that_cannot_be_typed_would_be_found(line):
    (text,) = texts(ast.parse(f'f"wrong; run `{line}`"').body[0])
    assert wrong_commands(text) != []
