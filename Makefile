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

.PHONY: quickstart test install format lint speed gallery clean

SWEEP := $(BIN)/ioa-marl train -m runs=$(RUNS) evaluation.points=4 hydra/launcher=joblib hydra.launcher.n_jobs=2

quickstart: $(VENV)/.installed
	$(SWEEP) env=double_dutch,second_bid agent=ppo,sac,greedy,random,oracle seeds=2 budget=20000
	$(SWEEP) env=stackelberg,vcg_slicing,two_tier agent=ppo,greedy,random,oracle seeds=2 budget=2000 num_envs=16
	$(SWEEP) env=double_dutch agent=fixed_step,two_phase seeds=2
	$(SWEEP) env=second_bid agent=second_price,ratio_rule,threshold seeds=2
	$(SWEEP) env=stackelberg agent=cost_plus,posted_pair seeds=2
	$(SWEEP) env=two_tier agent=best_response roles.auctioneer.agent=fixed_pair seeds=2
	$(SWEEP) env=vcg_slicing agent=equal_split,kelly seeds=2
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

gallery: $(VENV)/.installed
	$(BIN)/python docs/make_gallery.py

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
