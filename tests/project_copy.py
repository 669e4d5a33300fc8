"""A copy of the project that a test may edit and run the real commands in."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from conftest import REPOSITORY

COPIED = ("Snakefile", "profiles", "presets", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore", "src")


class Project:
    """A project in ``folder``, a copy of ours unless it is one already; its commands run with its own sources."""

    def __init__(self, folder: Path) -> None:
        for name in COPIED if not (folder / "Snakefile").exists() else ():
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, folder / name)
        self.folder = folder
        binaries = Path(sys.executable).parent
        self.environment = os.environ | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "src"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, text=True, capture_output=True)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def snakemake(self) -> None:
        self.run("snakemake", "--cores", "2")

    def stale_jobs(self, *options: str) -> Counter[str]:
        """What Snakemake would run, as rule -> number of jobs."""
        answer = self.run("snakemake", "--dry-run", "--cores", "1", *options)
        if "Nothing to be done" in answer:
            return Counter()
        table = answer[answer.index("Job stats:") :]
        found = re.findall(r"^(\w+) +(\d+)$", table[: table.index("\ntotal")], re.MULTILINE)
        return Counter({rule: int(count) for rule, count in found if rule != "all"})

    def stale_steps(self) -> set[str]:
        """What DVC would run."""
        return set(json.loads(self.run("dvc", "status", "--json")))

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text(encoding="utf-8")
        assert old in text
        (self.folder / path).write_text(text.replace(old, new, 1), encoding="utf-8")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", message)
