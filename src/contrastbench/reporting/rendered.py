"""Every file that is rendered from rows: its path and what it must say."""

import json
import re
from dataclasses import replace
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import reading
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.resolved import resolved
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.render import as_csv, as_latex, as_markdown, legend, markdown_grid
from contrastbench.reporting.tables import Table, ablation_tables, tables_of
from contrastbench.results.load import Loaded

REGION = re.compile(r"^(<!-- table: ([^\n]*?) -->\n).*?^(<!-- end -->)", re.DOTALL | re.MULTILINE)


def rendered_files(loaded: Loaded, presets: list[str], root: Path = Path()) -> dict[str, str]:
    """Content of every table and metrics file of ``presets``, and of every marked document, by path."""
    files: dict[str, str] = {}
    for preset in presets:
        for track in by_track(loaded, preset):
            files |= track_files(loaded, preset, track) | ablation_files(loaded, preset, track, root)
    for document in documents(root):
        files[document.relative_to(root).as_posix()] = with_tables(document, loaded, root)
    return files


def track_files(loaded: Loaded, preset: str, track: str) -> dict[str, str]:
    """Tables and metrics of one track, by path; nothing where it has no rows."""
    rows = by_track(loaded, preset).get(track, Loaded())
    tables = _formats(Layout(preset), track, tables_of(rows), f"{track}, preset {preset}")
    return tables | ({Layout(preset).metrics(track).as_posix(): metrics_json(rows)} if tables else {})


def ablation_files(loaded: Loaded, preset: str, track: str, root: Path = Path()) -> dict[str, str]:
    """Tables of one track's variants, by path; nothing where there are no rows of variants."""
    rows = by_track(loaded, preset).get(track, Loaded())
    heading = f"{track}, ablation, preset {preset}"
    tables = ablation_tables(rows, also=ablation_methods(preset, track, root))
    return _formats(Layout(preset), f"{track}-ablation", tables, heading)


def ablation_methods(preset: str, track: str, root: Path = Path()) -> tuple[str, ...]:
    """What the parameters name for a track's ablation besides its variants; nothing for a preset that is no more."""
    try:
        return resolved(preset, root).track(track).ablation
    except UserError:
        return ()


def by_track(loaded: Loaded, preset: str) -> dict[str, Loaded]:
    """The rows of one preset, by track."""
    chosen = loaded.only(preset)
    tracks = sorted({row.track for row in chosen.rows})
    return {name: replace(chosen, stored=[each for each in chosen.stored if each.row.track == name]) for name in tracks}


def _formats(layout: Layout, name: str, tables: list[Table], heading: str) -> dict[str, str]:
    if not tables:
        return {}
    texts = {"csv": as_csv(tables), "md": as_markdown(tables, heading), "tex": as_latex(tables)}
    return {layout.table(name, ending).as_posix(): text for ending, text in texts.items()}


def metrics_json(rows: Loaded) -> str:
    """Means of the registered methods as ``{dataset: {protocol: {method: mean}}}``, for ``dvc metrics diff``."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for key, cell in cells_of(rows).items():
        if not key.is_variant:
            nested.setdefault(key.dataset, {}).setdefault(key.protocol.name, {})[key.method] = round(cell.mean, 6)
    return json.dumps(nested, indent=1) + "\n"


def documents(root: Path) -> list[Path]:
    """Documents that hold a marked region."""
    candidates = [root / "README.md", *sorted((root / "docs").glob("**/*.md"))]
    return [path for path in candidates if path.is_file() and REGION.search(_text(path))]


def _text(document: Path) -> str:
    with reading(document, "document", "save it as UTF-8 text"):
        return document.read_text(encoding="utf-8")


def with_tables(document: Path, loaded: Loaded, root: Path = Path()) -> str:
    """The text of ``document`` with every region between ``<!-- table: NAME -->`` and ``<!-- end -->`` rendered.

    NAME is ``PRESET/TRACK`` or ``PRESET/TRACK-ablation``, then optionally ``/DATASET``, then, after spaces,
    patterns of the protocols to show: ``default/unremix/mnist5k linear low-label-*``.
    """
    text = _text(document)
    where = document.relative_to(root).as_posix()
    return REGION.sub(lambda region: region[1] + _region(region[2], loaded, where, root) + region[3], text)


def _region(name: str, loaded: Loaded, where: str, root: Path) -> str:
    table, *patterns = name.split()
    parts = table.split("/")
    if len(parts) not in (2, 3):
        raise UserError(f"{where}: table {table!r}: must be PRESET/TRACK or PRESET/TRACK/DATASET")
    preset, track = parts[0], parts[1].removesuffix("-ablation")
    rows = by_track(loaded, preset).get(track, Loaded())
    if parts[1].endswith("-ablation"):
        tables = ablation_tables(rows, also=ablation_methods(preset, track, root))
    else:
        tables = tables_of(rows)
    tables = [table.only(patterns or ("*",)) for table in tables if len(parts) == 2 or table.dataset == parts[2]]
    tables = [table for table in tables if table.columns]
    if not tables:
        return f"\nNo rows yet for {name}.\n\n"
    grids = [f"**{table.title}** ({table.seeds})\n\n{markdown_grid(table)}" for table in tables]
    return "\n" + "\n".join([*grids, legend(tables)]) + "\n\n"
