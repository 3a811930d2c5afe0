# make demo    teach a concept from words alone, and print where the report is
# make test    everything that must hold: style, types, rooms, tests, doctests
# make check   the same without the tests: seconds, not minutes
# make bench   the numbers of the docs (long)
# make ... PYTHON=python3.12    the same with that Python, in a virtual environment of its own, .venv-3.12

JOBS ?= 2

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")')
ifeq ($(VENV),.venv-)
$(error '$(PYTHON)' does not run: expected PYTHON=PROGRAM with a Python of 3.11 or newer)
endif
endif

BIN := $(VENV)/bin
# one thread a process: small images gain nothing from more, and sums stay the same
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.PHONY: help install demo test check style bench

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(call install,dev,Molyneux with all extras and the test tools)
	@touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml
	$(call install,mini,Molyneux with what the demo needs)
	@touch $@

# $(1): the extra, $(2): what that is
define install
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "$(VENV) has $$($(BIN)/python --version): remove it and give PYTHON=PROGRAM with a Python of 3.11 or newer"; exit 1; }
@echo "Installing $(2) into $(VENV) ($$($(BIN)/python --version))."
@torchvision=; \
if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi > /dev/null; then \
  cpu=$$($(BIN)/python -m pip index versions torchvision 2> /dev/null | grep -o '[0-9.]*+cpu' | head -n 1) || true; \
  if [ "$$cpu" ]; then torchvision="torchvision==$$cpu"; echo "No GPU was found: torch's CPU build is taken."; \
  else echo "No GPU was found, but the package index has no CPU build of torch and torchvision for this machine:"; \
    echo "their usual build is taken, which runs on the CPU too. PIP_EXTRA_INDEX_URL can name another index."; fi; \
fi; \
PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e '.[$(1)]' $$torchvision \
  | sed -u -n -E 's/^Collecting ([^ ]+) \(from molyneux.*/  \1/p; s/^Installing collected.*/  unpacking/p'
@echo "Installed: $$(du -sh $(VENV) | cut -f 1) in $(VENV)."
endef

demo: $(VENV)/.demo
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
