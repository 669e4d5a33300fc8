"""The Python API; ``contrastbench/__init__.py`` exports its functions, docs/python.md shows them."""
