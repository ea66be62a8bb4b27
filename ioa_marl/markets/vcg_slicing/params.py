"""The slicing market: its parameters and presets, and the allocation of a batch of markets.

Virtual service providers (VSP) share the bandwidth, computing and cache of one network, each normalised to 1. Provider
i has utility u_i(s) = β_i (1 − exp(−ξ_i·s_i)) from its slice s_i. Source: Sections III and VI, Eqs. 4, 9, 10a and 39
of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value of Information Perspective".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.parameters import (
    ParameterError,
    added_setting,
    check_integer,
    check_number,
    check_range,
    make_preset,
    require,
)
from ioa_marl.foundations.tables import Table, hold_table, parse_table, take_from_table
from ioa_marl.markets.vcg_slicing.coalitions import checked_coalitions
from ioa_marl.markets.vcg_slicing.records import DRAWN, NOTHING, SlicingRecord, SlicingState
from ioa_marl.markets.vcg_slicing.solver import LARGEST_RATE, LARGEST_WORTH, SMALLEST_RATE
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

SLICE_REWARDS = ("difference", "increment", "utility", "bids", "own")
REDRAWS = ("never", "episode")
MECHANISMS = ("vcg", "dual_currency", "dual_currency_no_interest")
EXTERNALITIES = ("exact", "estimated", "critic")
VALUATIONS = ("exact", "network")
NOISES = ("share", "as_printed")
RATES = ("bandwidth", "computing", "cache")
"""Columns of ``data`` with ξ of each resource."""
LOWEST_RATE = 1e-4
"""Smallest accepted upper end of the range of ξ."""
MOST_COMPARED = 5000
"""Largest number of providers with a difference reward, which costs providers² exponentials in a round."""


@dataclass(frozen=True)
class SlicingParams:
    """Parameters of the slicing market; the defaults are the preset ``paper``."""

    providers: int = 10
    """Number N of service providers."""
    fewest_providers: int | None = None
    """Smallest number of providers of an episode, which is uniform up to ``providers``; the first ones of the instance
    are present. None: always all of them."""
    worth: tuple[float, float] = (100.0, 200.0)
    """Range of β, the utility of unlimited resources [units of utility], uniform per provider."""
    rate: tuple[float, float] = (0.0, 10.0)
    """Range of ξ, the rate at which utility saturates in each resource [per whole resource], uniform per provider and
    resource."""
    redraw: str = "never"
    """When β and ξ are drawn anew: ``never`` (they belong to the instance) or ``episode``."""
    start_spread: tuple[float, float] = (0.5, 1.5)
    """Range of the ratio of each initial share to the equal split, uniform, before shares are rescaled."""
    changes: tuple[float, ...] = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    """Relative changes of a share from which a slice's agent chooses, increasing, with 0 among them."""
    floor: float = 0.01
    """Smallest share after a change, before rescaling [equal shares 1/N]."""
    multipliers: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    """Factors on β from which a provider chooses its report, increasing, positive, with 1 among them."""
    rounds: int = 50
    """Rounds per episode."""
    slice_reward: str = "difference"
    """Reward of a slice's agent: ``difference``, ``increment``, ``utility``, ``bids`` or ``own``."""
    reward_scale: float = 10.0
    """Factor on the rewards ``difference`` and ``increment``."""
    mechanism: str = "vcg"
    """What providers pay: ``vcg`` (the exact Clarke payment of their reports), ``dual_currency`` (intention bids, loans
    and taxes by a bank) or ``dual_currency_no_interest`` (the same without interest on loans)."""
    externality: str = "exact"
    """Source of the bank's belief of SW*₋ᵢ: ``exact``, ``estimated`` (utilities fitted to its bills) or ``critic`` (the
    critic of the slices' agent). Only with a bank."""
    voi: str = "exact"
    """Source of the value of information in the bank's pool: ``exact`` (utilities at the optimum) or ``network`` (a
    small network per provider, trained on bills). Only with a bank."""
    noise: str = "share"
    """Unit of the noise that overbidding adds to shares: ``share`` or ``as_printed`` (SW* times larger). Only with a
    bank."""
    profit_rate: tuple[float, float] = (0.5, 1.5)
    """Range of α, gross profit per utility [money/utility], uniform per provider. Only with a bank."""
    profit_mean: float = 10.0
    """Mean μ of the part w of gross profit that does not depend on utility [money]. Only with a bank."""
    profit_deviation: float = 5.0
    """Standard deviation σ of w [money]. Only with a bank."""
    belief_weight: float = 0.9
    """Weight of the past in a provider's belief about its utility, a moving average of reports. Only with a bank."""
    prior_bills: int = 20
    """Number of rounds with random allocations before the episode of which the bank has bills. Only with a bank."""
    bills: int = 64
    """Number of newest bills that the bank stores. Only with a bank."""
    data: str | None = added_setting(None)
    """File (CSV, Parquet) of one's own providers, a row for each, instead of draws. None: types are drawn."""
    # Of tuples of int, which `checked_coalitions` checks: OmegaConf knows no type of nested tuples.
    coalitions: tuple[Any, ...] = added_setting(())
    """Groups of providers that share their rewards, by number, as in ``[[0,3,7]]``: each member's reward is the mean of
    the members' own rewards. A provider is in one group at most."""

    def __post_init__(self) -> None:
        """Raise an error that names key, value and what is allowed if a parameter is out of range."""
        self._take_table(hold_table(self, "data"))
        for name in ("worth", "rate", "start_spread", "changes", "multipliers", "profit_rate"):
            self._make_tuple(name)
        check_integer(self, "providers", 1, 1_000_000)
        check_integer(self, "rounds", 1, 10_000)
        check_range(self, "worth", 1e-6, LARGEST_WORTH / 1e3)
        check_range(self, "rate", 0.0, LARGEST_RATE)
        # If all rates are nearly 0, there is nothing to divide, and below 1e-5 no optimum is certified.
        require(self.rate[1] >= LOWEST_RATE, "rate", self.rate, f"an upper end of at least {LOWEST_RATE:g}")
        check_range(self, "start_spread", 1e-3, 1e3)
        self._check_grid("changes", 0.0, -0.9, 10.0)
        self._check_grid("multipliers", 1.0, 1e-3, 1e3)
        check_number(self, "floor", low=1e-6, high=1.0)
        check_number(self, "reward_scale", low=1e-6, high=1e6)
        for name, allowed in (
            ("slice_reward", SLICE_REWARDS), ("redraw", REDRAWS), ("mechanism", MECHANISMS),
            ("externality", EXTERNALITIES), ("voi", VALUATIONS), ("noise", NOISES),
        ):  # fmt: skip
            require(getattr(self, name) in allowed, name, getattr(self, name), " or ".join(allowed))
        self._check_bank()
        object.__setattr__(self, "coalitions", checked_coalitions(self.coalitions, self.providers))
        if self.fewest_providers is not None:
            check_integer(self, "fewest_providers", 1, self.providers)
        require(
            self.slice_reward != "difference" or self.providers <= MOST_COMPARED,
            "slice_reward", self.slice_reward,
            f"increment, utility, bids or own with more than {MOST_COMPARED} providers: it takes their number squared",
        )  # fmt: skip

    @classmethod
    def set_by_data(cls, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the settings that follow from a table, and those that it has as columns."""
        return ("providers", "worth", "rate", "profit_rate"), ()

    def _take_table(self, table: Table | None) -> None:
        """Set the number of providers and all ranges to those of a table; other values than the defaults must agree."""
        if table is None:
            return
        table.require_columns(("worth", *RATES), ("market", "provider", "worth", *RATES, "profit_rate"))
        if "market" in table.columns:
            markets = dict.fromkeys(table.texts("market"))
            require(len(markets) == 1, "data", f"a table of {len(markets)} markets", "a table of one market")
        allowed = f"numbers from 1e-06 to {LARGEST_WORTH / 1e3:g} [utility]"
        worth = table.numbers("worth", allowed)
        table.require("worth", (worth >= 1e-6) & (worth <= LARGEST_WORTH / 1e3), allowed)
        allowed = f"0, or numbers from {SMALLEST_RATE:g} to {LARGEST_RATE:g} [per whole resource]"
        for name in RATES:
            column = table.numbers(name, allowed)
            fits = (column == 0.0) | ((column >= SMALLEST_RATE) & (column <= LARGEST_RATE))
            table.require(name, fits, allowed)
        rates = np.array([table.numbers(name, allowed) for name in RATES])
        taken: dict[str, Any] = {
            "providers": table.rows, "worth": (float(worth.min()), float(worth.max())),
            "rate": (float(rates.min()), float(rates.max())), "redraw": "never", "fewest_providers": None,
        }  # fmt: skip
        if "profit_rate" in table.columns:
            alpha = table.numbers("profit_rate", "numbers from 0.001 to 1000 [money/utility]")
            fits = (alpha >= 1e-3) & (alpha <= 1e3)
            table.require("profit_rate", fits, "numbers from 0.001 to 1000 [money/utility]")
            if self.banked:  # without a bank nobody earns money, and a table for both mechanisms is of use
                taken["profit_rate"] = (float(alpha.min()), float(alpha.max()))
        take_from_table(self, taken)

    def own_types(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        """Return β (providers,), ξ (providers, 3) and α (providers,) or None of ``data``, which must be set."""
        assert self.data is not None
        table = parse_table(self.data)
        rates = np.stack([table.numbers(name, "") for name in RATES], axis=1)
        alpha = table.numbers("profit_rate", "") if "profit_rate" in table.columns else None
        return table.numbers("worth", ""), rates, alpha

    def _check_bank(self) -> None:
        """Check the parameters of the bank; without a bank they must have their defaults."""
        check_range(self, "profit_rate", 1e-3, 1e3)
        check_number(self, "profit_mean", low=-1e6, high=1e6)
        check_number(self, "profit_deviation", low=0.0, high=1e6)
        check_number(self, "belief_weight", low=0.0, high=1.0)
        # The fit of α needs two bills; four or more determine a utility function.
        check_integer(self, "prior_bills", 2, 100_000)
        check_integer(self, "bills", 2, 100_000)
        defaults = SlicingParams.__dataclass_fields__
        if not self.banked:
            for name in (
                "externality", "voi", "noise", "profit_rate", "profit_mean", "profit_deviation", "belief_weight",
                "prior_bills", "bills",
            ):  # fmt: skip
                value = getattr(self, name)
                require(value == defaults[name].default, name, value, f"{defaults[name].default} with mechanism=vcg")
        require(
            self.externality != "critic" or self.fewest_providers is None,
            "fewest_providers", self.fewest_providers,
            "null with externality=critic: its critic does not know who is absent",
        )  # fmt: skip
        require(
            self.externality != "critic" or self.slice_reward in ("utility", "bids"),
            "slice_reward", self.slice_reward,
            "utility or bids with externality=critic: a critic of these knows the welfare of a round",
        )  # fmt: skip

    @property
    def banked(self) -> bool:
        """Whether a bank settles the rounds."""
        return self.mechanism != "vcg"

    def _make_tuple(self, name: str) -> None:
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, tuple(float(x) for x in value))
        except (TypeError, ValueError) as error:
            raise ParameterError(name, value, "a sequence of numbers") from error

    def _check_grid(self, name: str, neutral: float, low: float, high: float) -> None:
        value = getattr(self, name)
        increasing = all(a < b for a, b in itertools.pairwise(value))
        usable = increasing and neutral in value and low <= value[0] and value[-1] <= high
        require(usable, name, value, f"increasing numbers from {low:g} to {high:g}, {neutral:g} among them")

    @property
    def hold(self) -> int:
        """Index of the change 0."""
        return self.changes.index(0.0)

    @property
    def truth(self) -> int:
        """Index of the multiplier 1."""
        return self.multipliers.index(1.0)

    def record(self, controlled_roles: Sequence[str] = ("slice",), extended: bool = False) -> NDArray[Any]:
        """Return the parameters as kernels read them, a `SlicingRecord` (1,), for these controlled roles."""
        (worth_low, worth_high), (rate_low, rate_high) = self.worth, self.rate
        return SlicingRecord.row(
            worth_low=worth_low,
            worth_high=worth_high,
            rate_low=rate_low,
            rate_high=rate_high,
            start_low=self.start_spread[0],
            start_high=self.start_spread[1],
            floor=self.floor,
            reward_scale=self.reward_scale,
            marginal_scale=max(sum(self.worth) / 2 * sum(self.rate) / 2, 1e-12),
            rounds=self.rounds,
            redraw=self.redraw == "episode",
            slice_reward=SLICE_REWARDS.index(self.slice_reward),
            extended=extended,
            vsp_controlled="vsp" in controlled_roles and not self.banked,
            fewest=self.providers if self.fewest_providers is None else self.fewest_providers,
            banked=self.banked,
        )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "n20": {"providers": 20},
    "n30": {"providers": 30},
    "n40": {"providers": 40},
    "n50": {"providers": 50},
    "city": {"providers": 1000},
    "internet": {"providers": 100_000, "slice_reward": "increment"},
    "common_reward": {"slice_reward": "utility"},
    "dual_currency": {"mechanism": "dual_currency"},
    "no_interest": {"mechanism": "dual_currency_no_interest"},
    "transfer_10": {"redraw": "episode"},
    "transfer_50": {"redraw": "episode", "providers": 50},
    "transfer_200": {"redraw": "episode", "providers": 200},
    "transfer_1000": {"redraw": "episode", "providers": 1000, "slice_reward": "increment"},
}
"""The parameters in which each preset differs from the defaults."""


def allocate_market(batch: int, params: SlicingParams) -> SlicingState:
    """Return a zeroed state for ``batch`` markets; shapes and units are those of `SlicingState`."""
    providers = params.providers
    words = {name: np.zeros(batch, np.uint64) for name in ("seed", "stream", "instance", "episode", "types_instance")}
    whole = {name: np.zeros(batch, np.int64) for name in ("phase", "cycles", "rounds", "known", "present")}
    pairs = {name: np.zeros((batch, providers, RESOURCES)) for name in ("rate", "share", "previous_share")}
    single = {
        name: np.zeros((batch, providers))
        for name in (
            "worth",
            "multiplier",
            "bid",
            "utility",
            "total_utility",
            "total_payment",
            "payment",
            "others",
            "ideal",
        )
    }
    return SlicingState(
        **words,
        **whole,
        **pairs,
        **single,
        optimum=np.zeros(batch),
        spread=np.zeros(batch),
        history=np.zeros((batch, params.rounds + 1)),
    )


def preset(name: str, **changes: Any) -> SlicingParams:
    """Return the parameters of a preset, with ``changes`` applied."""
    return make_preset(SlicingParams, PRESETS, name, changes)


def write_types(params: SlicingParams, state: SlicingState, mask: NDArray[np.bool_]) -> None:
    """Write the providers of ``params.data``, if it is set, into some markets, so that no types are drawn there.

    Parameters
    ----------
    params : SlicingParams
        Parameters.
    state : SlicingState
        Batch of markets, whose instances are set.
    mask : ndarray of bool, shape (batch,)
        Markets; the others do not change.
    """
    if params.data is None:
        return
    state.worth[mask], state.rate[mask], _ = params.own_types()
    state.present[mask] = params.providers
    state.types_instance[mask] = state.instance[mask]
    state.known[mask & (state.known == NOTHING)] = DRAWN
