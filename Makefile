# Each target sets up what it needs on first use, with nothing but Python and make.
#
#   make demo     the main job: an agent, two workers, an embedded broker
#   make test     every test
#   make check    linter, types, architecture, documentation
#   make soak     killed workers, producers and brokers, ten minutes: ARGS="--minutes 60 --seed 7 --broker valkey"
#   make guards   the simulation against each guard of the scripts taken out, an hour
#   make mutants  each condition, number and call of worker, fleet and client changed once: a test has to notice, hours
#   make steady   memory, connections and cost under load, in full size, four minutes
#   make docker-check  image and compose file on a Docker engine: builds, runs, scales, kills, removes
#   make bench    speed of this checkout, two minutes
#   make bench-scaling  replicas, partitions and masters, four minutes: ARGS="--publish" puts it into docs/scaling.md
#   make bench-peers  the same beside eleven other systems, 45 minutes
#   make tune     the best concurrency for your own tool: ARGS="--tool my.module:tool"
#   make docs     the documentation as a site in site/
#   make clean    remove all that these made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 6
ARGS ?=

.PHONY: help demo test check format soak guards mutants steady bench bench-scaling bench-peers tune docker-check docs clean

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(VENV)/run
	$(BIN)/taskserver demo $(ARGS)

test: $(VENV)/dev
	$(BIN)/python -m pytest -n $(JOBS) --maxschedchunk 1 $(ARGS)

check: $(VENV)/dev $(VENV)/docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture
	$(BIN)/zensical build --clean --strict

soak: $(VENV)/dev
	$(BIN)/python -m tests.faults.soak $(ARGS)

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

guards: $(VENV)/dev
	$(BIN)/python -m tests.faults.guards.search $(ARGS)

bench: $(VENV)/run
	$(BIN)/python -m benchmarks $(ARGS)

mutants: $(VENV)/mutants
	$(BIN)/python -m tests.mutants $(ARGS)

bench-scaling: $(VENV)/run
	$(BIN)/python -m benchmarks.scaling $(ARGS)

steady: $(VENV)/dev
	$(BIN)/python -m pytest -q -m steady tests/faults/test_steady.py $(ARGS)

bench-peers: $(VENV)/bench
	$(BIN)/python -m benchmarks.peers run $(ARGS)

tune: $(VENV)/run
	$(BIN)/python -m benchmarks.tune $(ARGS)

docker-check: $(VENV)/run
	$(BIN)/python docker/check.py

docs: $(VENV)/docs
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) .bench build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stages of the environment: to run, to develop, to measure, to write documentation.

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "taskserver needs Python 3.11 or newer; say which with: make PYTHON=python3.13 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@touch $@

$(VENV)/run: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	@touch $@

$(VENV)/mutants: $(VENV)/dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --group mutants
	@touch $@

$(VENV)/bench: $(VENV)/run
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	@touch $@

$(VENV)/docs: $(VENV)/run
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	@touch $@
