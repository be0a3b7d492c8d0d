# One door. Every target builds .venv itself when it is missing or older than pyproject.toml or constraints.txt.
SHELL := /bin/sh
PYTHON ?= python3
STUDY ?= digits
ARGS ?=
JOBS ?= 2
RUN := .venv/.run
DEV := .venv/.dev
SERVER := .venv/.server
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help search results report export studies store dashboard test cover test-slow check format bench clean

help: ## list the targets
	@echo "make TARGET [STUDY=digits] [ARGS='key=value ...']"
	@sed -n 's/^\([a-z-]*\):.*## /  \1	/p' Makefile | expand -t 18

search: $(RUN) ## run, resume or join a study
	@$(BIN)/kirigami search study=$(STUDY) $(ARGS)

results: $(RUN) ## print what a study has found
	@$(BIN)/kirigami results study=$(STUDY) $(ARGS)

report: $(RUN) ## write a study's figures to studies/STUDY/report.html
	@$(BIN)/kirigami report study=$(STUDY) $(ARGS)

export: $(RUN) ## write a study's best network to studies/STUDY/export
	@$(BIN)/kirigami export study=$(STUDY) $(ARGS)

studies: $(RUN) ## list the studies in the store
	@$(BIN)/kirigami studies $(ARGS)

store: $(SERVER) ## start a Postgres store in ./store, for workers on many machines
	@$(BIN)/kirigami store $(ARGS)

dashboard: $(RUN) ## serve the Optuna dashboard on this machine
	@$(BIN)/kirigami dashboard $(if $(filter-out file,$(origin STUDY)),study=$(STUDY)) $(ARGS)

test: $(DEV) ## run the tests, in JOBS processes (2); each spends ten seconds on imports
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

cover: $(DEV) ## run the tests and print the line coverage of kirigami, its processes included
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

test-slow: $(DEV) ## run the slow tests: clusters, hosts, devices, deaths and checkpoints
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow $(ARGS)

check: $(DEV) ## format, lint, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(DEV) ## rewrite the sources in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(RUN) ## measure the claims and write their records (hours); ARGS=overhead for one
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove the environment and the caches; studies stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps are written last, so an interrupted install is taken up again.
$(RUN): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python 3.11 or newer is needed, but {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "building .venv (once)"; $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(SERVER): $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[store]'
	@touch $@

$(DEV): $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
