# Thin on purpose: each target is one command that can be typed by hand.

PYTHON ?= python3.11
VENV ?= .venv
PAPER ?= mces_finite_sample
PROFILE ?= cpu
PYTEST_ARGS ?=
export VENV

# With CLAIMBOOK_PYTHON (a conda environment's, say) nothing is set up here.
ifdef CLAIMBOOK_PYTHON
RUN := $(CLAIMBOOK_PYTHON)
else
RUN := $(VENV)/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test test-all site lab new-paper bench lock

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup:  ## make or update .venv from the lock files (at once if nothing changed)
ifndef CLAIMBOOK_PYTHON
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here: install Python 3.11 with its venv module (Debian: python3.11-venv), or set PYTHON=, or use conda (environment.yml)." >&2; exit 1; }
	@$(PYTHON) -I scripts/make_venv.py
endif

reproduce: setup  ## re-run a paper from nothing and compare (PAPER=slug or all, PROFILE=cpu, WORKERS=2)
	./claimbook reproduce $(PAPER) --profile $(PROFILE) $(if $(WORKERS),--workers $(WORKERS))

test: setup  ## style, types, import floors, quick tests, and the papers that changed in miniature
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-logo
	$(RUN) -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-all: setup  ## everything: all papers, afresh and as forks, and what takes minutes
	CLAIMBOOK_TEST_ALL=1 $(RUN) -m pytest -n 2 --dist worksteal -m "not gpu" $(PYTEST_ARGS)

site: setup  ## build the static site into site/ (works offline)
	./claimbook site

lab: setup  ## open JupyterLab on the notebooks
	./claimbook lab

new-paper:  ## a working skeleton for one more paper (SLUG=snake_case_name)
	@test -n "$(SLUG)" || { echo "Say which: make new-paper SLUG=snake_case_name" >&2; exit 2; }
	@$(MAKE) --no-print-directory setup
	./claimbook new-paper $(SLUG)

bench: setup  ## measure speed against the named rivals
	./claimbook bench

lock: setup  ## resolve pyproject.toml anew (UPGRADE="--upgrade numpy" moves kept versions)
	$(RUN) scripts/lock.py $(UPGRADE)
