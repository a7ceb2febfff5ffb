# Two commands on a machine with python3 and make: `make compile` and `make test`.
# Both set up what they need; nothing is installed outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup compile check test test-fast lint engine bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# The stamp is the last thing written, so that an interrupted set-up is done again.
$(VENV)/stamp: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/stamp  ## make .venv with stackc and the development tools

compile: setup  ## compile every stack in stacks/ into generated/, offline
	$(BIN)/stackc compile

check: setup  ## fail if generated/ is not what the specs say
	$(BIN)/stackc compile --check

lint: setup  ## ruff, mypy and the layer contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-fast: setup lint  ## everything but the tests that start a real vLLM
	$(BIN)/python -m pytest -m "not engine" --numprocesses auto

engine: setup  ## make .engine with vLLM's CPU build (2.5 GB on disk)
	$(PYTHON) tools/setup_engine.py

test: test-fast engine  ## all tests
	$(BIN)/python -m pytest -m engine

bench: setup  ## time start-up, compilation and solving
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.solver

clean:  ## remove what the targets made
	rm -rf $(VENV) .engine .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
