"""Puts what a project folder starts from into the package; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("params.yaml", "presets/*.yaml", "profiles/default/config.yaml", "template/**/*")


class BuildWithDefaults(build_py):
    """In the repository it lies at the top; an editable install reads it there."""

    def run(self) -> None:
        """Build the package, then add it."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "contrastbench", "defaults")
        for source in sorted(path for pattern in SHIPPED for path in Path().glob(pattern)):
            if source.is_file() and source.suffix != ".pyc":
                (target / source.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target / source)


setup(cmdclass={"build_py": BuildWithDefaults})
