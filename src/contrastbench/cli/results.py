"""Commands ``tables``, ``export``, ``claims``, ``check-results``, ``compare``: all that is rendered from rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from contrastbench.cli.completion import complete_preset
from contrastbench.cli.console import for_console
from contrastbench.cli.options import Preset
from contrastbench.errors import UserError
from contrastbench.files import behind_link, write_text
from contrastbench.params.root import DEFAULT, load
from contrastbench.pipeline.grid import OTHER_TARGETS, Grid, Target
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.tools import whole_run

if TYPE_CHECKING:  # pandas and scipy are loaded by the commands that need them: every pipeline step starts this program
    from contrastbench.results.load import Loaded

OnePreset = Annotated[
    str | None,
    typer.Option("--preset", help="Only this preset; all that have rows if not given.", autocompletion=complete_preset),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("tables")(tables_command)
    app.command("compare")(compare_command)
    app.command("export")(export_command)
    app.command("claims")(claims_command)
    app.command("choose")(choose_command)
    app.command("check-results")(check_results_command)
    app.command("report")(report_command)


def load_rows(preset: str | None = None) -> Loaded:
    """The rows of the working tree that count; one line on stderr for what does not, or what older code made.

    No row is a UserError.
    """
    from contrastbench.pipeline.asked import rows_that_count
    from contrastbench.results.load import ROWS

    loaded = rows_that_count(preset=preset)
    older = loaded.older_line()
    tell([*loaded.problems, *loaded.left_out, *([older] if older else [])])
    if not loaded.rows:
        raise UserError(f"{ROWS}: no result rows that count; {making(preset)} makes them")
    return loaded


def making(preset: str | None) -> str:
    """The command that makes the rows of a preset; an unknown preset is a UserError."""
    if preset not in (None, DEFAULT) and Path("params.yaml").is_file():
        load(preset or DEFAULT)
    return whole_run(preset or DEFAULT)


def presets_of(loaded: Loaded, preset: str | None) -> list[str]:
    """The chosen preset, or all that have rows; one without rows is a UserError."""
    present = loaded.presets()
    if preset is None:
        return present
    if preset not in present:
        raise UserError(f"no result rows of preset {preset!r}; there are rows of: {', '.join(present) or 'none'}")
    return [preset]


def tell(problems: list[str]) -> None:
    """Print each problem as one line on stderr."""
    for problem in problems:
        typer.echo(f"contrastbench: {problem}", err=True)


def tables_command(
    preset: OnePreset = None,
    track: Annotated[str | None, typer.Option(help="Only this track's tables and metrics.")] = None,
    target: Annotated[
        str | None, typer.Option(help=f"With --track: the tables of {' or '.join(OTHER_TARGETS)} instead.")
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Also what README and docs show of them.")] = False,
) -> None:
    """Render results/tables and results/metrics from the rows."""
    from contrastbench.pipeline.asked import require_asked
    from contrastbench.reporting.rendered import documents, table_files
    from contrastbench.stages.tables import tables

    if target is not None and track is None:
        raise UserError(f"--target {target}: goes with --track")
    if target not in (None, *OTHER_TARGETS):
        raise UserError(f"--target {target}: must be {' or '.join(OTHER_TARGETS)}")
    if docs and (preset is not None or track is not None):
        raise UserError("--docs: goes without --preset and --track; documents show tables of every preset")
    of = cast(Target, target or "methods")
    loaded = load_rows(preset if track is None else preset or "default")
    if track is not None:
        require_asked(loaded, Grid(preset or "default").rows(track, of))
        files = tables(loaded, preset or "default", track, of)
    else:
        files = table_files(loaded, presets_of(loaded, preset)) | (documents(loaded) if docs else {})
    for path, text in files.items():
        file = Path(path)
        if not file.is_file() or file.read_bytes() != text.encode():
            write_text(file, text)
            typer.echo(f"written: {path}")


def compare_command(
    before: Annotated[str | None, typer.Argument(metavar="REV_A", help="A git revision, or WORKTREE.")] = None,
    after: Annotated[str | None, typer.Argument(metavar="REV_B", help="A git revision; WORKTREE if not given.")] = None,
    methods: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Compare these two methods of one revision, WORKTREE if none is given."),
    ] = None,
    preset: Preset = "default",
    everything: Annotated[
        bool, typer.Option("--all", help="Also cells that are identical, which Markdown always lists, folded.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Print one HTML page.")] = False,
) -> None:
    """Compare the results of two commits, or of a commit and the working tree, or two methods of one.

    Nothing is checked out. Exit code 1 when something got significantly worse from the first commit to the second.
    """
    from contrastbench.reporting import compare_render
    from contrastbench.reporting.compare import WORSE, compare_methods, compare_revisions
    from contrastbench.results.revisions import WORKTREE

    if markdown + as_json + html > 1:
        raise UserError("--markdown, --json, --html: choose one")
    if methods is None:
        if before is None:
            raise UserError("compare: name a revision, or two methods by --methods")
        comparison = compare_revisions(before, after or WORKTREE, preset)
    elif after is not None:
        raise UserError(f"compare {before} {after} --methods: methods are compared within one revision")
    else:
        comparison = compare_methods(before or WORKTREE, *methods, preset)
    tell(comparison.problems)
    if markdown:
        typer.echo(compare_render.as_markdown(comparison), nl=False)
    elif as_json:
        typer.echo(compare_render.as_json(comparison, everything), nl=False)
    elif html:
        typer.echo(compare_render.as_html(comparison, everything), nl=False)
    else:
        typer.echo(for_console(compare_render.as_terminal(comparison, everything)), nl=False)
    if not comparison.of_methods and comparison.count(WORSE):
        raise typer.Exit(1)


def export_command(
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="csv, markdown or latex: tables; differences: every two methods of a column, CSV; parquet: all rows.",
        ),
    ],
    preset: OnePreset = None,
    output: Annotated[Path | None, typer.Option(help="File to write; else stdout, or results/rows.parquet.")] = None,
) -> None:
    """Export tables as CSV, Markdown or LaTeX (booktabs), tests between methods as CSV, or all rows as parquet."""
    from contrastbench.reporting.export import FORMATS, tables_text, write_parquet

    if form not in FORMATS:
        raise UserError(f"--format {form}: must be {', '.join(FORMATS)}")
    loaded = load_rows(preset)
    presets = presets_of(loaded, preset)
    if form == "parquet":
        output = behind_link(output or Path("results/rows.parquet"))
        write_parquet(output, loaded if preset is None else loaded.only(preset))
    else:
        text = tables_text(loaded, presets, form)
        if output is None:
            typer.echo(text, nl=False)
            return
        output = behind_link(output)
        write_text(output, text)
    _tell_written(output)


def claims_command(
    preset: Annotated[str | None, typer.Option(help="Only what the claims say of this preset.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
) -> None:
    """Say of every claim in claims.yaml what the rows say of it: each comparison, its interval and the verdict."""
    from contrastbench.reporting.claims import FILE, judged_claims, load_claims
    from contrastbench.reporting.claims_render import as_json as to_json
    from contrastbench.reporting.claims_render import as_terminal

    claims = load_claims()
    named = {name: claim for name, claim in claims.items() if preset in (None, *claim.presets)}
    if not named:
        raise UserError(f"{FILE}: no claim{f' names preset {preset!r}' if claims else 's; write some'}")
    judged = judged_claims(named, load_rows(preset), preset=preset)
    typer.echo(to_json(judged) if as_json else for_console(as_terminal(judged)), nl=False)


def choose_command(
    tracks: Annotated[
        list[str] | None, typer.Argument(metavar="TRACK...", help="All that have a search if none is given.")
    ] = None,
    preset: Preset = "default",
) -> None:
    """Write the preset of the settings that a search has chosen on validation data, with the scores of all trials."""
    from contrastbench.pipeline.asked import rows_that_count
    from contrastbench.reporting.search import tuned_name, tuned_preset

    params = load(preset)
    names = tracks or [name for name in params.tracks if params.track(name).search is not None]
    chosen = {name: params.track(name) for name in dict.fromkeys(names)}
    if not chosen:
        raise UserError(f"no track of preset {preset!r} has a section `search`")
    file = Path("presets") / f"{tuned_name(preset)}.yaml"
    write_text(file, tuned_preset(rows_that_count(preset=preset), preset, chosen))
    typer.echo(f"written: {file}; `snakemake --cores all --config preset={file.stem}` runs it")


def check_results_command(
    reproduced: Annotated[
        bool, typer.Option("--reproduced", help="Compare what was measured here with the rows committed at HEAD.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="With --reproduced: only this preset.")] = None,
) -> None:
    """Fail with exit code 1 when a table in results, README or docs, or a sentence on a claim, is not true to the rows.

    Or when a row cannot be read, or a picture in docs shows another report than today's.
    """
    from contrastbench.reporting.check import edges, stale_choices, stale_files, wrong_sentences
    from contrastbench.reporting.pictures import stale_pictures

    if reproduced:
        _check_reproduction(preset)
        return
    if preset is not None:
        raise UserError(f"--preset {preset}: goes with --reproduced; documents show tables of every preset")
    loaded = load_rows()
    stale = [*stale_files(loaded), *stale_choices(loaded), *stale_pictures()]
    wrong = wrong_sentences(loaded)
    tell([*stale, *wrong, *edges(loaded)])
    _refuse_unreadable(loaded.problems)
    if stale or wrong:
        raise typer.Exit(1)
    typer.echo(f"results are true to {len(loaded.rows)} rows")


def _refuse_unreadable(problems: list[str]) -> None:
    """Fail where rows could not be read: tables may be true to the others and still lack a seed."""
    if problems:
        typer.echo(f"contrastbench: result rows that cannot be read: {len(problems)}; make them again", err=True)
        raise typer.Exit(1)


def _check_reproduction(preset: str | None) -> None:
    from contrastbench.reporting.check import TOLERANCE, reproduction

    found, problems, left_out = reproduction(preset=preset)
    tell([*problems, *left_out])
    _refuse_unreadable(problems)
    of = "" if preset is None else f" of preset {preset!r}"
    if not found.measured and not (found.new and not found.total):
        raise UserError(
            f"none of the {found.total} cells{of} that are committed was measured in this checkout; "
            f"{making(preset)} measures them"
        )
    if not found.total and preset is not None:
        raise UserError(f"no rows{of} are committed at HEAD, so there is nothing to compare with")
    if not found.total:
        typer.echo("reproduced: no results are committed at HEAD, so there is nothing to compare with")
        return
    for line in found.summary():
        typer.echo(line)
    typer.echo(f"({TOLERANCE}; on the machine that made the committed results, all cells should be identical)")
    for line in found.outside:
        typer.echo(f"outside tolerance: {line}", err=True)
    if found.outside:
        raise typer.Exit(1)


def report_command(
    preset: Preset = "default",
    output: Annotated[Path | None, typer.Option(help="File to write; else results/report.html.")] = None,
) -> None:
    """Write one self-contained, offline HTML page with tables, figures and their provenance."""
    from contrastbench.stages.report import report

    page = report(load_rows(preset), preset)
    output = behind_link(output) if output else Layout(preset).report
    write_text(output, page)
    _tell_written(output, f" ({len(page.encode()) / 1e6:.1f} MB)")


def _tell_written(output: Path, size: str = "") -> None:
    """Say what was written; beside a stream, which may be stdout itself, on stderr."""
    typer.echo(f"written: {output}{size}", err=not output.is_file())
