# Every target does all its own set-up in .venv; a second run reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SOURCES := keras_l2feat zoo cli tests benchmarks docs .ci tools
# As many test workers as cores; each takes one thread (tests/conftest.py).
WORKERS ?= auto

.PHONY: help demo test test-quick test-other-kernel test-oldest recipes attack lint format wheel-check docs bench clean

help:
	@echo "make demo         prune a shipped network and certify it, in about a minute after installation"
	@echo "make test         every test"
	@echo "make test-quick   the tests that take at most two seconds each"
	@echo "make test-other-kernel  the quick tests on another BLAS kernel, which rounds differently"
	@echo "make test-oldest  the quick tests with the oldest version of everything that setup.cfg allows"
	@echo "make recipes      build every model of the zoo whose recipe takes under two minutes, and compare"
	@echo "make attack       hostile files, servers, kills and networks, many; PART=networks COUNT=50 SEED=7 for some"
	@echo "make lint         ruff check and format check, types"
	@echo "make wheel-check  build the wheel, install it apart and use it from an empty folder"
	@echo "make docs         the site from docs/ and docstrings, in build/site; any warning is an error"
	@echo "make bench        every benchmark, printing ratios (long)"
	@echo "make clean        remove build leftovers (not .venv)"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another with: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[test]"
	@touch $@

demo: $(VENV)/.installed
	@mkdir -p demo
	@$(BIN)/l2feat prune zoo:mnist-1k-1pct-wide --data mnist-1k -o demo/mnist-1k-small.keras \
	  --rays demo/rays.png --report demo/report.html

test: $(VENV)/.installed-test
	$(PYTEST) -n $(WORKERS) --dist worksteal --durations 15

test-quick: $(VENV)/.installed-test
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow"

test-other-kernel: $(VENV)/.installed-test
	@kernel=$$($(BIN)/python .ci/other_kernel.py); \
	  if [ -z "$$kernel" ]; then echo "No other BLAS kernel is known to run here: nothing is tested twice."; \
	  else echo "The quick tests with OPENBLAS_CORETYPE=$$kernel"; \
	    OPENBLAS_CORETYPE=$$kernel $(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow" -q; fi

recipes: $(VENV)/.installed-test
	L2FEAT_RECIPES=1 $(PYTEST) -n $(WORKERS) --dist worksteal -k followed_again tests/zoo/test_recipes.py

attack: $(VENV)/.installed-test
	L2FEAT_ATTACK=1 L2FEAT_ATTACK_SEED=$(SEED) L2FEAT_ATTACK_COUNT=$(COUNT) \
	  $(PYTEST) -n $(WORKERS) --dist worksteal -rP tests/attack $(if $(PART),-k $(PART))

# Old packages use what newer ones under them deprecate: of that, no news is wanted here.
test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest -p no:cacheprovider -n $(WORKERS) --dist worksteal -m "not slow" \
	  -W ignore::DeprecationWarning -W ignore::FutureWarning $(TESTS)

$(VENV)-oldest/.installed: setup.cfg
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet uv
	$(VENV)-oldest/bin/uv pip install --quiet --resolution lowest-direct \
	  --python $(VENV)-oldest/bin/python --editable ".[test]"
	@touch $@

lint: $(VENV)/.installed-test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

wheel-check: $(VENV)/.installed-test
	$(BIN)/python .ci/wheel_check.py

docs: $(VENV)/.installed-test
	@NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Written: build/site/index.html"

bench: $(VENV)/.installed-test
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
