"""Command ``inspect``: what a folder of one's own holds, and the preset that declares it."""

from pathlib import Path
from typing import Annotated

import typer

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.root import PRESET_NAME
from contrastbench.registry import KINDS, hint


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("inspect")(inspect_command)


def inspect_command(
    path: Annotated[str, typer.Argument(help="A folder, a file of np.savez, or with --kind a name on the hub.")],
    kind: Annotated[str | None, typer.Option(help=f"{', '.join(KINDS)}; seen if it is not given.")] = None,
    name: Annotated[str | None, typer.Option(help="What the data set is to be called.")] = None,
    preset: Annotated[str | None, typer.Option(help="Write presets/PRESET.yaml instead of printing it.")] = None,
) -> None:
    """Say in two seconds what data of your own hold, and print the preset that declares them."""
    from contrastbench.datasets.survey import kind_of, survey
    from contrastbench.pipeline.proposal import as_yaml, name_for, preset_for

    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind {kind}: unknown; {hint(kind, KINDS)}")
    seen = survey(Path(path), kind or kind_of(Path(path)))
    content = preset_for(name_for(path, name), seen)
    facts = "".join(f"# {' '.join(line.split())}\n" for line in seen.lines)
    text = as_yaml(content)
    if preset is None:
        typer.echo(facts + text, nl=False)
        return
    file = Path("presets") / f"{preset}.yaml"
    if not PRESET_NAME.fullmatch(preset):
        raise UserError(f"--preset {preset}: a preset's name is a letter, then letters, digits, - and _")
    if file.exists():
        raise UserError(f"{file}: is there already; choose another name, or remove it")
    write_text(file, facts + text)
    typer.echo(f"{facts}written: {file}; run `snakemake --cores all --config preset={preset}`")
