# The paper, from a fresh machine with Python 3.11 to the site. `make` alone lists what there is.
PYTHON ?= python3.11
BIN := .venv/bin
TORCH = $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements.lock)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# with the words to end on: how much of the paper holds, or where Snakemake's own log is
build = $(BIN)/snakemake --cores all --nolock --rerun-incomplete --quiet all $(2) && head -n 6 $(1)/check.txt && \
  grep '^claims:' $(1)/check.txt && echo "The book is at $(CURDIR)/$(1)/html/index.html; what differs is in $(1)/check.txt" || \
  { echo "make: the book isn't finished; the newest file in .snakemake/log says how far it came"; exit 1; }
export PATH := $(CURDIR)/$(BIN):$(PATH)

$(if $(filter-out PYTHON=% UPGRADE=%,$(MAKEOVERRIDES)),$(error there is no variable $(MAKEOVERRIDES); `make` lists what there is, and README.md the environment's variables))

.DEFAULT_GOAL := help
.DEFAULT:
	$(error there is no '$@'; `make` lists what there is)
.PHONY: help setup paper quick book site screenshots test test-all check lint bench studies lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/ready  ## the environment in .venv, to the byte that of requirements.lock (a few minutes, once)

.venv/ready: .venv/libraries pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/libraries: requirements.lock requirements-gpu.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11, or name another: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv; this takes a few minutes, once"
	@$(PYTHON) -m venv .venv || { echo "make: $(PYTHON) can't make an environment; Debian and Ubuntu have it in python3.11-venv"; exit 1; }
	@if [ "$$(uname)" = Linux ] && ! $(BIN)/pip index versions torch 2> /dev/null | grep -qF "$(TORCH)+cpu"; then \
	  echo "pip finds no torch for the processor alone: with that for GPUs it installs 3 GB more (see the README)"; \
	  $(PIP) --require-hashes --no-deps --requirement requirements-gpu.lock; fi
	@$(PIP) --require-hashes --no-deps --requirement requirements.lock
	@touch $@

paper: setup  ## everything at the paper's scale, from the digits to the site in book/html; stopped, it goes on where it was
	@$(call build,book,)

quick: setup  ## the same from few digits, in a few minutes, for a look; the site is in book/quick/html
	@$(call build,book/quick,--config profile=quick)

book: setup  ## the site again from the runs on record
	@$(call build,book,--forcerun site)

site: setup  ## the site from the runs on record alone, never training; `ccbook fetch FILE` puts published runs there
	@$(BIN)/ccbook check > /dev/null
	@export CCBOOK_NEVER_TRAIN=1 && $(call build,book,--forcerun site)

screenshots: setup  ## every page as a picture, wide and narrow, light and dark, in book/screenshots; needs Chromium
	@for site in book/html book/quick/html; do if [ -d $$site ]; then \
	  $(BIN)/python -m ccbook.book.pdf screenshots $$site $${site%html}screenshots || exit 1; fi; done

test: quick  ## the tests, about seven minutes with the quick site
	@$(BIN)/pytest -q -m "not deep"

test-all: quick  ## the deep tests: thousands of bad inputs, kills, full disks, clusters; about twenty-five minutes
	@CCBOOK_DEEP=1 $(BIN)/pytest -q -m deep

check: setup  ## every verdict recomputed from the recorded runs
	@$(BIN)/ccbook check

lint: setup  ## style and types of package, tests and notebooks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify chapters/*.ipynb

bench: setup .venv-bench/ready  ## what a training step costs here, beside other libraries, and how cost grows; half an hour
	@$(BIN)/python benchmarks/speed.py
	@$(BIN)/python benchmarks/growth.py
	@$(BIN)/python benchmarks/precision.py

studies: setup  ## is it (g)'s form or its training, how well is direct training tuned, other networks and digits; over an hour
	@$(BIN)/python -m ccbook.book.studies

.venv-bench/ready: benchmarks/peers.txt
	@echo "Setting up .venv-bench with the other libraries; this takes a few minutes, once"
	@$(PYTHON) -m venv .venv-bench
	@$(PIP:$(BIN)%=.venv-bench/bin%) --requirement $<
	@touch $@

lock: setup  ## requirements*.lock from pyproject.toml, with hashes; UPGRADE=--upgrade raises versions, with torch's all runs' names
	@sed '/^torch==/,/[^\\]$$/d' requirements-gpu.lock | cat requirements.lock - > requirements.all
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes $(UPGRADE) --no-header --no-annotate \
	  --quiet --output-file requirements.all
	@sed -i '/^#/!d' requirements.lock
	@sed -i '/^torch==/,/[^\\]$$/!{/^#/!d}' requirements-gpu.lock
	@awk '/^[a-z]/ {gpu = /^(nvidia|cuda|triton)/} {print >> (gpu ? "requirements-gpu.lock" : "requirements.lock")}' requirements.all
	@rm requirements.all

clean:  ## remove pages and notebooks; digits, runs and results stay
	rm -rf book/html book/site.made book/source book/build book/notebooks book/explorer book/reruns book/screenshots book/quick .snakemake book/runs/.partial-* book/runs/.sweeps data/.download-*
