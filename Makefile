# For newcomers and contributors. Needs Python 3.11 or newer with venv, and a package index for pip.
# Everything is installed into .venv; the package itself editable, so that changed code needs no reinstall.

VENV := .venv
PY := $(VENV)/bin/python
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test lint types clean

help:
	@echo "make demo               replay the example conversations and show the dashboard"
	@echo "make demo CHATS=file    replay your own: JSONL, {\"id\", \"model\", \"messages\"} a line"
	@echo "make test               run all tests"
	@echo "make lint, make types   ruff, mypy --strict"
	@echo "make clean              delete .venv and everything else that was made here"
	@echo "PYTHON=/path/to/python  names the Python to use (3.11 or newer)"

demo: $(VENV)/.demo
	@$(PY) examples/replay.py $(if $(CHATS),"$(CHATS)")

test: $(VENV)/.dev
	@$(PY) -m pytest

lint: $(VENV)/.dev
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: $(VENV)/.dev
	@$(PY) -m mypy

clean:
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# Stamps: an interrupted step leaves none, and is done again.
$(VENV)/.made:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Making $(VENV) with $$("$$python" --version) ..."; \
	  "$$python" -m venv --clear $(VENV) && touch $@ && exit; exit 1; \
	done; \
	echo "error: no Python 3.11 or newer with venv found (looked for: $(PYTHONS))." >&2; \
	echo "  Install one (Debian, Ubuntu: apt install python3-venv), or name one: make demo PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "Installing the package and what the demo needs (about a minute) ..."
	@$(PIP_INSTALL) --editable ".[tiktoken,demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing the package and the development tools (about a minute) ..."
	@$(PIP_INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.demo
