PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 4
STRIKES ?= 60
FUZZ ?= 60
UV ?= uv

BIN := $(VENV)/bin
PIP = $$(test -x $(BIN)/pip && echo $(BIN)/python -m pip || echo $(PYTHON) -m pip --python $(BIN)/python)

UPGRADE ?= --upgrade
COMPILE = $(UV) pip compile --quiet --universal $(UPGRADE) --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'

# The caller's Python settings must not leak into the virtual environment, and without cached bytecode every start of
# the program compiles it anew.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_ROOT

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_REQUIRE_VIRTUALENV := 0
export PIP_USER := 0

.PHONY: help install tools demo test chaos fuzz check lint types bench lock clean
.DEFAULT_GOAL := help

help: ## Print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.ready ## Set up the virtual environment; the program is then .venv/bin/gengfu

tools: $(VENV)/.tools ## Add what tests and checks need to the virtual environment

demo: $(VENV)/.ready ## Mirror 2 000 simulated devices through the queue, twice, and show what changed
	@$(BIN)/gengfu demo

test: check ## Everything that must hold: lint, types, import rules, and the whole test suite
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

chaos: $(VENV)/.tools ## Kill, freeze and cut off what takes part in a run, at random: STRIKES=60 runs are struck twice each
	GENGFU_TEST_STRIKES=$(STRIKES) $(BIN)/pytest -n $(WORKERS) --dist worksteal tests/chaos

fuzz: $(VENV)/.tools ## Feed random bytes to what reads answers, FUZZ=60 seconds; installs atheris, for Python 3.11 to 3.13
	@$(PIP) install -qq atheris
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py -max_total_time=$(FUZZ) -artifact_prefix=.hypothesis/

check: lint types ## Lint, types and import rules, without the tests

lint: $(VENV)/.tools ## Style, formatting and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.tools ## Static types, strictly, of src
	$(BIN)/mypy

bench: $(VENV)/.tools ## Measure against the floor and against the old way
	$(BIN)/python -m benchmarks

lock: ## Resolve the dependencies anew and write the lock files (needs uv; UPGRADE= keeps versions)
	$(COMPILE) --group build --output-file requirements.lock pyproject.toml
	$(COMPILE) --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean: ## Remove what the tools made; var/ and logs/ stay
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# `python -m venv` needs ensurepip, which Debian packs apart; where it is missing, the pip that is there serves instead.
$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Gengfu needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
			"Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV); \
	else \
		echo "$(PYTHON) has neither pip nor ensurepip; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; \
	fi
	@echo "Installing the locked dependencies into $(VENV): once, takes half a minute"
	@$(PIP) install -qq --no-compile --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	@$(PIP) install -qq --no-deps --no-build-isolation --no-index -e .
	@$(BIN)/python -m compileall -qq src
	@touch $@

$(VENV)/.tools: $(VENV)/.ready requirements-dev.lock
	@echo "Adding what tests and checks need: once, takes about a minute"
	@$(PIP) install -qq --no-compile --no-deps --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@
