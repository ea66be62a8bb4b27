# The two commands a newcomer needs: make quickstart, make test.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
SOURCES := pyproject.toml setup.py constraints.txt
RUNS := runs/quickstart

# Two learners side by side on two cores would otherwise fight over threads.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export NUMBA_THREADING_LAYER ?= workqueue

.PHONY: quickstart test install format lint speed clean

quickstart: $(VENV)/.installed
	$(BIN)/ioa-marl train -m env=double_dutch agent=ppo,sac,random,greedy,fixed_step,two_phase,oracle \
		seeds=5 budget=100000 runs=$(RUNS) hydra/launcher=joblib hydra.launcher.n_jobs=2
	$(BIN)/ioa-marl leaderboard $(RUNS)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

install: $(VENV)/.installed-dev

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

speed: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed/run.py

$(VENV)/.installed: $(SOURCES)
	@echo "installing into $(VENV); this takes a few minutes the first time"
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
