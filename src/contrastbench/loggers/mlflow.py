"""MLflow: ``MLFLOW_TRACKING_URI`` names a server or a store; else it is ``runs/PRESET/log/mlflow.db``."""

import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run

from contrastbench.errors import UserError
from contrastbench.loggers.writer import Training, Writer

KEY = "contrastbench.key"  # the tag by which a training finds its run again
IN_EVERY_ENTRY = "epoch"
MOST_PARAMS, LONGEST_PARAM = 100, 500  # that every server takes at once, and characters of one


def open_writer(training: Training) -> Writer:
    """A writer of the training's run, the same one after a kill; UserError where the store cannot be reached."""
    training.folder.mkdir(parents=True, exist_ok=True)
    try:
        with open(training.folder / "mlflow.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # jobs that begin at once would each make the store
            return _MLflow(training)
    except MlflowException as error:
        raise UserError(f"--log mlflow: {error.message}") from None


class _MLflow:
    def __init__(self, training: Training) -> None:
        folder = training.folder.resolve()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "contrastbench")
        there = self._client.get_experiment_by_name(name)
        experiment = there.experiment_id if there else self._client.create_experiment(name)
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{training.key}'", max_results=1)
        self._id = (found[0] if found else self._new(experiment, training)).info.run_id
        self._client.update_run(self._id, status="RUNNING")
        held = self._client.get_metric_history(self._id, IN_EVERY_ENTRY)
        self._last = max((metric.step for metric in held), default=0)

    def _new(self, experiment: str, training: Training) -> Run:
        tags = {KEY: training.key, "preset": training.preset}
        run = self._client.create_run(experiment, tags=tags, run_name=training.name)
        params = [Param(key, value[:LONGEST_PARAM]) for key, value in _flat(training.params)]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=params[start : start + MOST_PARAMS])
        return run

    def write(self, step: int, values: dict[str, float]) -> None:
        if step > self._last:
            now = int(time.time() * 1000)
            self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "FAILED")


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)
