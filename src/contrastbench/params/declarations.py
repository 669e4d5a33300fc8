"""What a Python file declares, read from its text: nothing is imported, so that parameters load at once.

METHOD = {"name": "align-uniform", "class": "AlignUniform", "modalities": ["image"], "settings": {"weight": 1.0}}
ADAPTER = Adapter(name="mypictures", modality="image", ...)
ATTACK = {"name": "random-corners", "norm": "linf", "settings": {"tries": {"default": 8, "ge": 1}}}
"""

import ast
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section, validate
from contrastbench.params.values import without_repeats
from contrastbench.registry import DATASETS_OF, RESERVED_IN_NAMES, RESERVED_NAME, hint

Plain = bool | int | float | str
GIVEN_TO_ATTACKS = ("model", "images", "labels", "eps", "generator")


def _require_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", name):
        raise ValueError("must be made of a to z, 0 to 9 and -, which does not begin it")
    if name == RESERVED_NAME or RESERVED_IN_NAMES in name:
        raise ValueError(f"{RESERVED_NAME!r} and {RESERVED_IN_NAMES!r} have a meaning in results; choose another name")
    return name


def _require_modality(name: str) -> str:
    if name not in DATASETS_OF:
        raise ValueError(f"unknown modality; {hint(name, DATASETS_OF)}")
    return name


Name = Annotated[str, AfterValidator(_require_name)]
Modality = Annotated[str, AfterValidator(_require_modality)]


class Setting(Section):
    """A setting of a method or an attack: its value where params.yaml says none, and which others it may have.

    ``ge``, ``gt``, ``le`` and ``lt`` bound a number (at least, more than, at most, less than), or each of a list.
    """

    default: Plain | tuple[Plain, ...]
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_its_default(self) -> Self:
        one = self.default[0] if isinstance(self.default, tuple) and self.default else self.default
        bounded = any(bound is not None for bound in (self.ge, self.gt, self.le, self.lt))
        if bounded and (isinstance(one, bool) or not isinstance(one, int | float)):
            raise ValueError("only a number has a range")
        if self.choices and not isinstance(self.default, str):
            raise ValueError("only a text has choices")
        return self

    def field(self) -> tuple[Any, Any]:
        """Type and default, as pydantic's ``create_model`` takes them."""
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        kinds = {type(value) for value in values} or {float}
        kind: Any = float if kinds == {int, float} else kinds.pop()
        kind = (
            Literal[self.choices]
            if self.choices
            else Annotated[kind, Field(ge=self.ge, gt=self.gt, le=self.le, lt=self.lt)]
        )
        return (tuple[kind, ...] if isinstance(self.default, tuple) else kind), self.default


Settings = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Setting]


class MethodDeclaration(Section):
    """``METHOD``: see ``registry.MethodEntry``; ``class`` is defined in the file."""

    name: Name
    class_name: str = Field(alias="class")
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1), AfterValidator(without_repeats)]
    settings: Settings = Field(default={})
    starts_from: str | None = None
    own_classifier: bool = False
    contrasts: bool = False


class DatasetDeclaration(Section):
    """What must be known of ``ADAPTER`` before the data are read."""

    name: Name
    modality: Modality


class AttackDeclaration(Section):
    """``ATTACK``: the file's function ``attack`` perturbs images within a ball of this norm."""

    name: Name
    norm: Literal["linf", "l2", "l1"]
    settings: Settings = Field(default={})


Declaration = MethodDeclaration | DatasetDeclaration | AttackDeclaration


def declared_in(path: Path, shown: str) -> list[Declaration]:
    """What the file at ``path``, which messages call ``shown``, declares; a mistake is a UserError with its line."""
    tree = _parsed(path, shown)
    found: list[Declaration] = []
    for node in tree.body:
        name = _assigned(node)
        if name in _READERS and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            place = f"{shown}:{node.lineno}: {name}"
            found.append(_READERS[name](node.value, tree, place))
    if found:
        _require_imports(tree, path, shown)
    return found


def settings_section(base: type[Section], name: str, settings: Settings, place: str) -> type[Section]:
    """The section that types ``settings``, below ``base``; a default outside its range is a UserError."""
    if taken := [key for key in settings if hasattr(base, key) or key in base.model_fields]:
        raise UserError(f"{place}: settings.{taken[0]}: this name is taken; choose another one")
    title = "".join(part.capitalize() for part in name.split("-"))
    fields: dict[str, Any] = {key: setting.field() for key, setting in settings.items()}
    section: type[Section] = create_model(f"{title}Settings", __base__=base, **fields)
    validate(section, {key: setting.default for key, setting in settings.items()}, lambda _: f"{place}: settings")
    return section


def _assigned(node: ast.stmt) -> str:
    """The name of a simple assignment, with or without its type."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _literal(node: ast.expr, place: str) -> dict[str, Any]:
    try:
        value = ast.literal_eval(node)
        json.dumps(value)
    except (ValueError, TypeError, SyntaxError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{place}: must be a dict of plain values, written out: it is read without running the file")
    settings = value.get("settings")
    if isinstance(settings, dict):  # a bare value is a default without a range
        whole = {key: each if isinstance(each, dict) else {"default": each} for key, each in settings.items()}
        value = value | {"settings": whole}
    return value


def _method(node: ast.expr, tree: ast.Module, place: str) -> MethodDeclaration:
    found = validate(MethodDeclaration, _literal(node, place), lambda _: place)
    classes = [each.name for each in tree.body if isinstance(each, ast.ClassDef)]
    if found.class_name not in classes:
        raise UserError(f"{place}: no class {found.class_name!r} in this file; {hint(found.class_name, classes)}")
    return found


def _dataset(node: ast.expr, tree: ast.Module, place: str) -> DatasetDeclaration:
    words = node.keywords if isinstance(node, ast.Call) else []
    said = {each.arg: each.value.value for each in words if isinstance(each.value, ast.Constant)}
    content: dict[str, Any] = {key: said[key] for key in ("name", "modality") if key in said}
    if len(content) < 2:
        raise UserError(f"{place}: must be written as Adapter(name='...', modality='...', ...): it is read as text")
    return validate(DatasetDeclaration, content, lambda _: place)


def _attack(node: ast.expr, tree: ast.Module, place: str) -> AttackDeclaration:
    found = validate(AttackDeclaration, _literal(node, place), lambda _: place)
    functions = {each.name: each.args for each in tree.body if isinstance(each, ast.FunctionDef)}
    if "attack" not in functions:
        raise UserError(f"{place}: no function `attack` in this file")
    arguments = functions["attack"]
    takes = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    lacks = [name for name in (*GIVEN_TO_ATTACKS[3:], *found.settings) if name not in takes]
    if lacks and not arguments.kwarg:
        raise UserError(f"{place}: the function `attack` takes no argument {lacks[0]!r}, which it is called with")
    required = [
        each.arg for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is None
    ]
    if unknown := [name for name in required if name not in (*GIVEN_TO_ATTACKS, *found.settings)]:
        raise UserError(f"{place}: the function `attack` needs {unknown[0]!r}, which is none of its settings")
    if twice := [name for name in found.settings if name in GIVEN_TO_ATTACKS]:
        raise UserError(f"{place}: settings.{twice[0]}: every attack is called with it; choose another name")
    return found


_READERS: dict[str, Callable[[ast.expr, ast.Module, str], Declaration]] = {
    "METHOD": _method,
    "ADAPTER": _dataset,
    "ATTACK": _attack,
}


def _require_imports(tree: ast.Module, path: Path, shown: str, seen: frozenset[Path] = frozenset()) -> None:
    """Refuse what the file, or a helper beside it, imports at its top level and is not there: before any job begins."""
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.level == 0:
                names = [node.module]
            elif node.level == 1:
                _require_helper(node, path, shown, seen | {path})
        for name in (each.partition(".")[0] for each in names):
            if importlib.util.find_spec(name) is None:
                beside = path.with_name(f"{name}.py").is_file()
                remedy = f"; write `from .{name} import ...`" if beside else ", and none is installed"
                raise UserError(f"{shown}:{node.lineno}: cannot be imported: no module {name!r}{remedy}")


def _require_helper(node: ast.ImportFrom, path: Path, shown: str, seen: frozenset[Path]) -> None:
    """The file beside ``path`` that ``from .name import ...`` means."""
    helper = path.parent.joinpath(*str(node.module).split(".")).with_suffix(".py")
    if helper.with_suffix("").is_dir() or helper in seen:
        return
    if not helper.is_file():
        raise UserError(f"{shown}:{node.lineno}: cannot be imported: no file {helper.name!r} beside it")
    place = str(Path(shown).parent / helper.relative_to(path.parent))
    _require_imports(_parsed(helper, place), helper, place, seen)


def _parsed(path: Path, shown: str) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), shown)
    except SyntaxError as error:
        place = shown if error.lineno is None else f"{shown}:{error.lineno}"
        raise UserError(f"{place}: cannot be read as Python: {error.msg}") from None
    except ValueError as error:  # for null bytes, before Python 3.11.4
        raise UserError(f"{shown}: cannot be read as Python: {error}") from None
