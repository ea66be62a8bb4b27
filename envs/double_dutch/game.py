"""The double Dutch auction as a game; see `DoubleDutchGame`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.double_dutch.policies import POLICIES
from ioa_marl.envs.marks import BestKnown
from ioa_marl.envs.phased import PhasedBuffers, PhasedGame, check_common
from ioa_marl.envs.spaces import unit_box
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch import drivers
from ioa_marl.markets.double_dutch.clairvoyant import clairvoyant_bounds
from ioa_marl.markets.double_dutch.observations import (
    AUCTIONEER_FEATURES,
    AUCTIONEER_FEATURES_EXTENDED,
    BIDDER_EXTRAS,
    observe_markets,
)
from ioa_marl.markets.double_dutch.own_bids import draw_markets
from ioa_marl.markets.double_dutch.params import PRESETS, DoubleDutchParams
from ioa_marl.markets.double_dutch.state import AuctionState, Metrics, allocate_state


@dataclass(frozen=True)
class DoubleDutchConfig(DoubleDutchParams):
    """Settings of the environment: those of the auction, and the observation of the auctioneer."""

    observation: str = "paper"
    """Observation of the auctioneer: ``paper`` (6 features) or ``extended`` (12)."""
    max_cycles: int | None = None
    """Number of steps after which an episode is truncated. None: only the rules of the auction end it."""

    def __post_init__(self) -> None:
        """Check the settings that only the environment has."""
        super().__post_init__()
        self.require_bids_within_clocks()
        check_common(self)
        require(self.observation in ("paper", "extended"), "observation", self.observation, "paper or extended")


BIDDERS = ("buyer", "seller")
"""Roles of the bidders, by side."""
_PLACEHOLDER_AGENTS = {"auctioneer": 1, "buyer": 0, "seller": 0}
"""Number of agents in the placeholder arrays of a scripted role; bidders observe the features of the auctioneer."""


_SEARCH = "python benchmarks/best_known/double_dutch.py --preset paper --markets 10000"


class DoubleDutchGame(PhasedGame):
    """Two clocks converge to the price at which fixed agents buy computing from aerial agents.

    ## Description

    Each of J buyers (fixed agents) has a value for one lot of computing, and each of K sellers (aerial agents) a cost
    of one lot. The buyer clock C_b starts above every bid and falls, the seller clock C_s starts below every
    ask and rises. In each tick the
    clock of the active side is broadcast to its bidders that have not accepted yet. Those with value ≥ C_b (cost ≤ C_s)
    accept, and the other side becomes active. If nobody accepts, the clock moves by the step that the auctioneer chose,
    and the side stays active. Small steps find the efficient trades, but they cost many messages, and the auctioneer
    does not know the valuations. A side of which all bidders have accepted does not become active.

    When the auction ends, the number of trades is the smaller number of acceptors of the two sides. The last acceptors
    of the other side are dropped (within a tick, lower indices come first). All pairs trade at r* = ψ C_b + (1 − ψ)
    C_s, with the clocks before they crossed. The auction is individually rational and strongly budget balanced. It is
    **not** incentive compatible, although the paper claims that it is: see Fidelity.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `auctioneer` | 1 | controlled | those below |
    | `buyer` | `buyers` | `truthful` | `truthful`, `shaded` |
    | `seller` | `sellers` | `truthful` | `truthful`, `shaded` |

    | Policy of the auctioneer | Step |
    | --- | --- |
    | `fixed_step` | the best constant, chosen on calibration markets, or `step` |
    | `traditional` | the smallest one always: the traditional double Dutch auction |
    | `two_phase` | `coarse` until the first acceptance of the active side, then `fine` |
    | `step_table` | from a table of side × own winners × distance of the clocks, 60 cells |
    | `oracle` | the clairvoyant plan |
    | `scripted_step` | `scripted_step` of the settings |

    The table of `step_table` is found within seconds by coordinate ascent on 1 000 markets of its own, fewer where
    markets are large (`ioa_marl.markets.double_dutch.search_step_table`). It scores about 0.80 on `paper`.

    Every role can be controlled. A broadcast to a controlled side is a step of its own, in which the waiting bidders of
    that side are active. If nobody accepts, the auctioneer chooses in the next step, after it has observed this. A
    broadcast to scripted bidders and the clock move after it are one step. If only the sellers are controlled, no agent
    is active at the start: the first step uses no action and ends before the first broadcast to the sellers.

    ## Observation space

    `auctioneer`: float32 in [0, 1]; 6 features, or 12 with `observation="extended"`.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0 | active side Ψ (0 buyers, 1 sellers) | 1 |
    | 1 | tick t | `max_ticks` |
    | 2, 3 | buyer clock, seller clock | `buyer_clock` |
    | 4, 5 | numbers of buyers and sellers that have accepted | `buyers`, `sellers` |
    | 6, 7 | distance of each clock from its last acceptance, or from its start before the first one | `buyer_clock` |
    | 8, 9 | distance between the last two acceptances of each side | `buyer_clock` |
    | 10, 11 | numbers of buyers and sellers | `buyers`, `sellers` |

    `buyer` and `seller`: the same, followed by the own valuation (over `buyer_clock`) and whether the bidder has
    accepted (0, 1).

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `auctioneer` | `Discrete(len(steps))` | index of the step; used only if nobody accepts in this tick |
    | `buyer`, `seller` | `Discrete(2)` | 0 wait, 1 accept at the current clock |

    ## Rewards

    `auctioneer`: −b times the regret |valuation − clock| of every acceptance; −d for every bidder that listens to a
    broadcast which nobody accepts; and c · (value − cost) + e for every pair, paid when both have accepted
    (`welfare_paid="per_trade"`) or as one sum at the end (`"at_end"`). The return is the same for both [units].
    `buyer`, `seller`: value − r* or r* − cost at the end for the bidders that trade, otherwise 0 [units].

    ## Starting state

    A market level m ~ U(`level`) and a width s ~ log-U(`width`) are drawn. Values are m + s·U(`value_spread`), costs
    are m − s·U(`cost_spread`). The numbers of bidders are uniform between their minimum and maximum. The clocks are at
    `buyer_clock` and `seller_clock`, and the buyers are active.

    ## Episode end

    Termination: the clocks have crossed; or all bidders of one side have accepted and the other side has at least as
    many acceptors; or there were `max_ticks` broadcasts. With `ending="next_loser"` an auction in which one side is
    used up and both sides have equally many acceptors goes on: the clock of the other side runs on until one of its
    bidders accepts, who is a loser, or until the clocks cross. If nobody is left to lose, it ends. Truncation: after
    `max_cycles` steps, if that is set; a truncated auction is not settled.

    ## Metrics

    | Name | Meaning |
    | --- | --- |
    | `return` | undiscounted return of the auctioneer, which is scored [units] |
    | `welfare`, `optimal_welfare`, `efficiency` | Σ values − Σ costs of the traders, its maximum [units], the ratio |
    | `clock_surplus` | Eq. 37 as printed, with accepted clocks in place of valuations [units] |
    | `price` | clearing price [units per lot]; NaN without a trade |
    | `trades` | number of trades |
    | `ticks`, `messages` | number of broadcasts, and listeners summed over the broadcasts |
    | `exchange_cost` | Eq. 39: d times the listeners, summed over the broadcasts that nobody accepted [units] |
    | `regret` | Σ |valuation − clock| over all acceptors [units] |

    A score of 1 is the return of the clairvoyant plan, the largest one of an auctioneer who knows every bid
    (`ioa_marl.markets.double_dutch.clairvoyant`).

    ## Arguments

    The fields of `DoubleDutchConfig`, which `conf/env/double_dutch.yaml` lists with their meaning.

    With `data` the bids are those of a file (CSV or Parquet) with a row for each: `side` (`buyer` or `seller`), `value`
    (of a buyer, or the cost of a seller [units per lot]) and, if there are several markets, `market`. Every
    episode plays one of them, drawn uniformly, and all of its bidders take part. The numbers of bidders follow from the
    table; the clocks must start at or beyond the extreme bids. A run keeps the table, so that its rows can be checked
    without the file; see docs/own_numbers.md.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 10 × 10, level and width vary; learners are compared on this preset |
    | `calm` | 10 × 10, values U[15, 50], costs U[5, 35]; a constant step is nearly as good as any policy |
    | `mixed` | 4 to 16 bidders on each side |
    | `thin` | 5 buyers, 1 to 10 sellers |
    | `thick` | 50 × 50 |
    | `exchange` | 1 000 × 1 000 |

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - The auction ends when C_b < C_s; the paper prints the opposite condition.
    - Welfare is Σ v_j − Σ v_k over the traders. Eq. 37 adds accepted clocks instead of valuations; that sum is the
      metric `clock_surplus`.
    - In Eq. 34, λ_k is restored in the computing energy, and t_k_up replaces t_up. A seller whose cost exceeds the
      income of every buyer does not take part; if its cost were clipped down, as printed, it would trade at a loss.
    - Valuations come from Eqs. 33 and 34 with unit prices and hover powers that give the distributions under Starting
      state. With one fixed distribution a constant step would do as well as any policy (preset `calm`).
    - The auction ends as soon as one side is used up, and the price then depends on two clocks, one of which has not
      met a loser. In thin markets most prices are therefore outside the clearing interval, from the larger of the
      marginal ask and the next bid to the smaller of the marginal bid and the next ask. With the finest step that
      holds for 81% of the prices of 5 buyers and 1 seller, 79% by more than a step (10 000 calibration markets), and
      for 58% and 26% in `thin`. `ending="next_loser"` lets the remaining clock run on, with its messages and the
      regret of the loser; the price is then the last clock that the next loser refused. With this change alone 4% and
      none are outside at 5 × 1, and 37% and 4% in `thin`. These 4% are due to bidders who accept within the same tick:
      with ticks of 0.01 instead of 0.25 they are 0.2%, and 24% with the default ending. Trades are the same under both
      rules. Neither makes the auction incentive compatible: at 5 × 1 with the finest step, the mean of the largest
      gain of a buyer by misreporting is 4.3, and 0.1 under `next_loser`; that of the seller is 6.2, and 2.7 (200
      evaluation markets).
    - Clocks are whole ticks. The numbers of winners of the two sides are made equal by dropping the last acceptors;
      the paper does not say which ones are dropped.
    - The paper does not give the constants b, c, d and e of the reward. Here they are such that neither the finest
      nor the coarsest fixed step is best.
    - Theorem 1 claims incentive compatibility. With bids 10, 8, 6, 3 and asks 1, 2, 5, 7, truthful bidders trade at 5,
      and the seller with cost 5 gains 0.8 by asking 5.8. `ioa_marl.evaluation.audits.double_dutch` measures such gains.

    ## References

    "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of
    Agents", Sections IV-D and V-B, Eqs. 33-39.

    ## Version history

    - v1: the metric `price` is NaN without a trade, where it was a price of the clocks that nobody paid; the metric
      `exchange_cost` is new; settings whose bids can be outside the clocks are refused. Rewards, observations and
      scores are as in v0.
    - v0: first version.
    """

    name: ClassVar[str] = "double_dutch"
    version: ClassVar[int] = 1
    config_class: ClassVar[type[Any]] = DoubleDutchConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("auctioneer",)
    metric_names: tuple[str, ...] = Metrics.names()
    final_episodes: ClassVar[Mapping[str, int]] = {"exchange": 250}
    objectives: ClassVar[Mapping[str, str]] = {"auctioneer": "return"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"auctioneer": "fixed_step"}
    board_metrics: ClassVar[tuple[str, ...]] = ("efficiency", "messages", "ticks")
    best_known: ClassVar[Mapping[str, Mapping[str, BestKnown]]] = {
        "paper": {"auctioneer": BestKnown(72.58233519725907, 1000, 1, _SEARCH)}
    }
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES

    pictures: ClassVar[str] = "ioa_marl.envs.double_dutch.render"
    # The order of the roles depends on the course of the auction: the driver plays on until a controlled role must act.
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (("auctioneer", *BIDDERS),)
    native: ClassVar[frozenset[str]] = frozenset(phases[0])

    config: DoubleDutchConfig
    market: AuctionState

    def __init__(
        self,
        config: DoubleDutchConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self._params = config.record(
            self.controlled_roles, config.max_cycles, config.observation == "extended", autoreset
        )
        self._steps = config.step_ticks()
        self._choices = np.zeros((num_envs, 2, self.market.order.shape[2]), np.int64)
        # The drivers take arrays of every role; these are placeholders for the arrays of scripted roles.
        features = {name: role.observation_space.shape[0] for name, role in self.roles.items()}
        agents = _PLACEHOLDER_AGENTS.items()
        self._no_actions = np.zeros((num_envs, 1), np.int64)
        self._no_observations = {role: np.zeros((num_envs, n, features[role]), np.float32) for role, n in agents}
        self._no_rewards = {role: np.zeros((num_envs, n), np.float32) for role, n in agents}
        self._no_active = {role: np.zeros((num_envs, n), np.bool_) for role, n in agents}
        self._lone_auctioneer = self.controlled_roles == ("auctioneer",)
        self._outputs = [self._outputs_of(buffers) for buffers in self.buffers]
        driver = drivers.step_auctioneer if self._lone_auctioneer else drivers.step_roles
        actions = (self._no_actions,) if self._lone_auctioneer else (self._no_actions, self._choices)
        self._step_markets: Callable[..., None] = machine_code(
            driver, self.market, self._params, self._steps, *actions, *self._outputs[0]
        )

    def _outputs_of(self, buffers: PhasedBuffers) -> tuple[Any, ...]:
        """Return the arrays that the driver of a whole step writes, as its last arguments."""
        observations = self._of_all_roles(buffers.observations, self._no_observations)
        final = self._of_all_roles(buffers.final_observations, self._no_observations)
        rewards = self._of_all_roles(buffers.rewards, self._no_rewards)
        active = self._of_all_roles(buffers.active, self._no_active)
        common = drivers.StepOutputs(
            terminated=buffers.terminated,
            truncated=buffers.truncated,
            observation=observations[0],
            reward=rewards[0],
            final_observation=final[0],
            metrics=_as_records(buffers.metrics),
            ledger=buffers.ledger,
        )
        if self._lone_auctioneer:
            active[0].fill(True)  # Every step uses its action.
            return (common,)
        buyers, sellers = (drivers.BidderOutputs(observations[i], rewards[i], final[i], active[i]) for i in (1, 2))
        return common, active[0], buyers, sellers

    @classmethod
    def make_roles(cls, config: DoubleDutchConfig) -> dict[str, Role]:
        """Return the roles auctioneer, buyer and seller."""
        extended = config.observation == "extended"
        features = AUCTIONEER_FEATURES_EXTENDED if extended else AUCTIONEER_FEATURES
        auctioneer_view, bidder_view = unit_box(features), unit_box(features + BIDDER_EXTRAS)
        return {
            "auctioneer": Role("auctioneer", 1, auctioneer_view, spaces.Discrete(len(config.steps)), "scripted_step"),
            "buyer": Role("buyer", config.buyers, bidder_view, spaces.Discrete(2), "truthful"),
            "seller": Role("seller", config.sellers, bidder_view, spaces.Discrete(2), "truthful"),
        }

    def allocate(self) -> AuctionState:
        """Return the zeroed arrays of the batch."""
        return allocate_state(self.num_envs, max(self.config.buyers, self.config.sellers))

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger: those of the buyers, the sellers and the auctioneer."""
        return self.config.buyers + self.config.sellers + 1

    def reset_to(
        self, values: NDArray[np.float64], costs: NDArray[np.float64], size: NDArray[np.int64] | None = None
    ) -> tuple[Arrays, Arrays]:
        """Start auctions over known valuations in all markets.

        Parameters
        ----------
        values : ndarray of float64, shape (batch, buyers)
            Values of the buyers [units per lot], finite and at least 0; there may be fewer than ``config.buyers``.
        costs : ndarray of float64, shape (batch, sellers)
            Costs of the sellers [units per lot], finite and at least 0; there may be fewer than ``config.sellers``.
        size : ndarray of int64, shape (batch, 2), optional
            Numbers of buyers and of sellers who take part in each market, the first ones. Default: all.

        Returns
        -------
        observations, active : dict of ndarray
            As `reset` returns them.
        """
        valuations = np.atleast_2d(np.asarray(values, np.float64)), np.atleast_2d(np.asarray(costs, np.float64))
        largest = self.config.buyers, self.config.sellers
        for name, valuation, most in zip(("values", "costs"), valuations, largest, strict=True):
            require(len(valuation) == self.num_envs, "markets", len(valuation), f"{name} of {self.num_envs}")
            require(valuation.shape[1] <= most, "bidders", valuation.shape[1], f"at most {most} {name}")
            valid = bool(np.all(np.isfinite(valuation) & (valuation >= 0)))
            require(valid, name, valuation.tolist(), "finite numbers from 0")
        fits = size is None or bool(np.all((size >= 0) & (size <= [v.shape[1] for v in valuations])))
        require(fits, "size", size, "numbers of bidders, at most as many as there are valuations")
        for side, valuation in enumerate(valuations):
            n = valuation.shape[1]
            self.market.size[:, side] = n if size is None else size[:, side]
            self.market.valuation[:, side] = 0.0
            self.market.valuation[:, side, :n] = valuation
            self.market.order[:, side, :n] = np.arange(n)
            if size is not None:
                self.market.valuation[:, side][np.arange(self.market.valuation.shape[2]) >= size[:, side, None]] = 0.0
        self.openings += 1
        drivers.open_markets(self.market, self._params, np.ones(self.num_envs, np.bool_))
        return self._show()

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of the markets ``mask``, bool (batch,)."""
        draw_markets(self.config, self.market, self._params, mask)
        drivers.open_markets(self.market, self._params, mask)

    def play_step(self, actions: Arrays, into: int) -> None:
        """Play until the action of a controlled role is needed again; see `PhasedGame.play_step`.

        One compiled call plays the whole step, unless the next bids come from a table, or the caller wants the final
        states of episodes, which the game must read between the end of an episode and the reset.
        """
        if self.final_states or self.config.data is not None:
            super().play_step(actions, into)
            return
        steps, outputs = actions.get("auctioneer", self._no_actions), self._outputs[into]
        if self._lone_auctioneer:
            self._step_markets(self.market, self._params, self._steps, steps, *outputs)
        else:
            self._take_choices(actions)
            self._step_markets(self.market, self._params, self._steps, steps, self._choices, *outputs)

    def _take_choices(self, actions: Arrays) -> None:
        """Copy the actions of the controlled bidders into one array, int64 (batch, 2, bidders)."""
        for side, role in enumerate(BIDDERS):
            if role in actions:
                self._choices[:, side, : self.roles[role].count] = actions[role]

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play the markets ``mask`` until the action of a controlled role is needed; see `PhasedGame.play_phase`."""
        self._take_choices(actions)
        steps, outputs = actions.get("auctioneer", self._no_actions), self._of_all_roles(rewards, self._no_rewards)
        self._play_markets(self.market, self._params, self._steps, mask, steps, self._choices, *outputs, terminated)

    def write_observations(self, observations: Arrays) -> None:
        """Write the observations, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        arrays = self._of_all_roles(observations, self._no_observations)
        self._observe_markets(self.market, self._params, *arrays)

    def write_active(self, active: Arrays) -> None:
        """Write whose action the next step uses, bool (batch, agents); see `PhasedGame.write_active`."""
        self._write_active(self.market, self._params, *self._of_all_roles(active, self._no_active))

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        drivers.end_episodes(self.market, self._params, mask, _as_records(metrics), ledger)

    def _of_all_roles(self, arrays: Arrays, placeholders: Arrays) -> list[NDArray[Any]]:
        """Return the arrays of all roles in order, with placeholders for the scripted roles."""
        return [arrays.get(role, placeholder) for role, placeholder in placeholders.items()]

    # These three drivers are compiled when they are first used, since most games only ever need a whole step.

    @cached_property
    def _play_markets(self) -> Callable[..., None]:
        mask = np.ones(self.num_envs, np.bool_)
        return machine_code(
            drivers.play_markets, self.market, self._params, self._steps, mask, self._no_actions, self._choices,
            *self._no_rewards.values(), mask,
        )  # fmt: skip

    @cached_property
    def _observe_markets(self) -> Callable[..., None]:
        return machine_code(observe_markets, self.market, self._params, *self._no_observations.values())

    @cached_property
    def _write_active(self) -> Callable[..., None]:
        return machine_code(drivers.write_active, self.market, self._params, *self._no_active.values())

    def state(self) -> NDArray[np.float32]:
        """Return active side, tick, clocks, numbers of winners, and the valuations and acceptances of all bidders.

        Shape (batch, 6 + 2·(buyers + sellers)), scaled to [0, 1]: first the buyers' valuations and acceptances, then
        the sellers'.
        """
        market, config = self.market, self.config
        out = np.zeros((self.num_envs, 6 + 2 * (config.buyers + config.sellers)), np.float32)
        cap = round(config.buyer_clock / config.tick)
        out[:, 0] = market.side
        out[:, 1] = market.ticks / config.max_ticks
        out[:, 2:4] = market.clock / cap
        out[:, 4:6] = market.winners / (config.buyers, config.sellers)
        first = 6
        for side, n in enumerate((config.buyers, config.sellers)):
            out[:, first : first + n] = market.valuation[:, side, :n] / config.buyer_clock
            out[:, first + n : first + 2 * n] = market.accepted_at[:, side, :n] >= 0
            first += 2 * n
        return np.clip(out, 0.0, 1.0)

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the clairvoyant bound of the auctioneer's return [units] by role, shape (batch,).

        It ignores ``max_cycles``.
        """
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        return {"auctioneer": clairvoyant_bounds(game.market, config)}


def _as_records(metrics: NDArray[np.float64]) -> NDArray[Any]:
    """Return a view of contiguous metrics, float64 (batch, metrics), as `Metrics` (batch,)."""
    return metrics.view(Metrics.dtype())[:, 0]
