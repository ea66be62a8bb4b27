"""The modified second-bid auction as a game; see `SecondBidGame`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from ioa_marl.foundations.parameters import added_setting, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.second_bid import drivers
from ioa_marl.markets.second_bid.own_data import own_providers, write_values
from ioa_marl.markets.second_bid.params import PRESETS, SecondBidParams
from ioa_marl.markets.second_bid.providers import Providers, draw_providers
from ioa_marl.markets.second_bid.references import calibration, contract_price, draw_tasks, full_information
from ioa_marl.markets.second_bid.state import (
    EVERY_INSTANCE,
    EVERY_PERIOD,
    LATE,
    OWN,
    SecondBidMetrics,
    SecondBidState,
)


@dataclass(frozen=True)
class SecondBidConfig(SecondBidParams):
    """Settings of the environment: those of the auction, and the observation of the auctioneer."""

    information: str = "current_bids"
    """Information on which ρ may depend: ``history`` (past tasks only) or ``current_bids`` (also the bids for the
    task)."""
    uav_bid_visible: bool = False
    """Whether the auctioneer observes the UAV's valuation of the current task; only with ``current_bids``."""
    max_cycles: int | None = None
    """Number of steps after which an episode is truncated. None: it ends with the last task."""
    instance: int | None = added_setting(None)
    """Number of the instance, which fixes the resources of the providers; only with ``redraw=instance``. None: the
    seed."""

    def __post_init__(self) -> None:
        """Check the settings that only the environment has."""
        super().__post_init__()
        check_common(self)
        require(
            self.redraw == "instance" or self.instance is None,
            "instance", self.instance, f"none with redraw={self.redraw}: there is nothing that stays the same",
        )  # fmt: skip
        choices = ("history", "current_bids")
        require(self.information in choices, "information", self.information, "history or current_bids")
        require(isinstance(self.uav_bid_visible, bool), "uav_bid_visible", self.uav_bid_visible, "true or false")
        require(
            not self.uav_bid_visible or self.information == "current_bids",
            "uav_bid_visible", self.uav_bid_visible, "false with information=history",
        )  # fmt: skip


def _with_providers(recipe: tuple[Any, ...], providers: Providers | None) -> SecondBidGame:
    """Return a game that has not been reset, from its recipe and the providers that it was given."""
    build, arguments = recipe
    game: SecondBidGame = build(*arguments)
    if providers is not None:
        game.set_providers(providers)
    return game


class SecondBidGame(PhasedGame):
    """An auctioneer sets the lead that the best base station needs over the second one to win a task from a UAV.

    ## Description

    The computing tasks of vehicles arrive one after the other. N ground base stations (performance bidders) bid for
    each task, and a UAV (brand bidder) serves it under a contract if no station wins. Provider n values a task at
    v_n = c_n·m_n. The common value c = ω₁ E[1/T] comes from its latency, and the match value m = ω₂ E[1/(1−R)^β] from
    its accuracy, both averaged over the last periods. The auctioneer chooses the price scaling factor ρ, before or
    after it observes the bids (`information`). The station with the highest bid wins iff b₍₁₎ > ρ b₍₂₎, and pays
    ρ b₍₂₎, where b₍₂₎ is the second highest bid of a station (or of any provider, see `rivals` under Fidelity).
    Otherwise the UAV serves the task and pays its contract price b₀ = E[v₀].

    The auctioneer does not know whether the UAV would be the better provider, since v₀ becomes public only after the
    task, unless `uav_bid_visible`. The bids inform it about the stations, and so does the past if accuracies persist.
    Truthful bids do not depend on ρ, and neither does the next task. The game is therefore a **contextual bandit**, and
    learners do best with gamma = 0.

    By default nothing lasts longer than an episode: channels, task sizes, bandwidths, powers and computing speeds are
    drawn for every averaged period, and accuracies at least for every episode. With `redraw="instance"`, each provider
    has a bandwidth, power, computing speed, channel gain and accuracy of its own that belong to the instance, and with
    `redraw="episode"` to the episode. In a period it then has (1 − `spread`) times that, plus `spread` times a new draw
    from the range. With `window="sliding"` consecutive tasks share all averaged periods but one, so that valuations
    move on slowly. The UAV can have ranges of its own (`uav_channel_gain` and the others).

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `auctioneer` | 1 | controlled | `constant_rho` and the others below |
    | `station` | `stations` | `truthful` | `truthful`, `multiplied` |

    Every role can be controlled. In each round the stations bid first, then the auctioneer acts; if both are
    controlled, a round has two steps. The UAV never acts and is not a role.

    | Policy of the auctioneer | ρ |
    | --- | --- |
    | `constant_rho` | the best constant, or the one with the index `level` |
    | `second_price` | 1 |
    | `ratio_rule` | max(1, ζ E[v₀]/E[b₍₂₎]), rounded to the grid: the optimum with Pareto match values |
    | `myopic_msb` | max(1, b₍₁₎/b₍₂₎), rounded up: this **always gives the UAV the task**, as far as the grid reaches |
    | `threshold` | 1 if b₍₁₎ exceeds `threshold` (default: the best one), else the largest |
    | `last_winner` | 1 if the last b₍₁₎ exceeded the last v₀, else the largest |
    | `oracle` | the best one for the bids, given every true value; ties go to the smallest |

    The best constants are chosen on calibration markets, where resources belong to the instance on those of the same
    instance. The best threshold is ζ E[v₀], except in `pareto`, where the
    bids are informative about v₀, and with `rivals="providers"`; there the threshold is calibrated too. Policies may
    use bids that `information` hides from learners. In the paper's factor max(1, u₀/b₍₂₎), u₀ has two readings: the
    setting `u0` of `ratio_rule`, which takes means, and of `myopic_msb`, which takes the task itself, is `highest_bid`
    (u₀ = b₍₁₎, the default of `myopic_msb`) or `uav` (u₀ = ζ v₀, the default of `ratio_rule`). `multiplied` stations
    bid a fixed multiple `factor` of their valuation.

    ## Observation space

    `auctioneer`: float32 in [0, 1]; 9 features, `stations` more with `information="current_bids"`, and one more with
    `uav_bid_visible`. Logarithms of values and bids are scaled between the 0.1% and 99.9% quantiles of v₀ and of the
    stations' highest, second highest and lowest values, taken together, over many instances if there are any. In the
    first round all features of the past
    are 0.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0, 1, 2 | log v₀, log b₍₁₎, log b₍₂₎ of the last task | quantiles |
    | 3 | log(b₍₁₎/b₍₂₎) of the last task | 99.9% quantile |
    | 4 | winner of the last task: 0.5 the UAV, 1 a station | 1 |
    | 5 | log ρ of the last task | largest log ρ |
    | 6, 7, 8 | moving averages (0.8 old, 0.2 new) of log v₀, log b₍₁₎, log b₍₂₎ | quantiles |
    | 9 … 8 + N | logarithms of the bids for this task, the highest first | quantiles |
    | 9 + N | log v₀ of this task | quantiles |

    Here b₍₁₎ and b₍₂₎ are bids of stations, whatever `rivals` says.

    `station`: logarithm of the own valuation, last log ρ, and whether the station won the last task (0, 1).

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `auctioneer` | `Discrete(levels)` | index a of ρ = 10^(a/A); 0 is ρ = 1 |
    | `station` | `Discrete(16)` | bid = valuation times 0.5, 0.6, …, 2.0; 5 is truthful |

    ## Rewards

    `auctioneer`: the allocative surplus of the task [units]. It is ζ v₀ if the UAV serves the task, and otherwise the
    true value of the winning station. Payments are transfers and do not count.
    `station`: value − payment for the winner, in the step in which the auctioneer acts; otherwise 0 [units].

    ## Starting state

    The auctioneer has seen no past. Accuracies are R ~ U(`accuracy`), and all other draws of a task are uniform in
    their ranges; so are resources that stay. A window that slides is full at the first task.

    ## Episode end

    Truncation: after `tasks` tasks, and after `max_cycles` steps, if that is set. Tasks go on arriving for ever, and
    the observation does not tell how many are left: the end is a cut, after which learners bootstrap.

    ## Metrics

    Metrics are means over the tasks auctioned in the episode. Without such a task they are 0, and `efficiency` is 1.

    | Name | Meaning |
    | --- | --- |
    | `surplus` | allocative surplus, which is scored [units] |
    | `optimal_surplus`, `efficiency` | surplus of `oracle` on the same bids [units], and the ratio of the two means |
    | `station_surplus`, `uav_surplus` | part of the surplus from tasks that stations and the UAV serve [units] |
    | `uav_share` | share of the tasks that the UAV serves |
    | `revenue`, `bidder_utility` | payment of the winner, and its value − payment [units] |
    | `delay` | latency of the winner, the mean over its averaged periods or that of the task (`delay_of`) [s] |
    | `rho` | price scaling factor |

    A score of 1 is the surplus with full information: the best ρ of the grid for every task, given truthful bids.

    ## Arguments

    The fields of `SecondBidConfig`, which `conf/env/second_bid.yaml` lists with their meaning.

    With `data` valuations or providers are those of a file (CSV or Parquet). A table with the columns `market` (a
    task), `station`, `value` and `uav` (once for each task) has the valuations [units]: an episode starts at a task
    that is drawn uniformly and goes on in the table's order; latencies are not known, and `delay` is NaN. A table with
    the column `provider` (`uav` or `station`, a row for each) has what they have on the whole, in the columns of
    `ioa_marl.markets.second_bid.market_from`; see `spread`. The number of stations, the scales of observations, the
    contract price and the best constants follow from the table. A run keeps it, so that its rows can be checked without
    the file; see docs/own_numbers.md.

    Latencies and accuracies of one's own become valuations by `ioa_marl.markets.second_bid.valuations`, with the
    equations of this market. `ioa_marl.markets.second_bid.market_from` takes bandwidths, powers, speeds, gains and
    accuracies of each provider, which `set_providers` plays, and `auction_traces` bids task by task; see
    docs/own_numbers.md.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 5 stations, accuracies redrawn for each task, ρ may depend on the stations' bids |
    | `persistent` | accuracies last 5 tasks on average, ρ may depend on the past only |
    | `pareto` | common value times Pareto match values, ρ may depend on the past only; the optimum is a constant |
    | `visible` | as `paper`, and ρ may depend on the UAV's valuation too: the state as the paper has it |
    | `three`, `nine` | as `paper` with 3 stations, where the UAV dominates, and with 9, where the stations dominate |
    | `resident` | resources belong to the instance, and the window slides; ρ may depend on the past only |

    On `paper` with `information="history"` the past is not informative, and no policy can beat the best constant ρ.
    With `current_bids` and a hidden valuation of the UAV, no observation is informative about v₀. The optimum is then
    the policy `threshold`, in which the best station wins iff b₍₁₎ > ζ E[v₀], as far as the grid reaches. Its score is
    about 0.46.

    On `resident` a window of 5 periods slides, and accuracies change every second period on average. The past is worth
    something by itself. Over instances 0 to 2, 1000 episodes each, the best constant ρ of the instance scores 0.70
    (0.59, 0.51, 0.99), `last_winner` 0.895 (0.87, 0.83, 0.99), and PPO with `agent=ppo/second_bid` after 100 000 steps
    0.911 (0.88, 0.86, 0.99). Over instances 0 to 19, 100 episodes each, the constant scores 0.69 and `last_winner`
    0.91. Instances differ in how far apart the providers are: in eight of these 20 one of them is nearly always the
    best, and the constant scores above 0.9.

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - Levels in dB and dBm are converted. Sizes are in Gbit and computing speeds in Gbit/s: in the printed units
      processing takes 30 s, and the bandwidth would have no effect. Here a task takes 0.61 s, 59% of it on the radio.
    - b₍₂₎ is the second highest bid of a **station**. With the UAV's bid among them, the auction would not be free of
      adverse selection, which is the purpose of ρ. Eq. 14 as printed counts the bids of all other providers;
      `rivals="providers"` does so, with v₀ as the UAV's bid. A station then wins at ρ = 1 iff its value exceeds v₀ and
      those of the others, so that with ζ = 1 the second-price auction is the first best (equal bids of the two best
      stations aside). The paper's 30% more surplus than second price is impossible under that rule.
    - ρ = 10^(a/A) starts at a = 0, so that the second-price auction is among the actions.
    - The paper gives one range of bandwidths, powers, gains and speeds, and does not say which of them belong to a
      provider. By default the UAV draws from the ranges of the stations and differs by a factor on its value: `delay`
      is then 0.61 s under every policy. With narrower channels and slower processors of its own (`uav_uplink_bandwidth`
      and `uav_downlink_bandwidth` 10 to 30 MHz, `uav_provider_power` 20 to 30 dBm, `uav_channel_gain` −15 to −10 dB,
      speeds 0.5 to 1 Gbit/s), it is 0.61 s under `second_price`, 0.77 s under `threshold`, and 1.17 s under
      `myopic_msb`, which gives the UAV nearly every task; on instance 1 of `resident` it is 0.67, 0.62 and 0.58 s.
    - "Over the past T periods" (Eqs. 9 and 10) is read as periods that every task has for itself, so that tasks are
      independent; `window="sliding"` is the other reading. Periods do not depend on who wins.
    - Eq. 13 is maximised by b₀ = E[v₀], since v₀ does not depend on the stations' bids. It is estimated once for a
      market or instance. `pareto` uses it too, although the UAV and the stations share the common value there. Payments
      do not enter the surplus.
    - The paper does not give accuracies. Here they are U(0.5, 0.9) for a provider, ±0.035 in each period, and at most
      0.99. The UAV's valuation is multiplied by 2.6 for its line of sight; with full information it then serves 40% of
      the tasks.
    - The state of the paper has the UAV's valuation among the bids. The best choice then follows from a comparison of
      two numbers, and the UAV is no longer a bidder who cannot value single tasks. By default the valuation is hidden;
      `uav_bid_visible` adds it to the observation, and the preset `visible` is a board of its own.
    - Theorem 1 claims that the auction is strategy-proof although ρ depends on the bids. It is not: with v₀ = 10 and
      stations that value the task at 8 and 5, an auctioneer who maximises the surplus of the bids gives it to the UAV,
      and the first station wins it at 5 by bidding 11. With `information="history"` the claim holds for a station that
      looks one task ahead. `ioa_marl.evaluation.audits.second_bid` measures the gains from misreporting.
    - The common value of Eq. 9 differs between providers; in `pareto` it is shared, as in the model of Arnosti, Beck
      and Milgrom.

    ## References

    "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular metaverses", Sections 3
    to 6, Eqs. 1-15. Arnosti, Beck and Milgrom, "Adverse selection and auction design for internet display advertising",
    American Economic Review 106, 2016.

    ## Version history

    - v1: the setting `rivals` and the preset `visible` are new. With the default settings, rewards, observations and
      scores are as in v0. The last task truncates the episode.
    - v0: first version.
    """

    name: ClassVar[str] = "second_bid"
    version: ClassVar[int] = 1
    config_class: ClassVar[type[Any]] = SecondBidConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PRESETS,
        "persistent": {**PRESETS["persistent"], "information": "history"},
        "pareto": {**PRESETS["pareto"], "information": "history"},
        "visible": {"uav_bid_visible": True},
        "resident": {**PRESETS["resident"], "information": "history"},
    }
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("auctioneer",)
    metric_names: tuple[str, ...] = SecondBidMetrics.names()
    objectives: ClassVar[Mapping[str, str]] = {"auctioneer": "surplus"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"auctioneer": "constant_rho"}
    board_metrics: ClassVar[tuple[str, ...]] = ("efficiency", "revenue", "delay", "uav_share")
    pictures: ClassVar[str] = "ioa_marl.envs.second_bid.render"
    endless: ClassVar[bool] = True
    instanced: ClassVar[bool] = True
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
        constants = calibration(config)
        self.params = config.record(config.information == "current_bids", config.uav_bid_visible)
        """The parameters as kernels read them, one `SecondBidRecord`."""
        for name in ("contract_price", "log_low", "log_high", "log_ratio"):
            self.params[name] = getattr(constants, name)
        self.providers: Providers | None = own_providers(config)
        """Providers of one's own, the same in all markets; see `set_providers`."""
        self.rhos = config.rhos()
        """Price scaling factors ρ, float64 (levels,)."""
        self._multipliers = np.array(drivers.MULTIPLIERS)
        self._truth = np.full((num_envs, config.stations), drivers.TRUTH, np.int64)
        # The auctions write their surplus here if the auctioneer is scripted.
        self._surplus = np.zeros((num_envs, 1), np.float32)
        mask, features = np.ones(num_envs, np.bool_), np.zeros((num_envs, 1, drivers.HISTORY_FEATURES), np.float32)
        if self.providers is not None:
            self.params["redraw"] = OWN
        self._draw_tasks = machine_code(drivers.draw_tasks, self.market, self.params, mask)
        self._make_bids = machine_code(drivers.make_bids, self.market, self._multipliers, self._truth, mask)
        self._hold_auctions = machine_code(
            drivers.hold_auctions, self.market, self.params, self.rhos, self._truth, mask, self._surplus, mask
        )
        self._observe_auctioneers = machine_code(drivers.observe_auctioneers, self.market, self.params, features)

    @classmethod
    def uses_instances(cls, config: Any) -> bool:
        """Return whether resources belong to the instance."""
        return bool(config.redraw == "instance")

    @classmethod
    def make_roles(cls, config: SecondBidConfig) -> dict[str, Role]:
        """Return the roles auctioneer and station."""
        current_features = config.stations + config.uav_bid_visible if config.information == "current_bids" else 0
        auctioneer_view = unit_box(drivers.HISTORY_FEATURES + current_features)
        station_view = unit_box(drivers.STATION_FEATURES)
        bids = spaces.Discrete(len(drivers.MULTIPLIERS))
        return {
            "auctioneer": Role("auctioneer", 1, auctioneer_view, spaces.Discrete(config.levels), "constant_rho"),
            "station": Role("station", config.stations, station_view, bids, "truthful"),
        }

    def allocate(self) -> SecondBidState:
        """Return the zeroed arrays of the batch."""
        return self.config.allocate(self.num_envs)

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger: those of the stations, the UAV and the auctioneer."""
        return self.config.stations + 2

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of the markets ``mask``, bool (batch,)."""
        drivers.clear_episodes(self.market, mask)
        self._set_lasting(mask)
        self.draw_next_tasks(mask)

    def draw_next_tasks(self, mask: NDArray[np.bool_]) -> None:
        """Draw the next task of the markets ``mask``, or take it from the table."""
        self._draw_tasks(self.market, self.params, mask)
        write_values(self.config, self.market, mask)

    def set_providers(self, providers: Providers) -> None:
        """Play with these providers, whatever ``redraw`` says, from the next draw of a task on; reset to begin anew.

        Parameters
        ----------
        providers : Providers
            What the UAV and the stations of all markets have on the whole, from `market_from` or `draw_providers`.
            Scores are not defined for them: their scale is that of the settings. With `data` they are.

        Examples
        --------
        >>> from ioa_marl.markets.second_bid import market_from
        >>> game = SecondBidGame(SecondBidGame.make_config("paper", spread=0.0, accuracy_noise=0.0))
        >>> game.set_providers(market_from(game.config, accuracy=[0.8, 0.5, 0.5, 0.5, 0.5, 0.7]))
        >>> game.reset(np.zeros(1, np.uint64))[1]["auctioneer"]
        array([[ True]])
        >>> int(game.market.value[0, 1:].argmax())
        4
        """
        count = self.config.stations + 1
        require(len(providers) == count, "providers", len(providers), f"{count}, the UAV and the stations")
        require(self.config.valuations == "physical", "valuations", self.config.valuations, "physical")
        self.providers = providers
        self.params["redraw"] = OWN
        self._set_lasting(np.ones(self.num_envs, np.bool_))

    def recipe(self) -> tuple[Any, ...]:
        """Return a function and its arguments, which build a game like this one; see `Game.recipe`."""
        return _with_providers, (super().recipe(), self.providers)

    def _set_lasting(self, mask: NDArray[np.bool_]) -> None:
        """Write the providers that are given, and the contract price of lasting ones, for the markets ``mask``."""
        if self.providers is not None:
            self.providers.write(self.market.nominal)
        if self.has_lasting_providers:
            self.market.contract_price[mask] = self.by_instance(contract_price, mask)

    @property
    def has_lasting_providers(self) -> bool:
        """Whether resources belong to the instance or are given, so that markets are calibrated for their providers."""
        return bool(self.params[0].redraw >= EVERY_INSTANCE)

    def by_instance(
        self, figure: Callable[[SecondBidParams, Providers], float], mask: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return a figure of the lasting providers of the markets ``mask``, float64 (markets,)."""
        if self.providers is not None:
            return np.full(int(mask.sum()), figure(self.config, self.providers))
        numbers, places = np.unique(self.market.instance[mask], return_inverse=True)
        found = [figure(self.config, draw_providers(self.config, int(number))) for number in numbers]
        return np.array(found, np.float64)[places]

    def saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies; see `PhasedGame.saved_arrays`.

        Those of lasting resources and sliding windows are among them only where they are used, so that a market without
        them continues from what it saved before there were any.
        """
        arrays = super().saved_arrays()
        if self.params[0].redraw != EVERY_PERIOD or self.params[0].sliding:
            return arrays
        return {name: array for name, array in arrays.items() if name not in LATE}

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
        self.draw_next_tasks(mask & ~terminated)

    def write_observations(self, observations: Arrays) -> None:
        """Write the observations, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        if "auctioneer" in observations:
            self._observe_auctioneers(self.market, self.params, observations["auctioneer"])
        if "station" in observations:
            drivers.observe_stations(self.market, self.params, observations["station"])

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        means = self.market.totals[mask]
        plain_view(means)[...] /= np.maximum(self.market.task[mask], 1)[:, None]
        surplus, optimal_surplus = means["surplus"], means["optimal_surplus"]
        efficiency = np.ones(len(means))
        means["efficiency"] = np.divide(surplus, optimal_surplus, out=efficiency, where=optimal_surplus > 0.0)
        metrics[mask] = plain_view(means)
        ledger[mask] = self.market.receipts[mask]
        balance_ledgers(ledger, mask)

    def state(self) -> NDArray[np.float32]:
        """Return phase, task, the past as the auctioneer observes it, and all accuracies, valuations and bids.

        Shape (batch, 11 + 2·(stations + 1) + stations), scaled to [0, 1].
        """
        market, n = self.market, self.config.stations
        past = np.zeros((self.num_envs, 1, drivers.HISTORY_FEATURES), np.float32)
        params = self.params.copy()
        params["current_bids"] = False
        self._observe_auctioneers(market, params, past)
        low, high = self.params[0].log_low, self.params[0].log_high
        out = np.empty((self.num_envs, 11 + 2 * (n + 1) + n), np.float32)
        out[:, 0] = market.phase
        out[:, 1] = market.task / self.config.tasks
        out[:, 2:11] = past[:, 0]
        out[:, 11 : 12 + n] = market.accuracy
        # Before the stations bid, their bids are 0; the logarithm is then far below the scale and clipped to 0.
        money = np.concatenate([market.value, market.bid], axis=1)
        out[:, 12 + n :] = (np.log(np.maximum(money, 1e-300)) - low) / (high - low)
        return np.clip(out, 0.0, 1.0)

    @classmethod
    def reference(
        cls,
        config: Any,
        seeds: NDArray[np.uint64],
        streams: NDArray[np.uint64],
        instances: NDArray[np.uint64] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean surplus of full information in episode 0 under truthful bids [units] by role, shape (batch,).

        If ``max_cycles`` is less than the number of tasks, the mean is over the first ``max_cycles`` tasks.
        ``instances`` has the instance of each market, by default its seed.
        """
        chosen = instances if config.instance is None else np.full(len(seeds), config.instance, np.uint64)
        tasks = draw_tasks(config, seeds, streams, tasks=config.max_cycles, instances=chosen)
        return {"auctioneer": full_information(tasks, config).mean(axis=1)}
