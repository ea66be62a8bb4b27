"""Every market of the suite: steps per second by batch size, and how the time of a step grows with the participants.

A step is one call of the game's `step`, in which every role that learns by default acts at random; the other roles are
scripted. Resets are included: a turn is always a whole number of mean episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from actions import random_actions
from measure import Effort, Run, busy, interleave, ratios
from peers import parallel_run

from ioa_marl import registry
from ioa_marl.envs.core import Game
from ioa_marl.envs.parallel import MarketParallelEnv

Size = tuple[int, str, dict[str, Any]]
"""Participants, preset, and changes of it."""

BATCHES = (1, 64, 1024)
"""Markets that are stepped by one call."""
GROWTH_ROUNDS = 5
"""Rounds of what grows; large markets take seconds an episode."""
LONGEST = 10.0
"""An episode that takes longer [s] is not measured, and said to be left out."""
_PATIENCE = 2.0
_DRAWN = 2**21
"""So many single actions are drawn beforehand at most, and used in turn."""


@dataclass(frozen=True)
class Growth:
    """How a market is made larger."""

    participants: str
    """What is counted."""
    sizes: tuple[Size, ...]
    """From small to large."""


GROWTH = {
    "double_dutch": Growth(
        "buyers, and as many sellers",
        # Every acceptance may take a tick of its own.
        tuple(
            (n, "paper", {"buyers": n, "sellers": n, "max_ticks": 400 + 2 * n})
            for n in (10, 100, 1_000, 10_000, 100_000)
        ),
    ),
    "stackelberg": Growth(
        "wireless agents",
        # The grid of deviations, on which NashConv is taken at the end of an episode, is the same for all.
        (
            (12, "city", {"deviation_step": 0.5}),
            (100, "city", {"wireless": 100, "deviation_step": 0.5}),
            (1_000, "metro", {"deviation_step": 0.5}),
            (10_000, "metro", {"wireless": 10_000, "deviation_step": 0.5}),
            (100_000, "internet", {}),
        ),
    ),
    "second_bid": Growth(
        "base stations",
        tuple((n, "paper", {"stations": n}) for n in (3, 10, 30, 100, 300, 1_000)),
    ),
    "vcg_slicing": Growth(
        "service providers",
        # The reward of the usual preset compares with what each agent could have left undone: quadratic.
        tuple((n, "internet", {"providers": n}) for n in (10, 100, 1_000, 10_000, 100_000)),
    ),
    "two_tier": Growth(
        "wireless agents",
        (
            (10, "paper", {}),
            (60, "city", {}),
            (1_000, "metro", {}),
            (10_000, "metro", {"wireless": 10_000, "mobile": 1_000, "fixed": 1_000, "aerial": 1_000}),
        ),
    ),
}
"""For a market the sizes at which it is measured; one that is missing here is measured as its first preset only."""


@dataclass(frozen=True)
class Speed:
    """Market-steps per second: environment steps times markets in the batch."""

    market: str
    preset: str
    interface: str
    """``PettingZoo`` or ``Game.step``."""
    batch: int
    """Markets in one call."""
    participants: int | None
    """Size of the market, where it is not that of the preset's own."""
    settings: dict[str, Any]
    """Changes of the preset."""
    agents: int
    """Agents that act at random."""
    values: list[float]
    """One per round."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, with smallest, middle and largest value."""
        values = self.values
        return {**dataclasses.asdict(self), "min": min(values), "median": float(np.median(values)), "max": max(values)}


def sizes(market: str) -> list[Size]:
    """Return the sizes at which a market is measured, from small to large."""
    return list(GROWTH[market].sizes) if market in GROWTH else []


@dataclass(frozen=True)
class Contestant:
    """A loop, and how many of its steps are about one episode."""

    run: Run
    batch: int
    episode: int
    agents: int


def game_loop(game_class: type[Game], config: Any, batch: int) -> tuple[Callable[[int], int], Game]:
    """Return a loop that steps a batch with random actions and counts the episodes that end."""
    game = game_class(config, batch)
    game.reset(np.zeros(batch, np.uint64))
    rng = np.random.default_rng(0)
    roles = [game.roles[name] for name in game.controlled_roles]
    count = int(np.clip(_DRAWN // (batch * sum(role.count for role in roles)), 2, 64))
    actions = [
        {role.name: random_actions(role.action_space, (batch, role.count), rng) for role in roles} for _ in range(count)
    ]
    done = 0

    def play(steps: int) -> int:
        nonlocal done
        ended = 0
        for _ in range(steps):
            step = game.step(actions[done % count])
            done += 1
            ended += int(step.terminated[0] | step.truncated[0])
        return ended

    return play, game


def mean_episode(play: Callable[[int], int], episodes: int = 3) -> int:
    """Return the mean steps of a few episodes of the first market, after which everything is compiled and warm.

    Of slow markets one episode has to do.
    """
    steps = ended = 0
    start = busy()
    while ended < episodes and (ended == 0 or busy() - start < _PATIENCE):
        ended += play(1)
        steps += 1
    return max(1, round(steps / ended))


def game_contestant(game_class: type[Game], config: Any, batch: int) -> Contestant:
    """Return the loop over `Game.step`; what it does per turn is a whole number of episodes."""
    play, game = game_loop(game_class, config, batch)
    episode = mean_episode(play)
    agents = sum(game.roles[name].count for name in game.controlled_roles)

    def run(episodes: int) -> None:
        play(episodes * episode)

    return Contestant(run, batch, episode, agents)


def pettingzoo_contestant(game_class: type[Game], preset: str, episode: int) -> Contestant:
    """Return the loop over the PettingZoo environment of one market."""
    env = MarketParallelEnv(game_class, preset)
    run = parallel_run(env, seed=0)
    return Contestant(lambda episodes: run(episodes * episode), 1, episode, len(env.possible_agents))


def market_steps_per_second(contestants: Sequence[Contestant], effort: Effort) -> list[list[float]]:
    """Let the contestants run in turns; return for each its market-steps per second, one per round."""
    taken = interleave([contestant.run for contestant in contestants], effort)
    return [
        ratios([float(contestant.batch * contestant.episode)] * len(seconds), seconds)
        for contestant, seconds in zip(contestants, taken, strict=True)
    ]


def batch_speeds(market: str, game_class: type[Game], effort: Effort) -> list[Speed]:
    """Measure the usual preset: one PettingZoo environment, and batches."""
    preset = next(iter(game_class.presets))
    config = game_class.make_config(preset)
    batches = [game_contestant(game_class, config, batch) for batch in BATCHES]
    contestants = [pettingzoo_contestant(game_class, preset, batches[0].episode), *batches]
    found = market_steps_per_second(contestants, effort)
    return [
        Speed(market, preset, "Game.step" if i else "PettingZoo", c.batch, None, {}, c.agents, values)
        for i, (c, values) in enumerate(zip(contestants, found, strict=True))
    ]


def growth_speeds(
    market: str, game_class: type[Game], chosen: Sequence[Size], effort: Effort, longest: float = LONGEST
) -> tuple[list[Speed], dict[str, str]]:
    """Measure one market at each size; returns what was left out as well, with the reason."""
    ready: list[tuple[Size, Contestant]] = []
    skipped = {}
    for size in chosen:
        participants, preset, settings = size
        contestant = game_contestant(game_class, game_class.make_config(preset, **settings), 1)
        start = busy()
        contestant.run(1)
        took = busy() - start
        if took > longest:
            skipped[f"{market}, {participants} participants"] = f"an episode takes {took:.0f} s"
            break  # larger ones take longer
        ready.append((size, contestant))
    shorter = dataclasses.replace(effort, rounds=min(GROWTH_ROUNDS, effort.rounds))
    found = market_steps_per_second([contestant for _, contestant in ready], shorter)
    return [
        Speed(market, size[1], "Game.step", 1, size[0], size[2], contestant.agents, values)
        for (size, contestant), values in zip(ready, found, strict=True)
    ], skipped


def measure_markets(effort: Effort, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure every market of the table; those that are not registered are skipped, and said to be."""
    out: dict[str, Any] = {"speed": [], "growth": [], "skipped": {}}
    for market in registry.MARKETS if names is None else names:
        if market not in registry.env_names():
            out["skipped"][market] = "no market of this name is registered"
            print(f"{market}: skipped, no market of this name is registered", flush=True)
            continue
        game_class = registry.load_env(market)
        batches = batch_speeds(market, game_class, effort)
        growth, skipped = growth_speeds(market, game_class, sizes(market), effort)
        out["speed"] += [speed.as_dict() for speed in batches]
        out["growth"] += [{**speed.as_dict(), "counted": GROWTH[market].participants} for speed in growth]
        out["skipped"] |= skipped
        for row in (*out["speed"][-len(batches) :], *out["growth"][-len(growth) :]):
            size = f", {row['participants']} {row['counted']}" if row["participants"] is not None else ""
            print(
                f"{market}: {row['interface']}, batch {row['batch']}{size}: {row['median']:,.0f} "
                f"[{row['min']:,.0f}-{row['max']:,.0f}] market-steps/s",
                flush=True,
            )
    return out
