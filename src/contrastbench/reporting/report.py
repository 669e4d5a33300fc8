"""``results/report.html``: one self-contained, offline page with tables, figures and where they come from."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from contrastbench.errors import UserError
from contrastbench.files import entries_under
from contrastbench.pipeline.asked import runs_that_count
from contrastbench.pipeline.grid import TARGETS, Target
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.resolved import resolved
from contrastbench.pipeline.runs import Run, benchmarks, histories
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.claims import Judged, judged_claims, load_claims
from contrastbench.reporting.claims_render import LEGEND as CLAIMS_LEGEND
from contrastbench.reporting.contents import Contents
from contrastbench.reporting.cost_figures import cost_lines
from contrastbench.reporting.dag import dag_svg
from contrastbench.reporting.embedding import embedding_maps
from contrastbench.reporting.figures import (
    Chart,
    gradient_curves,
    learning_curves,
    protocol_curves,
    selection_bars,
    simplex,
    training_curves,
)
from contrastbench.reporting.provenance import costs, facts
from contrastbench.reporting.published import (
    HEADING,
    READING,
    at_published_setting,
    beside,
    beside_lines,
    published_for,
)
from contrastbench.reporting.render import FAILED, OLDER, TIE, as_csv, cell_text, difference_text, notes
from contrastbench.reporting.rendered import by_track, section_of, target_tables
from contrastbench.reporting.robustness_figures import (
    attack_heatmap,
    corruptions_by_head,
    sensitivity_to_strength,
    transfer_matrix,
)
from contrastbench.reporting.search_figures import search_lines
from contrastbench.reporting.summary import Ran, measured_on, ran
from contrastbench.reporting.tables import Table, own_rows
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS

TITLES = {
    "unremix": "UnReMix: contrastive learning with weighted negatives",
    "swaro": "SwARo: robustness without labels",
    "uamix": "uaMix-MAE: tuning a masked autoencoder of audio",
    "graphs": "UnReMix on graphs",
}
LARGEST = 10_000_000  # bytes of the page
LITERAL = "-._~!$()*+,;:@/?=[]{}|^"  # in a data URI stand for themselves
IMAGES = 4_000_000  # bytes of all images as they are inlined


@dataclass
class TrackSection:
    """One system's part of the page; ``targets`` are the tables by target, the methods' own first.

    ``ran`` is what its rows are of; ``claims`` are what the preset's rows say of those about the track; ``published``
    are the lines of a table of published numbers beside what was measured at their setting.
    """

    name: str
    title: str
    ran: Ran
    targets: dict[Target, list[Table]]
    claims: list[Judged] = field(default_factory=list)
    published: list[list[str]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    @property
    def all_tables(self) -> list[Table]:
        """Those of every target."""
        return [table for tables in self.targets.values() for table in tables]

    def download(self, target: Target) -> tuple[str, str]:
        """Name and address of a CSV file with the tables of a target, the one that lies in results/tables."""
        name = self.name if target == "methods" else f"{self.name}-{target}"
        return f"{name}.csv", data_uri("text/csv", as_csv(self.targets[target]))


@dataclass(frozen=True)
class Picture:
    """A still image that another stage drew."""

    title: str
    uri: str


def build_report(
    loaded: Loaded,
    preset: str,
    steps: Mapping[str, Sequence[str]],
    root: Path = Path(),
    plan: Sequence[tuple[str, str, str]] = (),
) -> str:
    """The page for one preset.

    ``steps`` maps each step of the pipeline to those it reads from; ``plan`` are (stage, estimate, actual).
    Sections without data are left out. A preset without rows is a UserError.
    """
    chosen = loaded.only(preset)
    if not chosen.rows:
        raise UserError(f"no result rows of preset {preset!r} to report; there are rows of: {loaded.presets()}")
    runs = runs_that_count(root, preset)
    by_name = by_track(loaded, preset)
    names = sorted(by_name, key=lambda name: (name not in TITLES, list(TITLES).index(name) if name in TITLES else name))
    tracks = [track_section(name, by_name[name], runs, preset, root) for name in names]
    pictures, left_out = gallery(root / Layout(preset).runs / "figures")
    environment = Environment(loader=PackageLoader("contrastbench.reporting"), autoescape=True, trim_blocks=True)
    environment.filters |= {
        "plotly_json": plotly_json,
        "with_code": with_code,
        "together": together,
        "unescaped": unescape,
    }
    per_stage = costs(benchmarks(root, preset), chosen.rows)
    page = environment.get_template("report.html").render(
        preset=preset,
        tracks=tracks,
        contents=Contents(),
        measured_on=measured_on(preset, root),
        devices=sorted({row.device for row in chosen.rows}),
        hours=sum(total for _, _, total, _, _ in per_stage) / 3600,
        parameters=parameters(preset, root),
        failures=failures(tracks),
        pictures=pictures,
        left_out=left_out,
        dag=Markup(dag_svg(steps)) if steps else "",
        facts=facts(chosen.rows, runs, preset, root),
        costs=per_stage,
        plan=plan,
        problems=[*loaded.problems, *loaded.left_out, *([older] if (older := chosen.older_line()) else [])],
        plotly=Markup(get_plotlyjs()),
        metrics=METRICS,
        cell_text=cell_text,
        claims_legend=CLAIMS_LEGEND,
        difference_text=difference_text,
        published_for=published_for,
        published_heading=HEADING,
        published_reading=READING,
        failed=FAILED,
        older=OLDER,
        notes=notes(table for each in tracks for table in each.all_tables),
        tie=TIE,
    )
    if len(page.encode()) > LARGEST:
        raise UserError(f"the report of preset {preset!r} would have {len(page.encode()) / 1e6:.1f} MB; 10 are allowed")
    return page


def track_section(track: str, rows: Loaded, runs: list[Run], preset: str, root: Path) -> TrackSection:
    """Tables and every chart that has data."""
    params = section_of(preset, track, root)
    everything, cells = cells_of(rows), cells_of(own_rows(rows, params.methods if params else ()))
    own = [run for run in runs if run.track == track]
    of_methods = histories([run for run in own if params is None or run.method in params.methods])
    of_both = histories([run for run in own if params is None or run.method in (*params.methods, *params.ablation)])
    datasets = list(dict.fromkeys(key.dataset for key in everything))
    targets = {target: target_tables(rows, preset, track, target, root) for target in TARGETS}
    tables = targets["methods"]
    section = TrackSection(track, TITLES.get(track, track), ran(rows.rows), targets)
    about = {name: each for name, each in load_claims(root).items() if each.track == track and preset in each.presets}
    section.claims = judged_claims(about, rows, root, preset)
    if params and at_published_setting(params):
        section.published = beside_lines(beside(cell for table in tables for cell in table.cells.values()))
    section.charts += [*search_lines(rows, params), *cost_lines(rows, params)] if params else []
    section.charts += protocol_curves(cells) + attack_heatmap(cells) + corruptions_by_head(cells)
    section.charts += transfer_matrix(cells) + sensitivity_to_strength(cells)
    section.charts += simplex(own, everything) + gradient_curves(of_both) + selection_bars(everything)
    section.charts += learning_curves(of_methods) + training_curves(of_methods)
    section.charts += embedding_maps(root, preset, track, datasets)
    return section


def failures(tracks: list[TrackSection]) -> list[tuple[str, str]]:
    """Every failed sanity check, once, with all rows that it concerns."""
    found: dict[str, list[str]] = {}
    for section in tracks:
        for table in section.all_tables:
            for line, where in table.failures().items():
                found.setdefault(line, []).append(f"{section.name}, {table.dataset}: {', '.join(where)}")
    return [(line, "; ".join(dict.fromkeys(where))) for line, where in found.items()]


def gallery(folder: Path) -> tuple[list[Picture], list[str]]:
    """The images that other stages drew, as data URIs, and the names of those too large for the page."""
    pictures, left_out, used = [], [], 0
    for path in (path for path in entries_under(folder) if path.suffix == ".png"):
        uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        name = path.relative_to(folder).with_suffix("").as_posix()
        if used + len(uri) > IMAGES:
            left_out.append(name)
            continue
        used += len(uri)
        pictures.append(Picture(name.replace("/", ", ").replace("-", " ").replace("_", " "), uri))
    return pictures, left_out


def parameters(preset: str, root: Path) -> str:
    """Address of the preset's resolved parameters as JSON; empty where they cannot be read."""
    try:
        return data_uri("application/json", resolved(preset, root).model_dump_json(indent=1) + "\n")
    except UserError:
        return ""


def data_uri(media_type: str, text: str) -> str:
    """``text`` as an address of its own."""
    return f"data:{media_type};charset=utf-8,{quote(text, safe=LITERAL)}"


def plotly_json(chart: Chart) -> Markup:
    """The figure as JSON that is safe inside a script element."""
    return Markup(chart.figure.to_json().replace("<", "\\u003c"))


def together(text: str) -> str:
    """A value with its interval, which no line break parts."""
    return text.replace(", ", ",\u00a0")


def with_code(text: str) -> Markup:
    """``text`` as HTML, with what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )
