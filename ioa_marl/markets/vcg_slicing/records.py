"""Parameters, state and metrics of the slicing market, with named fields."""

from __future__ import annotations

from typing import NamedTuple

from ioa_marl.foundations.records import Record
from ioa_marl.markets.vcg_slicing.workspace import Array


class Metrics(Record):
    """Metrics of an episode; NaN where they were not computed."""

    welfare: float
    """True welfare, mean over the rounds played [utility]."""
    welfare_ratio: float
    """``welfare`` over the optimal welfare."""
    final_ratio: float
    """True welfare of the last allocation over the optimal welfare."""
    optimal_welfare: float
    """SW* of the true types [utility]."""
    equal_split_ratio: float
    """Welfare of the equal split over the optimal welfare."""
    payments: float
    """Payments of all providers, mean over the rounds played [utility]; with a bank their taxes [money]."""
    overcharged: float
    """Number of providers whose payment at the last allocation exceeds their utility; with a bank, whose last tax
    exceeds their gross profit."""


class BankMetrics(Metrics):
    """Metrics of an episode with a bank."""

    net_profit: float
    """Σ (G − Z), mean over the rounds played [money]."""
    interest: float
    """Interest on loans, mean over the rounds played [money]."""
    bid_ratio: float
    """Σx over SW*, mean over the rounds played."""
    noise: float
    """Δ, mean over the rounds played [shares]."""
    rate_error: float
    """Mean absolute error of α̂ over α, at the end."""


class CoalitionMetrics(Metrics):
    """Metrics of an episode with coalitions and without a bank."""

    coalition_profit: float
    """Net profit of a provider in a coalition, mean over them and the rounds played [utility]."""
    others_profit: float
    """Net profit of a provider in no coalition, mean over them and the rounds played [utility]."""


class CoalitionBankMetrics(BankMetrics):
    """Metrics of an episode with coalitions and a bank."""

    coalition_profit: float
    """Net profit of a provider in a coalition, mean over them and the rounds played [money]."""
    others_profit: float
    """Net profit of a provider in no coalition, mean over them and the rounds played [money]."""


class SlicingRecord(Record):
    """Parameters of the market as kernels read them; see `SlicingParams` for their meaning."""

    worth_low: float
    """Lower end of the range of β [utility]."""
    worth_high: float
    """Upper end of the range of β [utility]."""
    rate_low: float
    """Lower end of the range of ξ [per whole resource]."""
    rate_high: float
    """Upper end of the range of ξ [per whole resource]."""
    start_low: float
    """Lower end of the range of shares at the start [equal shares]."""
    start_high: float
    """Upper end of the range of shares at the start [equal shares]."""
    floor: float
    """Smallest share after a change, before rescaling [equal shares]."""
    reward_scale: float
    """Factor on the rewards ``difference`` and ``increment``."""
    marginal_scale: float
    """Mean β times mean ξ, the unit of observed marginal utilities [utility per whole resource]."""
    rounds: int
    """Rounds per episode."""
    redraw: bool
    """Whether types are drawn anew in every episode."""
    slice_reward: int
    """Reward of a slice's agent: ``DIFFERENCE``, ``INCREMENT``, ``UTILITY``, ``BIDS`` or ``OWN``."""
    extended: bool
    """Whether a slice's agent observes marginal utilities."""
    vsp_controlled: bool
    """Whether providers are controlled and there is no bank; payments are then computed every round."""
    fewest: int
    """Smallest number of providers of an episode."""
    banked: bool
    """Whether a bank settles the rounds, see `dual_currency`."""


DIFFERENCE, INCREMENT, UTILITY, BIDS, OWN = range(5)
"""Values of ``SlicingRecord.slice_reward``."""

NOTHING, DRAWN, SOLVED = range(3)
"""Values of ``SlicingState.known``."""


class SlicingState(NamedTuple):
    """The complete state of a batch of slicing markets, as arrays that can be saved and restored."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word."""
    instance: Array
    """uint64 (batch,): number of the instance, the key of the draw of types."""
    episode: Array
    """uint64 (batch,): index of the current episode, counted from 0."""
    phase: Array
    """int64 (batch,): phase of the round, see the game."""
    cycles: Array
    """int64 (batch,): environment steps of this episode."""
    rounds: Array
    """int64 (batch,): rounds played."""
    known: Array
    """int64 (batch,): ``NOTHING``, ``DRAWN`` (the types) or ``SOLVED`` (their optimum as well)."""
    types_instance: Array
    """uint64 (batch,): the instance of ``worth`` and ``rate``."""
    present: Array
    """int64 (batch,): number of providers present, the first ones; the others have rate 0 and no share."""
    spread: Array
    """float64 (batch,): standard deviation of the noise on each share of the round [shares]."""
    worth: Array
    """float64 (batch, n): β [utility]."""
    rate: Array
    """float64 (batch, n, 3): ξ [per whole resource]."""
    multiplier: Array
    """float64 (batch, n): ratio of reported to true β."""
    bid: Array
    """float64 (batch, n): intention bid [units of utility]; only with a bank."""
    share: Array
    """float64 (batch, n, 3): the allocation [shares]."""
    previous_share: Array
    """float64 (batch, n, 3): the allocation before the last change [shares]."""
    utility: Array
    """float64 (batch, n): true utility of the allocation [utility]."""
    total_utility: Array
    """float64 (batch, n): Σ of utilities over the rounds played [utility]."""
    payment: Array
    """float64 (batch, n): Clarke payment of the last round [utility]; only if payments are computed every round."""
    total_payment: Array
    """float64 (batch, n): Σ of ``payment`` over the rounds played [utility]."""
    others: Array
    """float64 (batch, n): SW*₋ᵢ of the reports [utility]."""
    ideal: Array
    """float64 (batch, n): true utility at the optimum [utility]."""
    optimum: Array
    """float64 (batch,): SW* of the true types [utility]."""
    history: Array
    """float64 (batch, rounds + 1): true welfare at the start and after each round [utility]; 0 for rounds to come."""
