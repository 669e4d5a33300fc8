"""Puts params.yaml, presets/ and profiles/default into the package; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithDefaults(build_py):
    """In the repository they lie at the top; an editable install reads them there."""

    def run(self) -> None:
        """Build the package, then add them to it."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "contrastbench", "defaults")
        presets = sorted(Path("presets").glob("*.yaml"))
        for source in (Path("params.yaml"), *presets, Path("profiles/default/config.yaml")):
            (target / source.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / source)


setup(cmdclass={"build_py": BuildWithDefaults})
