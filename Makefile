# `make reproduce` makes every table; `make test` checks the code. Both need Python 3.11+ and a package registry.
PYTHON ?= python3
VENV := .venv
# Programs are found by the path, or by one relative to this folder: its own may hold spaces and quotes.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: reproduce test mutants lint install smoke check-results screenshots

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@

reproduce: install
	snakemake --cores all
	contrastbench check-results --reproduced

test: install
	OMP_NUM_THREADS=1 python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

mutants: install
	OMP_NUM_THREADS=1 python tests/mutate.py

smoke: install
	snakemake --cores all --config preset=smoke

lint: install
	ruff check
	ruff format --check
	snakefmt --check Snakefile src/contrastbench/workflow
	mypy

check-results: install
	contrastbench check-results

screenshots: install
	python tests/screenshots.py
