"""The rooms of docs/architecture.md: imports go one way, and some rooms load without torch."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "contrastbench"
ARCHITECTURE = SOURCE.parent.parent / "docs" / "architecture.md"
NEEDS_COMPAT = {"torchvision", "torchaudio", "timm", "lightning", "lightning_fabric", "torchmetrics", "lightly"}


def table() -> list[tuple[list[str], str]]:
    """(rooms of one line, what the line says of torch), in the order of the document's table."""
    lines = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    return [([name.rstrip("/") for name in re.findall(r"`(\w+)/?`", rooms)], torch) for rooms, torch in lines]


LEVEL = {room: level for level, (rooms, _) in enumerate(table()) for room in rooms}
WITHOUT_TORCH = [room for rooms, torch in table() for room in rooms if torch.startswith(("**no**", "no"))]
FILES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported module under ``tree``; for ``from a import b`` both a and a.b, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that the fingerprints can follow them"
            yield node, node.module or ""
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def upward(module: str, tree: ast.AST) -> list[str]:
    """Imports of ``module`` that point to a room further down the table."""
    own = LEVEL[room(module)]
    ours = {name for _, name in imports(tree) if name.startswith("contrastbench.")}
    return sorted(name for name in ours if LEVEL.get(room(name), -1) > own)


def test_the_table_was_read():
    assert len(LEVEL) >= 14 and LEVEL["errors"] == 0 and LEVEL["cli"] == max(LEVEL.values())
    assert {"params", "datasets", "reporting", "pipeline"} <= set(WITHOUT_TORCH)


def test_every_room_is_in_the_table():
    found = {room(module_name(path)) for path in FILES} - {""}
    assert found - set(LEVEL) == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path))
def test_imports_go_one_way(path):
    module = module_name(path)
    if room(module):
        assert upward(module, ast.parse(path.read_text(encoding="utf-8"))) == []


def test_an_import_of_a_lower_room_would_be_found():
    tree = ast.parse("def f():\n    from contrastbench.methods import simclr\n    import contrastbench.cli\n")
    expected = ["contrastbench.cli", "contrastbench.methods", "contrastbench.methods.simclr"]
    assert upward("contrastbench.objectives.x", tree) == expected


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_rooms_without_torch_load_without_it():
    modules = [module_name(path) for path in FILES if room(module_name(path)) in [*WITHOUT_TORCH, "cli"]]
    loaded = loaded_after("\n".join(f"import {module}" for module in modules))
    assert "contrastbench" in loaded and loaded & ({"torch"} | NEEDS_COMPAT) == set()


@pytest.mark.parametrize(
    ("stage", "spared"),
    [
        ("pretrain", {"lightning_fabric", "sklearn"}),
        ("tune", {"lightning_fabric", "sklearn"}),
        ("features", {"lightning_fabric", "sklearn", "timm", "torchvision"}),
        ("probe", {"lightning_fabric", "sklearn", "timm", "torchvision"}),
        ("few_shot", {"lightning_fabric", "sklearn", "timm", "torchvision"}),
        ("figures", {"lightning_fabric", "sklearn"}),
    ],
)
def test_a_stage_does_not_wait_for_what_it_may_not_use(stage, spared):
    assert loaded_after(f"import contrastbench.stages.{stage}") & spared == set()


def without_compat(path: Path) -> list[str]:
    """Imports in ``path`` that could come before ``torch_compat`` has been imported.

    A package's ``__init__`` runs before its modules, so that its import there covers them; in other packages
    the import must stand before, in the same file.
    """
    package = path.parent / "__init__.py"
    covered = path != package and any(name.endswith("torch_compat") for name in _in_order(package))
    early = []
    for name in _in_order(path):
        covered |= name.endswith("torch_compat")
        if name.partition(".")[0] in NEEDS_COMPAT and not covered:
            early.append(name)
    return early


def _in_order(path: Path) -> list[str]:
    found = imports(ast.parse(path.read_text(encoding="utf-8")))
    return [name for _, name in sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path))
def test_torch_compat_comes_before_what_needs_it(path):
    assert without_compat(path) == []


def test_a_missing_torch_compat_would_be_found(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    late = tmp_path / "late.py"
    late.write_text("from torchvision import models\nfrom contrastbench import torch_compat\n")
    assert without_compat(late) == ["torchvision", "torchvision.models"]


def test_every_package_that_needs_torch_compat_uses_it():
    """Guards the check above against finding nothing to check."""
    users = {path.parent.name for path in FILES for name in _in_order(path) if name.partition(".")[0] in NEEDS_COMPAT}
    assert {"models", "training", "datasets"} <= users
