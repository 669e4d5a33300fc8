"""Training followed live, by a program of the user's choice. Off, nothing here is imported."""

from contrastbench.loggers.following import followed

__all__ = ["followed"]
