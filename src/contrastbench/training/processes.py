"""Several processes of one machine that train together, one per device: started, told apart, and ended together."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing

from contrastbench.errors import UserError

# A process that waits longer for another one takes it for stuck, and ends.
PATIENCE = timedelta(minutes=5)


def launch(work: Callable[..., Any], *arguments: Any, processes: int, device: str) -> None:
    """Call ``work`` with ``arguments``, all of which can be pickled, in that many new processes at once.

    On ``cuda`` each has a device of its own; on ``cpu`` they share the threads that one would have. Only the first
    prints. Returns when all have ended. When one fails or is killed, the others are stopped; a UserError of one of them
    is raised here, and so is one that names a killed process.
    """
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # whom it stops is said below
    told = multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="contrastbench-") as folder:
        try:
            multiprocessing.spawn(
                _take_part, (processes, device, f"file://{folder}/meeting-point", told, work, arguments), processes
            )
        except (multiprocessing.ProcessExitedException, multiprocessing.ProcessRaisedException) as ended:
            if not told.empty():
                raise UserError(told.get()) from None
            if isinstance(ended, multiprocessing.ProcessRaisedException):
                raise
            ending = ended.signal_name or f"exit code {ended.exit_code}"
            raise UserError(
                f"process {ended.error_index + 1} of {processes} was ended by {ending}, and the others with it; "
                "start again: training goes on from its last checkpoint"
            ) from None


def _take_part(
    rank: int, processes: int, device: str, meeting_point: str, told: Any, work: Callable[..., Any], arguments: tuple
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # sent when the parent dies; after a shell's & ignored
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before this process had asked for that
        return
    if rank > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (to the end of the process)
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, meeting_point, PATIENCE, processes, rank)
    try:
        work(*arguments)
    except UserError as error:
        told.put(str(error))
        sys.exit(1)
    distributed.destroy_process_group()


def process_count() -> int:
    """How many processes train together: 1 outside :func:`launch`."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def writes_files() -> bool:
    """Whether this process is the one that writes; all of them must ask, and wait here for each other."""
    if not distributed.is_initialized():
        return True
    distributed.barrier()
    return distributed.get_rank() == 0
