# The tasks of this repository. `make` alone lists them.
#
# PYTHON names the interpreter that the environments are made with (3.11 or 3.12 for the embedded Triton). Unless you say
# otherwise it is the one of the existing .venv, else the first that fits.
PYTHON ?= $(shell for python in .venv/bin/python python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && exit; \
	done; echo python3)
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow bench check audit shots system lock clean

help:  # List the tasks
	@echo 'Usage: make TASK [ARGS="more arguments"] [PYTHON=python3.12]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

setup:  ## make .venv and the embedded runtimes' environments (minutes the first time, 2.4 GB)
	@$(PYTHON) scripts/platform_check.py || test $$? -eq 3
	@$(PYTHON) scripts/environments.py

run: setup  ## start Countersign with the demo: pages, API, worker and embedded runtimes
	$(BIN)/countersign up --demo $(ARGS)

test: setup  ## run the tests, except the slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: setup  ## run the tests that take minutes or a heavy runtime
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: setup  ## run the benchmarks (ARGS="delivery --json" for one)
	$(BIN)/python -m benchmarks $(ARGS)

check: setup  ## lint, formatting, types and the order of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup  ## look up known vulnerabilities of every pinned package
	$(BIN)/python scripts/audit.py $(ARGS)

shots: setup  ## photograph the pages
	$(BIN)/python scripts/shots.py $(ARGS)

system:  ## install the Debian packages that are missing (as root), or name them
	@$(PYTHON) scripts/system.py

lock:  ## write the hashed locks anew (ARGS=--upgrade takes newer releases)
	@$(PYTHON) scripts/environments.py --tools
	@$(BIN)/python scripts/lock.py $(ARGS)

clean:  ## remove the environments and every cache
	rm -rf .venv .runtimes .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
