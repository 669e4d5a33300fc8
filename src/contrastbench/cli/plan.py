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

    Estimates come from jobs that this machine has measured before, scaled by the work; where it has run none, from
    another machine's, scaled by how fast this one is. The plan is kept, so that the report can hold it against what
    came.
    """
    from rich.table import Table

    from contrastbench.pipeline.plan import keep_plan, make_plan
    from contrastbench.pipeline.reference import reference

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
    if plan.slower is not None:
        shipped = sum(cost.elsewhere for cost in costs)
        tell(
            "first estimate",
            f"{shipped} of {len(pending)} jobs by what they took on another machine ({reference().machine}, no GPU), "
            f"times {plan.slower:.2g}, as a step of training takes here; what has run here counts instead",
        )
    unknown = [job for job in pending if job.cost is None]
    if unknown:
        stages = ", ".join(stage for stage in plan.stages() if any(job.stage == stage for job in unknown))
        tell("not estimated", f"{len(unknown)} of {len(pending)} jobs: nothing like them has been measured ({stages})")
    left = sum(job.size or 0 for job in pending) / 2**20
    data = f", and {plan.data_bytes / 2**20:,.0f} MiB under data" if plan.data_bytes else ""
    tell("disk", f"about {left:,.0f} MiB under runs/{preset}{data}")
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
    """``42 s``, ``7.5 min``, ``3.2 h`` or ``12 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"
