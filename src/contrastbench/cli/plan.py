"""Command ``plan``: what a run will cost, before it runs."""

import os
from typing import Annotated

import typer

from contrastbench.cli.console import for_console
from contrastbench.cli.options import Preset


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("plan")(plan_command)


def plan_command(
    preset: Preset = "default",
    target: Annotated[
        str | None, typer.Option(help="What Snakemake is asked for, such as unremix_search; all if not given.")
    ] = None,
) -> None:
    """Show the jobs of a preset, which are done, and the time, memory, disk and downloads of the rest.

    Estimates come from jobs that this machine has measured before, scaled by the work. The plan is kept, so that
    the report can hold it against what came.
    """
    from rich.table import Table

    from contrastbench.pipeline.plan import keep_plan, make_plan

    plan = make_plan(preset, target=target)
    keep_plan(plan)
    table = Table("stage", "jobs", "done", "to run", "estimate", "range", "memory", title=f"Plan of preset {preset}")
    for stage in plan.stages():
        jobs, waiting = [job for job in plan.jobs if job.stage == stage], plan.pending(stage)
        done = len(jobs) - len(waiting)
        table.add_row(stage, str(len(jobs)), str(done), str(len(waiting)), *_cost(waiting))
    typer.echo(for_console(table), nl=False)

    def tell(name: str, text: str) -> None:
        typer.echo(for_console(f"[bold]{name}[/bold]: {text}"), nl=False)

    pending = plan.pending()
    costs = [job.cost for job in pending if job.cost is not None]
    cores = os.cpu_count() or 1
    if costs:
        total, low, high = (sum(getattr(cost, name) for cost in costs) for name in ("seconds", "low", "high"))
        tell("time", f"{_time(total / cores)} on {cores} cores ({_time(low / cores)} to {_time(high / cores)})")
        largest = sorted((cost.peak_mb for cost in costs), reverse=True)[:cores]
        tell("memory", f"up to {sum(largest):,.0f} MiB with {cores} jobs side by side")
    if len(costs) < len(pending):
        tell(
            "not estimated",
            f"{len(pending) - len(costs)} of {len(pending)} jobs: nothing like them has been measured here yet, "
            "or their data are not prepared",
        )
    tell("disk", f"about {sum(job.size or 0 for job in pending) / 2**20:,.0f} MiB under runs/{preset}")
    downloads = [
        f"{name} ({'size unknown' if size is None else f'{size / 1e6:,.0f} MB'})" for name, size in plan.downloads
    ]
    tell("downloads", ", ".join(downloads) or "none")


def _cost(pending: list) -> tuple[str, str, str]:
    """Estimate, range and memory of some jobs, as texts."""
    costs = [job.cost for job in pending if job.cost is not None]
    if not costs:
        return ("unknown", "", "") if pending else ("", "", "")
    total, low, high = (sum(getattr(cost, name) for cost in costs) for name in ("seconds", "low", "high"))
    sign = "" if len(costs) == len(pending) else "at least "
    return f"{sign}{_time(total)}", f"{_time(low)} to {_time(high)}", f"{max(cost.peak_mb for cost in costs):,.0f} MiB"


def _time(seconds: float) -> str:
    """``42 s``, ``7.5 min`` or ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
