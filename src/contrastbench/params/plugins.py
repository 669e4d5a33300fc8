"""Methods, data sets and attacks of the user's own, from files that ``plugins`` in params.yaml names."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastbench import own, registry
from contrastbench.errors import UserError
from contrastbench.params.declarations import (
    AttackDeclaration,
    DatasetDeclaration,
    Declaration,
    MethodDeclaration,
    declared_in,
    settings_section,
)
from contrastbench.params.own_attacks import OwnAttack
from contrastbench.params.settings import MethodSettings
from contrastbench.registry import AttackEntry, MethodEntry

KINDS: dict[type, str] = {MethodDeclaration: "method", DatasetDeclaration: "data set", AttackDeclaration: "attack"}


@dataclass(frozen=True)
class Plugin:
    """A file of the user's own: where it is, the module that it is imported as, and what messages call it."""

    path: Path
    module: str
    shown: str


@dataclass(frozen=True)
class Declared:
    """One thing that a plugin declares."""

    what: Declaration
    plugin: Plugin

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return KINDS[type(self.what)], self.what.name


_registered: dict[tuple[str, str], Declared] = {}


def register_plugins(names: Any, told: str, root: Path = Path()) -> bool:
    """Register what the files called ``names`` in the folder ``root`` declare: True where that is anything new.

    A name is that of a file, of a folder, all of whose files are meant, or of an installed module. What is wrong with
    one, or a name that is declared twice, is a UserError; ``told`` begins those about ``names`` themselves.
    """
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        return False  # whatever else it is, validation refuses
    own.use_folder(root)
    found: dict[tuple[str, str], Declared] = {}
    for plugin in dict.fromkeys(each for name in names for each in _plugins(name, root, told)):
        for what in declared_in(plugin.path, plugin.shown):
            new = Declared(what, plugin)
            kind, name = new.key
            if new.key in found:
                other = found[new.key].plugin.shown
                raise UserError(f"{plugin.shown}: the {kind} {name!r} is declared in {other} too; rename one of them")
            if new.key not in _registered and name in _names(kind):
                raise UserError(f"{plugin.shown}: a {kind} {name!r} is there already; choose another name")
            found[new.key] = new
    news = [new for new in found.values() if _registered.get(new.key) != new]
    for new in news:
        _register(new)
        _registered[new.key] = new
    return bool(news)


def file_of(kind: str, name: str) -> str | None:
    """The file that declares it, as messages call it (``kind`` is a value of KINDS); None for the package's own."""
    found = _registered.get((kind, name))
    return found.plugin.shown if found else None


def _plugins(name: str, root: Path, told: str) -> list[Plugin]:
    """The files that ``name`` means."""
    path = root / name
    if path.is_dir():
        files = [file for file in sorted(path.glob("*.py")) if not file.name.startswith("_")]
        return [_own(file, root, told) for file in files]
    if path.is_file() and path.suffix == ".py":
        return [_own(path, root, told)]
    installed = _installed(name)
    if installed is None:
        raise UserError(f"{told}: plugins: {name}: no such Python file or folder here, and no installed module")
    own.watched.add(name)
    return [Plugin(installed, name, str(installed))]


def _own(file: Path, root: Path, told: str) -> Plugin:
    shown = os.path.relpath(file, root)
    parts = Path(shown).with_suffix("").parts
    if any("." in part for part in parts):  # above the folder, or no name of a module
        raise UserError(f"{told}: plugins: {shown}: must lie in the project folder, and have no dot but that of .py")
    return Plugin(file.resolve(), ".".join((own.__name__, *parts)), shown)


def _installed(name: str) -> Path | None:
    """The file of an installed module, which is not imported; None where there is none."""
    top, _, rest = name.partition(".")
    if not re.fullmatch(r"\w+(\.\w+)*", name) or (spec := importlib.util.find_spec(top)) is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    files = [Path(folder, *rest.split(".")).with_suffix(".py") for folder in spec.submodule_search_locations or ()]
    return next((file for file in files if file.is_file()), None)


def _names(kind: str) -> list[str]:
    methods = [*registry.METHODS, *registry.WITHOUT_ENCODER]
    return {"method": methods, "data set": [*registry.DATASETS], "attack": [*registry.ATTACKS]}[kind]


def _register(new: Declared) -> None:
    what, place = new.what, new.plugin.shown
    if isinstance(what, MethodDeclaration):
        package, _, module = new.plugin.module.partition(".")
        settings = settings_section(MethodSettings, what.name, what.settings, f"{place}: METHOD")
        registry.METHODS[what.name] = MethodEntry(
            f"{module}:{what.class_name}",
            settings,
            what.modalities,
            what.starts_from,
            what.own_classifier,
            what.contrasts,
            package=package,
        )
    elif isinstance(what, DatasetDeclaration):
        registry.DATASETS[what.name] = registry.DATASETS_OF[what.modality][what.name] = new.plugin.module
    else:
        settings = settings_section(OwnAttack, what.name, what.settings, f"{place}: ATTACK")
        registry.ATTACKS[what.name] = AttackEntry(new.plugin.module, what.norm, settings)
