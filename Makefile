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

.PHONY: quickstart test test-all install format lint speed gallery clean

BASELINES := greedy,random,oracle
# A last evaluation of 100 episodes (20 of the slowest market) in place of a board's 1000, so that all takes minutes.
SWEEP := $(BIN)/ioa-marl train -m runs=$(RUNS) seeds=2 evaluation.points=4 evaluation.final_episodes=100 \
  hydra/launcher=joblib hydra.launcher.n_jobs=2
SHORT := evaluation.points=2 evaluation.episodes=20 evaluation.final_episodes=20

quickstart: $(VENV)/.installed
	$(SWEEP) env=double_dutch budget=20000 \
	  agent=ppo/double_dutch,diffusion_sac/double_dutch,$(BASELINES),fixed_step,two_phase
	$(SWEEP) env=second_bid budget=20000 \
	  agent=ppo/second_bid,sac/second_bid,$(BASELINES),second_price,ratio_rule,threshold
	$(SWEEP) env=stackelberg/dynamic budget=10000 \
	  agent=ppo/stackelberg,maddpg/stackelberg,$(BASELINES),cost_plus,posted_pair
	$(SWEEP) env=vcg_slicing budget=4000 num_envs=16 \
	  agent=mappo/vcg_slicing,mean_field_ac/vcg_slicing,$(BASELINES),equal_split,kelly
	$(SWEEP) env=two_tier $(SHORT) budget=2000 num_envs=16 agent=mappo/two_tier,sac/two_tier,$(BASELINES)
	$(SWEEP) env=two_tier $(SHORT) agent=best_response roles.auctioneer.agent=fixed_pair
	$(BIN)/ioa-marl leaderboard $(RUNS)

# A process for every core. One that has nothing left takes over from the others. DURATIONS=0 shows all times.
DURATIONS ?= 10
TEST := $(BIN)/python -m pytest -n logical --dist worksteal --durations=$(DURATIONS)

test: $(VENV)/.installed-dev lint
	$(TEST)

test-all: $(VENV)/.installed-dev lint
	$(TEST) -m "slow or not slow"

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
