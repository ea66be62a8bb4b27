"""What is searched: for every market and learner two learning rates times two amounts of exploration.

That is the same effort for every learner: four candidates, each trained with two seeds for half of the budget. The
rest is set beforehand, in the same way for all: the discount is what the market asks for, rewards are scaled to a
standard deviation of about one under random play, and sizes and numbers of updates are what the time limit permits.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from ioa_marl import registry

Settings = dict[str, Any]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Environment of every training."""
SEARCH_SEEDS = (100, 101)
"""Training seeds, and so instances, of the search; results are reported for seeds 0 to 4."""
SEARCH_SHARE = 0.5
"""Share of a market's budget that a candidate is trained for."""
FIRST_EPISODE = 1000
"""First evaluation episode of the search; results are reported on earlier ones."""
WORST_SCORE = -1.0
"""A lower score counts as this, so that one bad figure of several does not decide."""


@dataclass(frozen=True)
class Market:
    """How a market is trained on, whoever learns."""

    budget: int
    """Environment steps: 100 000, or 20 000 where a role has more than three agents."""
    num_envs: int
    """Markets side by side."""
    reward_scale: float
    """One over the standard deviation of rewards under random play, roughly."""
    gamma: float
    """Discount: 0 where actions do not change what comes next, or only through others who answer at once."""
    n_step: int
    """Actions whose rewards are summed by learners that count an agent's actions."""
    n_step_of_market: int
    """Environment steps whose rewards are summed by those that learn from whole steps of the market."""
    update_every: int
    """Environment steps per update of learners with a replay memory."""
    diffusion: int = 2
    """How many times as many environment steps diffusion has per update, each of which costs five passes."""
    preset: str = ""
    """Preset, if not the market's default."""
    own_policies: bool = False
    """Whether PPO has a policy for each agent, as multi-agent PPO has: agents of a role differ in technology."""

    def env(self, name: str) -> str:
        """Return the value of ``env=`` for the market ``name``."""
        return f"{name}/{self.preset}" if self.preset else name

    @property
    def many(self) -> bool:
        """Whether a role has more than three agents."""
        return self.budget < 100_000


MARKETS = {
    "double_dutch": Market(100_000, 64, 0.1, 0.995, 10, 3, 4),
    "second_bid": Market(100_000, 64, 0.02, 0.0, 1, 1, 16),
    "stackelberg": Market(100_000, 64, 0.5, 0.0, 1, 1, 16, preset="dynamic"),
    "two_tier": Market(20_000, 16, 0.5, 0.0, 1, 2, 8, own_policies=True),
    "vcg_slicing": Market(20_000, 16, 20.0, 0.9, 1, 1, 8, diffusion=1),
}

_SOFT: dict[str, tuple[float, float]] = {"actor_lr": (3e-4, 1e-3), "alpha_end": (0.015, 0.05)}
_DETERMINISTIC: dict[str, tuple[float, float]] = {"actor_lr": (5e-4, 2e-3), "entropy_end": (0.005, 0.05)}
GRIDS: dict[str, dict[str, tuple[float, float]]] = {
    "ppo": {"learning_rate": (3e-4, 1e-3), "ent_coef": (0.01, 0.1)},
    "mappo": {"actor_lr": (5e-4, 2e-3), "ent_coef_start": (0.01, 0.1)},
    "sac": _SOFT,
    "diffusion_sac": _SOFT,
    "maddpg": _DETERMINISTIC,
    "mean_field_ac": _DETERMINISTIC,
    "independent_ac": _DETERMINISTIC,
}
"""The learning rates and the amounts of exploration that are tried."""


def fixed(learner: str, market: Market) -> Settings:
    """Return what all candidates of a learner have on a market beside the defaults."""
    common = {"gamma": market.gamma, "reward_scale": market.reward_scale}
    if learner == "ppo":
        # With a policy for each of ten agents, each learns from a tenth of the transitions.
        own = {"batch_size": 51, "rollout_size": 512, "share_above": 64}
        shared = {"batch_size": 512, **({"rollout_size": 5120} if market.many else {})}
        return {**common, "ent_coef_end": 0.0, **(own if market.own_policies else shared)}
    if learner == "mappo":
        return {**common, "rollout_size": 512 if market.many else 2048, "ent_coef_end": 0.001}
    n_step = market.n_step_of_market if GRIDS[learner] is _DETERMINISTIC else market.n_step
    # Straight through, the gradient points the wrong way at many of 51 prices: see the notes.
    whole = {"actor_gradient": "expected"} if GRIDS[learner] is _DETERMINISTIC else {}
    slow = market.diffusion if learner == "diffusion_sac" else 1
    return {
        **common, **whole, "n_step": n_step, "update_every": slow * market.update_every,
        "batch_size": 64 if market.many else 256 if learner == "sac" else 128,
    }  # fmt: skip


BASELINES: dict[str, dict[str, tuple[str, ...]]] = {
    "double_dutch": {"random": (), "greedy": (), "oracle": (), "two_phase": ()},
    "second_bid": {"random": (), "greedy": (), "oracle": (), "threshold": ()},
    "stackelberg": {"random": (), "greedy": (), "oracle": (), "cost_plus": ()},
    "two_tier": {"random": (), "greedy": (), "oracle": (), "best_response": ("roles.auctioneer.agent=fixed_pair",)},
    "vcg_slicing": {"random": (), "greedy": (), "oracle": (), "equal_split": ()},
}
"""Agents that do not learn, with what else has to be said where they play."""


def markets_to_train_on() -> list[str]:
    """Return the markets of the suite that have settings here; say which have none, and are left out."""
    for name in registry.MARKETS:
        if name not in MARKETS or name not in BASELINES:
            print(f"{name}: left out, benchmarks/tuning/spaces.py has no settings for it", file=sys.stderr)
    return [name for name in registry.MARKETS if name in MARKETS and name in BASELINES]
