"""The Stackelberg offloading market as a game; see `StackelbergGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.spaces import unit_box
from ioa_marl.envs.stackelberg.comparison import audit_round, metrics_of
from ioa_marl.envs.stackelberg.mobility import MobilityMetrics, MobilityWatch
from ioa_marl.envs.stackelberg.policies import POLICIES
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import added_setting, check_integer, require
from ioa_marl.foundations.records import Record, plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.benchmarks import known_equilibria
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.observations import (
    LEADER_FEATURES,
    LEADER_FEATURES_EXTENDED,
    WIRELESS_FEATURES,
    leader_features_customers,
    observe_customers,
    observe_leaders,
    observe_wireless,
)
from ioa_marl.markets.stackelberg.params import LEADERS, PRESETS, StackelbergParams, allocate_state, start_episodes
from ioa_marl.markets.stackelberg.records import StackelbergMetrics
from ioa_marl.markets.stackelberg.references import equilibrium_on_grid


class _Solution(Record):
    """State of the computation of a market's equilibrium under its current conditions."""

    solved: bool
    """Whether the equilibrium has been computed for these conditions."""
    on_grid: bool
    """Whether its prices were rounded to the grid."""


@dataclass(frozen=True)
class StackelbergConfig(StackelbergParams):
    """Settings of the environment: those of the market, and the observations and actions of the agents."""

    action: str = "discrete"
    """Action of a leader: ``discrete`` (an index of a grid) or ``box`` (a share of ``price_cap``)."""
    price_levels: int = 51
    """Number of prices on the grid, equally spaced from 0 to ``price_cap``."""
    share_levels: int = 21
    """Number of shares, equally spaced from 0 to 1, from which a controlled wireless agent chooses."""
    observation: str = "paper"
    """Observation of a leader: ``paper`` (5 features), ``extended`` (11, with the means over the wireless agents in its
    reach) or ``customers`` (with what it knows of each of them)."""
    instance: int | None = None
    """Number of the instance, which fixes the technology. None: the seed."""
    max_cycles: int | None = None
    """Number of steps after which an episode is truncated. None: only the rules of the market end it."""
    mobility_metrics: bool = added_setting(False)
    """Whether episodes also have the metrics ``price_change``, ``share_stability``, ``qoe`` and ``handovers``."""

    def __post_init__(self) -> None:
        """Check the settings that only the environment has."""
        super().__post_init__()
        require(self.action in ("discrete", "box"), "action", self.action, "discrete or box")
        for name in ("price_levels", "share_levels"):
            check_integer(self, name, 2, 10_001)
        known = ("paper", "extended", "customers")
        require(self.observation in known, "observation", self.observation, "paper, extended or customers")
        require(
            self.redraw == "never" or self.observation == "extended", "observation", self.observation,
            f"extended with redraw={self.redraw}: the rest says nothing about a technology that is new",
        )  # fmt: skip
        check_common(self)
        is_choice = isinstance(self.mobility_metrics, bool)
        require(is_choice, "mobility_metrics", self.mobility_metrics, "true or false")


class StackelbergGame(PhasedGame):
    """Mobile and fixed agents price their computing; wireless agents split their tasks between them.

    ## Description

    N wireless agents (followers) each have one mobile and one fixed agent in reach (leaders). In every round the
    leaders post unit prices p; then wireless agent n sends the share o of its workload W to its mobile agent and the
    rest to its fixed agent, which passes the share α of that on to an aerial agent. It waits for the slowest of the
    three, t = t_up + max(o W λ_i/μ_i, (1 − o) W (1 − α) λ_j/μ_j, t_k_up + (1 − o) W α λ_k/μ_k), and has the utility

    U_n = κ ln(1 + ε − t) ln(1 + t_n/ε) − o W m p_i − (1 − o) W p_j − ζ E,

    with transmission energy E = t_up n_B [(2^B − 1)/g_i + (2^B̄ − 2^B)/g_j], B̄ = W/(w_B t_up), B = o B̄. Where the best
    utility is negative it buys nothing. Leaders earn their sales less a unit cost; they do not see each other's costs.

    The answer of a wireless agent is exact: where U is concave (g_j ≥ g_i) by Newton's method on its supergradient,
    which finds kinks as well as smooth optima; elsewhere by a search. Prices are in **equilibrium** if no leader gains
    by another price of its own, given exact answers. NashConv, the sum of all such gains, is the distance from it.

    With `dynamics` the conditions change before every round: numbers of tasks, speeds and channel gains.

    - **Fading.** A gain is Rayleigh fading times slow fading, within `fading_limit`. With `fading="common"` both links
      of a wireless agent have the same fading, and the fixed one stays the better one. With `"independent"` each has
      its own, also a link to a new leader; then U need not be concave, and answers are searched.
    - **Handover.** With `mobile_radius` or `fixed_radius`, R [m], the leaders of that side reach as far as a circle. A
      wireless agent crosses it in π R/(2 v) on average, since π R/2 is the mean chord of a circle; v is |v_n − v_i|, as
      in Eq. 15, or v_n for a fixed agent, which stands still. In the next round, after T = `round_time`, it has another
      leader of the side with probability 1 − exp(−2 v T/(π R)), each other one with the same. Processing speeds, α,
      unit cost and idle resources are then those of the new leader; the wireless agent keeps its tasks, t_k_up and the
      mean gains of its links. Every episode begins with the links of the instance. Answers, observations, equilibria
      and joint maxima are those of the round's links.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `mobile` | `mobile` | controlled | `best_response`, `greedy`, `oracle`, `cost_plus`, `posted_pair` |
    | `fixed` | `fixed` | controlled | the same |
    | `wireless` | `wireless` | `best_response` | `best_response`, `oracle` |

    Every role can be controlled. In each round the leaders act first, then the wireless agents; if both are controlled,
    a round has two steps. Wireless agents that are not controlled answer exactly, without a grid of shares.

    | Policy of a leader | Price |
    | --- | --- |
    | `best_response`, `greedy` | best response to the other side's last prices (in the first round: unit costs + 50%) |
    | `oracle` | the round's equilibrium of lowest profit; if none was found, the prices of lowest NashConv |
    | `cost_plus` | unit cost times 1 + `margin` (0.5) |
    | `posted_pair` | one price for all leaders of the side: `price`, or that of the best pair |

    The best pair has the lowest mean NashConv on the price grid, over separate calibration markets of the same
    instance. Other prices are rounded to the grid: those of `best_response` to the neighbour with the higher profit,
    those of `oracle` to the nearest grid prices or to the neighbours with the higher profit, whichever has the lower
    NashConv.

    ## Observation space

    Leaders: float32 in [0, 1]; 5 features with `observation="paper"`, 11 with `"extended"`, and with `"customers"` 6
    and 6 for each of the ⌈`wireless`/leaders of the side⌉ wireless agents that can be in reach (30 in `dynamic`). On a
    side with handover every wireless agent can be, and c is its own number, so that the others keep their places.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0, 1 | own unit cost, own last price (0 in the first round) | `price_cap` |
    | 2 | load sold in the last round | load of all wireless agents in reach (its largest value, if dynamic) |
    | 3 | mean over the wireless agents in reach of the last price of their leader on the other side | `price_cap` |
    | 4 | round | `rounds` |

    Then with `"extended"`:

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 5 | wireless agents in reach | `wireless` |
    | 6, 7, 8 | their mean load, own λ/μ, their mean κ ln(1 + t_n/ε) | largest values |
    | 9, 10 | mean energy coefficient of their links to it, and to the other side | largest value |

    With `"customers"`, for the wireless agents in reach by number, c = 0, 1, …; all of this round:

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 5 | own unit cost | its least (0) to its largest value (1) |
    | 6 + 6c, 7 + 6c, 8 + 6c | whether it has one task, two, three or more | 1 |
    | 9 + 6c | its load | largest value |
    | 10 + 6c | energy coefficient of its link to the leader, per task; 0 without a task | least to largest value |
    | 11 + 6c | mobility factor of it and its mobile agent | `mobility_offset` to that plus `mobility_weight` |

    `wireless`: float32 in [0, 1], 10 features.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0, 1 | price of its mobile agent, of its fixed agent | `price_cap` |
    | 2, 3 | W, 1 + ε − t_up | largest values |
    | 4, 5, 6 | W λ/μ of its mobile, fixed and aerial agent | largest values |
    | 7 | α | 1 |
    | 8, 9 | ζ t_up n_B/g of the link to its mobile, to its fixed agent | largest value |

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `mobile`, `fixed` | `Discrete(price_levels)` | index of the unit price, equally spaced from 0 to `price_cap` |
    | `mobile`, `fixed` | `Box(0, 1, (1,))` with `action="box"` | unit price over `price_cap` |
    | `wireless` | `Discrete(share_levels)` | share o of its mobile agent, equally spaced from 0 to 1 |

    A wireless agent whose utility would be negative at the share that it chose buys nothing.

    ## Rewards

    Leaders: the round's profit over the mean load in a leader's reach, `workload` · `wireless` / number of leaders on
    its side [units/Mbit], in the step that ends the round. `wireless`: U_n [units], 0 without a purchase, in the same
    step.

    ## Starting state

    Technology belongs to the instance: workloads, speeds, deadlines, energy coefficients, and the leaders in
    reach of each wireless agent. Unit costs are uniform in `mobile_cost` and `fixed_cost` and drawn per episode. No
    prices have been posted.

    ## Episode end

    Truncation: after `rounds` rounds, and after `max_cycles` steps, if that is set. Trading goes on for ever: the end
    is a cut, after which learners bootstrap.

    ## Metrics

    | Name | Meaning |
    | --- | --- |
    | `nash_conv` | mean over the rounds of the sum of the leaders' gains by deviating alone [units]; this is scored |
    | `last_nash_conv` | the same in the last round [units] |
    | `relative_nash_conv` | `nash_conv` over the leaders' profit in equilibrium; 0 where that is not positive, NaN* |
    | `leader_profit` | total profit of the leaders per round [units] |
    | `relative_profit` | total profit over that in equilibrium, π/π_N; 0 where that is not positive, NaN* |
    | `profit_gain` | (π − π_N)/(π_M − π_N), π_M the largest joint profit; NaN without an equilibrium or if π_M ≤ π_N |
    | `monopoly_at_cap` | share of the leaders with a sale that post `price_cap` at the largest joint profit, NaN* |
    | `follower_welfare`, `social_welfare` | Σ U_n per round, without and with the leaders' profits [units] |
    | `price_distance` | mean distance of the prices from the nearest equilibrium's [units/Mbit], NaN* |
    | `participation` | share of wireless agents with a task that buy |
    | `pure_equilibrium`, `equilibria` | share of rounds with a pure equilibrium, mean number of different ones, NaN* |

    NaN*: an episode that is cut off before its first comparison with an equilibrium has none of these.

    With `mobility_metrics` also:

    | Name | Meaning |
    | --- | --- |
    | `price_change` | mean absolute change of a leader's price from round to round [units/Mbit]; NaN in one round |
    | `share_stability` | 1 − mean absolute change of o of those who buy in both of two rounds; NaN if nobody does |
    | `qoe` | mean κ ln(1 + ε − t) ln(1 + t_n/ε) per round and wireless agent that buys [units]; NaN if nobody does |
    | `handovers` | share of the links to leaders that change from round to round; NaN in one round |

    Deviations are searched on a grid of `deviation_step` and refined, with exact answers of all wireless agents. The
    score is 1 where no leader can gain in any round, and 0 at the mean NashConv of `cost_plus` with a margin of 50%.
    Random play is not used as the zero: its NashConv is several times the leaders' total profit, and one fixed pair of
    prices would have a score near 1. Metrics that need a search are NaN where `full_metrics` is off.

    An equilibrium has a NashConv of at most `nash_tolerance` (0.01%) times total profit. Algorithm 2 is run from half
    of `price_cap`, from unit costs and from the cap, each with either side first (from half of the cap only, if there
    are more than 20 leaders); if that finds none, two tries of damped best responses go on from the prices of lowest
    NashConv. π_N is the profit at the equilibrium of **lowest** profit, so no metric depends on where a search starts.
    If none was found, the prices of lowest NashConv take its place, except in `profit_gain`.
    π_M is found by enumeration with one mobile and one fixed agent; among more it is a **lower bound** from several
    starts, and the profit gain an upper one. With `dynamics` every fifth round is compared with its own equilibria and
    joint maximum; otherwise all rounds are. Sums over these rounds are taken before ratios.

    ## Arguments

    The fields of `StackelbergConfig`; `conf/env/stackelberg.yaml` lists them with their meaning.

    With `data` the agents are those of a file (CSV or Parquet) with a row for each: `agent` is `wireless`, `mobile` or
    `fixed` (with the aerial agent behind it); `mobile_of` and `fixed_of` are the leaders in reach of a wireless agent,
    from 0 in the order of their rows. All other columns are optional, filled in the rows of their agents, and the
    parameter of the same name otherwise: `workload`, `upload_time`, `tolerable_delay`, `qoe_weight`, `actuator_ratio`,
    `bandwidth`, `relay_time`, `mobile_energy` and `fixed_energy` (or `mobile_gain`, `fixed_gain`, as ratios, with
    `noise_power` [W] and `energy_price` [units/J]), `mobility_factor` of the wireless agents; `mobile_speed`,
    `mobile_cost`; `fixed_speed`, `fixed_cost`, `aerial_speed`, `aerial_share`; and with `dynamics`, in which
    conditions vary around these figures, `idle_share` of the mobile agents in place of `mobility_factor`. Numbers of
    agents, all bounds of observations and the unit of the reward follow from the table, and nothing is drawn but the
    conditions of `dynamics`. A run keeps the table, so that its rows can be checked without the file.

    The same market of named arrays is made by `ioa_marl.markets.stackelberg.market_from` and solved by
    `solve_equilibrium`, with every round on request; see docs/own_numbers.md.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | one of each agent, the calibrated values |
    | `city` | 12 wireless, 3 mobile, 3 fixed agents, all quantities within 20% of `paper`, t_k_up from 0.11 to 0.15 s |
    | `metro`, `internet` | 1 000 with 20 + 20, 100 000 with 200 + 200; deviations on a coarser grid |
    | `dynamic` | as `city` with Gauss-Markov speeds and slow fading, Rayleigh fading, Poisson tasks, 1/5 of the QoE |
    | `kinked` | as `city`, t_k_up from 0.02 to 0.1 s: many shares stay at kinks, and a pure equilibrium is rare |
    | `scarce` | as `kinked` with an eighth of the QoE: some wireless agents buy nothing |
    | `literal` | the printed numbers in SI units: refused, since no wireless agent can meet its deadline |

    Learners are compared on `dynamic`: `paper` never varies, so that the best constant prices are the equilibrium.
    Conditions of `dynamic` differ from round to round; in 60 episodes of two instances `posted_pair` scores 0.75,
    `best_response` 0.70 to 0.71 and `oracle` 0.94 to 0.95 (the rest is the price grid). Its cap does not bind where the
    joint profit is largest; in `paper`, `city` and `metro` half of the sellers post the cap there.

    In `dynamic` leaders see their customers, which suffices. Learners that ascend their exact expected profit and have
    nothing to explore (`benchmarks/stackelberg/observations.py`, three instances) score 0.79 to 0.82 with `customers`,
    and 0.75 to 0.78 without its three flags of the number of tasks. With `paper` and `extended` they learn constant
    prices, 0.66 to 0.73. With standardised features they score 0.70 to 0.74, 0.71 to 0.75 and, with `customers`, 0.79
    to 0.83. To know the customers and unit costs of all leaders as well adds nothing (0.78 to 0.81). The suite's `ppo`
    with the settings of `agent=ppo/stackelberg` scores 0.79 to 0.80 after 100 000 steps in three seeds, and 0.65 with
    `extended` in one; `sac` scores 0.55 in one. On the same 100 episodes `posted_pair` scores 0.73 to 0.75.

    A pure equilibrium is found in 93% of 150 draws of `city`, 79% of `dynamic` with its former 1000 of QoE (95% of the
    rounds with 600), 77% of `scarce` and none of `kinked`. In the others prices cycle, and the lowest NashConv is 0.2%,
    0.4%, 0.1% and 2.2% of total profit in the median (at most 0.7%, 5.5%, 0.5% and 7.4%). `dynamic` and `scarce` often
    have several equilibria.

    With handover on both sides `dynamic` is as hard as before; with independent fading it is another market. In 60
    episodes of two instances:

    | `dynamic` with | Links that change | Rounds with an equilibrium | `posted_pair` | `best_response` | `oracle` |
    | --- | --- | --- | --- | --- | --- |
    | no option | 0 | 97% | 0.74 to 0.75 | 0.72 | 0.95 |
    | handover, 200 m | 13% | 95% | 0.75 | 0.70 to 0.73 | 0.95 |
    | handover, 50 m | 39% | 97% | 0.75 | 0.65 to 0.75 | 0.95 |
    | independent fading | 0 | 50% | 0.38 to 0.41 | 0.27 to 0.29 | 0.79 to 0.80 |
    | both, 200 m | 13% | 46% | 0.38 to 0.42 | 0.25 to 0.30 | 0.80 to 0.81 |

    With independent fading no equilibrium is found in half of the rounds, and `oracle` then posts the prices of lowest
    NashConv: even without a price grid (`action="box"`) it scores 0.90 to 0.91, and 0.99 with common fading, in 20
    episodes. Episodes with all metrics take about four times as long, since more searches go on to the end.

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - W = 10 is in Mbit and λ = 10⁴ in cycles per Mbit: in SI units the latency would be 10⁵ s and the exponent of
      Eq. 1 would be 20 000 o. w_B is in MHz, so that a workload needs 3 bit/s/Hz. κ is raised from 0.5 so that QoE and
      payments are of the same order.
    - The paper requires participation, U_n ≥ 0; here a wireless agent with U_n < 0 buys nothing.
    - The mobility factor of Eq. 15 belongs to a pair and is paid by the follower; as printed (`mobility="as_printed"`)
      the mobile agent is credited more or less than the follower pays. It is 1 in `paper`.
    - r_j, ξ E_com and γ E_up of a fixed agent are together a unit cost.
    - σ in Eqs. 21-31 is ε; the energy part of Eqs. 22, 26, 30 lacks W ln 2/(w_B t_up); the first terms of P₂ and P₃
      have the wrong sign. The maximum of the three branches is used, not one case, unless `latency_case` fixes one.
    - Algorithm 1 returns the best price that it tried, not the last one. Prices at which Algorithm 2 rests are an
      equilibrium only if NashConv says so: leaders that undercut each other by less than η per round are not in one.
      With both link energies 2.68 in `paper` it rested at (5.03, 5.00), although the equilibrium is at (1.884, 1.85).
      The iteration need not converge, although the paper claims it: while a follower's share is at a kink, its demand
      does not respond to prices, and both of its leaders raise their prices until one undercuts the other.
    - The variation of the energy coefficients is common to both links of a wireless agent. If g_i and g_j varied
      independently, the energy term could make U non-concave, shares would jump, and an equilibrium would be rare.
    - The paper has no handover. The time in reach is the fluid-flow model's of cellular networks; that it is
      exponential, and the next leader a random one, are choices of this package, since positions are not modelled.
    - With `dynamics`, bandwidth is granted per task, so that energy is proportional to the number of tasks.
    - What leaders know is a decision, since the paper gives them no data of the wireless agents. With
      `observation="customers"` a leader knows the contracts of the wireless agents in its reach before it posts its
      price, as from the request that announces a task: tasks, load, the energy of the link to itself, and the mobility
      factor, which multiplies the mobile agent's price. All else is private: the other leaders' customers, unit costs
      and prices of this round, and κ, ε and t_up of the wireless agents. Of rivals it sees the mean last price only.

    ## References

    "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents",
    Sections IV-A to IV-C and V-A, Eqs. 1-32, Algorithms 1 and 2. Profit gain: E. Calvano, G. Calzolari, V. Denicolò and
    S. Pastorello, "Artificial Intelligence, Algorithmic Pricing, and Collusion", American Economic Review 110 (2020).

    ## Version history

    - v2: leaders of `dynamic` observe their customers (`observation="customers"`, new), where they had the 5 features
      of `paper`, with which learners score no more than the best posted pair. Draws, play and scores are those of v1.
    - v1: the score is the mean NashConv over all rounds, not that of the last one, since the cap in 19 rounds and the
      equilibrium in the 20th scored near 1. What is called an equilibrium has a NashConv within tolerance; several
      starts and damped best responses are tried, and `relative_profit` and `price_distance` no longer depend on the
      start. New metrics `last_nash_conv`, `profit_gain`, `monopoly_at_cap`, `equilibria`. `dynamic` has 600 of QoE
      (1000 before) and a cap of 12 (10 before), so that the cap does not bind where the joint profit is largest; with
      the former values 26% to 30% of the sellers posted it there. The last round truncates the episode.
    - v0: first version.
    """

    name: ClassVar[str] = "stackelberg"
    version: ClassVar[int] = 2
    config_class: ClassVar[type[Any]] = StackelbergConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PRESETS,
        "dynamic": {**PRESETS["dynamic"], "observation": "customers"},
    }
    infeasible: ClassVar[frozenset[str]] = frozenset({"literal"})
    default_controlled_roles: ClassVar[tuple[str, ...]] = LEADERS
    metric_names: tuple[str, ...] = StackelbergMetrics.names()
    final_episodes: ClassVar[Mapping[str, int]] = {"metro": 100, "internet": 3}
    objectives: ClassVar[Mapping[str, str]] = {"leaders": "nash_conv"}
    minimised: ClassVar[frozenset[str]] = frozenset({"leaders"})
    score_floor: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
        role: ("cost_plus", {"margin": 0.5}) for role in LEADERS
    }
    score_floor_name: ClassVar[Mapping[str, str]] = {"leaders": "cost plus 50%"}
    constant_baseline: ClassVar[Mapping[str, str]] = dict.fromkeys(LEADERS, "posted_pair")
    board_metrics: ClassVar[tuple[str, ...]] = (
        "relative_nash_conv", "profit_gain", "monopoly_at_cap", "leader_profit", "relative_profit", "follower_welfare",
        "price_distance",
    )  # fmt: skip
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES
    instanced: ClassVar[bool] = True
    pictures: ClassVar[str] = "ioa_marl.envs.stackelberg.render"
    endless: ClassVar[bool] = True
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (LEADERS, ("wireless",))
    native: ClassVar[frozenset[str]] = frozenset({"wireless"})

    config: StackelbergConfig
    market: MarketState

    def __init__(
        self,
        config: StackelbergConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        if config.mobility_metrics:
            self.metric_names = MobilityMetrics.names()
        super().__init__(config, num_envs, controlled_roles, autoreset)

    @classmethod
    def make_roles(cls, config: StackelbergConfig) -> dict[str, Role]:
        """Return the roles mobile, fixed and wireless."""
        features = {"paper": LEADER_FEATURES, "extended": LEADER_FEATURES_EXTENDED}
        roles = {}
        for name in LEADERS:
            of_customers = leader_features_customers(config.most_in_reach(name))
            leader_view = unit_box(features.get(config.observation, of_customers))
            price: spaces.Space[Any] = spaces.Discrete(config.price_levels)
            if config.action == "box":
                price = spaces.Box(0.0, 1.0, (1,), np.float32)
            roles[name] = Role(name, getattr(config, name), leader_view, price, "best_response")
        share = spaces.Discrete(config.share_levels)
        roles["wireless"] = Role("wireless", config.wireless, unit_box(WIRELESS_FEATURES), share, "best_response")
        return roles

    def allocate(self) -> MarketState:
        """Return the zeroed arrays of the batch."""
        config, n = self.config, self.num_envs
        state = allocate_state(config, n)
        self._watch = MobilityWatch(config, state) if config.mobility_metrics else None
        self.params = config.record()
        """The parameters as kernels read them, one `StackelbergRecord`."""
        self._equilibrium = np.zeros(state.price.shape)
        self._solutions = _Solution.zeros(n)
        self._on_grid = np.zeros(state.price.shape)
        self._scale = [config.mean_load() * config.wireless / getattr(config, role) for role in LEADERS]
        mask = np.zeros(n, np.bool_)
        prices = np.zeros((n, config.mobile))
        features = np.zeros((n, 1, 1), np.float32)
        self._post = machine_code(drivers.post_prices, state, self.params, mask, 0, prices)
        self._answer = machine_code(drivers.answer_markets, state, self.params, mask)
        self._close = machine_code(drivers.close_round, state, self.params, mask, mask)
        self._observe = machine_code(observe_leaders, state, self.params, 0, False, features)
        return state

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""
        return int(self.market.accounts.shape[1])

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of the markets ``mask``, bool (batch,)."""
        start_episodes(self.config, self.market, mask, self.params)
        self._solutions["solved"][mask] = False
        if self._watch is not None:
            self._watch.open_episode(mask)

    def saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies, with the sums of the watch; see `PhasedGame.saved_arrays`."""
        watched = {} if self._watch is None else {"mobility_totals": plain_view(self._watch.totals)}
        return {**super().saved_arrays(), **watched}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Continue from the arrays that `save` returned; see `PhasedGame.restore`."""
        self._solutions["solved"][:] = False
        return super().restore(saved)

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play one phase of the markets ``mask``; see `PhasedGame.play_phase`."""
        market, config, watch = self.market, self.config, self._watch
        if watch is not None:
            watch.remember()
        if phase == 0:
            for side, role in enumerate(LEADERS):
                self._post(market, self.params, mask, side, self._prices(actions[role]))
            if watch is not None:
                watch.add_prices(mask)
            return
        if "wireless" in actions:
            shares = actions["wireless"] / (config.share_levels - 1)
            drivers.choose_shares(market, self.params, mask, shares)
        else:
            self._answer(market, self.params, mask)
        if watch is not None:
            watch.add_shares(mask)
        self._close(market, self.params, mask, terminated)
        for side, role in enumerate(LEADERS):
            if role in rewards:
                profit = market.profit[:, side, : getattr(config, role)]
                np.divide(profit, self._scale[side], out=rewards[role], where=mask[:, None], casting="same_kind")
        if "wireless" in rewards:
            np.copyto(rewards["wireless"], market.utility, where=mask[:, None], casting="same_kind")
        if self.full_metrics:
            audit_round(config, market, mask)
        running = mask & ~terminated
        if config.dynamics:
            drivers.refresh_markets(market, self.params, running)
            self._solutions["solved"][running] = False
        if watch is not None:
            watch.add_handovers(running)

    def _prices(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """Return the unit prices that actions of a side mean [units/Mbit], shape (batch, leaders)."""
        config = self.config
        if config.action == "box":
            return np.ascontiguousarray(actions[:, :, 0] * config.price_cap)
        prices: NDArray[np.float64] = actions * (config.price_cap / (config.price_levels - 1))
        return prices

    def write_observations(self, observations: Arrays) -> None:
        """Write the observations, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        extended = self.config.observation == "extended"
        for side, role in enumerate(LEADERS):
            if role in observations:
                self._observe(self.market, self.params, side, extended, observations[role])
                if self.config.observation == "customers":
                    observe_customers(self.market, self.params, side, observations[role])
        if "wireless" in observations:
            observe_wireless(self.market, self.params, observations["wireless"])

    def _solve(self, mask: NDArray[np.bool_]) -> None:
        """Compute the equilibria of the markets ``mask`` that have not been computed yet."""
        new = mask & (self._solutions["solved"] == 0)
        if new.any():
            for b, equilibria in known_equilibria(self.config, self.market, new).items():
                self._equilibrium[b] = equilibria.prices
            self._solutions["solved"][new] = True
            self._solutions["on_grid"][new] = False

    def equilibrium_to_play(self) -> NDArray[np.float64]:
        """Return the prices that `oracle` posts [units/Mbit], shape (batch, 2, leaders)."""
        self._solve(np.ones(self.num_envs, np.bool_))
        if self.config.action == "box":
            return self._equilibrium
        new = self._solutions["on_grid"] == 0
        if new.any():
            rounded = equilibrium_on_grid(self.config, self.market, new, self._equilibrium, self.config.price_levels)
            self._on_grid[new] = rounded[new]
            self._solutions["on_grid"][new] = True
        return self._on_grid

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        ledger[mask] = self.market.accounts[mask]
        common = plain_view(metrics_of(self.market))
        metrics[mask, : common.shape[1]] = common[mask]
        if self._watch is not None:
            metrics[mask, common.shape[1] :] = self._watch.metrics()[mask]

    def state(self) -> NDArray[np.float32]:
        """Return round, prices, unit costs, loads sold of all leaders, shares and purchases of all wireless agents.

        Shape (batch, 1 + 3·(mobile + fixed) + 2·wireless), scaled to [0, 1].
        """
        market, config = self.market, self.config
        parts: list[NDArray[Any]] = [market.round[:, None] / config.rounds]
        for side, role in enumerate(LEADERS):
            count = getattr(config, role)
            sales = market.sales[:, side, :count] / (self.params[0].most_load * config.wireless)
            parts += [market.price[:, side, :count] / config.price_cap, market.cost[:, side, :count] / config.price_cap]
            parts.append(sales)
        parts += [market.share, market.buys]
        out: NDArray[np.float32] = np.clip(np.concatenate(parts, axis=1), 0.0, 1.0).astype(np.float32)
        return out

    @classmethod
    def reference(
        cls,
        config: Any,
        seeds: NDArray[np.uint64],
        streams: NDArray[np.uint64],
        instances: NDArray[np.uint64] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the least possible NashConv [units] by score name, shape (batch,): 0, since no gain is negative."""
        return {"leaders": np.zeros(len(seeds))}
