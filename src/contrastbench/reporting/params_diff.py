"""Which parameters differ between two revisions, by key path."""

from pathlib import Path
from typing import Any

from contrastbench.errors import UserError
from contrastbench.params.base import overlay, parse_yaml
from contrastbench.results.revisions import files_at

ABSENT = "absent"


def changed_parameters(
    before: str, after: str, preset: str, root: Path = Path()
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """``{key path: (value before, value after)}`` of one preset, and a line for each file that cannot be read."""
    problems: list[str] = []
    left, right = (_flat(_resolved(revision, preset, root, problems)) for revision in (before, after))
    paths = sorted(left.keys() | right.keys())
    values = {path: (left.get(path, ABSENT), right.get(path, ABSENT)) for path in paths}
    return {path: pair for path, pair in values.items() if pair[0] != pair[1]}, problems


def _resolved(revision: str, preset: str, root: Path, problems: list[str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for path in ("params.yaml", *([] if preset == "default" else [f"presets/{preset}.yaml"])):
        try:
            for text in files_at(revision, path, root).values():
                content = overlay(content, parse_yaml(text, f"{revision}:{path}"))
        except UserError as problem:
            problems.append(str(problem))
    return content


def _flat(content: Any, path: str = "") -> dict[str, str]:
    if isinstance(content, dict) and content:
        items = content.items()
        return {key: text for name, inner in items for key, text in _flat(inner, f"{path}.{name}".lstrip(".")).items()}
    return {path: str(content)} if path else {}
