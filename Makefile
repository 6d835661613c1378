# Everything a person or a machine does with this repository. Needs Python >= 3.11 and make
# (GNU make 3.81 or newer), no root. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
EXTRAS := review,configuration,data,dev,docs,otlp,peers,postgres,tracing,web

# The first interpreter that is new enough; `make setup PYTHON=/path/to/python3` picks another.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$name"; break; }; done)

SRC ?=
OUT ?= out
ARGS ?=
# How many processes share the tests that need no Ray; 0 passes them in one, for --pdb. One more than
# processors: while one waits for its disk or for a server of its own, another computes.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
BENCH ?= ask large tell_local spawn fanout failover supervise kills flap million api savina \
	append durable project resume state windows observe ingest metrics_query pipeline tiers

.PHONY: help setup compiled demo test check lint format types layers tidy fix wheel wheelhouse rehearse docs soak mutants bench clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) compiled  ## create .venv and install Callboard with all it needs here

# As pip does for what it installs, but not for an editable installation. Every host is a new
# process: where PYTHONDONTWRITEBYTECODE is set, each would compile all modules again (150 ms).
compiled: $(STAMP)
	@$(BIN)/python -m compileall -q actors bench examples messages runtime supervisors src

# Installed again only when pyproject.toml changed. The stamp is written last, so that an
# interrupted or failed installation is repeated.
$(STAMP): pyproject.toml
	@if [ ! -x $(BIN)/pip ]; then \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Callboard needs Python 3.11 or newer; found: $$("$(or $(PYTHON),python3)" --version 2>&1)." >&2; \
	    echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
	    exit 1; }; \
	  echo "Creating $(VENV) with $$("$(PYTHON)" --version)"; \
	  "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	fi
	@echo "Installing Callboard and its extras ($(EXTRAS)) into $(VENV); a minute or two the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $(STAMP)

demo: $(STAMP) compiled  ## review a source tree (SRC=path; default: Python's own library) into OUT=out
	@$(BIN)/python -m examples.review $(if $(SRC),"$(SRC)") --out "$(OUT)" $(ARGS)

# Two calls: in parallel what needs no Ray, then one after the other what starts one. Both run, and
# each prints its closing line; the first failure is the exit code. Where ARGS selects no test of
# one call (pytest's code 5), the other decides. pytest keeps its rewritten tests for the next call,
# also where PYTHONDONTWRITEBYTECODE is set: rewriting them takes ten seconds of each process.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

test: $(STAMP) compiled  ## pass the tests (ARGS="-k name" for some of them)
	@$(PYTEST) -m "not ray and not soak" -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS); \
	first=$$?; \
	$(PYTEST) -m "ray and not soak" $(ARGS); second=$$?; \
	if [ $$first -eq 0 ] && [ $$second -eq 5 ]; then exit 0; fi; \
	if [ $$first -eq 0 ] || [ $$first -eq 5 ]; then exit $$second; fi; \
	exit $$first

check: lint format types layers tidy  ## the fast gate: lint, format, types, layers, tidiness

lint: $(STAMP)
	@$(BIN)/ruff check .

format: $(STAMP)
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

layers: $(STAMP)
	@$(BIN)/lint-imports

tidy: $(STAMP)
	@$(BIN)/python -m pytest -q tests/repository/test_tidy.py tests/repository/test_words.py \
	  tests/repository/test_imports.py tests/repository/test_marks.py

fix: $(STAMP)  ## let ruff repair and format what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: $(STAMP)  ## build the wheel into dist, where cluster.yaml expects it
	@rm -rf dist build  # what lies in build/ from before would get into the wheel
	@$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	@ls dist/*.whl

# Ray's version is that of .venv, which the nodes need as well.
WITH ?= bandit radon ruff vulture
wheelhouse: wheel  ## gather the wheels that nodes without a package index need into wheelhouse
	@rm -rf wheelhouse
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --only-binary=:all: \
	  --dest wheelhouse dist/callboard-*.whl $(WITH) \
	  "ray[default]==$$($(BIN)/python -c 'import ray; print(ray.__version__)')"
	@touch wheelhouse/.gathered
	@echo "$$(ls wheelhouse | wc -l) wheels are in wheelhouse"

# The wheels are gathered once for each pyproject.toml, so that a rehearsal needs no index either.
rehearse: $(STAMP) compiled  ## try a cluster in namespaces, with faults (root; ARGS="--only node")
	@if [ "$$(id -u)" = 0 ]; then \
	  if [ wheelhouse/.gathered -nt pyproject.toml ]; then $(MAKE) --no-print-directory wheel; \
	  else $(MAKE) --no-print-directory wheelhouse; fi; fi
	@$(BIN)/python -m tests.rehearsal $(ARGS)

docs: $(STAMP)  ## build the documentation as a site into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site
	@echo "The first page is site/index.html"

soak: $(STAMP) compiled  ## the tests that run for minutes, and all examples of Hypothesis
	@$(PYTEST) -m "soak or hypothesis" --hypothesis-profile=soak --timeout=3600 $(ARGS)

mutants: $(STAMP) compiled  ## change the code in small ways; list what no test finds (ARGS="--sample 300")
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.mutants $(ARGS)

bench: $(STAMP) compiled  ## every benchmark beside its peers (BENCH="ask spawn" for some of them)
	@for name in $(BENCH); do $(BIN)/python -m bench $$name --peers $(ARGS) || exit 1; done

clean:  ## remove what tools and runs leave behind
	@rm -rf out site build dist wheelhouse src/callboard.egg-info .pytest_cache .mypy_cache .ruff_cache \
	  .hypothesis .import_linter_cache .coverage
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## the same, and .venv
	@rm -rf $(VENV)
