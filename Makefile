# make demo    teach a concept from words alone, and print where the report is
# make test    everything that must hold: style, types, rooms, tests, doctests
# make check   the same without the tests: seconds, not minutes
# make bench   the numbers of the README (long)

PYTHON ?= python3
JOBS ?= 2

BIN := .venv/bin
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# one thread a process: small images gain nothing from more, and sums stay the same
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.PHONY: help install demo test check style bench

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

install: .venv/.installed

.venv/.installed: pyproject.toml
	@test -x $(BIN)/python || { echo "Making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv .venv; }
	@echo "Installing Molyneux with what it needs into .venv (minutes the first time):"
	@PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e '.[dev]' \
	  | sed -u -n -E 's/^Collecting ([^ ]+) \(from molyneux.*/  \1/p; s/^Installing collected.*/  unpacking/p'
	@touch $@
	@echo "Installed."

demo: install
	@$(BIN)/molyneux demo

test: style
	@$(TEST) -n $(JOBS)

check: style
	@$(TEST) src

style: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: install
	@OMP_NUM_THREADS=1 $(BIN)/python bench/novel_concepts.py
	@OMP_NUM_THREADS=1 $(BIN)/python bench/teaching_quality.py
	@OMP_NUM_THREADS=1 $(BIN)/python bench/speed.py
