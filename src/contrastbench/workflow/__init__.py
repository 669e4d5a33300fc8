"""Snakemake's rules. The ``Snakefile`` of a project folder includes those of the package."""

from pathlib import Path

SNAKEFILE = str(Path(__file__).with_name("Snakefile"))
