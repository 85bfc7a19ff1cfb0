# `make demo` shows the mesh, `make test` runs everything that CI runs. Both install what they need.
.ONESHELL:
.SHELLFLAGS := -euc
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Runs a command and shows what it printed only when it failed.
QUIET := tools/quiet

.PHONY: help demo test soak check fix bench system clean

help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: ## Two clusters, one mesh, on this machine (needs root)
	@if [ "$$(id -u)" -ne 0 ]; then
	  echo "The demo makes network namespaces, mounts and iptables rules, which only root may: run 'sudo make demo'." >&2
	  exit 1
	fi
	$(MAKE) -s --no-print-directory system .venv/lab.stamp
	exec $(BIN)/isthmus lab demo

test: .venv/dev.stamp ## Everything that CI runs
	@$(MAKE) -s --no-print-directory FOR_TESTS=yes system check
	if [ "$$(id -u)" -eq 0 ]; then
	  # Two labs at once, each in a box of its own.
	  $(BIN)/pytest -m "e2e and not soak" --dist loadfile --tx '2*popen//python=tools/boxed $(BIN)/python'
	else
	  $(BIN)/pytest -m "e2e and not soak"
	fi

check: .venv/dev.stamp ## Style, types, import rules and the fast tests
	@$(QUIET) $(BIN)/ruff check .
	$(QUIET) $(BIN)/ruff format --check .
	$(QUIET) $(BIN)/pyright
	$(QUIET) $(BIN)/lint-imports
	$(BIN)/pytest -m "not e2e and not soak" -n 3 --dist worksteal

soak: .venv/dev.stamp ## The long forms of the tests
	@$(MAKE) -s --no-print-directory FOR_TESTS=yes system
	failed=0
	$(BIN)/pytest -m soak || failed=1
	ISTHMUS_SOAK=20 $(BIN)/pytest -n 2 tests/xds/test_convergence.py tests/translate/test_incremental.py \
	  tests/clusters/test_view_model.py || failed=1
	exit $$failed

fix: .venv/dev.stamp ## Mend what the linter can mend
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev.stamp ## Measure ours against its floor; prints JSON
	@for subject in bench bench.ca bench.policy bench.statsd bench.clusters; do
	  echo "== python -m $$subject" >&2
	  $(BIN)/python -m $$subject
	done

system: # the system packages that the lab needs, and tests besides; only root can install them
	@[ "$$(id -u)" -eq 0 ] || exit 0
	missing=""
	[ -z "$(FOR_TESTS)" ] || command -v redis-server >/dev/null || missing="$$missing redis-server"
	[ -z "$(FOR_TESTS)" ] || command -v prometheus >/dev/null || missing="$$missing prometheus"
	command -v ip >/dev/null || missing="$$missing iproute2"
	command -v iptables >/dev/null || missing="$$missing iptables"
	command -v curl >/dev/null || missing="$$missing curl"
	[ -n "$$missing" ] || exit 0
	echo "Installing$$missing."
	export DEBIAN_FRONTEND=noninteractive
	$(QUIET) apt-get update
	$(QUIET) apt-get install -y --no-install-recommends $$missing

.venv/lab.stamp: pyproject.toml constraints.txt tools/make_venv
	@tools/make_venv $(PYTHON) lab
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt tools/make_venv tools/make_stubs.py
	@tools/make_venv $(PYTHON) lab,dev
	$(BIN)/python tools/make_stubs.py
	touch $@ .venv/lab.stamp

clean: ## Remove what was installed and made here
	@rm -rf .venv typings build src/isthmus.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
