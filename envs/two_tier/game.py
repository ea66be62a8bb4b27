"""The two-tier market as a game; see `TwoTierGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.spaces import unit_box
from ioa_marl.envs.two_tier.bidding import BIDDERS, Bidding, bidder_roles
from ioa_marl.envs.two_tier.policies import POLICIES
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import check_integer, check_number, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.stackelberg.equilibrium import solve_batch as solve_pricing
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.observations import (
    LEADER_FEATURES,
    LEADER_FEATURES_EXTENDED,
    leader_features_customers,
    observe_customers,
    observe_leaders,
)
from ioa_marl.markets.stackelberg.params import LEADERS
from ioa_marl.markets.stackelberg.references import equilibrium_on_grid
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator, audit_rounds
from ioa_marl.markets.two_tier.equilibrium import solve_batch
from ioa_marl.markets.two_tier.params import PRESETS, TwoTierParams, allocate_market, start_episodes
from ioa_marl.markets.two_tier.records import DynamicMetrics, TwoTierMetrics


def _ratio(total: NDArray[np.float64], base: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    """Return ``total`` over ``base``, shape (batch,), and ``otherwise`` where ``base`` is not positive."""
    positive = base > 0.0
    return np.where(positive, total / np.where(positive, base, 1.0), otherwise)


@dataclass(frozen=True)
class TwoTierConfig(TwoTierParams):
    """Settings of the environment: those of the market, and the observations and actions of the agents."""

    price_levels: int = 51
    """Number of prices from which a leader chooses, equally spaced from 0 to ``price_cap``."""
    scripted_mobile_margin: float = 1.1
    """Margin of the mobile agents over their unit cost when they are scripted."""
    scripted_fixed_margin: float = 0.5
    """Margin of the fixed agents over their unit cost when they are scripted."""
    observation: str = "paper"
    """Observations of the agents: ``paper``, ``extended`` (with more features) or ``customers`` (leaders see what they
    know of each wireless agent in their reach)."""
    instance: int | None = None
    """Number of the instance, which fixes the technology. None: the seed."""
    max_cycles: int | None = None
    """Number of steps after which an episode is truncated. None: only the rules of the market end it."""

    def __post_init__(self) -> None:
        """Check the settings that only the environment has."""
        super().__post_init__()
        check_integer(self, "price_levels", 2, 10_001)
        for name in ("scripted_mobile_margin", "scripted_fixed_margin"):
            check_number(self, name, 0.0, 1e6)
        known = ("paper", "extended", "customers")
        require(self.observation in known, "observation", self.observation, "paper, extended or customers")
        check_common(self)


class TwoTierGame(PhasedGame):
    """Leaders price their computing, and overloaded fixed agents buy more of it from aerial agents in an auction.

    ## Description

    A round has two tiers. In the **pricing tier** mobile and fixed agents (leaders) post unit prices. Each of N
    wireless agents (followers) has one mobile and one fixed agent in reach, and answers at once with the share o of its
    workload that goes to its mobile agent; the rest goes to its fixed agent. The answer is the exact best one, given
    the shares α of the last round. A wireless agent whose best utility is negative buys nothing. See
    `ioa_marl.envs.stackelberg.game.StackelbergGame`.

    Fixed agent j can compute κ_j itself. If its load L_j exceeds that by at least one lot w, it is a buyer of one lot
    in the **auction tier**. Every aerial agent sells one lot. Buyers value a lot at v_j = p_j w − θ_j ln(1 + λ_k w/μ_k)
    − γ E_up, sellers at v_k = ξ σ μ² λ w + γ_k (t_k_up + λ_k w/μ_k) p_hov + θ_k (λ_j w/μ_j)², where λ/μ of the unknown
    partner is the mean of its side. A seller with v_k > max_j p_j w does not take part. The auctioneer observes the
    bidders and chooses a step for each clock, and with these steps the double Dutch auction of the round is played to
    its end. See `ioa_marl.envs.double_dutch.game.DoubleDutchGame`.

    The m-th buyer trades with the m-th seller at the clearing price r*, and the aerial agent computes the share α_j =
    w/L_j of its load. A fixed agent without a trade has α_j = 0, and the aerial branch of the latency does not exist.
    The rest of the excess, u_j, is not served: of the load of fixed agent j the part 1 − u_j/L_j is served, and of a
    workload W_n the part o + (1 − o)(1 − u_j/L_j). Wireless agents pay for the served part, and their QoE is weighted
    by it.

    With `dynamics` conditions change from round to round as in the price market: the speeds of wireless and mobile
    agents and the slow fading of the links are Gauss-Markov processes, links have Rayleigh fading besides, and a
    wireless agent has a Poisson number of tasks. It pays its mobile agent p_i m, with the mobility factor m of Eq. 15.
    Prices, bids and steps are chosen after the conditions of the round are drawn.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `mobile` | `mobile` | controlled | the seven policies of leaders below |
    | `fixed` | `fixed` | controlled | the same |
    | `auctioneer` | 1 | controlled | `oracle`, `fixed_pair`, `scripted_pair` |
    | `buyer`, with `bids="chosen"` | `fixed` | `truthful` | `truthful`, `multiplied` |
    | `seller`, with `bids="chosen"` | `aerial` | `truthful` | the same |

    Every role can be controlled. In each round the leaders act first, then the bidders, then the auctioneer; each of
    these takes a step of its own if any of its roles is controlled. Wireless agents are part of the market: they answer
    exactly. So are the bids, which are truthful, unless they are chosen: then buyer j bids for fixed agent j, and
    seller k for aerial agent k. Bidders are active in the rounds in which they take part.

    | Policy | Action |
    | --- | --- |
    | `oracle` of a leader | equilibrium of the whole round, capacities and auction included; one for the episode, or |
    | | one for the conditions of each round, if they change |
    | `pricing_equilibrium` | equilibrium of the pricing tier by Algorithm 2 at the expected α, without capacities |
    | `best_response`, `greedy` | best grid price if all others repeat their last actions, auction included |
    | `cost_plus` | unit cost times 1 + `margin` (0.5) |
    | `posted_pair` | one price for all leaders of the side: `price`, or that of the best pair |
    | `scripted_margin` | unit cost times 1 + `scripted_mobile_margin` or `scripted_fixed_margin` |
    | `oracle` of the auctioneer | the best of all pairs of steps on the bids of this round |
    | `fixed_pair` | a constant pair: the best one, or `buyer_step` and `seller_step` |
    | `scripted_pair` | `scripted_buyer_step` and `scripted_seller_step` |
    | `truthful`, `multiplied` | the valuation, the valuation times `factor` (0.8), one of `multipliers` |

    The best pair of prices has the lowest sum of the leaders' regrets, mean over the rounds, and the best constant pair
    of steps has the highest mean return with leaders that play `scripted_margin`, on separate calibration markets of
    the same instance.

    ## Observation space

    Leaders: float32 in [0, 1]; 5 (`mobile`) and 6 (`fixed`) features, or 11 and 15 with `observation="extended"`. In
    the shorter observation of a fixed agent its capacity has the index 5. With `"customers"` leaders see the wireless
    agents in reach as in `StackelbergGame`, and a fixed agent its capacity last (18 and 19 features in `dynamic`).

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0, 1 | own unit cost, own last price (0 in the first round) | `price_cap` |
    | 2 | load served in the last round | load of all wireless agents in reach |
    | 3 | mean over the wireless agents in reach of the last price of their leader on the other side | `price_cap` |
    | 4 | round | `rounds` |
    | 5 | wireless agents in reach | `wireless` |
    | 6, 7, 8 | their mean load, own λ/μ, their mean κ ln(1 + t_n/ε) | largest values |
    | 9, 10 | mean energy coefficient of their links to it, and to the other side | largest value |
    | 11 | `fixed`: own capacity κ | load of all wireless agents in reach (its largest value, if dynamic) |
    | 12, 13 | `fixed`: α and the part of the load that was served in the last round | 1 |
    | 14 | `fixed`: price paid for a lot in the last round, 0 without a trade | `price_cap` · `lot` |

    `auctioneer`: float32 in [0, 1]; 9 features, or 15 with `observation="extended"`.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0 | round | `rounds` |
    | 1, 2 | numbers of buyers and sellers | `fixed`, `aerial` |
    | 3, 4 | highest and mean income p_j w of the buyers | `price_cap` · `lot` |
    | 5, 6 | clearing price and trades of the last auction | `price_cap` · `lot`, most trades |
    | 7, 8 | final buyer clock and seller clock of the last auction | `price_cap` · `lot` |
    | 9, 10 | numbers of buyers and sellers who accepted in the last auction | `fixed`, `aerial` |
    | 11, 12 | distance between the last two acceptances of each side | `price_cap` · `lot` |
    | 13, 14 | last action | its largest value |

    `buyer` and `seller`: float32 in [0, 1]; 10 features.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0 | round | `rounds` |
    | 1, 2 | numbers of buyers and sellers in this round | `fixed`, `aerial` |
    | 3, 4 | clearing price and trades of the last auction | `price_cap` · `lot`, most trades |
    | 5, 6 | final buyer clock and seller clock of the last auction | `price_cap` · `lot` |
    | 7, 8 | own valuation of a lot (0 without one), whether it takes part | `price_cap` · `lot`, 1 |
    | 9 | last bid over valuation | largest of `multipliers` |

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `mobile`, `fixed` | `Discrete(price_levels)` | index of the unit price, equally spaced from 0 to `price_cap` |
    | `auctioneer` | `MultiDiscrete([len(steps), len(steps)])` | indices of buyer clock's and seller clock's step |
    | `buyer`, `seller` | `Discrete(len(multipliers))` | index of the bid over the valuation |

    ## Rewards

    All rewards come in the step that ends the round. Leaders: the round's profit over the mean load in a leader's
    reach, `workload` · `wireless` / number of leaders on its side [units/Mbit]. `auctioneer`: the return of the round's
    auction: −b times the regret |v − c| of every acceptance, −d for every bidder that listens to a broadcast which
    nobody accepts, c times the value less the cost of every pair, and e for every pair [units]. `buyer`, `seller`:
    v_j − r* or r* − v_k for those that trade, otherwise 0 [units]. All of these are by valuations, whatever was bid.

    Profits: Σ o W (p_i − c_i) of a mobile agent; p_j (L_j − u_j) − c_j min(L_j, κ_j) − (r* + γ E_up)[trade] of a fixed
    agent; (r* − v_k)[trade] of an aerial agent, without the θ term of v_k.

    ## Starting state

    Technology belongs to the instance: that of the pricing tier, the capacities, and the speeds of the aerial agents.
    Capacities are log-uniform and stratified: there are as many equally likely intervals as fixed agents, and each
    interval has one. Unit costs, hover powers and the wind are drawn per episode. No prices have been posted, and the
    wireless agents expect α = 0. With `dynamics` speeds and slow fading start anew in every episode.

    ## Episode end

    Truncation: after `rounds` rounds, and after `max_cycles` steps, if that is set; a round that is cut off before it
    is settled does not count. Trading goes on for ever: the end is a cut, after which learners bootstrap.

    ## Metrics

    | Name | Meaning |
    | --- | --- |
    | `mobile_regret`, `fixed_regret` | sum of a side's largest gains, each leader by another price, mean over rounds |
    | `auction_regret` | the best pair's return less the return achieved, over rounds with an auction, per round |
    | `last_mobile_regret`, `last_fixed_regret` | the first two in the last round alone [units] |
    | `mobile_profit`, `fixed_profit`, `aerial_profit` | total profits per round [units] |
    | `follower_welfare`, `social_welfare` | Σ U_n per round, without and with all profits [units] |
    | `mobile_price`, `fixed_price` | mean prices posted [units/Mbit] |
    | `participation` | share of wireless agents that buy |
    | `overloaded`, `unserved` | share of fixed agents with excess load; share of their load that is not served |
    | `buyers`, `trades` | numbers per round |
    | `clearing_price` | mean price of the rounds with a trade, NaN without one |
    | `auctions` | share of rounds with an auction: at least one buyer and one seller |
    | `auction_return` | mean of the rounds with an auction, NaN without one |
    | `auction_efficiency` | welfare of all auctions over its maximum, NaN if that is 0 |
    | `messages` | listeners summed over the broadcasts of a round |

    With `dynamics`, `participation` is the share of the wireless agents with a task that buy, and there are three more:

    | Name | Meaning |
    | --- | --- |
    | `price_change` | mean absolute change of the leaders' prices from round to round [units/Mbit], NaN* |
    | `share_stability` | 1 − mean |o_t − o_{t−1}| over the wireless agents that buy in both rounds, NaN* |
    | `quality_of_experience` | mean κ ln(1 + ε − t) ln(1 + t_n/ε) per wireless agent with a task [units], NaN* |

    NaN*: in an episode of one round, without such a wireless agent, or without a task. The quality of experience is
    weighted by the part of the workload that is served, and it is 0 without a purchase.

    The first three are scored, each for its role; there is no overall score. They look at every round: leaders that
    collude first and end at good prices do not score near 1. Regrets are exact: every price of the grid is simulated,
    with new answers of the wireless agents, and if a fixed agent would buy a lot, with a new auction at the same steps.
    Every pair of steps is simulated on the bids of every round. No regret is negative, and a regret of
    0 has the score 1 on every scale. The score 0 is that of leaders at cost plus 50% (`mobile`) and 25% (`fixed`) and
    of random steps. At these prices the auction has about as many bidders as near the equilibrium, so that all scales
    are wide enough. Regrets are NaN where `full_metrics` is off, or `only_metrics` leaves them out.

    A round without an auction counts nothing: it adds 0 to `auction_regret` under every auctioneer, so that a ratio of
    sums over episodes leaves it out. `clearing_price` is NaN in an episode without a trade, `auction_return` without an
    auction, and `auction_efficiency` where no pair could gain; means are over the other episodes.

    While a role is scored, the others play references: the leaders `oracle`, the auctioneer `oracle`. Measured in this
    way, means over 12 markets of `paper` and 5 of `city`, as regrets [units]:

    | Role and its policy | `paper` | `city` |
    | --- | --- | --- |
    | auctioneer: random, `fixed_pair`, `oracle` | 2.7, 0.26, 0 | 15.0, 0.63, 0 |
    | mobile: cost plus 50%, `posted_pair`, `pricing_equilibrium` | 42, 16, 15 | 162, 16, 21 |
    | mobile: `best_response`, `oracle` | 0.89, 0.06 | 1.3, 0.3 |
    | fixed: cost plus 25%, `posted_pair`, `pricing_equilibrium` | 30, 14, 14 | 152, 53, 49 |
    | fixed: `best_response`, `oracle` | 0.83, 0.33 | 3.7, 2.2 |

    With all roles at `oracle` every round has an auction, with 4.0 buyers of 10 (`paper`) and 6.8 of 15 (`city`), and
    about half of the fixed agents have excess load (0.52 and 0.51). `best_response` answers partners who are at the
    equilibrium already: in the last round alone it leaves 0.00 and 0.05 (`paper`), but it does not know them in the
    first. `oracle` does not play for the first round, in which wireless agents expect α = 0.

    The same in `dynamic`, means over 12 markets of two instances: auctioneer 2.7, 0.30, 0; mobile 46, 25, 18 and 19,
    0.08; fixed 33, 22, 13 and 9.5, 0.03. There `best_response` stays behind, since the prices of the last round answer
    other conditions. Learners are better than any constant price: after 40 000 steps `mappo` with the settings of
    `agent=mappo/two_tier` scores 0.68 (mobile), 0.72 (fixed) and 0.83 (auctioneer), and the best constants score 0.37,
    0.25 and 0.85 (one seed, 6 episodes).

    ## Arguments

    The fields of `TwoTierConfig`; `conf/env/two_tier.yaml` lists them with their meaning.

    With `data` the agents are those of a file (CSV or Parquet) with a row for each, as in `StackelbergGame`, and with
    rows of the kind `aerial`. Beside the columns there, fixed agents have `capacity` (κ_j [Mbit]), and aerial agents
    `aerial_speed` [cycles/s], `aerial_cost` [units/Mbit] and `hover_power` in calm air [W]. What a table lacks is the
    middle of the parameter's range. The wind is still drawn per episode, and so are the conditions of `dynamics`.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 10 of each kind, one wireless agent for each leader |
    | `city` | 60 wireless, 15 mobile, 15 fixed, 15 aerial agents; quantities within 20%, t_k_up from 0.02 to 0.1 s |
    | `metro` | 1 000 wireless, 100 mobile, 100 fixed, 100 aerial agents |
    | `dynamic` | `paper` with two wireless agents for each leader, `dynamics`, and leaders that see their customers |

    With several wireless agents per leader, capacities, lots, their costs and the auction's steps scale with their
    number.

    ## Fidelity

    The paper leaves open how its tiers are connected. The differences that `StackelbergGame` and `DoubleDutchGame` list
    for one tier hold here too. In addition:

    - These assumptions close the model: the capacities, the condition for a buyer, lots of one size, α = w/L for all
      wireless agents of a buyer, the rest of the excess is not served, and wireless agents expect the α of the last
      round. Latency counts the whole load of a fixed agent, served or not.
    - A buyer pays γ E_up when it trades, so its valuation subtracts it, which Eq. 33 does not. The θ terms of Eqs. 33
      and 34 are in valuations only, because delay costs nobody money. So the profit of a trader is at least its gain by
      its valuation.
    - The computing energy ξ E_com of a fixed agent is that of the load that it computes itself. E_up is that of one
      lot, a constant.
    - The buyer clock starts at the highest possible bid p̄ w, the seller clock at 0. Steps and message weight are those
      of the double Dutch auction, scaled to lots of 2 Mbit (clock 80 there, 20 here).
    - κ ln(1 + t_n/ε) is 60 units, where the market without an auction has 300. There α is always 0.25. Here it is often
      0, and the longest branch changes at a smaller share. With the larger weight many shares would stay at that kink:
      of 300 random markets with α = 0 none has a pure equilibrium, and with the smaller weight all have one.
    - Unit costs are 0.7 to 1.0 (mobile) and 1.5 to 2.2 (fixed), so that at equilibrium prices (about 2.1 and 3.3; 1.8
      and 2.8 in the pricing tier alone) both sides have about the same load, about half of the fixed agents have excess
      load, and four of ten are buyers.
    - At the equilibrium prices nearly every buyer trades. The best pair of steps has a return of 17.4 a round; the
      finest pair has 8.9, the coarsest 13.4, the mean over all pairs is 14.9.
    - Equilibrium prices of the pricing tier are no equilibrium of both tiers: a fixed agent whose load exceeds its
      capacity gains by a higher price. `oracle` therefore searches the whole round, see
      `ioa_marl.markets.two_tier.equilibrium`: prices that are posted in every round, and that no leader gains by
      leaving once the shares α that they lead to are expected. With the shares α = 0 of the first round other prices
      are an equilibrium, at which trades alternate: where a fixed agent has bought a lot its load falls, so that it
      buys none in the next round. Over 50 markets of `paper` NashConv is 0.30 in the mean (13 to 16 at the zero of the
      scale) and 0 in one of five; over 10 of `city` 1.5. A market takes 0.13 s in `paper`, 0.25 s in `city`. With more
      than 100 leaders (`metro`) the search has one start and stops early.
    - With `dynamics` no prices can settle. The `oracle` of the leaders then searches the round that is open, with its
      conditions and the shares α that are expected in it, which takes 0.02 s in `dynamic`. All rounds are compared with
      all prices of the grid, as without dynamics. In 200 rounds of five instances of `dynamic` a pure equilibrium was
      found in 49%; in the others the lowest NashConv is 0.2 in the median and 1.8 at most, where leaders earn 121.
    - Wireless agents pay for the mobility factor, so that money is conserved (`mobility` of the price market has Eq. 14
      as printed too).
    - The paper's Algorithm 3 has the auctioneer choose a step in every tick. Here it chooses a step for each clock once
      a round. Step by step, the auction would be a phase that is repeated until the clocks cross, with other actions
      and another optimum, the clairvoyant plan, which would have to be searched for every price that leaders try. And a
      leader's regret keeps the actions of all others: a pair of steps can be kept in an auction with other bids, but
      what an auctioneer who answers every broadcast would do there is not in its actions. `DoubleDutchGame` has the
      auction step by step.
    - In the paper bids are truthful, because it takes the auction to be incentive compatible. It is not, and with
      `bids="chosen"` fixed and aerial agents choose multiples of their valuations. Who takes part depends on valuations
      alone, and the auctioneer does not see the bids. The leaders' `oracle` takes bids to be truthful; every regret is
      taken at the bids that were made.
    - The paper does not say what a fixed agent observes. Here it observes its capacity, which decides its best price.
      Agents that share a network can otherwise learn it only if the network sees their index.

    Agents of a role differ in technology, so whether they share a network matters. Measured in `paper` with 20 000
    steps and otherwise the settings of `agent=LEARNER/two_tier`, mean scores of three seeds in 60 episodes:

    | Learner | Networks | mobile | fixed |
    | --- | --- | --- | --- |
    | `mappo` | one for each agent (`share_above=64`, the setting) | 0.81 | 0.78 |
    | `mappo` | shared, with the agent's index | 0.78 | 0.76 |
    | `mappo` | shared, without it | 0.70 | 0.65 |
    | `ppo` | one for each agent (`share_above=64`, the setting) | 0.74 | 0.75 |
    | `ppo` | shared, with the agent's index (the former setting) | 0.65 | 0.61 |
    | `ppo` | the same, the capacity replaced by 0 | 0.65 | 0.64 |

    In the other rows fixed agents observe their capacity. A shared network has rollouts of ten times as many
    transitions, so that all rows have as many updates; the auctioneer, which is alone, has a tenth of them there.

    ## References

    "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of Agents",
    Sections III to V, Eqs. 1-40, Algorithms 1 and 2.

    ## Version history

    - v2: the leaders' scores are their mean regrets over all rounds, as those of `StackelbergGame`, no longer the
      regrets of the last round: the cap in all rounds but the last would have had the score of its last prices. The
      best pair of prices is that of the lowest mean over the rounds. New metrics `last_mobile_regret` and
      `last_fixed_regret` have the former meaning.
    - v1: `oracle` of the leaders knows capacities, and Algorithm 2 is the policy `pricing_equilibrium`. A round without
      an auction counts nothing for the auctioneer: `auction_efficiency` was 1 and `clearing_price` 0 without one. Fixed
      agents observe their capacity. While a role is scored, the others play references (`reference_partners`). The
      last round truncates the episode.
    - v0: first version.
    """

    name: ClassVar[str] = "two_tier"
    version: ClassVar[int] = 2
    config_class: ClassVar[type[Any]] = TwoTierConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PRESETS,
        "dynamic": {**PRESETS["dynamic"], "observation": "customers"},
    }
    default_controlled_roles: ClassVar[tuple[str, ...]] = (*LEADERS, "auctioneer")
    metric_names: tuple[str, ...] = TwoTierMetrics.names()
    final_episodes: ClassVar[Mapping[str, int]] = {"paper": 500, "city": 80, "metro": 10, "dynamic": 30}
    objectives: ClassVar[Mapping[str, str]] = {
        "mobile": "mobile_regret", "fixed": "fixed_regret", "auctioneer": "auction_regret"
    }  # fmt: skip
    minimised: ClassVar[frozenset[str]] = frozenset(objectives)
    score_floor: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
        "mobile": ("cost_plus", {"margin": 0.5}), "fixed": ("cost_plus", {"margin": 0.25})
    }  # fmt: skip
    score_floor_name: ClassVar[Mapping[str, str]] = {
        "mobile": "cost plus 50%, 25%", "fixed": "cost plus 50%, 25%", "auctioneer": "random steps at these prices"
    }  # fmt: skip
    constant_baseline: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(LEADERS, "posted_pair"),
        "auctioneer": "fixed_pair",
    }
    board_metrics: ClassVar[tuple[str, ...]] = (
        "mobile_profit", "fixed_profit", "follower_welfare", "trades", "auction_efficiency", "messages",
    )  # fmt: skip
    reference_partners: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
        role: ("oracle", {}) for role in (*LEADERS, "auctioneer")
    }
    """For each role the scripted policy, with its settings, that plays it while another role is scored."""
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES
    instanced: ClassVar[bool] = True
    pictures: ClassVar[str] = "ioa_marl.envs.two_tier.render"
    endless: ClassVar[bool] = True
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (LEADERS, ("auctioneer",))

    config: TwoTierConfig
    market: MarketState

    def __init__(
        self,
        config: TwoTierConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        if config.dynamics:
            self.metric_names = DynamicMetrics.names()
        if config.bids == "chosen":
            # Without choices, a phase of the bidders would change nothing but the numbers of the phases.
            self.phases = (LEADERS, BIDDERS, ("auctioneer",))  # type: ignore[misc]
        super().__init__(config, num_envs, controlled_roles, autoreset)

    @classmethod
    def make_roles(cls, config: TwoTierConfig) -> dict[str, Role]:
        """Return the roles mobile, fixed and auctioneer and, if bids are chosen, buyer and seller."""
        extended = config.observation == "extended"
        features = {
            "mobile": cls._leader_features(config, "mobile"),
            "fixed": cls._leader_features(config, "fixed")
            + (drivers.FIXED_EXTRAS_EXTENDED if extended else drivers.FIXED_EXTRAS),
            "auctioneer": drivers.AUCTIONEER_FEATURES_EXTENDED if extended else drivers.AUCTIONEER_FEATURES,
        }
        price, steps = spaces.Discrete(config.price_levels), [len(config.steps)] * 2
        return {
            "mobile": Role("mobile", config.mobile, unit_box(features["mobile"]), price, "scripted_margin"),
            "fixed": Role("fixed", config.fixed, unit_box(features["fixed"]), price, "scripted_margin"),
            "auctioneer": Role(
                "auctioneer", 1, unit_box(features["auctioneer"]), spaces.MultiDiscrete(steps), "scripted_pair"
            ),
            **(bidder_roles(config) if config.bids == "chosen" else {}),
        }

    @classmethod
    def _leader_features(cls, config: TwoTierConfig, role: str) -> int:
        """Return the number of features of a leader that are those of the pricing tier."""
        if config.observation == "customers":
            return leader_features_customers(config.pricing().most_in_reach(role))
        return LEADER_FEATURES_EXTENDED if config.observation == "extended" else LEADER_FEATURES

    def allocate(self) -> MarketState:
        """Return the zeroed arrays of the pricing tier."""
        config, n = self.config, self.num_envs
        self.whole = allocate_market(config, n)
        """Both tiers and their connection; `market` is the pricing tier."""
        self.settings = config.settings()
        """The parameters as kernels read them."""
        self._params = TwoTierParams(**{x.name: getattr(config, x.name) for x in fields(TwoTierParams)})
        features = np.zeros((n, 1, 1), np.float32)
        self._observe_leaders = machine_code(
            observe_leaders, self.whole.pricing, self.settings.pricing, 0, False, features
        )
        self._observe_fixed = machine_code(drivers.observe_fixed, self.whole, self.settings, False, 0, features)
        self._observe_auctioneer = machine_code(drivers.observe_auctioneer, self.whole, self.settings, False, features)
        self._evaluator: DeviationEvaluator | None = None
        self._equilibrium = np.zeros((n, 2, max(config.mobile, config.fixed)), np.int64)
        self._solved_moment = np.full((n, 3), -1, np.int64)
        self._scale = [config.pricing().mean_load() * config.wireless / getattr(config, role) for role in LEADERS]
        self._bidding = Bidding(self) if config.bids == "chosen" else None
        return self.whole.pricing

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""
        return int(self.market.accounts.shape[1] - 1 + self.whole.tier.accounts.shape[1])

    def saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies, with those of the auction tier; see `PhasedGame.saved_arrays`."""
        unused = set() if self.config.dynamics else {"last_share", "course"}
        unused |= {"factor", "factors"} if self._bidding is None else set()
        tier = {f"tier_{name}": plain_view(x) for name, x in self.whole.tier._asdict().items() if name not in unused}
        auction = {f"auction_{name}": plain_view(array) for name, array in self.whole.auction._asdict().items()}
        return {**super().saved_arrays(), **tier, **auction}

    def deviation_evaluator(self) -> DeviationEvaluator:
        """Return the evaluator of deviations, which is made at the first call."""
        if self._evaluator is None:
            self._evaluator = DeviationEvaluator(self.config, self.config.price_levels)
        return self._evaluator

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of the markets ``mask``, bool (batch,)."""
        start_episodes(self._params, self.whole, mask, self.settings)

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play one phase of the markets ``mask``; see `PhasedGame.play_phase`."""
        levels = self.config.price_levels
        if phase == 0:
            drivers.post_prices(self.whole, self.settings, mask, levels, actions["mobile"], actions["fixed"])
            return
        if self._bidding is not None and phase == 1:
            self._bidding.take(mask, actions)
            return
        drivers.hold_auctions(self.whole, self.settings, mask, actions["auctioneer"], terminated)
        sides = [side for side, role in enumerate(LEADERS) if self._is_used(f"{role}_regret", f"last_{role}_regret")]
        if sides:
            audit_rounds(self.whole, mask, self.deviation_evaluator(), sides[0], sides[-1])
        for side, role in enumerate(LEADERS):
            if role in rewards:
                profit = self.market.profit[mask, side, : self.roles[role].count]
                rewards[role][mask] = profit / self._scale[side]
        if "auctioneer" in rewards:
            rewards["auctioneer"][mask, 0] = self.whole.auction.totals["return_"][mask]
        if self._bidding is not None:
            self._bidding.pay(mask, rewards)
        drivers.change_conditions(self.whole, self.settings, mask & ~terminated)

    def write_observations(self, observations: Arrays) -> None:
        """Write the observations, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        extended, settings = self.config.observation == "extended", self.settings
        for side, role in enumerate(LEADERS):
            if role in observations:
                self._observe_leaders(self.market, settings.pricing, side, extended, observations[role])
                if self.config.observation == "customers":
                    observe_customers(self.market, settings.pricing, side, observations[role])
        if "fixed" in observations:
            first = self._leader_features(self.config, "fixed")
            self._observe_fixed(self.whole, settings, extended, first, observations["fixed"])
        if "auctioneer" in observations:
            self._observe_auctioneer(self.whole, settings, extended, observations["auctioneer"])
        if self._bidding is not None:
            self._bidding.observe(observations)

    def write_active(self, active: Arrays) -> None:
        """Write whose action the next step uses, bool (batch, agents); bidders act only where they take part."""
        super().write_active(active)
        if self._bidding is not None:
            self._bidding.keep_participants(active)

    def equilibrium_to_play(self) -> NDArray[np.int64]:
        """Return the indices of the prices that `oracle` posts in this round, int64 (batch, 2, leaders).

        They are those of the whole episode, unless the market is dynamic.
        """
        rounds = self.market.round * self.config.dynamics
        opened = np.full(self.num_envs, self.openings)
        moment = np.stack([opened, self.market.episode.astype(np.int64), rounds], axis=1)
        new = (moment != self._solved_moment).any(axis=1)
        if new.any():
            prices = solve_batch(self._params, self.whole, new, self.deviation_evaluator())
            self._equilibrium[new] = prices[new]
            self._solved_moment[new] = moment[new]
        return self._equilibrium

    def pricing_equilibrium(self) -> NDArray[np.int64]:
        """Return the indices of the grid prices that Algorithm 2 leads to now, int64 (batch, 2, leaders)."""
        levels, everywhere = self.config.price_levels, np.ones(self.num_envs, np.bool_)
        pricing = self.config.pricing()
        prices, _, _ = solve_pricing(pricing, self.market, everywhere)
        rounded = equilibrium_on_grid(pricing, self.market, everywhere, prices, levels)
        return np.rint(rounded / self.config.price_cap * (levels - 1)).astype(np.int64)

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        market, tier = self.market, self.whole.tier
        of_pricing = market.accounts.shape[1] - 1
        ledger[mask, :of_pricing] = market.accounts[mask, :-1]
        ledger[mask, of_pricing:] = tier.accounts[mask]
        values = self._means()
        values["auction_regret"] = np.nan
        for b in np.flatnonzero(mask).tolist() if self._is_used("auction_regret") else ():
            evaluator = self.deviation_evaluator()
            evaluator.take(self.whole, b)
            values[b].auction_regret = evaluator.auction_regret()
        metrics[mask] = plain_view(values)[mask]

    def _is_used(self, *names: str) -> bool:
        """Return whether the caller uses any of the metrics, which take long."""
        return self.full_metrics and (self.only_metrics is None or not self.only_metrics.isdisjoint(names))

    def _means(self) -> NDArray[Any]:
        """Return the means over the settled rounds, `TwoTierMetrics` (batch,); the auctioneer's regret is 0.

        The leaders' regrets are NaN where not every round of the episode has been audited.
        """
        config, totals, rounds = self.config, self.whole.tier.totals, np.maximum(self.market.round, 1)
        values = (DynamicMetrics if config.dynamics else TwoTierMetrics).zeros(self.num_envs)
        for name in (
            "mobile_profit", "fixed_profit", "aerial_profit", "follower_welfare", "mobile_price", "fixed_price",
            "buyers", "trades", "auctions", "messages",
        ):  # fmt: skip
            values[name] = totals[name] / rounds
        audited = totals["audited"] == self.market.round
        for role in LEADERS:
            values[f"{role}_regret"] = np.where(audited, totals[f"{role}_regret"] / rounds, np.nan)
            values[f"last_{role}_regret"] = np.where(audited, totals[f"last_{role}_regret"], np.nan)
        profits = values["mobile_profit"] + values["fixed_profit"] + values["aerial_profit"]
        values["social_welfare"] = values["follower_welfare"] + profits
        values["participation"] = totals["purchases"] / rounds / config.wireless
        if config.dynamics:
            self._add_dynamic_means(values)
        values["overloaded"] = totals["overloaded"] / rounds / config.fixed
        values["unserved"] = _ratio(totals["unserved_load"], totals["load"], 0.0)
        values["clearing_price"] = _ratio(totals["clearing_price"], totals["auctions_with_trade"], np.nan)
        values["auction_return"] = _ratio(totals["auction_return"], totals["auctions"], np.nan)
        values["auction_efficiency"] = _ratio(totals["auction_welfare"], totals["optimal_welfare"], np.nan)
        return values

    def _add_dynamic_means(self, values: NDArray[Any]) -> None:
        """Write what only a dynamic market measures into ``values``, `DynamicMetrics` (batch,)."""
        course, tasks = self.whole.tier.course, self.market.totals["tasks"]
        values["participation"] = _ratio(self.whole.tier.totals["purchases"], tasks, 0.0)
        values["price_change"] = _ratio(course["price_change"], course["changes"], np.nan)
        values["share_stability"] = 1.0 - _ratio(course["share_change"], course["repeated"], np.nan)
        values["quality_of_experience"] = _ratio(course["quality"], tasks, np.nan)

    def state(self) -> NDArray[np.float32]:
        """Return the global state, float32 (batch, features), scaled to [0, 1].

        It has the round and the phase; prices, unit costs and sold loads of all leaders; capacities, loads, α and
        served fractions of the fixed agents; the valuations of the aerial agents and of this round's bidders; and the
        clearing price, the number of trades and the steps of the last auction; and the last bids, if they are chosen.
        """
        market, tier, auction, config = self.market, self.whole.tier, self.whole.auction, self.config
        bid, load = config.price_cap * config.lot, self.settings.pricing[0].most_load * config.wireless
        last_phase = len(self.phases) - 1
        parts: list[NDArray[Any]] = [market.round[:, None] / config.rounds, market.phase[:, None] / last_phase]
        for side, role in enumerate(LEADERS):
            count = getattr(config, role)
            parts += [x[:, side, :count] / config.price_cap for x in (market.price, market.cost)]
            parts.append(market.sales[:, side, :count] / load)
        parts += [tier.capacity / load, tier.load / load, market.offloading_ratio, tier.served_fraction, tier.ask / bid]
        for side, count in enumerate((config.fixed, config.aerial)):
            parts.append(auction.valuation[:, side, :count] / bid)
        totals = auction.totals[:, None]
        parts += [totals["price"] / bid, totals["trades"] / min(config.fixed, config.aerial)]
        parts.append(tier.pair / max(len(config.steps) - 1, 1))
        parts += [] if self._bidding is None else self._bidding.state()
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
        """Return the least possible regrets [units] by role, shape (batch,): 0, since no regret is negative."""
        return {scored: np.zeros(len(seeds)) for scored in cls.objectives}
