# Every command of this house. `make help` lists them; each that needs the environment makes it first.
# Another environment: make test VENV=/somewhere/else. Arguments for a command: make test ARGS="-k lattice".

VENV ?= .venv
PYTHON ?= python3
DATA ?= lethe-data
ARGS ?=
# How many test processes run side by side where a whole suite runs: half of what a test does is to wait for servers.
JOBS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.lethe-is-set-up
# A file's tests stay together: they share servers.
SIDE_BY_SIDE := PYTEST_ADDOPTS="--numprocesses $(JOBS) --dist loadfile"

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo serve up test test-stack test-fast test-gpu test-faults check fix migrate docs clean

help:  ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## Make the virtual environment and install everything into it (runs once)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Lethe needs Python 3.11 or newer, and '$(PYTHON)' is not; name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch by itself and first: resolved together with others, the newest build may win, and it is of another size.
	$(BIN)/python -m pip install --quiet 'torch>=2.13,<2.14'
	$(BIN)/python -m pip install --quiet --editable '.[development]'
	@touch $@

demo: $(STAMP)  ## Show a deletion from request to certificate, on real data, in ./lethe-demo (ARGS="--keep")
	$(BIN)/lethe demo $(ARGS)

serve: $(STAMP)  ## Run the service on DATA=lethe-data until Ctrl-C (ARGS="--port 9000")
	$(BIN)/lethe serve --data $(DATA) $(ARGS)

up: $(STAMP)  ## Run the production processes on throw-away servers, in ./lethe-up, until Ctrl-C (ARGS="--port 9000")
	$(BIN)/python -m tests.servers --postgres --redis --s3 -- $(BIN)/lethe up --data lethe-up $(ARGS)

test: $(STAMP)  ## Run all tests: embedded, on the production stack, the short fault suite (ARGS="tests/unit": these, once)
	$(if $(ARGS),,$(SIDE_BY_SIDE)) $(BIN)/python -m pytest $(ARGS)
	$(if $(ARGS),,$(SIDE_BY_SIDE) $(BIN)/python -m tests --where-possible)
	$(if $(ARGS),,$(BIN)/python -m pytest tests/faults)

test-stack: $(STAMP)  ## Run what a database or a store may change on PostgreSQL, Redis, Celery and S3
	$(if $(ARGS),,$(SIDE_BY_SIDE)) $(BIN)/python -m tests $(ARGS)

test-fast: $(STAMP)  ## Run the tests that need no service and take no more than seconds
	$(BIN)/python -m pytest tests/unit -m 'not slow' $(ARGS)

test-gpu: $(STAMP)  ## Run what needs a GPU; all of it is skipped where there is none
	$(BIN)/python -m pytest tests/gpu -m gpu -rs $(ARGS)

test-faults: $(STAMP)  ## Run the fault suite: kills, pauses, lost servers (ARGS="-k redis")
	LETHE_TEST_FAULTS=full $(BIN)/python -m pytest tests/faults $(ARGS)

check: $(STAMP)  ## Check format, lint, types, arrows, spelling and docs: exactly what CI checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python .ci/check_docs.py

fix: $(STAMP)  ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

migrate: $(STAMP)  ## Write a migration from what the models say (m="pre_add_a_column")
	@test -n "$(m)" || { echo 'Name it: make migrate m="pre_add_a_column"' >&2; exit 1; }
	$(BIN)/python .ci/write_migration.py "$(m)"

docs: $(STAMP)  ## Check the docs and write the API's description to build/openapi.json
	$(BIN)/python .ci/check_docs.py
	@mkdir -p build
	$(BIN)/python -c 'import json; from api.app import create_app; print(json.dumps(create_app().openapi(), indent=2))' > build/openapi.json

clean:  ## Remove caches and what was built; the environment and all data stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
