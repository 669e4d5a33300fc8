"""Command ``new``: a project folder of one's own."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.files import shipped

PROFILE = Path("profiles/default/config.yaml")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("new")(new_command)


def new_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, or an empty one.")],
) -> None:
    """Make a project folder: parameters over the package's, and a method, a data set and an attack of your own."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and not an empty folder; choose another one")
    template = shipped() / "template"
    sources = (path for path in template.rglob("*") if path.is_file() and path.suffix != ".pyc")
    files = {path.relative_to(template): path for path in sources}
    files[Path(".gitignore")] = files.pop(Path("gitignore"))
    for name, source in {**files, PROFILE: shipped() / PROFILE}.items():
        write_text(folder / name, source.read_text(encoding="utf-8"))
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    typer.echo(f"written: {folder}\ntry it: {enter}snakemake --cores all --config preset=first")
