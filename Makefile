# admmctl: `make demo` and `make test` set up everything they need.
# Needs Python 3.11+, git and make; nothing else, and no root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ADMMCTL := $(BIN)/admmctl
SCALE  ?= quick

.DEFAULT_GOAL := help
.PHONY: help install demo figures docs rehearsal test test-processes test-extras lint format lock clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.ready  ## set up the virtual environment in .venv with pinned dependencies

demo: $(VENV)/.ready  ## ADMM on 1 and 2 ranks, graph ADMM and SGD to 97 % on a Swiss roll (no download); a table, a figure
	$(ADMMCTL) train configs/demo.yaml --method all --resume > /dev/null
	$(ADMMCTL) train configs/demo.yaml --cores 2 --oversubscribe --resume > /dev/null
	$(ADMMCTL) runs list demo
	$(ADMMCTL) accuracy-plot demo
	@echo
	@echo 'Go on with handwritten digits, 0 against 1 (12 MB):'
	@echo '  $(ADMMCTL) fetch mnist'
	@echo '  $(ADMMCTL) train configs/mnist01.yaml --method all'

figures: $(VENV)/.ready  ## draw the papers' figures from own runs, and a page of all: in minutes, with SCALE=full in hours
	$(ADMMCTL) figures --all --scale $(SCALE)
	$(ADMMCTL) report

docs: $(VENV)/.ready-docs  ## build the docs site into site/: open site/index.html; no warning passes
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build

rehearsal: $(VENV)/.ready  ## SVHN and HIGGS at full size on made-up data (an hour, 15 GB; KEEP=1 keeps it, SMALL=1: minutes)
	$(BIN)/python scripts/rehearsal.py $(if $(filter-out 0,$(SMALL)),--small) $(if $(filter-out 0,$(KEEP)),--keep)

# Tests of commands, and those that start ranks, jobs or other processes, or measure one: more than half of the time.
PROCESSES := tests/cli tests/mpi $(addprefix tests/unit/test_,compiling.py killed_preparations.py measured_memory.py sweep.py)
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.ready-dev  ## run the tests on all cores: all but those of test-processes
	$(PYTEST) $(addprefix --ignore=,$(PROCESSES))

test-processes: $(VENV)/.ready-dev  ## run the tests of commands, ranks, jobs and other processes
	$(PYTEST) $(PROCESSES)

test-extras: $(VENV)/.ready-extras $(VENV)/.ready-docs  ## run the tests that need PyTorch, JAX, LightGBM, scikit-learn, tensorboardX, MLflow or MkDocs (installs them)
	$(BIN)/python -m pytest tests/unit/test_torch.py tests/unit/test_backends.py tests/unit/test_devices.py tests/unit/test_trees.py tests/unit/test_auc.py tests/unit/test_convex_backends.py tests/unit/test_snapshots.py tests/unit/test_every_method.py tests/unit/test_export.py tests/unit/test_docs_site.py tests/unit/test_estimators.py tests/unit/test_saved_experiments.py

lint: $(VENV)/.ready-dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## write the pinned lock files anew from pyproject.toml
	$(PYTHON) scripts/lock.py

clean:  ## remove the virtual environment and caches; keeps datasets/ and results/
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("admmctl needs Python 3.11 or newer, and $(PYTHON) is %d.%d: run make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# One stamp per set of packages: the runtime alone is enough for a demo.
$(VENV)/.ready: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

$(VENV)/.ready-docs: requirements-docs.lock $(VENV)/.ready-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	@touch $@

# One release of PyTorch: a newer one may bring gigabytes of CUDA libraries to a machine without a GPU.
$(VENV)/.ready-extras: $(VENV)/.ready-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.*' 'jax==0.10.*' 'scikit-learn==1.9.*' 'lightgbm==4.7.*' 'tensorboardX==2.6.*' 'tensorboard==2.21.*' 'mlflow-skinny==3.17.*' sqlalchemy alembic sqlparse
	@touch $@
