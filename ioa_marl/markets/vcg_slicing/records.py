"""Parameters, state and metrics of the slicing market, as its kernels read and write them by name."""

from __future__ import annotations

from typing import NamedTuple

from ioa_marl.foundations.records import Record
from ioa_marl.markets.vcg_slicing.workspace import Array


class Metrics(Record):
    """What is measured of an episode that ends; NaN where it was not computed."""

    welfare: float
    """True welfare, mean over the rounds played [utility]."""
    welfare_ratio: float
    """The same over the optimal welfare."""
    final_ratio: float
    """True welfare of the last allocation over the optimal welfare."""
    optimal_welfare: float
    """SW* of the true types [utility]."""
    equal_split_ratio: float
    """Welfare of the equal split over the optimal welfare."""
    payments: float
    """Payments of all providers, mean over the rounds played [utility]; with a bank taxes [money]."""
    overcharged: float
    """Providers whose payment at the last allocation exceeds their utility; with a bank, tax and gross profit."""


class BankMetrics(Metrics):
    """What is measured of an episode with a bank."""

    net_profit: float
    """Σ (G − Z), mean over the rounds played [money]."""
    interest: float
    """Taxes for loans, mean over the rounds played [money]."""
    bid_ratio: float
    """Σx over SW*, mean over the rounds played."""
    noise: float
    """Δ, mean over the rounds played [shares]."""
    rate_error: float
    """Mean absolute error of α̂ over α, at the end."""


class SlicingRecord(Record):
    """Parameters of the market as the kernels read them."""

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
    learn_vsp: bool
    """Whether the providers' reports come from agents, and payments are computed every round."""
    fewest: int
    """Smallest number of providers of an episode."""
    banked: bool
    """Whether a bank settles the rounds, see `dual_currency`."""


DIFFERENCE, INCREMENT, UTILITY, BIDS, OWN = range(5)
"""Values of ``SlicingRecord.slice_reward``."""

NOTHING, DRAWN, SOLVED = range(3)
"""Values of ``SlicingState.known``."""


class SlicingState(NamedTuple):
    """Everything that a batch of slicing markets is, as arrays that can be saved and restored."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word."""
    instance: Array
    """uint64 (batch,): which providers; key of the draw of their types."""
    episode: Array
    """uint64 (batch,): episodes begun so far, counted from 0."""
    phase: Array
    """int64 (batch,): phase of the round, see the game."""
    cycles: Array
    """int64 (batch,): environment steps of this episode."""
    rounds: Array
    """int64 (batch,): rounds played."""
    known: Array
    """int64 (batch,): ``NOTHING``; ``DRAWN``: the types of ``drawn``; ``SOLVED``: their optimum as well."""
    drawn: Array
    """uint64 (batch,): the instance that ``worth`` and ``rate`` belong to."""
    present: Array
    """int64 (batch,): providers of this episode, the first ones; the others have rate 0 and no share."""
    spread: Array
    """float64 (batch,): standard deviation of the noise on each share of the round [shares]."""
    worth: Array
    """float64 (batch, n): β."""
    rate: Array
    """float64 (batch, n, 3): ξ."""
    multiplier: Array
    """float64 (batch, n): reported over true β."""
    bid: Array
    """float64 (batch, n): intention bid [units of utility]; only with a bank."""
    share: Array
    """float64 (batch, n, 3): the allocation."""
    previous_share: Array
    """float64 (batch, n, 3): the allocation before the last change."""
    utility: Array
    """float64 (batch, n): true utility of the allocation."""
    earned: Array
    """float64 (batch, n): Σ of utilities over the rounds played."""
    payment: Array
    """float64 (batch, n): Clarke payment of the last round; only where payments are computed every round."""
    paid: Array
    """float64 (batch, n): Σ of payments over the rounds played; as ``payment``."""
    others: Array
    """float64 (batch, n): SW*₋ᵢ of the reports."""
    ideal: Array
    """float64 (batch, n): true utility at the optimum; only with a bank."""
    optimum: Array
    """float64 (batch,): SW* of the true types."""
    history: Array
    """float64 (batch, rounds + 1): true welfare at the start and after each round; 0 where it is not played yet."""
