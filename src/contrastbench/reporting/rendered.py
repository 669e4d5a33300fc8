"""Every file that is rendered from rows: its path and what it must say."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import reading
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.grid import OTHER_TARGETS
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.resolved import resolved
from contrastbench.reporting.cells import order
from contrastbench.reporting.claims import FILE as CLAIMS
from contrastbench.reporting.claims import judged_claims, load_claims
from contrastbench.reporting.claims_render import as_markdown as claims_as_markdown
from contrastbench.reporting.cost import cost_tables
from contrastbench.reporting.published import at_published_setting, beside, beside_markdown
from contrastbench.reporting.render import as_csv, as_latex, as_markdown, legend, markdown_grid
from contrastbench.reporting.search import search_tables
from contrastbench.reporting.tables import Table, ablation_tables, own_rows, tables_of
from contrastbench.results.load import Loaded

REGION = re.compile(r"^(<!-- (table|claims|published): ([^\n]*?) -->\n).*?^(<!-- end -->)", re.DOTALL | re.MULTILINE)


def rendered_files(loaded: Loaded, presets: list[str], root: Path = Path()) -> dict[str, str]:
    """Content of every table and metrics file of ``presets``, and of every marked document, by path."""
    return table_files(loaded, presets, root) | documents(loaded, root)


def table_files(loaded: Loaded, presets: list[str], root: Path = Path()) -> dict[str, str]:
    """Content of every table and metrics file of ``presets``, by path."""
    files: dict[str, str] = {}
    for preset in presets:
        for track in by_track(loaded, preset):
            files |= track_files(loaded, preset, track, root)
            for target in OTHER_TARGETS:
                files |= target_files(loaded, preset, track, target, root)
    return files


def track_files(loaded: Loaded, preset: str, track: str, root: Path = Path()) -> dict[str, str]:
    """Tables and metrics of one track, by path; nothing where it has no rows."""
    rows = by_track(loaded, preset).get(track, Loaded())
    shown = target_tables(rows, preset, track, "methods", root)
    tables = _formats(Layout(preset), track, shown, f"{track}, preset {preset}")
    return tables | ({Layout(preset).metrics(track).as_posix(): metrics_json(shown)} if tables else {})


def target_files(loaded: Loaded, preset: str, track: str, target: str, root: Path = Path()) -> dict[str, str]:
    """Tables of another target than the default one, by path; nothing where there are no rows of its variants."""
    rows = by_track(loaded, preset).get(track, Loaded())
    tables = target_tables(rows, preset, track, target, root)
    return _formats(Layout(preset), f"{track}-{target}", tables, f"{track}, {target}, preset {preset}")


def target_tables(rows: Loaded, preset: str, track: str, target: str, root: Path = Path()) -> list[Table]:
    """The tables of a track's target; ``rows`` are the track's.

    Each shows its own variants, and beside their labels what they change. Of a preset that is no more, all variants are
    its ablation.
    """
    section = section_of(preset, track, root)
    tables = _target_tables(rows, section, target)
    return [replace(table, changes=_changes(table, section)) for table in tables] if section else tables


def _changes(table: Table, track: TrackParams) -> dict[str, str]:
    texts = {label: track.differs(label) for label in table.methods}
    return {label: text for label, text in texts.items() if text}


def _target_tables(rows: Loaded, section: TrackParams | None, target: str) -> list[Table]:
    if target == "methods":
        return tables_of(rows, section.methods if section else ())
    if section is None:
        return ablation_tables(rows) if target == "ablation" else []
    if target == "cost":
        return cost_tables(rows, section)
    if target == "search":
        return search_tables(rows, section)
    return ablation_tables(own_rows(rows, section.ablation), also=section.ablation)


def section_of(preset: str, track: str, root: Path = Path()) -> TrackParams | None:
    """The parameters of a track; None where the preset, or the track, is no more."""
    try:
        return resolved(preset, root).track(track)
    except UserError:
        return None


def by_track(loaded: Loaded, preset: str) -> dict[str, Loaded]:
    """The rows of one preset, by track."""
    chosen = loaded.only(preset)
    tracks = sorted({row.track for row in chosen.rows})
    return {name: replace(chosen, stored=[each for each in chosen.stored if each.row.track == name]) for name in tracks}


def _formats(layout: Layout, name: str, tables: list[Table], heading: str) -> dict[str, str]:
    if not tables:
        return {}
    texts = {
        "csv": as_csv(tables),
        "md": as_markdown(tables, heading),
        "tex": as_latex(tables, f"{layout.preset}-{name}"),
    }
    return {layout.table(name, ending).as_posix(): text for ending, text in texts.items()}


def metrics_json(tables: Iterable[Table]) -> str:
    """Means of all cells as ``{dataset: {protocol: {method: mean}}}``, for ``dvc metrics diff``."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    cells = {cell.key: cell for table in tables for cell in table.cells.values()}
    for key in sorted(cells, key=order):
        nested.setdefault(key.dataset, {}).setdefault(key.protocol.name, {})[key.method] = round(cells[key].mean, 6)
    return json.dumps(nested, indent=1) + "\n"


def documents(loaded: Loaded, root: Path = Path()) -> dict[str, str]:
    """Content of every document that holds a marked region, by path."""
    marked = [path for path in pages(root) if REGION.search(text_of(path))]
    return {page.relative_to(root).as_posix(): with_tables(page, loaded, root) for page in marked}


def pages(root: Path) -> list[Path]:
    """README and docs."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("**/*.md"))) if path.is_file()]


def text_of(document: Path) -> str:
    """A page's text; a UserError where it is none."""
    with reading(document, "document", "save it as UTF-8 text"):
        return document.read_text(encoding="utf-8")


def with_tables(document: Path, loaded: Loaded, root: Path = Path()) -> str:
    """The text of ``document`` with every region between ``<!-- table: NAME -->`` and ``<!-- end -->`` rendered.

    So are ``<!-- claims: TRACK TRACK -->``, what the rows say of the claims about tracks, and ``<!-- published:
    PRESET/TRACK PRESET/TRACK -->``, published numbers beside what presets measured at their setting.
    NAME is ``PRESET/TRACK`` or ``PRESET/TRACK-TARGET``, then optionally ``/DATASET``, then, after spaces, patterns of
    the protocols to show: ``default/unremix/mnist5k linear low-label-*``.
    """
    text = text_of(document)
    where = document.relative_to(root).as_posix()
    kinds = {"table": _region, "claims": _claims_region, "published": _published_region}
    return REGION.sub(lambda region: region[1] + kinds[region[2]](region[3], loaded, where, root) + region[4], text)


def _claims_region(tracks: str, loaded: Loaded, where: str, root: Path) -> str:
    known = load_claims(root)
    claims = {name: claim for track in tracks.split() for name, claim in known.items() if claim.track == track}
    for track in tracks.split():
        if track not in {claim.track for claim in claims.values()}:
            raise UserError(f"{where}: claims: {track!r}: {CLAIMS} has no claim about such a track")
    return f"\n{claims_as_markdown(judged_claims(claims, loaded, root))}\n"


def _published_region(names: str, loaded: Loaded, where: str, root: Path) -> str:
    cells = []
    for name in names.split():
        preset, _, track = name.partition("/")
        section = section_of(preset, track, root)
        if section is None or not at_published_setting(section):
            raise UserError(f"{where}: published: {name!r}: no track at the published setting")
        tables = target_tables(by_track(loaded, preset).get(track, Loaded()), preset, track, "methods", root)
        cells += [cell for table in tables for cell in table.cells.values()]
    found = beside(cells)
    return f"\n{beside_markdown(found)}\n" if found else f"\nNo rows yet for {names}.\n\n"


def _region(name: str, loaded: Loaded, where: str, root: Path) -> str:
    table, *patterns = name.split()
    parts = table.split("/")
    if len(parts) not in (2, 3):
        raise UserError(f"{where}: table {table!r}: must be PRESET/TRACK or PRESET/TRACK/DATASET")
    preset = parts[0]
    track, _, target = parts[1].partition("-")
    rows = by_track(loaded, preset).get(track, Loaded())
    tables = target_tables(rows, preset, track, target or "methods", root)
    tables = [table.only(patterns or ("*",)) for table in tables if len(parts) == 2 or table.dataset == parts[2]]
    tables = [table for table in tables if table.columns]
    if not tables:
        return f"\nNo rows yet for {name}.\n\n"
    grids = [f"**{table.title}** ({table.seeds})\n\n{markdown_grid(table)}" for table in tables]
    return "\n" + "\n".join([*grids, legend(tables)]) + "\n\n"
