# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Most tests wait for something: more workers than cores.
PYTEST_WORKERS ?= 4
# A fleet is many processes: none is to compile the program anew at its start, whatever the shell's environment says.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench chaos mutants docs lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(STAMP) ## create .venv with everything pinned

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Symphony needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## the main job on a sample board and repository, with a recorded model
	$(BIN)/symphony demo

test: install ## the whole suite
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not chaos" tests

check: install ## lint, types, layering
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: install ## the figures of docs, reproduced
	$(BIN)/python -m benchmarks.fleet

chaos: install ## unscaled failure cases, minutes each
	$(BIN)/python -m pytest -m chaos tests -s --timeout 1200

mutants: install ## plant each fault of tests/mutants and demand that its test fails
	$(BIN)/python -m tests.mutants

docs: install ## regenerate the generated pages
	$(BIN)/python -m symphony.workflow.reference docs/workflow.md
	$(BIN)/python -m tests.conformance docs/conformance.md

lock: ## resolve requirements.txt again from pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev -o requirements.txt pyproject.toml

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache
