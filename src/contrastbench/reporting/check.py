"""Are the rendered files true to the rows, and do the rows of this run repeat the committed ones?"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.params.base import read_yaml
from contrastbench.params.root import DEFAULT, presets
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.measured import measured_here
from contrastbench.pipeline.resolved import resolved
from contrastbench.registry import hint
from contrastbench.reporting.cells import Cell, Key, cells_of
from contrastbench.reporting.claims import Verdict, judged_claims, load_claims
from contrastbench.reporting.rendered import by_track, pages, rendered_files, section_of, text_of
from contrastbench.reporting.search import TUNED, tuned_name, tuned_preset
from contrastbench.reporting.significance import ALPHA, compare_rows, holm
from contrastbench.reporting.strengths import at_the_edge
from contrastbench.results.legacy import same_data, same_parameters
from contrastbench.results.load import ROWS, Loaded, rows_at
from contrastbench.results.revisions import ignored
from contrastbench.results.rows import Row

CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
OPENED = re.compile(r"<!-- claim\b")
SENTENCE = re.compile(r"<!-- claim: (\S+) (\S+) -->((?:(?!<!-- claim).)*?)<!-- /claim -->", re.DOTALL)
LEVEL = re.compile(r"\blevel\s+with\b|\bon\s+par\b", re.IGNORECASE)
RENDER = "run `contrastbench tables --docs`"
TOLERANCE = (
    "a cell is within tolerance when its difference from the committed one is no larger than half the committed "
    "95 % interval or than three standard deviations over the committed seeds, or is not significant (paired test, "
    "Holm-corrected, 5 %)"
)


def stale_files(loaded: Loaded, root: Path = Path()) -> list[str]:
    """A line for each rendered file that differs from what the rows say, is missing, or has no rows, and the remedy.

    Presets whose rows git ignores (runs that nobody commits) are left out.
    """
    kept = kept_presets(loaded, root)
    wanted = rendered_files(loaded, kept, root)
    lines = []
    for path, text in wanted.items():
        file = root / path
        if not file.is_file():
            lines.append(f"{path}: missing; {RENDER}")
        elif file.read_bytes() != text.encode():
            lines.append(f"{path}: stale against {ROWS}; {RENDER}")
    present = [
        file.relative_to(root).as_posix()
        for folder in ("results/tables", "results/metrics")
        for file in sorted((root / folder).glob("*/*"))
        if file.is_file()
    ]
    orphans = [path for path in present if path not in wanted and path.split("/")[2] not in loaded.presets()]
    leftovers = [path for path in present if path not in wanted and path.split("/")[2] in kept]
    skipped = ignored(orphans, root)
    return lines + [f"{path}: no rows for it; delete it" for path in sorted({*orphans, *leftovers} - skipped)]


def edges(loaded: Loaded, root: Path = Path()) -> list[str]:
    """A line for each edge of a grid of strengths that was chosen."""
    return _told(loaded, root, at_the_edge)


def _told(loaded: Loaded, root: Path, tell: Callable[[Loaded, TrackParams], list[str]]) -> list[str]:
    """What ``tell`` says of the rows of each track of each preset, with its name before it."""
    lines = []
    for preset in loaded.presets():
        for name, rows in by_track(loaded, preset).items():
            track = section_of(preset, name, root)
            lines += [f"{name}, preset {preset}: {line}" for line in (tell(rows, track) if track else [])]
    return lines


def wrong_sentences(loaded: Loaded, root: Path = Path()) -> list[str]:
    """A line for each sentence on a claim in README and docs that does not say what the rows say.

    ``<!-- claim: ID VERDICT -->sentence<!-- /claim -->`` says that the claim has the verdict. That two are level is
    only said in such a sentence, of a claim of equivalence that all comparisons support.
    """
    judged = {each.name: each for each in judged_claims(load_claims(root), loaded, root)}
    verdicts = [each.value for each in Verdict]
    lines = []
    for page in pages(root):
        where, text = page.relative_to(root).as_posix(), CODE.sub("", text_of(page))
        if len(OPENED.findall(text)) != len(SENTENCE.findall(text)):
            lines.append(f"{where}: claim: each needs its form, <!-- claim: ID VERDICT -->sentence<!-- /claim -->")
        for name, said, _ in SENTENCE.findall(text):
            if name not in judged:
                lines.append(f"{where}: claim {name!r}: no such claim; {hint(name, judged)}")
            elif said not in verdicts:
                lines.append(f"{where}: claim {name!r}: no such verdict as {said!r}; known: {', '.join(verdicts)}")
            elif said != (now := judged[name].verdict.value):
                lines.append(f"{where}: claim {name!r}: the sentence says {said}, the rows say {now}")
        equal = {name for name, each in judged.items() if each.says_equal}
        rest = SENTENCE.sub(lambda found, equal=equal: "" if found[1] in equal else found[3], text)  # type: ignore[misc]
        lines += [
            f"{where}: {found!r}: say so between the markers of a claim of equivalence that the rows support"
            for found in LEVEL.findall(rest)
        ]
    return lines


def stale_choices(loaded: Loaded, root: Path = Path()) -> list[str]:
    """A line for each preset of chosen settings that is not what the rows of its search choose."""
    lines = []
    for preset in presets(root):
        path = root / "presets" / f"{tuned_name(preset)}.yaml"
        if preset.endswith(TUNED) or not path.is_file():
            continue
        params = resolved(preset, root)
        try:
            chosen = {name: params.track(name) for name in read_yaml(path).get("tracks", [])}
            if path.read_bytes() != tuned_preset(loaded, preset, chosen, root).encode():
                command = f"contrastbench choose {' '.join(chosen)}" + (
                    "" if preset == DEFAULT else f" --preset {preset}"
                )
                lines.append(f"{path.relative_to(root)}: stale against {ROWS}; run `{command}`")
        except UserError as problem:
            lines.append(f"{path.relative_to(root)}: {problem}")
    return lines


def kept_presets(loaded: Loaded, root: Path = Path()) -> list[str]:
    """Presets whose rows git does not ignore; all outside a git repository."""
    first = {preset: next(s.path for s in loaded.stored if s.row.preset == preset) for preset in loaded.presets()}
    skipped = ignored(list(first.values()), root)
    return [preset for preset, path in first.items() if path not in skipped]


@dataclass
class Reproduction:
    """Committed cells, sorted by how well what was measured in this checkout repeats them.

    identical  every value and verdict is the same
    within     differs within tolerance
    outside    differs more: one line each
    missing    not measured here
    partly     those measured here with some of the committed seeds only; they are judged on these
    new        measured here, but not committed
    """

    identical: list[Key] = field(default_factory=list)
    within: list[Key] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    missing: list[Cell] = field(default_factory=list)
    partly: list[Key] = field(default_factory=list)
    new: list[Key] = field(default_factory=list)

    @property
    def measured(self) -> int:
        """Committed cells that were measured here."""
        return len(self.identical) + len(self.within) + len(self.outside)

    @property
    def total(self) -> int:
        """Committed cells."""
        return self.measured + len(self.missing)

    def summary(self) -> list[str]:
        """What was measured here and how it compares, then one line for each other count that is not 0."""
        lines = [
            f"reproduced: {self.measured} of {self.total} committed cells were measured here: "
            f"{len(self.identical)} identical, {len(self.within)} within tolerance, {len(self.outside)} outside"
        ]
        if self.missing:
            counts = Counter(f"{cell.key.preset} {cell.rows[0].stage}" for cell in self.missing)
            places = ", ".join(f"{place} {count}" for place, count in sorted(counts.items()))
            lines.append(f"not measured here: {len(self.missing)} committed cells ({places})")
        if self.partly:
            lines.append(f"measured here with some of the committed seeds only: {len(self.partly)} cells")
        if self.new:
            lines.append(f"measured here, but not committed: {len(self.new)} cells")
        return lines


def reproduction(root: Path = Path(), preset: str | None = None) -> tuple[Reproduction, list[str], list[str]]:
    """Compare what was measured in this checkout, of ``preset`` or of all, with the rows committed at HEAD.

    Rows here that do not count were not measured with what is asked for. Also a line for every row that cannot be read,
    and one for each reason why rows do not count.
    """
    folder = ROWS if preset is None else f"{ROWS}/{preset}"
    committed, here = rows_at("HEAD", folder, root), rows_that_count(root, preset)
    preset_of = {each.path: each.row.preset for each in here.stored}
    own = {path for path, name in preset_of.items() if measured_here(Layout(name), Path(path), root)}
    measured = replace(here, stored=[each for each in here.stored if each.path in own])
    problems = [*(f"HEAD: {line}" for line in committed.problems), *here.problems]
    return reproduction_of(committed, measured), problems, here.left_out


def reproduction_of(committed: Loaded, measured: Loaded) -> Reproduction:
    """Sort every committed cell by how well ``measured`` repeats it, on the seeds that both have."""
    now = {cell.key.place: cell for cell in cells_of(measured).values()}
    then = {cell.key.place: cell for cell in cells_of(committed).values()}
    found = Reproduction(new=[cell.key for place, cell in now.items() if place not in then])
    differing: list[tuple[Cell, Cell]] = []
    for place, cell in then.items():
        seeds = {row.seed for row in cell.rows} & {row.seed for row in now[place].rows} if place in now else set()
        if not seeds:
            found.missing.append(cell)
            continue
        old, new = cell.on(seeds), now[place].on(seeds)
        if len(seeds) < cell.seeds:
            found.partly.append(cell.key)
        if all(_same(a, b) for a, b in zip(old.rows, new.rows, strict=True)):
            found.identical.append(cell.key)
        else:
            differing.append((old, new))
    _judge(differing, then, found)
    return found


def _judge(differing: list[tuple[Cell, Cell]], committed: dict[tuple, Cell], found: Reproduction) -> None:
    """Sort cells that are not identical into ``found``."""
    p_values = [compare_rows(new.rows, old.rows).p_value for old, new in differing]
    adjusted = iter(holm([value for value in p_values if value is not None]))
    for (old, new), p_value in zip(differing, p_values, strict=True):
        insignificant = p_value is not None and next(adjusted) > ALPHA
        pairs = list(zip(old.rows, new.rows, strict=True))
        comparable = all(same_data(a, b) for a, b in pairs)
        allowed = tolerance(committed[old.key.place])
        if comparable and (insignificant or abs(new.mean - old.mean) <= allowed):
            found.within.append(old.key)
            continue
        why = "" if comparable else "; the test data differ"
        why += "" if all(same_parameters(a, b) for a, b in pairs) else "; the parameters differ"
        found.outside.append(f"{' '.join(old.key.place)}: {new.mean:.4f}, committed {old.mean:.4f}{why}")


def _same(old: Row, new: Row) -> bool:
    return (old.value, old.correct) == (new.value, new.correct) and same_data(old, new)


def tolerance(cell: Cell) -> float:
    """How far a repeated mean may lie from the committed one (see ``TOLERANCE``)."""
    halves = [(row.interval[1] - row.interval[0]) / 2 for row in cell.rows if row.interval is not None]
    interval = sum(halves) / len(halves) if halves else 0.0
    return max(interval, 3 * (cell.sd or 0.0))
