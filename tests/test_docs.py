"""What README, CONTRIBUTING and docs/ name exists: links, commands with their options, files, functions and tests."""

import ast
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import typer
from conftest import REPOSITORY

from contrastbench import cli

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("data/*.md"), *REPOSITORY.glob("docs/**/*.md")])
SOURCE, TESTS = REPOSITORY / "src" / "contrastbench", REPOSITORY / "tests"
COMMANDS = typer.main.get_command(cli.app).commands
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNAKEFILE = SOURCE / "workflow" / "Snakefile"
SPAN = re.compile(r"`([^`]+)`")
NEW_FILE = re.compile(r"^`([^`\n]+)`(?:, a new file)?:$", re.MULTILINE)
WRITTEN_PRESET = re.compile(r"\binspect \S+ --preset ([\w-]+)")
PLACEHOLDER = re.compile(r"\b(?!README|CONTRIBUTING)[A-Z]{3,}\b")  # DATASET, STAGE, ...
MADE = re.compile(r"(data/\w+|runs|results)/")  # by a run

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def spans(text: str) -> list[str]:
    """Everything between backticks outside fenced blocks, on one line each."""
    return [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text))]


def shell_lines(text: str) -> list[str]:
    """Commands a reader could type: in spans, in indented lines and in blocks of shell; comments cut off."""
    blocks = [line for language, block in FENCE.findall(text) if language in ("sh", "") for line in block.splitlines()]
    indented = re.findall(r"^    +(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in (*spans(text), *indented, *blocks)]


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = folder / name
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


def wrong_commands(text: str) -> list[str]:
    """Lines that begin with a program of ours and could not be typed: unknown command, option, target or argument.

    A stage that the reader adds by the text is a command then.
    """
    added = [Path(name).stem.replace("_", "-") for name in NEW_FILE.findall(text) if Path(name).parent.name == "stages"]
    lines = [(line, re.sub(r"[][]", "", line).split()) for line in shell_lines(text)]
    return [
        line for line, words in lines if not _could_be_typed(words) and words[1:2] not in [[name] for name in added]
    ]


def _could_be_typed(words: list[str]) -> bool:
    match words:
        case ["contrastbench", name, *rest] if not name.isupper():
            return name == "--version" or (name in COMMANDS and _fits(COMMANDS[name], rest))
        case ["make", target] if re.fullmatch(r"[a-z-]+", target):
            return re.search(rf"^{target}:", read(REPOSITORY / "Makefile"), re.MULTILINE) is not None
        case ["snakemake", *rest]:
            named = [word for before, word in zip(["", *rest], rest, strict=False) if not (before + word).count("-")]
            return all(re.search("[/=]", word) or f"\nrule {word}:" in read(SNAKEFILE) for word in named)
    return True


def _fits(command, words: list[str]) -> bool:
    """Whether a command has these options and as many arguments; a command named without any is just a name."""
    flags = {flag: option for option in command.params for flag in option.opts if flag.startswith("--")}
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    given, waiting = 0, iter(words)
    for word in waiting:
        if not word.startswith("--"):
            given += 1
        elif word not in flags:
            return False
        elif not flags[word].is_flag:
            next(waiting, None)
    required = sum(argument.required for argument in arguments)
    return given == 0 or required <= given <= len(arguments)


def missing_files(text: str) -> list[str]:
    """Named files and folders that are neither here, nor made by a run, nor made by the reader of CONTRIBUTING.md."""
    named = [span for span in spans(text) if re.fullmatch(r"[\w./-]+(\.(py|md|yaml|csv|smk)|/)", span)]
    own = {*NEW_FILE.findall(text), *(f"presets/{name}.yaml" for name in WRITTEN_PRESET.findall(text))}
    return [name for name in named if not (name in own or PLACEHOLDER.search(name) or MADE.match(name) or files(name))]


@cache
def files(name: str) -> list[Path]:
    """Files and folders that ``name`` may mean: from the root, or the end of a path in the package or the tests."""
    if (REPOSITORY / name).exists():
        return [REPOSITORY / name]
    ending = f"/{name.rstrip('/')}"
    return [path for room in (SOURCE, TESTS) for path in room.rglob("*") if str(path).endswith(ending)]


@cache
def definitions(path: Path) -> set[str]:
    """Names of functions and classes of a module; methods as ``Class.method`` and as ``method``."""
    found = set()
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


@cache
def everything_in(folder: Path, pattern: str) -> set[str]:
    return set().union(*(definitions(path) for path in folder.rglob(pattern)))


def missing_names(text: str) -> list[str]:
    """Functions, classes and tests that no syntax tree holds; ``...`` in a test's name stands for some words."""
    return [span for span in spans(text) if not _is_defined(span)] + missing_from_tables(text)


def _is_defined(span: str) -> bool:
    if test := re.fullmatch(r"(?:(\S+\.py)::)?((?:test_|\.\.\.)[\w.]+)", span):
        if span.endswith(".py"):
            return bool(files(span))
        module, name = test.groups()
        tests = everything_in(TESTS, module.split("/")[-1] if module else "test_*.py")
        return any(found.startswith("test_") and fnmatch(found, name.replace("...", "*")) for found in tests)
    if named := re.fullmatch(r"(\S+\.py): (\w[\w., ]*)", span):
        path, names = named.groups()
        return all(any(name in definitions(file) for file in files(path)) for name in names.split(", "))
    if dotted := re.fullmatch(r"(\w+)\.(\w+)\.(\w+)", span):
        room, module, name = dotted.groups()
        path = SOURCE / room / f"{module}.py"
        return not (SOURCE / room).is_dir() or (path.is_file() and name in definitions(path))
    return True


def missing_from_tables(text: str) -> list[str]:
    """Bare names in the column "function" of a table that are nothing in the package."""
    known = everything_in(SOURCE, "*.py") | {path.stem for path in SOURCE.rglob("*.py")}
    missing = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        columns = [number for number, cell in enumerate(header) if cell.strip() == "function"]
        names = [span for row in rows for column in columns for span in SPAN.findall(row[column])]
        missing += [name for name in names if re.fullmatch(r"[\w.]+", name) and name.split(".")[-1] not in known]
    return missing


@each_page
def test_links_resolve(page):
    assert broken_links(read(page), page.parent) == []


@each_page
def test_commands_could_be_typed(page):
    assert wrong_commands(read(page)) == []


@each_page
def test_named_files_exist(page):
    assert missing_files(read(page)) == []


@each_page
def test_named_functions_and_tests_exist(page):
    assert missing_names(read(page)) == []


def test_versions_are_those_of_pyproject():
    pinned = set(re.findall(r'"([\w-]+==[\w.]+)"', read(REPOSITORY / "pyproject.toml")))
    named = {pin for page in PAGES for pin in re.findall(r"[\w-]+==[\w.]+", read(page))}
    assert named and named <= pinned


def test_there_is_something_to_check():
    """Guards the checks above against finding nothing."""
    text = "\n".join(map(read, PAGES))
    assert len(re.findall(r"\]\(", text)) >= 10
    assert sum(line.startswith("contrastbench ") for line in shell_lines(text)) >= 25
    assert sum("test_" in span for span in spans(text)) >= 80
    assert sum(".py: " in span for span in spans(text)) >= 30


def test_what_is_wrong_would_be_found(tmp_path):
    (tmp_path / "page.md").write_text("# One heading: `two`\n")
    links = "[a](none.md) [b](page.md) [c](page.md#one-heading-two) [d](page.md#three) [e](https://x.org)"
    assert broken_links(links, tmp_path) == ["none.md", "page.md#three"]

    wrong = ["contrastbench prepair digits", "contrastbench plan --presets x", "contrastbench pretrain unremix digits"]
    wrong += ["contrastbench prepare a b", "make reproduct", "snakemake --cores all unremix_ablations"]
    right = ["contrastbench --version", "contrastbench probe", "contrastbench run STEP", "make test"]
    right += ["contrastbench prepare digits  # words", "snakemake --cores all --config preset=x ablation"]
    assert wrong_commands("".join(f"    {line}\n" for line in (*wrong, *right))) == wrong
    assert wrong_commands("in a sentence, `contrastbench prepair`,\nand `contrastbench\nlists`") == [
        "contrastbench prepair",
        "contrastbench lists",
    ]

    assert missing_files(
        "`datasets/digits.py` `digits.py` `datasets/` `datasets/digit.py` `presets/NAME.yaml` `runs/x/`"
    ) == ["datasets/digit.py"]
    names = {
        "methods/simclr.py: SimCLR, training_step": True,
        "methods/simclr.py: SimCLR, SimSiam": False,
        "methods/simclr.py: SimCLR.training_step": True,
        "methods/simclr.py: SimCLR.project": False,
        "objectives.contrastive.nt_xent": True,
        "objectives.contrastive.nt_xents": False,
        "test_contrastive.py::test_losses_equal_a_loop": True,
        "test_cli.py::test_losses_equal_a_loop": False,
        "test_losses_equal...": True,
        "test_losses_equal": False,
        "test_none.py": False,
    }
    assert missing_names(" ".join(f"`{name}`" for name in names)) == [name for name in names if not names[name]]
    table = "| what | function |\n|---|---|\n| a | `nt_xent`, `nt_xents` |\n| `b` | none |\n"
    assert missing_from_tables(table) == ["nt_xents"]
