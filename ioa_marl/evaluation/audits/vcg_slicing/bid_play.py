"""Markets of the dual-currency auction in which providers bid what they are told, looked at round by round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Arrays
from ioa_marl.envs.vcg_slicing.game import VCGSlicingConfig, VCGSlicingGame
from ioa_marl.evaluation.protocol import evaluation_config, make_agent
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import EVALUATION_SEED

Floats = NDArray[np.float64]

ROLES = ("slice", "vsp")
LARGEST_BATCH = 2048
"""Markets that are played side by side; more profiles are played one group after the other."""


@dataclass(frozen=True)
class BidPlay:
    """What happened in every round of markets in which the providers bid given factors.

    Axes: profiles of factors, instances, episodes, rounds and, where there is one for each, providers.
    """

    profits: Floats
    """Net profits P of Eq. 3 [money], shape (profiles, instances, episodes, rounds, providers)."""
    interest: Floats
    """What they paid for their loans [money], same shape."""
    bids: Floats
    """Bids x [currency], same shape."""
    loans: Floats
    """Loans K of Eq. 13 [currency], same shape."""
    rates: Floats
    """α̂ with which they were taxed, same shape; can be below 0 while the bank knows little."""
    welfare: Floats
    """True welfare [utility], shape (profiles, instances, episodes, rounds)."""
    noise: Floats
    """Δ, the standard deviation of the noise that overbidding adds to every share [shares], same shape."""


def play_bids(
    config: VCGSlicingConfig,
    factors: ArrayLike,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 1,
    first_episode: int = 0,
) -> BidPlay:
    """Play profiles of bids, each in the same evaluation episodes.

    An episode has the same random numbers in every profile and every instance: only episodes are independent draws.

    Parameters
    ----------
    config : VCGSlicingConfig
        The market; its mechanism has a bank.
    factors : array_like, shape (profiles, rounds, providers)
        Bid over belief, in every round of the market; entries of ``config.multipliers``.
    allocator : str or Agent, default "oracle"
        Who divides the resources: a scripted policy of the role ``slice``, or an agent that plays it, one seed for each
        of ``instances``. An agent plays one profile after the other.
    instances : sequence of int, default (0,)
        Which providers.
    episodes : int, default 1
        Evaluation episodes of every instance.
    first_episode : int, default 0
        The first of them.

    Returns
    -------
    BidPlay

    Raises
    ------
    ParameterError
        If there is no bank, a factor is not on the grid, or the agent plays something else.
    """
    require(config.banked, "mechanism", config.mechanism, "dual_currency or dual_currency_no_interest: it needs a bank")
    require(episodes >= 1 and len(instances) >= 1, "episodes", episodes, "1 or more, of one instance or more")
    chosen = _indices(config, np.asarray(factors, np.float64))
    together = 1
    if isinstance(allocator, str):
        together = max(1, LARGEST_BATCH // (len(instances) * episodes))
    else:
        plays = tuple(role.name for role in allocator.context.plays)
        require(plays == ("slice",), "allocator", "+".join(plays), "an agent that plays the role slice and no other")
    groups = [chosen[first : first + together] for first in range(0, len(chosen), together)]
    parts = [_play_group(config, group, allocator, instances, episodes, first_episode) for group in groups]
    return BidPlay(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _indices(config: VCGSlicingConfig, factors: Floats) -> NDArray[np.int64]:
    """Return the places of factors on the grid."""
    shape = (config.rounds, config.providers)
    require(factors.ndim == 3 and factors.shape[1:] == shape, "factors", factors.shape, f"shape (profiles, *{shape})")
    grid = np.array(config.multipliers)
    found = np.minimum(np.searchsorted(grid, factors - 1e-9), len(grid) - 1)
    strange = factors[np.abs(grid[found] - factors) > 1e-9]
    require(not strange.size, "factors", strange[:1].tolist(), f"some of {', '.join(f'{m:g}' for m in grid)}")
    return found


def _play_group(
    config: VCGSlicingConfig,
    chosen: NDArray[np.int64],
    allocator: str | Agent,
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
) -> BidPlay:
    """Play profiles side by side."""
    profiles, rounds, n = chosen.shape
    shape = (profiles, len(instances), episodes)
    batch = profiles * len(instances) * episodes
    # The end of an episode is looked at too, so nothing may reset itself.
    game = VCGSlicingGame(evaluation_config(config), batch, ROLES, autoreset=False)
    game.full_metrics = False
    streams = np.tile(np.arange(first_episode, first_episode + episodes, dtype=np.uint64), profiles * len(instances))
    whose = np.tile(np.repeat(np.array(instances, np.uint64), episodes), profiles)
    game.reset(np.full(batch, EVALUATION_SEED, np.uint64), streams, whose)
    act = _allocating(game, allocator, profiles * len(instances), episodes)
    assert game.bank is not None
    bank, market = game.bank.bank, game.market
    own = {name: np.zeros((rounds, batch, n)) for name in ("profits", "interest", "bids", "loans", "rates")}
    common = {name: np.zeros((rounds, batch)) for name in ("welfare", "noise")}
    nothing = np.full((batch, n, 3), config.hold, np.int64)
    for t in range(rounds):
        factors = np.repeat(chosen[:, t], len(instances) * episodes, axis=0)
        seen = game.step({"slice": nothing, "vsp": factors}).observations
        own["rates"][t] = bank.estimate  # before the bank learns from the round
        game.step({"slice": act(seen), "vsp": factors})
        place = (bank.bill_count - 1) % bank.bill_gross.shape[1]
        own["profits"][t] = bank.bill_gross[np.arange(batch), place] - bank.tax
        own["interest"][t], own["bids"][t], own["loans"][t] = bank.interest, market.bid, bank.loan
        common["welfare"][t], common["noise"][t] = market.utility.sum(axis=1), market.spread
    return BidPlay(
        **{name: np.moveaxis(array, 0, 1).reshape(*shape, rounds, n) for name, array in own.items()},
        **{name: array.T.reshape(*shape, rounds) for name, array in common.items()},
    )


def _allocating(
    game: VCGSlicingGame, allocator: str | Agent, seeds: int, episodes: int
) -> Callable[[Arrays], NDArray[np.int64]]:
    """Return what maps observations to the changes of all slices."""
    agent = allocator
    if isinstance(agent, str):
        agent = make_agent(ScriptedAgent, ScriptedConfig(agent), game, ["slice"], seeds)
    agent.attach(game)

    def act(observations: Arrays) -> NDArray[np.int64]:
        seen = {role: array.reshape(seeds, episodes, *array.shape[1:]) for role, array in observations.items()}
        actions = agent.act(seen, deterministic=True)["slice"]
        return actions.reshape(seeds * episodes, *actions.shape[2:])

    return act
