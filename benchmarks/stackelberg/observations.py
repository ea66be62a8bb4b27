"""What a leader of the Stackelberg market has to see: learners that know every profit, with different observations.

    python benchmarks/stackelberg/observations.py [--instances 3] [--iterations 450] [--quick]

An observation suffices if a learner without the noise of a learner can do well with it. This one has a network for
each leader. In every round of 256 markets it computes a leader's profit at each price of the grid, against prices
sampled from the others' policies, and ascends the expected profit of all of its prices at once. So nothing is explored,
credited or forgotten, and what is left is the observation. Leaders learn together, each for its own profit, as in the
suite.

Scores are those of the market, 1 − NashConv over that of cost plus 50% in the same rounds, of episodes that no learner
was trained on; best prices are played, not sampled. Rows beside the market's observations are controls: `customers`
without the three flags of the number of tasks, and `everybody`, the observations of all leaders side by side, with
which each knows the customers and unit costs of all. Where it says `standardised`, every feature is scaled to mean 0
and deviation 1, so that an observation cannot fail because a feature hardly moves on its scale.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ioa_marl.envs.stackelberg.game import LEADERS, StackelbergGame
from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import Array, MarketState, leader_count, leader_profit
from ioa_marl.markets.stackelberg.observations import CUSTOMER_FEATURES, LEADER_FEATURES

PRESET = "dynamic"
STANDARDISED = ", standardised"
OBSERVATIONS = (
    "paper", "extended", "customers", "customers without flags", "everybody",
    *(name + STANDARDISED for name in ("paper", "extended", "customers")),
)  # fmt: skip
POLICIES = ("posted_pair", "best_response", "oracle")
INSTANCES = 3
ITERATIONS = 450
"""Steps of the gradient, each with a new round of all markets."""
MARKETS = 256
"""Markets side by side in training."""
EPISODES = 60
"""Evaluation episodes."""
WIDTH = 64
"""Units of each of the two hidden layers."""
LEARNING_RATE = 2e-3
ENTROPY = 0.02
"""Weight of the entropy [scaled profit per nat] at the beginning; it falls to 0 at four fifths of the training."""


@kernel
def profits_on_grid(state: MarketState, params: Array, price: Array, grid: Array, out: Array) -> None:
    """Write every leader's profit at each price of ``grid`` [units/Mbit] against the others' ``price``.

    ``price`` is float64 (batch, 2, leaders) [units/Mbit], ``out`` float64 (batch, 2, leaders, grid) [units].
    """
    for b in range(price.shape[0]):
        for side in range(2):
            for leader in range(leader_count(side, params)):
                for k in range(grid.shape[0]):
                    out[b, side, leader, k], _, _ = leader_profit(b, side, leader, grid[k], state, price, params)


class Policies(nn.Module):
    """A network with two hidden layers for each leader, from (leaders, batch, features) to logits of the prices."""

    def __init__(self, leaders: int, features: int, prices: int) -> None:
        super().__init__()
        sizes = (features, WIDTH, WIDTH, prices)
        gains = (1.4, 1.4, 0.05)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(leaders, i, o) * gain / i**0.5)
            for i, o, gain in zip(sizes[:-1], sizes[1:], gains, strict=True)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(leaders, 1, o)) for o in sizes[1:])
        self.mean, self.deviation = torch.zeros(leaders, 1, features), torch.ones(leaders, 1, features)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float32 (leaders, batch, prices)."""
        x = (x - self.mean) / self.deviation
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, torch.relu(x) if layer else x, weight)
        return x


def new_game(name: str, instance: int, seed: int, markets: int) -> StackelbergGame:
    """Return a batch of markets of the preset; metrics that need a search are left out."""
    plain = name.removesuffix(STANDARDISED)
    kind = plain if plain in ("paper", "extended") else "customers"
    game = StackelbergGame(StackelbergGame.make_config(PRESET, observation=kind), markets)
    game.full_metrics = False
    game.reset(np.full(markets, seed, np.uint64), np.arange(markets, dtype=np.uint64), np.full(markets, instance))
    return game


def inputs(name: str, game: StackelbergGame) -> Tensor:
    """Return what each leader sees, float32 (leaders, batch, features)."""
    observations = {role: np.zeros((game.num_envs, *game_shape(game, role)), np.float32) for role in LEADERS}
    game.write_observations(observations)
    seen = np.concatenate([observations[role] for role in LEADERS], axis=1)
    if name == "customers without flags":
        for flag in range(3):
            seen[:, :, LEADER_FEATURES + 1 + flag :: CUSTOMER_FEATURES] = 0.0
    if name == "everybody":
        seen = np.repeat(seen.reshape(len(seen), 1, -1), seen.shape[1], axis=1)
    return torch.from_numpy(seen).transpose(0, 1)


def game_shape(game: StackelbergGame, role: str) -> tuple[int, int]:
    """Return number of leaders and features of a side."""
    return game.roles[role].count, game.roles[role].observation_space.shape[0]


def posted(game: StackelbergGame, actions: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the prices that actions mean, float64 (batch, 2, leaders) [units/Mbit]."""
    step = game.config.price_cap / (game.config.price_levels - 1)
    prices = np.zeros_like(game.market.price)
    for side, role in enumerate(LEADERS):
        prices[:, side, : actions[role].shape[1]] = actions[role] * step
    return prices


def by_role(game: StackelbergGame, chosen: Tensor) -> dict[str, NDArray[np.int64]]:
    """Return actions (leaders, batch) by role, each (batch, leaders of the side)."""
    mobile = game.config.mobile
    return {"mobile": chosen[:mobile].T.numpy(), "fixed": chosen[mobile:].T.numpy()}


def moments(name: str, instance: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature under random play, float32 (leaders, 1, features) each.

    The deviation of a feature that is constant is 1.
    """
    game, rng = new_game(name, instance, 2000 + instance, MARKETS), np.random.default_rng(instance)
    seen = []
    for _ in range(game.config.rounds):
        seen.append(inputs(name, game))
        sizes = {role: (MARKETS, game.roles[role].count) for role in LEADERS}
        game.step({role: rng.integers(game.config.price_levels, size=size) for role, size in sizes.items()})
    values = torch.cat(seen, dim=1)
    deviation = values.std(dim=1, keepdim=True)
    return values.mean(dim=1, keepdim=True), torch.where(deviation > 1e-6, deviation, 1.0)


def train(name: str, instance: int, iterations: int) -> Policies:
    """Return policies that have learnt together with the observation ``name``."""
    torch.manual_seed(instance)
    game = new_game(name, instance, 1000 + instance, MARKETS)
    config = game.config
    grid = np.linspace(0.0, config.price_cap, config.price_levels)
    profits = np.zeros((*game.market.price.shape, len(grid)))
    policies = Policies(config.mobile + config.fixed, inputs(name, game).shape[2], len(grid))
    if name.endswith(STANDARDISED):
        policies.mean, policies.deviation = moments(name, instance)
    optimiser = torch.optim.Adam(policies.parameters(), LEARNING_RATE)
    for iteration in range(iterations):
        done = iteration / iterations
        log_probs = policies(inputs(name, game)).log_softmax(-1)
        actions = by_role(game, torch.distributions.Categorical(logits=log_probs.detach()).sample())
        profits_on_grid(game.market, game.params, posted(game, actions), grid, profits)
        sides = [
            profits[:, side, : getattr(config, role)] * getattr(config, role) / (config.workload * config.wireless)
            for side, role in enumerate(LEADERS)
        ]
        values = torch.from_numpy(np.concatenate(sides, axis=1)).float().transpose(0, 1)
        weight = ENTROPY * max(0.0, 1.0 - done / 0.8)
        objective = (log_probs.exp() * (values - weight * log_probs)).sum(-1).mean(1).sum()
        optimiser.zero_grad()
        (-objective).backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * max(0.05, 1.0 - done)
        game.step(actions)
    return policies


def score(name: str, instance: int, episodes: int, policies: Policies | None = None) -> float:
    """Return the score of ``policies``, or of the scripted policy ``name``, in evaluation episodes."""
    game = new_game(name, instance, EVALUATION_SEED, episodes)
    scripted = {} if policies else {role: game.scripted(name, role) for role in LEADERS}
    floor = {role: game.scripted("cost_plus", role, margin=0.5) for role in LEADERS}
    mask, scan = np.ones(episodes, np.bool_), game.config.scan()
    total = np.zeros((2, episodes))
    for _ in range(game.config.rounds):
        if policies:
            with torch.no_grad():
                actions = by_role(game, policies(inputs(name, game)).argmax(-1))
        else:
            actions = {role: act() for role, act in scripted.items()}
        for row, played in enumerate((actions, {role: act() for role, act in floor.items()})):
            prices, nash_conv = posted(game, played), np.zeros(episodes)
            drivers.nash_conv_of_markets(game.market, game.params, mask, prices, scan, np.zeros_like(prices), nash_conv)
            total[row] += nash_conv
        game.step(actions)
    return float(1.0 - total[0].mean() / total[1].mean())


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options; what is less than everything is written into a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--quick", action="store_true", help="one instance, 20 iterations")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.instances, chosen.iterations = 1, 20
    committed = Path(__file__).parent / "results"
    everything = chosen.instances >= INSTANCES and chosen.iterations >= ITERATIONS
    chosen.results = committed if everything else committed / "quick"
    return chosen


def main() -> None:
    """Train with all observations, and write the scores as JSON."""
    chosen = options()
    torch.set_num_threads(1)
    instances = range(chosen.instances)
    rows: dict[str, list[float]] = {}
    for name in POLICIES:
        rows[name] = [round(score(name, i, EPISODES), 3) for i in instances]
        print(name, rows[name], flush=True)
    for name in OBSERVATIONS:
        rows[name] = [round(score(name, i, EPISODES, train(name, i, chosen.iterations)), 3) for i in instances]
        print(name, rows[name], flush=True)
    result = {
        "date": time.strftime("%Y-%m-%d"), "market": f"stackelberg/{PRESET}", "version": StackelbergGame.version,
        "versions": {name: version(name) for name in ("torch", "numpy", "numba")},
        "iterations": chosen.iterations, "markets": MARKETS, "episodes": EPISODES, "scores": rows,
    }  # fmt: skip
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "observations.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
