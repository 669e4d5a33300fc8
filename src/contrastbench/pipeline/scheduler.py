"""Keep Snakemake's scheduler from looking ever more often at a schedule that has not changed."""

import threading
from typing import Any


def look_again_once(scheduler: type) -> None:
    """Let a ``JobScheduler`` wait for one timer at a time.

    To keep a limit of jobs per second, Snakemake 9 has itself woken a second after each look at the schedule. Each job
    that ends makes it look as well, and so adds one more chain of looks, each for ever: after a hundred jobs it looks a
    hundred times a second (github.com/snakemake/snakemake/pull/3744). One look within the second serves them all.
    """

    def schedule_reevaluation(self: Any, delay: float) -> None:
        def look() -> None:
            self.look_is_due = False
            self._open_jobs.release()

        if not getattr(self, "look_is_due", False):
            self.look_is_due = True
            threading.Timer(delay, look).start()

    assert callable(scheduler._schedule_reevalutation), "Snakemake has renamed what this mends"  # type: ignore[attr-defined]
    scheduler._schedule_reevalutation = schedule_reevaluation  # type: ignore[attr-defined]
