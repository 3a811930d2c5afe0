# make demo    teach a concept from words alone, and print where the report is
# make test    everything that must hold: style, types, rooms, tests, doctests
# make check   the same without the tests: seconds, not minutes
# make docs    the site, in build/site; a warning is an error
# make package sdist and wheel, checked, and the wheel tried where nothing else of the repository is
# make abuse   thousands of bad inputs over all verbs, and what became of each (minutes)
# make kills   every verb killed at seeded points and repeated, and bits flipped in what it keeps (minutes)
# make soak    5,000 photos and 300 concepts: time, memory, and the longest silence (minutes)
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
export OMP_NUM_THREADS := 1
# freed memory is kept: asking the system for every tensor's anew costs half as much again (docs/speed.md)
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 4294967296
export MALLOC_TOP_PAD_ := 67108864
TEST := $(BIN)/pytest

.PHONY: help install demo test check style docs package abuse kills soak bench

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@scripts/install.sh $(VENV) $(PYTHON) dev
	@touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml
	@scripts/install.sh $(VENV) $(PYTHON) mini
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/molyneux demo

test: style
	@$(TEST) -n $(JOBS) --dist worksteal

check: style
	@$(TEST) src

style: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: install
	@$(BIN)/python scripts/docs_pages.py
	@$(BIN)/zensical build --clean --strict -f mkdocs.yml

package:
	@scripts/package.sh $(PYTHON)

abuse: install
	@PYTHONPATH=src:tests/lib $(BIN)/python tests/abuse/report.py

kills: install
	@PYTHONPATH=src:tests/lib $(BIN)/python tests/abuse/kills.py
	@PYTHONPATH=src:tests/lib $(BIN)/python tests/abuse/flips.py

soak: install
	@PYTHONPATH=src $(BIN)/python tests/abuse/soak.py --model tiny:clip

bench: install
	@$(BIN)/python bench/novel_concepts.py
	@$(BIN)/python bench/speed.py
