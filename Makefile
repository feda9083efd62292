# Each target installs what it needs into .venv first, from nothing, once.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
# What the rows of benchmarks/results.csv were measured with; more batches and rounds take longer and spread less.
BENCH_TRAIN ?= --batches 4 --rounds 2 --max-rounds 2
BENCH_SCORE ?= --units 2 --rounds 2 --max-rounds 2
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install demo test check mutants kills bench clean
help:            ## this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install    ## the whole story offline, from nothing, in minutes: data, training, evaluation, best of n
	$(BIN)/plaudit demo

test: install    ## all tests
	$(BIN)/pytest -n $(JOBS) --dist loadfile

check: install   ## style, types, one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

mutants: install ## plant faults one at a time; each has to turn a test red
	JOBS=$(JOBS) $(BIN)/python tests/mutants/run.py

kills: install   ## kill training runs at random moments; the same command has to end with the same weights
	PYTHONPATH=tests $(BIN)/python tests/training/kill_runs.py

bench: install   ## plaudit against TRL and transformers.pipeline, appended to benchmarks/results.csv
	$(BIN)/python benchmarks/train_vs_trl.py $(BENCH_TRAIN)
	$(BIN)/python benchmarks/score_vs_pipeline.py $(BENCH_SCORE)

clean:           ## remove the environment and build leftovers
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
