"""Incentive audit of the dual-currency auction: gains of single providers and pairs from untruthful bids.

Providers bid a factor times the utility that they believe to have. Every profile of factors is played in the market
itself, with the same random numbers as the truthful profile; no formula for gains is assumed. Utilities and gross
profits, from which the bank learns, are always reported truthfully. A bid therefore acts only through its loan, whose
distance from U* bears interest, and through the noise that overbidding adds to the allocation, which also changes the
bank's observations.

Only factors of a grid are tried, and they are constant over rounds: every gain is a **lower bound**.

Source: Sections IV and VI (Figs. 7, 8 and 10, Table II) of "An Enhanced Dual-Currency VCG Auction Mechanism for
Resource Allocation in IoV: A Value of Information Perspective". What follows from the equations alone, without play, is
in `dual_currency_theory`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import LARGEST_BATCH, BidPlay, play_bids
from ioa_marl.foundations.parameters import require

Floats = NDArray[np.float64]

MEANING = (
    "gain in net profit per round of the best constant factors of the grid over the truth, all others truthful, chosen "
    "on other episodes: a lower bound; 0 where none is better than the truth"
)


@dataclass(frozen=True)
class GroupDeviation:
    """Gains of a group of providers from constant factors while all others are truthful: a lower bound.

    Axes: instances first; one axis of ``multipliers`` per member last. Profits and welfare are means over the episodes
    and over the rounds from ``first`` on, in which the group deviates.
    """

    members: tuple[int, ...]
    """Numbers of the providers in the group."""
    multipliers: Floats
    """The grid, shape (grid,)."""
    gains: Floats
    """Joint net profit minus that at the truth [money per round], shape (instances, grid, …)."""
    own_gains: Floats
    """The gain of each member [money per round], shape (members, instances, grid, …)."""
    others_gains: Floats
    """The joint gain of all providers outside the group [money per round], shape (instances, grid, …)."""
    profit: Floats
    """Joint net profit at the truth [money per round], shape (instances,)."""
    interest: Floats
    """Joint interest at the truth [money per round], shape (instances,)."""
    welfare: Floats
    """Welfare [utility], shape (instances, grid, …)."""
    welfare_truth: Floats
    """Welfare at the truth [utility], shape (instances,)."""
    chosen: NDArray[np.int64]
    """Grid indices of the best factors per instance, selected on other episodes, shape (instances, members)."""
    best_gains: Floats
    """Gain of these factors on the episodes of ``gains``, 0 if the truth is best [money per round], (instances,)."""
    episode_gains: Floats
    """The same in every episode [money per round], shape (instances, episodes)."""

    @property
    def mean(self) -> float:
        """Mean over the instances of the best gain [money per round]."""
        return float(self.best_gains.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the instances [money per round]; NaN for one instance."""
        return _standard_error(self.best_gains)

    @property
    def deviating(self) -> float:
        """Share of instances in which the best factors of the group are not the truth."""
        truth = int(np.flatnonzero(self.multipliers == 1.0)[0])
        return float(np.mean(np.any(self.chosen != truth, axis=1)))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def group_deviation(
    config: VCGSlicingConfig,
    members: Sequence[int],
    *,
    first: int = 0,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 4,
    first_episode: int = 0,
) -> GroupDeviation:
    """Try all profiles of constant factors of a group of providers that know each other and their market.

    For each instance, the best factors are selected on ``episodes`` further episodes, not on those on which gains are
    measured. Gains are therefore not inflated by the selection: where there is nothing to gain, they are 0 on average.

    Parameters
    ----------
    config : VCGSlicingConfig
        Settings of the market; ``multipliers`` is the grid.
    members : sequence of int
        Numbers of the providers in the group; all grid**members profiles are played.
    first : int, default 0
        First round in which the group deviates; bids before it, and bids outside the group, are truthful.
    allocator, instances, first_episode
        As for `play_bids`.
    episodes : int, default 4
        Number of evaluation episodes of each instance; as many further episodes are used for the selection.

    Returns
    -------
    GroupDeviation
    """
    n, rounds, grid = config.providers, config.rounds, np.array(config.multipliers)
    group = tuple(int(member) for member in members)
    usable = len(set(group)) == len(group) >= 1 and all(0 <= member < n for member in group)
    require(usable, "members", group, f"different numbers from 0 to {n - 1}")
    require(0 <= first < rounds, "first", first, f"0 to {rounds - 1}")
    cells = list(itertools.product(range(len(grid)), repeat=len(group)))
    truth = cells.index((config.truth,) * len(group))
    factors = np.ones((len(cells), rounds, n))
    factors[:, first:, list(group)] = grid[np.array(cells)][:, None, :]

    def means(first_of_episodes: int) -> tuple[Floats, Floats, Floats]:
        """Profits and interest (cells, instances, episodes, providers), welfare (cells, instances, episodes)."""
        together = max(1, LARGEST_BATCH // (len(instances) * episodes))
        parts = []
        for start in range(0, len(cells), together):  # in groups, to limit the memory for rounds
            profiles = factors[start : start + together]
            play = play_bids(config, profiles, allocator, instances, episodes, first_of_episodes)
            deviating = play.profits[..., first:, :], play.interest[..., first:, :]
            parts.append((*(part.mean(axis=-2) for part in deviating), play.welfare[..., first:].mean(axis=-1)))
        profits, interest, welfare = (np.concatenate(part) for part in zip(*parts, strict=True))
        return profits, interest, welfare

    profits, interest, welfare = means(first_episode)
    elsewhere = means(first_episode + episodes)[0][..., list(group)].sum(axis=-1).mean(axis=-1)
    most = np.where(elsewhere.max(axis=0) > elsewhere[truth], elsewhere.argmax(axis=0), truth)
    changes = profits - profits[truth]
    gains = changes.mean(axis=2)  # (cells, instances, providers)
    of_group = gains[..., list(group)].sum(axis=-1)

    def on_grid(values: Floats) -> Floats:
        return values.T.reshape(values.shape[1], *[len(grid)] * len(group))

    return GroupDeviation(
        members=group,
        multipliers=grid,
        gains=on_grid(of_group),
        own_gains=np.stack([on_grid(gains[..., member]) for member in group]),
        others_gains=on_grid(np.delete(gains, list(group), axis=2).sum(axis=-1)),
        profit=profits[truth][..., list(group)].sum(axis=-1).mean(axis=-1),
        interest=interest[truth][..., list(group)].sum(axis=-1).mean(axis=-1),
        welfare=on_grid(welfare.mean(axis=2)),
        welfare_truth=welfare[truth].mean(axis=1),
        chosen=np.array(cells, np.int64)[most],
        best_gains=of_group[most, np.arange(len(instances))],
        episode_gains=changes[most, np.arange(len(instances))][..., list(group)].sum(axis=-1),
    )


def joint_deviation(
    config: VCGSlicingConfig,
    pair: tuple[int, int] = (0, 1),
    *,
    first: int = 0,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 4,
    first_episode: int = 0,
) -> GroupDeviation:
    """Try all pairs of factors of two providers that share their profits: Figs. 8 and 10.

    With ``mechanism="dual_currency"`` it is the experiment of Fig. 8, with ``dual_currency_no_interest`` of Fig. 10.
    Parameters as of `group_deviation`.

    Examples
    --------
    >>> free = "dual_currency_no_interest"
    >>> config = VCGSlicingConfig(mechanism=free, providers=3, rounds=3, multipliers=(0.5, 1.0))
    >>> float(abs(joint_deviation(config, episodes=1).gains).max())  # without interest only overbidding does anything
    0.0
    """
    require(len(pair) == 2, "pair", pair, "two providers")
    return group_deviation(
        config, pair, first=first, allocator=allocator, instances=instances, episodes=episodes,
        first_episode=first_episode,
    )  # fmt: skip


@dataclass(frozen=True)
class DeviationCurve:
    """Profits of a provider that first overbids and then underbids, compared with truthful bids: Fig. 7."""

    provider: int
    """Number of the provider that deviates."""
    factors: Floats
    """Its bid divided by its belief, shape (rounds,)."""
    segments: tuple[tuple[int, int], ...]
    """First round and end (exclusive) of the truthful, the overbidding and the underbidding segment."""
    deviation: BidPlay
    """The play with the deviation, one profile."""
    truth: BidPlay
    """The play with truthful bids, one profile."""
    gains: Floats
    """Profit of the deviating provider minus its profit at the truth, mean over each segment and all markets
    [money per round], shape (3,)."""
    standard_errors: Floats
    """Standard errors of ``gains`` over the markets [money per round], shape (3,); NaN for one market."""
    grid: GroupDeviation
    """Gains of every factor of the grid, played from the first deviation to the end."""


def deviation_curve(
    config: VCGSlicingConfig,
    provider: int = 0,
    *,
    over: float = 1.5,
    under: float = 0.5,
    first: int = 400,
    second: int = 650,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 1,
    first_episode: int = 0,
) -> DeviationCurve:
    """Let one provider overbid from round ``first`` on and underbid from ``second`` on, as in Fig. 7.

    Parameters
    ----------
    config : VCGSlicingConfig
        Settings of the market; the figure has 5 providers and 1000 rounds.
    provider : int, default 0
        Number of the provider that deviates.
    over, under : float, default 1.5 and 0.5
        Factors for over- and underbidding; entries of ``config.multipliers``.
    first, second : int, default 400 and 650
        First rounds of overbidding and of underbidding.
    allocator, instances, episodes, first_episode
        As for `play_bids`. For the grid, as many further episodes are played; see `group_deviation`.

    Returns
    -------
    DeviationCurve
    """
    rounds = config.rounds
    require(0 <= provider < config.providers, "provider", provider, f"0 to {config.providers - 1}")
    require(0 < first < second < rounds, "second", second, f"a round after first={first} > 0 and before {rounds}")
    factors = np.ones((2, rounds, config.providers))
    factors[1, first:second, provider], factors[1, second:, provider] = over, under
    play = play_bids(config, factors, allocator, instances, episodes, first_episode)
    truth, deviation = (BidPlay(**{name: array[i : i + 1] for name, array in vars(play).items()}) for i in (0, 1))
    gained = (play.profits[1] - play.profits[0])[..., provider].reshape(-1, rounds)
    segments = (0, first), (first, second), (second, rounds)
    means = [gained[:, start:end].mean(axis=1) for start, end in segments]
    grid = group_deviation(
        config, [provider], first=first, allocator=allocator, instances=instances, episodes=episodes,
        first_episode=first_episode,
    )  # fmt: skip
    return DeviationCurve(
        provider, factors[1, :, provider], segments, deviation, truth,
        np.array([mean.mean() for mean in means]), np.array([_standard_error(mean) for mean in means]), grid,
    )  # fmt: skip


@dataclass(frozen=True)
class ScalePlay:
    """Effect on profits if all providers bid the same factor of their beliefs.

    Profits are means over rounds, providers and markets [money per round].
    """

    multipliers: Floats
    """The grid, shape (grid,)."""
    together: Floats
    """Mean profit if all bid the factor, minus that at the truth, shape (grid,)."""
    honest: Floats
    """Profit of a provider that alone bids the truth while all others bid the factor, minus its profit if it bids the
    factor as well, shape (grid,). It can be negative: the truth is a best response to the truth, not to all bids."""
    interest: Floats
    """Mean interest if all bid the factor, divided by the mean profit at the truth, shape (grid,)."""
    noise: Floats
    """Mean Δ if all bid the factor [shares], shape (grid,)."""


def scale_in_play(
    config: VCGSlicingConfig,
    *,
    provider: int = 0,
    first: int = 0,
    allocator: str | Agent = "oracle",
    instances: Sequence[int] = (0,),
    episodes: int = 1,
    first_episode: int = 0,
) -> ScalePlay:
    """Let all providers bid the same factor from round ``first`` on, with and without ``provider``.

    Parameters are those of `group_deviation`. `scale_fixture` derives the same for exact beliefs from the equations.
    """
    require(0 <= first < config.rounds, "first", first, f"0 to {config.rounds - 1}")
    grid = np.array(config.multipliers)
    factors = np.ones((2, len(grid), config.rounds, config.providers))
    factors[:, :, first:] = grid[:, None, None]
    factors[1, :, first:, provider] = 1.0
    flat = factors.reshape(-1, config.rounds, config.providers)
    play = play_bids(config, flat, allocator, instances, episodes, first_episode)
    shape = (2, len(grid), -1, config.rounds, config.providers)
    profits, interest = (
        part.reshape(shape)[..., first:, :].mean(axis=(2, 3)) for part in (play.profits, play.interest)
    )
    noise = play.noise.reshape(shape[:-1])[0, ..., first:].mean(axis=(1, 2))
    common = profits[0].mean(axis=-1)
    return ScalePlay(
        multipliers=grid,
        together=common - common[config.truth],
        honest=profits[1][:, provider] - profits[0][:, provider],
        interest=interest[0].mean(axis=-1) / common[config.truth],
        noise=noise,
    )
