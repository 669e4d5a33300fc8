"""Which GPUs a process computes on: those that it claims, and it sees no others.

Without this every job of a run would take the machine's first GPU. A claim is a lock on a file of this machine, named
by the GPU's UUID; the system releases it when the process ends, however it ends. Under Slurm or Kubernetes, which show
a job just the GPUs that it was given, the claim is among those.
"""

import fcntl
import os
import re
import subprocess
import tempfile
from pathlib import Path

from contrastbench.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
CLAIMED = "CONTRASTBENCH_GPUS"  # set for the processes that a claimant starts: its GPUs are theirs
NOTHING = ("", "-1", "NoDevFiles")  # how users and Slurm say that no GPU is to be seen


def visible_gpus() -> list[str]:
    """UUIDs of this machine's GPUs, of which ``CUDA_VISIBLE_DEVICES``, where it is set, names some.

    Raises UserError where it names one that is not there. Without ``nvidia-smi`` its entries are taken as they are.
    """
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except OSError:  # not installed
        answer = ""
    known = re.findall(r"^GPU \d+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)", answer, re.MULTILINE)
    told = os.environ.get(VISIBLE)
    if told is None:
        return known
    return [_uuid(entry.strip(), known) for entry in told.split(",") if entry.strip() not in NOTHING]


def _uuid(entry: str, known: list[str]) -> str:
    """The GPU that ``entry`` names by number, UUID or its beginning; a MIG device is named by its own UUID alone."""
    if not known or entry.startswith("MIG-"):
        return entry
    named = [uuid for number, uuid in enumerate(known) if entry == str(number) or uuid.startswith(entry)]
    if len(named) != 1:
        raise UserError(f"{VISIBLE}={os.environ[VISIBLE]}: no GPU {entry} here; there are {len(known)}, from 0 on")
    return named[0]


def claim_gpus(count: int = 1) -> None:
    """Claim the first ``count`` free ones of the visible GPUs, for as long as this process lives, and hide the others.

    To be called before torch is loaded, which looks at the GPUs once. Does nothing in a process that a claimant has
    started, nor where no GPU is visible. Raises UserError where there are too few, or too few free.
    """
    visible = visible_gpus()
    if not visible or CLAIMED in os.environ:
        return
    if count > len(visible):
        raise UserError(f"{count} GPUs needed: there are no more than {len(visible)} visible here")
    claimed: list[str] = []
    for gpu in visible:
        if len(claimed) < count and _lock(gpu):
            claimed.append(gpu)
    if len(claimed) < count:
        raise UserError(
            f"{count} GPU{'s' if count > 1 else ''} needed, {len(claimed)} of {len(visible)} free: other jobs have "
            "claimed the rest; wait until they have ended"
        )
    os.environ[VISIBLE] = os.environ[CLAIMED] = ",".join(claimed)


def _lock(gpu: str) -> bool:
    """Lock a GPU for as long as this process lives; False where another process has it.

    Not in the project's folder, which machines may share. Opened for reading, as other users of this machine can.
    """
    path = Path(tempfile.gettempdir()) / f"contrastbench-{re.sub('[^0-9A-Za-z-]', '_', gpu)}.lock"
    try:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
            os.fchmod(descriptor, 0o644)  # whatever the umask
        except FileExistsError:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened to claim a GPU: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the process ends: nothing closes it
    except OSError:
        os.close(descriptor)
        return False
    return True
