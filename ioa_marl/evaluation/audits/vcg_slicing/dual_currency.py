"""Incentive audit of the dual-currency auction: what bids other than the truth gain, alone and in pairs.

Providers bid a factor of what they believe their utility to be. Every profile of factors that is tried is played in
the same markets with the same randomness as the truth, round by round, by the market itself: no formula for a gain is
assumed. Utilities and gross profits, which the bank learns from, are always reported truly; so a bid can act only by
its loan, whose distance from U* bears interest, and by the noise on the allocation that overbidding causes, which also
changes what the bank gets to see.

Only factors of a grid are tried, constant over the rounds: every gain is a **lower bound** of what is possible.

Source: Sections IV and VI (Figs. 7, 8 and 10, Table II) of "An Enhanced Dual-Currency VCG Auction Mechanism for
Resource Allocation in IoV: A Value of Information Perspective". What holds of the equations alone, without play, is in
`audit_dual_currency_theory`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.envs.vcg_slicing.game import VCGSlicingConfig
from ioa_marl.evaluation.audits.vcg_slicing.bid_play import LARGEST_BATCH, BidPlay, play_bids
from ioa_marl.foundations.parameters import require

Floats = NDArray[np.float64]

MEANING = (
    "gain in net profit per round of the best constant factors of the grid over the truth, all others truthful, chosen "
    "on other episodes: a lower bound; 0 where none is better than the truth"
)


@dataclass(frozen=True)
class GroupDeviation:
    """What a group gains by constant factors, all others being truthful: a lower bound of what it could gain.

    Axes: instances first; one axis of ``multipliers`` per member last. Profits and welfare are means over the episodes
    and over the rounds from ``first`` on, in which the group deviates.
    """

    members: tuple[int, ...]
    """Numbers of the providers in the group."""
    multipliers: Floats
    """The grid, shape (grid,)."""
    gains: Floats
    """Joint net profit less that of the truth [money per round], shape (instances, grid, …)."""
    own_gains: Floats
    """The same for each member, shape (members, instances, grid, …)."""
    others_gains: Floats
    """The same for all outside the group together, shape (instances, grid, …)."""
    profit: Floats
    """Joint net profit at the truth [money per round], shape (instances,)."""
    interest: Floats
    """Joint interest at the truth [money per round], shape (instances,)."""
    welfare: Floats
    """Welfare [utility], shape (instances, grid, …)."""
    welfare_truth: Floats
    """Welfare at the truth [utility], shape (instances,)."""
    chosen: NDArray[np.int64]
    """The best factors of each instance, chosen on other episodes; places on the grid, shape (instances, members)."""
    best_gains: Floats
    """Gain with these on the episodes of ``gains``; 0 where the truth was best. Shape (instances,)."""

    @property
    def mean(self) -> float:
        """Mean over the instances of the best gain [money per round]."""
        return float(self.best_gains.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the instances; NaN for one."""
        return _standard_error(self.best_gains)

    @property
    def deviating(self) -> float:
        """Share of instances in which the group would rather not tell the truth."""
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
    """Try all constant factors of a group, whose members know one another and their market.

    The best factors are chosen for each instance on ``episodes`` episodes that follow those on which gains are
    measured, so that no gain is the luck of the choice: where there is nothing to gain, gains are 0 on average.

    Parameters
    ----------
    config : VCGSlicingConfig
        The market; ``multipliers`` is the grid.
    members : sequence of int
        The group; all grid**members profiles are played.
    first : int, default 0
        The round from which on the group deviates; before it, and always outside the group, bids are truthful.
    allocator, instances, first_episode
        As for `play_bids`.
    episodes : int, default 4
        Evaluation episodes of each instance, and as many again to choose on.

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
        for start in range(0, len(cells), together):  # rounds of all cells need not be held at the same time
            given = factors[start : start + together]
            play = play_bids(config, given, allocator, instances, episodes, first_of_episodes)
            deviating = play.profits[..., first:, :], play.interest[..., first:, :]
            parts.append((*(part.mean(axis=-2) for part in deviating), play.welfare[..., first:].mean(axis=-1)))
        profits, interest, welfare = (np.concatenate(part) for part in zip(*parts, strict=True))
        return profits, interest, welfare

    profits, interest, welfare = means(first_episode)
    elsewhere = means(first_episode + episodes)[0][..., list(group)].sum(axis=-1).mean(axis=-1)
    most = np.where(elsewhere.max(axis=0) > elsewhere[truth], elsewhere.argmax(axis=0), truth)
    gains = (profits - profits[truth]).mean(axis=2)  # (cells, instances, providers)
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
    """One provider that overbids for some rounds and then underbids, beside the same rounds with the truth: Fig. 7."""

    provider: int
    """Who deviates."""
    factors: Floats
    """Its bid over its belief, shape (rounds,)."""
    segments: tuple[tuple[int, int], ...]
    """First round and end of the truthful, the overbidding and the underbidding rounds."""
    deviation: BidPlay
    """The rounds, one profile."""
    truth: BidPlay
    """The truthful twin, one profile."""
    gains: Floats
    """The deviator's profit less that of the truth in the same rounds, mean over each segment and all markets
    [money per round], shape (3,)."""
    standard_errors: Floats
    """Standard errors of ``gains`` over the markets; NaN for one market. Shape (3,)."""
    grid: GroupDeviation
    """The same for every factor of the grid, kept from the first deviation to the end."""


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
        The market; that of the figure has 5 providers and 1000 rounds.
    provider : int, default 0
        Who deviates.
    over, under : float, default 1.5 and 0.5
        Factors of the grid.
    first, second : int, default 400 and 650
        Rounds in which it starts to over- and underbid.
    allocator, instances, episodes, first_episode
        As for `play_bids`. The grid is played on as many episodes again, see `group_deviation`.

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
    """What it does to profits when all providers bid the same factor of their beliefs.

    Profits are means over rounds, providers and markets [money per round].
    """

    multipliers: Floats
    """The grid, shape (grid,)."""
    together: Floats
    """Mean profit less that of the truth where all bid the factor, shape (grid,)."""
    honest: Floats
    """Gain of a provider that alone tells the truth where all others bid the factor, over bidding it too, shape
    (grid,); not 0, so that the truth is the best answer to the truth and not to everything."""
    interest: Floats
    """Mean interest over mean profit at the truth where all bid the factor, shape (grid,)."""
    noise: Floats
    """Mean Δ where all bid the factor [shares], shape (grid,)."""


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
    """Let all providers bid the same factor from round ``first`` on, and ``provider`` alone the truth.

    Parameters as of `group_deviation`; what the equations say of exact beliefs is in `scale_fixture`.
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
