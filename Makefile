# Two commands on a machine with python3 and make: `make compile` and `make test`.
# Both set up what they need; nothing is installed outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Each process would take seconds to read all tests anew.
unexport PYTHONDONTWRITEBYTECODE


.PHONY: help setup compile check test test-fast test-emitted test-hostile lint docs engine engine-cpu llama-server bench clean

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

test-fast: setup lint  ## the compiler's own tests, in about a minute
	$(BIN)/python -m pytest -m "not emitted and not engine and not systemd and not hostile" --numprocesses auto --dist worksteal

# Real programs race each other on a busy machine. What fails is run once more, and told: what fails twice is a failure.
AGAIN := --reruns 1 -r R

test-emitted: setup  ## run what is emitted, with a real nginx, Prometheus and hf
	$(BIN)/python -m pytest -m emitted --numprocesses auto $(AGAIN)

test-hostile: setup  ## hostile inputs; `.venv/bin/python -m tests.fuzz --help` asks for more of them
	$(BIN)/python -m pytest -m "hostile and not emitted" --numprocesses auto

docs: setup  ## build the documentation into build/site, strictly
	$(BIN)/python -m tools.build_docs

engine: setup  ## make .engine with vLLM's CPU build and LiteLLM (2.7 GB on disk)
	$(PYTHON) tools/setup_engine.py

engine-cpu:  ## make vLLM's CPU build alone, which serves tiny-cpu (2.0 GB on disk)
	$(PYTHON) tools/setup_engine.py --only cpu

llama-server:  ## make llama.cpp's server for its tests, with a CPU backend for any AVX2 (needs g++; 80 MB on disk)
	$(PYTHON) -m tools.setup_llama_server

# A file's tests share servers, and two servers at once are as fast as one. What counts seconds runs alone.
test: test-fast test-emitted test-hostile engine llama-server  ## all tests; those that boot a systemd need root
	$(BIN)/python -m pytest -m "engine and not systemd" --numprocesses 2 --dist loadfile --verbose $(AGAIN)
	$(BIN)/python -m pytest -m systemd --verbose $(AGAIN)

bench: setup  ## time start-up, compilation and solving
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.solver
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.gguf_fit
	$(BIN)/python -m benchmarks.choose

clean:  ## remove what the targets made
	rm -rf $(VENV) .engine build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
