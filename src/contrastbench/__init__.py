"""contrastbench: a reproducible benchmark suite for label-free representation learning."""

__version__ = "0.1.0"
