"""Claims as Markdown, for a terminal and as JSON."""

import json
from collections.abc import Sequence

from rich.table import Table as Grid

from contrastbench.reporting.claims import Judged, Outcome, Verdict
from contrastbench.reporting.render import MADE_BY_OLDER, OLDER

LEGEND = (
    "A claim fares as the least favourable of its comparisons, which stands beside it: left minus right in points "
    "[95 % interval of this comparison alone], tested as in the tables. Supported or contradicted: significantly so, "
    "Holm-corrected over the claim's comparisons, 5 %. No difference larger than the margin: by two one-sided tests "
    "(TOST), Holm-corrected, 5 %. Undecided: none of these; told are the seeds that would find a difference of the "
    "margin with 80 % probability at the corrected level, from the measured variance (where there are as many, those "
    "that would decide, were the difference what is measured). A published value is reached by a mean that is at most "
    "the margin below it, in units of both spreads; that is no test. Not testable here: rows are missing, or "
    f"fail a sanity check. {OLDER}: {MADE_BY_OLDER}."
)


def as_markdown(judged: Sequence[Judged]) -> str:
    """A table with a line for each claim, and how to read it."""
    lines = ["| claim | verdict | comparisons | decided by |", "| --- | --- | --- | --- |"]
    for each in judged:
        decided = f"{each.deciding.title}: {told(each.deciding)}"
        cells = (f"{each.claim.text} (`{each.name}`)", f"**{each.verdict.words}**", counts(each), decided)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", LEGEND, ""])


def told(outcome: Outcome) -> str:
    """The effect of a comparison and what else is to be said of it."""
    return "; ".join(part for part in (outcome.effect + f" {OLDER}" * outcome.older, outcome.why) if part)


def counts(judged: Judged) -> str:
    """``2 supported, 1 undecided``."""
    found = {verdict: judged.count(verdict) for verdict in reversed(Verdict)}
    return ", ".join(f"{count} {verdict.words}" for verdict, count in found.items() if count)


def as_terminal(judged: Sequence[Judged]) -> Grid:
    """Every comparison, below the claim that it belongs to."""
    grid = Grid("claim", "effect in points", "verdict", "", box=None)
    for each in judged:
        relation = each.claim.relation.replace("margin", f"{each.claim.margin:g}")
        grid.add_row(each.name, relation, each.verdict.words, each.claim.text)
        for outcome in each.outcomes:
            effect = outcome.effect + f" {OLDER}" * outcome.older
            grid.add_row(f"  {outcome.title}", effect, outcome.verdict.words, outcome.why)
    return grid


def as_json(judged: Sequence[Judged]) -> str:
    """All claims with their comparisons, full precision."""
    content = [
        {
            "id": each.name,
            **each.claim.model_dump(mode="json"),
            "verdict": each.verdict.value,
            "comparisons": [
                {
                    **outcome.place._asdict(),
                    "left": outcome.left,
                    "right": outcome.right,
                    "difference": outcome.difference,
                    "interval": outcome.interval,
                    "p_value": outcome.p_value,
                    "p_equivalence": outcome.equal,
                    "verdict": outcome.verdict.value,
                    "why": outcome.why,
                    "older": outcome.older,
                }
                for outcome in each.outcomes
            ],
        }
        for each in judged
    ]
    return json.dumps(content, indent=1) + "\n"
