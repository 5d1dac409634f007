# localrun: `make up` runs the main job, `make test` the whole suite. Both set themselves up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# cffi compiles the C core into the tree; an editable install keeps `git pull` enough.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat
SOURCES := pyproject.toml setup.py $(wildcard csrc/*.py csrc/*.c csrc/*.h)

.DEFAULT_GOAL := help
.PHONY: help up test test-fast test-c test-build test-gpu lint bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

up: $(VENV)/.run ## install, fetch the small default model, serve it (Ctrl-C ends it)
	@$(BIN)/localrun up; status=$$?; [ $$status -eq 130 ] || exit $$status

test: $(VENV)/.test lint test-c ## set up and run the whole suite
	$(BIN)/python -m pytest

test-fast: $(VENV)/.test ## the suite without what is slow or starts an engine
	$(BIN)/python -m pytest -m "not slow and not engine"

test-build: $(VENV)/.test ## build llama.cpp here (20 CPU minutes, kept) and serve the real model with it
	LOCALRUN_TEST_BUILD=1 $(BIN)/python -m pytest tests/engine/test_native_build.py tests/commands/test_quantize.py

test-c: ## the C tests under ASan and UBSan, and the fuzz corpus
	$(MAKE) --no-print-directory -C csrc test

test-gpu: $(VENV)/.test ## plans against a real CUDA card (docs/gpu.md); ARGS='--sdist FILE --only scout'
	$(BIN)/python -m tests.gpu.harness $(ARGS)

lint: $(VENV)/.test ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test ## the benchmarks, each as a ratio in one run
	for name in header meter loop startup; do $(BIN)/python -m bench.$$name --write || exit 1; done

clean: ## remove what was built here; models and state stay
	rm -rf $(VENV) build dist *.egg-info localrun/_ffi*.so localrun/_ffi*.c
	$(MAKE) --no-print-directory -C csrc clean

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("localrun needs Python 3.11 or newer, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python $(SOURCES)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(SOURCES)
	LOCALRUN_WERROR=1 $(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.run
