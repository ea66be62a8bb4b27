"""The modified second-bid auction as a game; see `SecondBidGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.second_bid.policies import POLICIES
from ioa_marl.envs.spaces import unit_box
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.ledger import balance_ledgers
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.second_bid import drivers
from ioa_marl.markets.second_bid.auction import PRESETS, SecondBidParams
from ioa_marl.markets.second_bid.references import calibration, draw_tasks, full_information
from ioa_marl.markets.second_bid.state import SecondBidMetrics, SecondBidState, allocate_state


@dataclass(frozen=True)
class SecondBidConfig(SecondBidParams):
    """Settings of the environment: those of the auction, and what the auctioneer sees."""

    information: str = "current_bids"
    """What ρ may depend on: ``history`` (past tasks only) or ``current_bids`` (also the bids that it prices)."""
    uav_bid_visible: bool = False
    """Whether the auctioneer sees the UAV's valuation of the present task; only with ``current_bids``."""
    max_cycles: int | None = None
    """Cut episodes off after this many steps (truncation). None: they end with the last task."""

    def __post_init__(self) -> None:
        """Check the settings that the auction does not know."""
        super().__post_init__()
        check_common(self)
        known = ("history", "current_bids")
        require(self.information in known, "information", self.information, "history or current_bids")
        require(isinstance(self.uav_bid_visible, bool), "uav_bid_visible", self.uav_bid_visible, "true or false")
        require(
            not self.uav_bid_visible or self.information == "current_bids",
            "uav_bid_visible", self.uav_bid_visible, "false with information=history",
        )  # fmt: skip


class SecondBidGame(PhasedGame):
    """An auctioneer decides how far ahead the best base station must be to be served before the UAV.

    ## Description

    Vehicles' computing tasks come one after the other. N ground base stations (performance bidders) bid for each; a
    UAV (brand bidder) stands by under contract. Provider n values a task at v_n = c_n·m_n: a common value
    c = ω₁ E[1/T] from its latency, and a match value m = ω₂ E[1/(1−R)^β] from its accuracy, averaged over the last
    periods. Before or after it has seen the bids (`information`), the auctioneer chooses the price scaling factor ρ.
    The best station wins iff b₍₁₎ > ρ b₍₂₎, and pays ρ b₍₂₎; b₍₂₎ is the second highest bid of a station. Otherwise the
    UAV serves the task and pays its contract price b₀ = E[v₀].

    Whether the UAV would be better is what the auctioneer does not know: it learns v₀ after the task, unless
    `uav_bid_visible`. Bids tell it something about the stations' part of the comparison, and, where accuracies persist,
    so does the past. Truthful bids do not depend on ρ, nor does the next task on this one: it is a **contextual
    bandit**, and learners do best with gamma = 0.

    Nothing lasts longer than an episode, so there are no instances: channels, task sizes and computing speeds are drawn
    for every task, accuracies at least for every episode.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `auctioneer` | 1 | learns | `constant_rho` and the others below |
    | `station` | `stations` | `truthful` | `truthful`, `multiplied` |

    Either can learn. In each round the stations bid, then the auctioneer acts; where both learn, these are two steps.
    The UAV never acts and is not a role.

    | Policy of the auctioneer | ρ |
    | --- | --- |
    | `constant_rho` | the best constant, or the one with the index `level` |
    | `second_price` | 1 |
    | `ratio_rule` | max(1, ζ E[v₀]/E[b₍₂₎]), to the nearest of the grid: the optimum with Pareto match values |
    | `myopic_msb` | max(1, b₍₁₎/b₍₂₎), rounded up: this **always gives the UAV the task**, as far as the grid reaches |
    | `threshold` | 1 where b₍₁₎ exceeds the best threshold (or `threshold`), else the largest |
    | `last_winner` | 1 if the last b₍₁₎ exceeded the last v₀, else the largest |
    | `oracle` | the best for somebody who knows every true value and the bids made, ties to the smallest |

    Constants are chosen on markets kept for that purpose; the best threshold is ζ E[v₀], and searched for in `pareto`
    only, where the bids say something about v₀. Policies may look at bids that `information` hides from
    learners. `multiplied` stations bid a fixed multiple `factor` of their valuation.

    ## Observation space

    `auctioneer`: float32 in [0, 1]; 9 features, with `information="current_bids"` `stations` more, and one more with
    `uav_bid_visible`. Logarithms of values and bids are scaled between the 0.1% and 99.9% quantiles of v₀ and of the
    stations' highest, second highest and lowest values, taken together.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0, 1, 2 | log v₀, log b₍₁₎, log b₍₂₎ of the last task; 0 before there is one, as all to index 8 | quantiles |
    | 3 | log(b₍₁₎/b₍₂₎) of the last task | 99.9% quantile |
    | 4 | who won the last task: 0 there is none, 0.5 the UAV, 1 a station | 1 |
    | 5 | log ρ of the last task | largest log ρ |
    | 6, 7, 8 | moving averages (0.8 old, 0.2 new) of log v₀, log b₍₁₎, log b₍₂₎ | quantiles |
    | 9 … 8 + N | log of this task's bids, the highest first | quantiles |
    | 9 + N | log v₀ of this task | quantiles |

    `station`: log of the own valuation, last log ρ, whether one won the last task (0, 1).

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `auctioneer` | `Discrete(levels)` | a: ρ = 10^(a/A), from ρ = 1 |
    | `station` | `Discrete(16)` | bid = valuation times 0.5, 0.6, … 2.0; 5 is the truth |

    ## Rewards

    `auctioneer`: the allocative surplus of the task, ζ v₀ if the UAV serves it, the true value of the station that does
    otherwise. Payments are transfers and do not count.
    `station`: value − payment for the one that wins, in the step in which the auctioneer acts; otherwise 0.

    ## Starting state

    No past. Accuracies R ~ U(`accuracy`), everything else of a task uniform in its range.

    ## Episode end

    Termination: after `tasks` tasks. Truncation: after `max_cycles` steps, if that is set.

    ## Metrics

    Means over the tasks auctioned in the episode; 0 (efficiency 1) if there was none.

    | Name | Meaning |
    | --- | --- |
    | `surplus` | allocative surplus: what is scored |
    | `optimal_surplus`, `efficiency` | that of `oracle` on the same bids, and the ratio of the two means |
    | `station_surplus`, `uav_surplus` | the stations' and the UAV's part of the surplus |
    | `uav_share` | share of tasks that the UAV serves |
    | `revenue`, `bidder_utility` | what the winner pays, and its value − payment |
    | `delay` | the winner's mean latency [s] |
    | `rho` | price scaling factor |

    The score's 1 is full information: the best ρ of the grid for every task, given truthful bids.

    ## Arguments

    The fields of `SecondBidConfig`; `conf/env/second_bid.yaml` lists them with their meaning.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 5 stations, accuracies drawn anew for each task, ρ may depend on the stations' bids |
    | `persistent` | accuracies last 5 tasks on average, ρ may depend on the past only |
    | `pareto` | a common value times Pareto match values, ρ may depend on the past only: the optimum is a constant |
    | `three`, `nine` | as `paper` with 3 stations, where the UAV dominates, and with 9, where they do |

    On `paper` with `information="history"` the past says nothing, and no policy can beat the best constant ρ. With
    `current_bids` and the UAV unseen, nothing that is seen says anything about v₀: the optimum is the policy
    `threshold`, which serves the best station iff b₍₁₎ > ζ E[v₀] (as far as the grid reaches), about 0.46 on the scale.

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - Levels in dB and dBm are converted. Sizes are in Gbit and computing speeds in Gbit/s: in the printed units
      processing takes 30 s and the bandwidth could not matter. Now a task takes 0.61 s, 59% of it on the radio.
    - b₍₂₎ is the second highest bid of a **station**. With the UAV's bid among them the auction would not be free of
      adverse selection, which is what ρ is for.
    - ρ = 10^(a/A) with a from 0, so that the second-price auction is among the actions.
    - Eq. 13 is maximised by b₀ = E[v₀], as v₀ does not depend on the stations' bids; estimated once for a market. It is
      kept in `pareto`, where they share the common value. Payments do not enter the surplus.
    - Accuracies are not given: U(0.5, 0.9) for a provider, ±0.035 in each period, at most 0.99. The UAV's valuation is
      multiplied by 2.6 for its line of sight: with full information it then serves 40% of the tasks.
    - The paper's state has the UAV's valuation among the bids. The best choice is then seen by comparing two numbers,
      and the UAV is no longer the bidder who cannot value single tasks. It is off by default; `uav_bid_visible` puts it
      there.
    - Theorem 1 claims that the auction is strategy-proof while ρ depends on the bids. It is not: with v₀ = 10 and
      stations that value the task at 8 and 5, an auctioneer who maximises the surplus of the bids gives it to the UAV,
      and the first station wins it at 5 by bidding 11. With `information="history"` it holds for a station that looks
      one task ahead. `ioa_marl.evaluation.audits.second_bid` measures what there is to gain.
    - The common value of Eq. 9 differs between providers; in `pareto` it is shared, as in the model of Arnosti, Beck
      and Milgrom.

    ## References

    "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular metaverses", Sections 3
    to 6, Eqs. 1-15. Arnosti, Beck and Milgrom, "Adverse selection and auction design for internet display advertising",
    American Economic Review 106, 2016.

    ## Version history

    - v0: first version.
    """

    name: ClassVar[str] = "second_bid"
    version: ClassVar[int] = 0
    config_class: ClassVar[type[Any]] = SecondBidConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PRESETS,
        "persistent": {**PRESETS["persistent"], "information": "history"},
        "pareto": {**PRESETS["pareto"], "information": "history"},
    }
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("auctioneer",)
    metric_names: tuple[str, ...] = SecondBidMetrics.names()
    objectives: ClassVar[Mapping[str, str]] = {"auctioneer": "surplus"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"auctioneer": "constant_rho"}
    board_metrics: ClassVar[tuple[str, ...]] = ("efficiency", "revenue", "delay", "uav_share")
    pictures: ClassVar[str] = "ioa_marl.envs.second_bid.render"
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (("station",), ("auctioneer",))
    native: ClassVar[frozenset[str]] = frozenset({"station"})
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES

    config: SecondBidConfig
    market: SecondBidState

    def __init__(
        self,
        config: SecondBidConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        known = calibration(config)
        self.params = config.record(config.information == "current_bids", config.uav_bid_visible)
        for name in ("contract_price", "log_low", "log_high", "log_ratio"):
            self.params[name] = getattr(known, name)
        self.rhos = config.rhos()
        self._multipliers = np.array(drivers.MULTIPLIERS)
        self._truth = np.full((num_envs, config.stations), drivers.TRUTH, np.int64)
        self._surplus = np.zeros((num_envs, 1), np.float32)
        every, seen = np.ones(num_envs, np.bool_), np.zeros((num_envs, 1, drivers.HISTORY_FEATURES), np.float32)
        self._draw_tasks = machine_code(drivers.draw_tasks, self.market, self.params, every)
        self._make_bids = machine_code(drivers.make_bids, self.market, self._multipliers, self._truth, every)
        self._hold_auctions = machine_code(
            drivers.hold_auctions, self.market, self.params, self.rhos, self._truth, every, self._surplus, every
        )
        self._observe_auctioneers = machine_code(drivers.observe_auctioneers, self.market, self.params, seen)

    @classmethod
    def make_roles(cls, config: SecondBidConfig) -> dict[str, Role]:
        """Return the roles auctioneer and station."""
        present = config.stations + config.uav_bid_visible if config.information == "current_bids" else 0
        seen = unit_box(drivers.HISTORY_FEATURES + present), unit_box(drivers.STATION_FEATURES)
        bids = spaces.Discrete(len(drivers.MULTIPLIERS))
        return {
            "auctioneer": Role("auctioneer", 1, seen[0], spaces.Discrete(config.levels), "constant_rho"),
            "station": Role("station", config.stations, seen[1], bids, "truthful"),
        }

    def allocate(self) -> SecondBidState:
        """Return the zeroed arrays of the batch."""
        return allocate_state(self.num_envs, self.config.stations, self.config.tasks)

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""
        return self.config.stations + 2

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the present episode of the markets ``mask``, bool (batch,)."""
        drivers.clear_episodes(self.market, mask)
        self._draw_tasks(self.market, self.params, mask)

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play one phase of the markets ``mask``; see `PhasedGame.play_phase`."""
        if phase == 0:
            self._make_bids(self.market, self._multipliers, actions.get("station", self._truth), mask)
            return
        surplus = rewards.get("auctioneer", self._surplus)
        self._hold_auctions(self.market, self.params, self.rhos, actions["auctioneer"], mask, surplus, terminated)
        if "station" in rewards:
            rewards["station"][mask] = self.market.utility[mask]
        self._draw_tasks(self.market, self.params, mask & ~terminated)

    def write_observations(self, observations: Arrays) -> None:
        """Write what agents see, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        if "auctioneer" in observations:
            self._observe_auctioneers(self.market, self.params, observations["auctioneer"])
        if "station" in observations:
            drivers.observe_stations(self.market, self.params, observations["station"])

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        means = self.market.totals[mask]
        plain_view(means)[...] /= np.maximum(self.market.task[mask], 1)[:, None]
        surplus, optimum = means["surplus"], means["optimal_surplus"]
        means["efficiency"] = np.divide(surplus, optimum, out=np.ones(len(means)), where=optimum > 0.0)
        metrics[mask] = plain_view(means)
        ledger[mask] = self.market.receipts[mask]
        balance_ledgers(ledger, mask)

    def state(self) -> NDArray[np.float32]:
        """Return progress, the past as the auctioneer sees it, and every accuracy, valuation and bid.

        Shape (batch, 11 + 2·(stations + 1) + stations).
        """
        market, n = self.market, self.config.stations
        past = np.zeros((self.num_envs, 1, drivers.HISTORY_FEATURES), np.float32)
        only_past = self.params.copy()
        only_past["current_bids"] = False
        self._observe_auctioneers(market, only_past, past)
        low, high = self.params[0].log_low, self.params[0].log_high
        out = np.empty((self.num_envs, 11 + 2 * (n + 1) + n), np.float32)
        out[:, 0] = market.phase
        out[:, 1] = market.task / self.config.tasks
        out[:, 2:11] = past[:, 0]
        out[:, 11 : 12 + n] = market.accuracy
        # A bid that has not been made is 0, and its logarithm is far below the scale.
        money = np.concatenate([market.value, market.bid], axis=1)
        out[:, 12 + n :] = (np.log(np.maximum(money, 1e-300)) - low) / (high - low)
        return np.clip(out, 0.0, 1.0)

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean surplus of full information in episode 0, per market, under truthful bids.

        Where ``max_cycles`` is less than the tasks, only so many count.
        """
        tasks = draw_tasks(config, seeds, streams, tasks=config.max_cycles)
        return {"auctioneer": full_information(tasks, config).mean(axis=1)}
