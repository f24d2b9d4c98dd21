# ganline: `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED ?= 0
export DVC_NO_ANALYTICS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= 1
export HF_HUB_OFFLINE ?= 1
export DVC_STUDIO_OFFLINE ?= 1
# A stage starts some ten processes; without compiled modules each spends 3 s on translating its imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo encoders test test-slow test-fast lint format docs ui app report lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python %d.%d found (make setup): install 3.11 or newer, or say make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed  ## create .venv from requirements.lock and install the project

demo: setup  ## run the whole pipeline on the embedded default (no data, no GPU, no network)
	@$(BIN)/python -m pipeline.commands.demo

# One thread, for sums in another order give other bits. What is made on the way stays in runs/bundle.
BOX := runs/bundle
BOX_ENV := OMP_NUM_THREADS=1 GANLINE_RUNS_DIR=$(BOX)
BOX_PARAMS := --params presets/bundled_encoders.yaml --set tracking.enabled=false
encoders: setup  ## train the networks of bundled/encoders again (takes long)
	$(BOX_ENV) $(BIN)/python -m pipeline.stages.synthesize --raw $(BOX)/raw --truth $(BOX)/truth $(BOX_PARAMS)
	$(BOX_ENV) $(BIN)/python -m pipeline.stages.encoders --raw $(BOX)/raw --source $(BOX)/raw/train \
	  --out $(BOX)/encoders $(BOX_PARAMS)
	$(BOX_ENV) $(BIN)/python -m pipeline.commands.bundle --preset presets/bundled_encoders.yaml \
	  --encoders $(BOX)/encoders --raw $(BOX)/raw

# Two processes share the tests by files, for most of a test's time is waiting for processes of its own.
TEST_JOBS ?= 2
SHARED := -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder
test: setup  ## run all tests, but for what takes longest
	$(BIN)/python -m pytest $(SHARED) -m "not fuzz"

test-slow: setup  ## what takes longest: thousands of seeded mutants, kill campaigns
	$(BIN)/python -m pytest -m fuzz

test-fast: setup  ## run the tests that take no Ray, MLflow, DVC or long training
	$(BIN)/python -m pytest $(SHARED) -m "not slow and not fuzz"

lint: setup  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup  ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## build the site of docs/ into site/; a dead link or a missing page fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: setup  ## MLflow on 127.0.0.1 with the runs just made
	@$(BIN)/python -m pipeline.commands.ui

app: setup  ## a page to type a prompt and see pictures, on 127.0.0.1
	@$(BIN)/ganline app

report: setup  ## one HTML page of the last run
	@$(BIN)/ganline report

lock: setup  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra app --extra dev --extra docs --extra onnx --extra serve --python-version 3.11 --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links --no-annotate -o requirements.lock

# By name: data/ may also hold pictures of the user's own.
clean:  ## delete what the pipeline made, keep the environment and your own files in data/
	rm -rf data/raw data/truth data/source.json data/scores data/train data/decisions.parquet artifacts runs
