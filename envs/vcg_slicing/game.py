"""The slicing market, with exact VCG payments or the dual-currency auction, as a game; see `VCGSlicingGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.phased import PhasedGame
from ioa_marl.envs.requirements import Requirement
from ioa_marl.envs.spaces import unit_box
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.dual_currency import BANK_VSP_FEATURES, DualCurrency
from ioa_marl.envs.vcg_slicing.estimators import CRITIC, ExternalityEstimator
from ioa_marl.envs.vcg_slicing.optima import GameOptima, optimal_welfare
from ioa_marl.envs.vcg_slicing.policies import POLICIES
from ioa_marl.foundations.compile import machine_code
from ioa_marl.markets.vcg_slicing import kernels, measures
from ioa_marl.markets.vcg_slicing.coalitions import coalition_of, mean_profits, share_rewards
from ioa_marl.markets.vcg_slicing.observations import (
    SLICE_FEATURES,
    SLICE_FEATURES_EXTENDED,
    VSP_FEATURES,
    observe_slices,
    observe_vsps,
)
from ioa_marl.markets.vcg_slicing.params import PRESETS, allocate_market, write_types
from ioa_marl.markets.vcg_slicing.records import (
    BankMetrics,
    CoalitionBankMetrics,
    CoalitionMetrics,
    Metrics,
    SlicingState,
)


class VCGSlicingGame(PhasedGame):
    """A network divides three resources among service providers, who pay for the harm they do to one another.

    ## Description

    N virtual service providers (VSP) share the bandwidth, computing and cache of one network, each normalised to 1.
    Provider i has utility u_i(s) = β_i (1 − exp(−ξ_i·s_i)) from its slice s_i. In each round the providers first report
    their worths. Then the network's agent of each slice changes the three shares of the slice by up to 30%, and the
    shares of each resource are rescaled to sum to 1. Welfare is Σ_i u_i(s_i). The agents of the slices have to reach
    the division with the largest welfare without knowing any utility function. Each observes its own shares and the
    mean shares of the others.

    Providers pay the exact Clarke payment of the round, SW*₋ᵢ − Σ_{j≠i} û_j(s): the optimal reported welfare of the
    others without i less their actual reported welfare. At the optimal division the payment lies between 0 and the own
    utility, and no misreport is profitable. Away from the optimum it can exceed the utility: at the equal split,
    typically every provider pays more than its utility (metric `overcharged`).

    With `mechanism="dual_currency"` no provider reports a utility function. A bank issues a currency in units of
    utility and settles every round from the bills of earlier rounds: (1) the bank computes the value of information f_i
    of every provider, and its pool is Σf; (2) every provider bids x_i, a multiple of its belief, which is a moving
    average of its own utility; (3) the provider borrows K_i = Σf · x_i / Σx; (4) the slices' agents change the shares,
    to which noise is added if the bids exceed the largest welfare, N(0, Δ²) with Δ = max(Σx − SW*, 0) / (N·SW*); (5)
    the provider earns G_i = α_i u_i + w_i and is taxed Z_i = α̂_i (I_i + |K_i − U_i*|): the harm I_i = SW*₋ᵢ − Σ_{j≠i}
    u_j to the others, and interest on the difference between its loan and its utility at the optimum; (6) the round
    becomes a bill, from which the bank estimates α̂ again. `dual_currency_no_interest` has no interest.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `slice` | `providers` | controlled | `oracle`, `qvcg` (`quanta`), `greedy`, `equal_split`, `kelly`, `hold` |
    | `vsp` | `providers` | `truthful` | `truthful`, `shaded` (`multiplier`) |

    Single providers can follow other policies: `partners={"vsp": {"agents": {0: {"name": "shaded", "multiplier":
    0.5}}}}`, or `roles.vsp.agents.0=shaded` in a run.

    With `fewest_providers` the number of providers differs between episodes; the agents of absent providers are never
    active and observe zeros.

    A round has two phases: first the providers report, then the slices change. Scripted providers report within the
    step of the slices. `oracle` steers to the exact optimum of the reported types; `greedy` chooses the largest change
    if the own marginal utility exceeds the mean, else the smallest; `equal_split` and `kelly` (shares in proportion to
    worths, divided in proportion to rates) steer to their allocation; `qvcg` steers to the optimum in whole units;
    `hold` changes nothing. `hold` is the best constant action that all slices share, because rescaling undoes any other
    one; the leaderboard shows it. On a fixed instance a different constant for every slice reaches more, about 0.85 on
    the scale of `paper`, so a lower score does not show that a learner reacts to its observations.

    ## Observation space

    `slice`: float32 in [0, 1]; 6 features, or 12 with `observation="extended"`. Here f(x) = x / (1 + x), which is
    1/2 for the equal share; a relative change of a share shifts the logit of f by a constant.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0-2 | own share s_ik of each resource | f(s·N) |
    | 3-5 | the others' mean share of each resource | f(s·N) |
    | 6-8 | own marginal utility of each resource, β_i ξ_ik exp(−ξ_i·s_i) | f(m / (mean β · mean ξ)) |
    | 9-11 | the others' mean marginal utility of each resource | f(m / (mean β · mean ξ)) |

    The shares of a resource sum to 1, so features 3-5 follow from 0-2. With `paper` an agent can only learn one fixed
    market by trial, and agents cannot share parameters. With `extended` agents can share parameters and play with
    another number of providers; `redraw="episode"` requires it.

    `vsp`: float32 in [0, 1], 9 features: own worth over the largest possible, own rates over the largest possible (3),
    f(s·N) of the own shares (3), last payment over own worth (clipped), rounds played over `rounds`.

    `vsp` with a bank has 8 features, without a utility function: belief, last loan, last Σx over N, each over the
    largest possible worth; last tax over the largest possible worth times the largest α (clipped); f(s·N) of the own
    shares (3); rounds played over `rounds`.

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `slice` | `MultiDiscrete` of `len(changes)`, three times | index of the relative change of each share |
    | `vsp` | `Discrete(len(multipliers))` | index of the factor on the worth, or with a bank on the belief |

    A share does not fall below `floor`/N before rescaling.

    ## Rewards

    `slice`, in every round, all divided by Σβ:

    | `slice_reward` | Reward |
    | --- | --- |
    | `difference` | `reward_scale` × (welfare − welfare if this agent had changed nothing) |
    | `increment` | `reward_scale` × (welfare − welfare before the round), common to all |
    | `utility` | welfare, common to all |
    | `bids` | reported utilities Σ û_j(s), with a bank the bids Σ x_j, common to all: Eq. 27 |
    | `own` | N × own utility |

    If noise is added to the shares, `difference` is that of the change alone.

    `vsp`, in every round: (true utility − Clarke payment computed from all reports) / mean β; with a bank (gross profit
    − tax) / mean β. With `coalitions`, such as `[[0,3,7]]`, every member of a group has the mean of these rewards over
    the members that are present. The paper gives two providers the sum, which is twice as much; the mean keeps the
    scale of a single provider's reward, whatever the size of the group.

    ## Starting state

    Every provider has β ~ U(`worth`) and ξ ~ U(`rate`)³, which belong to the instance, or with `redraw="episode"` to
    the episode. Each share is the equal split times U(`start_spread`), rescaled so that each resource sums to 1.

    ## Episode end

    Truncation: after `rounds` rounds, and after `max_cycles` steps, if that is set; the rounds played are settled. The
    auction goes on for ever, and a slice's agent does not see how many rounds are left: the end is a cut, after which
    learners bootstrap.

    ## Metrics

    | Name | Meaning |
    | --- | --- |
    | `welfare` | true welfare, mean over the rounds played; this is scored |
    | `welfare_ratio` | `welfare` over the optimal welfare |
    | `final_ratio` | true welfare of the last allocation over the optimal welfare |
    | `optimal_welfare` | SW* of the true types, exact |
    | `equal_split_ratio` | welfare of the equal split over the optimal welfare, the price of equal shares |
    | `payments` | Clarke payments of all providers, mean over the rounds played |
    | `overcharged` | number of providers whose payment at the last allocation exceeds their utility |

    The score 1 is SW* in every round, which no policy can exceed, and none can reach, because changes are limited. The
    ledger has the receipts of every provider and, last, of the network, over all rounds played. If the providers are
    truthful, payments are computed when the episode ends: the optima without each provider are constant, so all
    payments follow from sums of utilities. If the providers are controlled, payments are computed every round. With a
    bank `payments` are taxes, `overcharged` counts providers whose last tax exceeds their gross profit, and there are
    five more metrics:

    | Name | Meaning |
    | --- | --- |
    | `net_profit` | Σ (G − Z), mean over the rounds played |
    | `interest` | interest on loans, mean over the rounds played |
    | `bid_ratio` | Σx over SW*, mean over the rounds played |
    | `noise` | Δ, mean over the rounds played |
    | `rate_error` | mean absolute error of α̂ over α, at the end |

    With `coalitions` there are two more metrics, with and without a bank:

    | Name | Meaning |
    | --- | --- |
    | `coalition_profit` | net profit of a provider in a coalition, mean over them and the rounds played |
    | `others_profit` | net profit of a provider in none, mean over them and the rounds played; NaN if there is none |

    Net profits are G − Z [money] with a bank, else utility − Clarke payment [utility]. `coalition_profit` is NaN if no
    member is present.

    The ledger with a bank has the receipts of every provider, the bank and, last, the providers' customers. With
    `externality="critic"` taxes are NaN if no agent supplies a critic, which is refused if the providers are
    controlled.

    With `full_metrics` off and no bank no optimum is solved. All metrics are NaN except `welfare` and, if the providers
    are controlled, `payments`; the ledger has receipts if the providers are controlled, and else zeros.

    ## Arguments

    The fields of `VCGSlicingConfig`; `conf/env/vcg_slicing.yaml` lists them with their meaning.

    With `data` the providers are those of a file (CSV or Parquet) with a row for each: `worth` (β), `bandwidth`,
    `computing` and `cache` (ξ of each resource), and `profit_rate` (α), which counts only with a bank and is drawn
    if the column is missing. The number of providers and the ranges of β, ξ and α, which scale observations, follow
    from the table. A run keeps the table, so that its rows can be checked without the file; see
    docs/own_numbers.md.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 10 providers |
    | `n20`, `n30`, `n40`, `n50` | 20 to 50 providers |
    | `city` | 1 000 providers |
    | `internet` | 100 000 providers, `slice_reward="increment"` (difference rewards cost providers² operations) |
    | `common_reward` | 10 providers, `slice_reward="utility"`: the board of credit assignment |
    | `dual_currency`, `no_interest` | 10 providers and a bank, with and without interest on loans |
    | `transfer_10`, `transfer_50`, `transfer_200`, `transfer_1000` | 10 to 1 000 providers, new ones in every episode |

    The presets `transfer_…` are the boards of size transfer: with `redraw="episode"` and `observation="extended"`, a
    policy that agents share (`agent.agent_index=false` of `ppo` and `mappo`, `agent.share_above=1` of the
    actor–critics) is trained on one of them and plays all four as `agent=loaded`; docs/evaluation.md has the commands
    and scores. With 1 000 providers the reward is `increment`.

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - With `mechanism="vcg"` externalities and payments are exact (Eq. 2), and there is neither bank nor currency.
    - The printed Δ (Eq. 16) is in units of utility, but is added to shares. Here it is divided by SW*, unless
      `noise="as_printed"`.
    - α̂ is fitted with an intercept, because the printed Eq. 34 is biased if the mean of w is not 0. The tax is computed
      after the allocation on which it depends; the printed Algorithm 1 has it before.
    - Line 13 of Algorithm 1 values the round by its action. The bank here has to set Δ before the action, so with
      `critic` SW* and U* are the values f_i of the pool. With `voi="exact"` these are the true ones; the paper's bank
      has `voi="network"`.
    - With `externality="exact"` the bank knows the true SW*₋ᵢ and U*, and with `estimated` those of utility functions
      fitted to its bills. `critic` is the paper's method: Eqs. 30-33 from the target critic of the slices' agent
      (`mean_field_ac`, or `maddpg` or `independent_ac`), for which `slice_reward` has to be `utility` or `bids`. The
      bank starts every episode with `prior_bills` bills from random allocations; the paper assumes such a history.
    - `voi="exact"` is Eq. 11, the utility at the optimum; `network` is the paper's regression (Eqs. 29 and 35).
    - The paper claims that truth is a dominant strategy. But loans are scale invariant: if all providers bid the same
      multiple below 1 of their beliefs, all outcomes are those of the truth. Truth is an equilibrium, not dominant.
    - The printed reward, the sum of bids (Eq. 27), is `slice_reward="bids"`. A common reward hides the effect of a
      single agent, so the default is the difference reward. Scores use true welfare with every reward.
    - A floor keeps shares above 0, because no relative change leads back from 0; the paper does not treat this case.
    - The initial shares are around the equal split, not equal to it. Otherwise all trajectories in a fixed market would
      be the same.

    ## References

    "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value of Information
    Perspective", Sections III to VI, Eqs. 2, 4, 9, 10a, 27 and 39.

    ## Version history

    - v1: the last round truncates the episode. It terminated it before, and since a slice's agent does not see how many
      rounds are left, learners took the welfare after it for 0.
    - v0: first version.
    """

    name: ClassVar[str] = "vcg_slicing"
    version: ClassVar[int] = 1
    config_class: ClassVar[type[Any]] = VCGSlicingConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Providers that are new in every episode can only be told by their marginal utilities.
        name: {**preset, "observation": "extended"} if preset.get("redraw") == "episode" else preset
        for name, preset in PRESETS.items()
    }
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("slice",)
    metric_names: tuple[str, ...] = Metrics.names()
    final_episodes: ClassVar[Mapping[str, int]] = {
        "city": 150, "internet": 50, "transfer_200": 250, "transfer_1000": 100,
    }  # fmt: skip
    objectives: ClassVar[Mapping[str, str]] = {"slice": "welfare"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"slice": "hold"}
    reward_settings: ClassVar[Mapping[str, Any]] = {"slice_reward": "utility", "reward_scale": 10.0}
    board_metrics: ClassVar[tuple[str, ...]] = ("welfare_ratio", "final_ratio", "overcharged")
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES
    instanced: ClassVar[bool] = True
    pictures: ClassVar[str] = "ioa_marl.envs.vcg_slicing.render"
    endless: ClassVar[bool] = True
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (("vsp",), ("slice",))
    native: ClassVar[frozenset[str]] = frozenset({"vsp"})
    takes_partners: ClassVar[frozenset[str]] = frozenset({"vsp"})

    config: VCGSlicingConfig
    market: SlicingState

    def __init__(
        self,
        config: VCGSlicingConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        self._metrics = _metrics_of(config)
        self.metric_names = self._metrics.names()
        super().__init__(config, num_envs, controlled_roles, autoreset)
        n = config.providers
        self._record = config.record(self.controlled_roles, config.observation == "extended")
        self._changes, self._multipliers = np.array(config.changes), np.array(config.multipliers)
        self._coalition: NDArray[np.int64] = coalition_of(config.coalitions, n)
        self.optima = GameOptima(self)
        self.bank = DualCurrency(self) if config.banked else None
        self._share_noise = np.zeros((0, n, 3)) if self.bank is None else self.bank.share_noise
        self._no_rewards = np.zeros((0, n), np.float32)
        self._no_vsp_rewards = self._no_rewards
        rewards = self._opening.rewards
        mask = np.zeros(num_envs, np.bool_)
        self._play_slices = machine_code(
            kernels.play_slices, self.market, self._record, self._changes, mask,
            np.zeros((num_envs, n, 3), np.int64), self._share_noise,
            rewards.get("slice", self._no_rewards), rewards.get("vsp", self._no_rewards), mask,
        )  # fmt: skip
        features = np.zeros((1, 1, 1), np.float32)
        self._observe_slices = machine_code(observe_slices, self.market, self._record, features)

    @property
    def providers_choose(self) -> bool:
        """Whether providers bid or report by agents or by policies of `partners`, and not all by the truth."""
        return self.is_controlled["vsp"] or "vsp" in self.partners

    def set_partners(self, partners: Mapping[str, Any]) -> None:
        """Choose the policies of the providers, whose payments are then computed every round."""
        super().set_partners(partners)
        roles = (*self.controlled_roles, *(["vsp"] if "vsp" in self.partners else []))
        self._record = self.config.record(roles, self.config.observation == "extended")
        self.optima = GameOptima(self)
        if "vsp" in self.partners:  # the driver writes them together with the payments
            self._no_vsp_rewards = np.zeros((self.num_envs, self.config.providers), np.float32)

    @classmethod
    def make_roles(cls, config: VCGSlicingConfig) -> dict[str, Role]:
        """Return the roles slice and vsp."""
        n = config.providers
        features = SLICE_FEATURES_EXTENDED if config.observation == "extended" else SLICE_FEATURES
        changes = spaces.MultiDiscrete([len(config.changes)] * 3)
        vsp_features = BANK_VSP_FEATURES if config.banked else VSP_FEATURES
        absences = config.fewest_providers is not None
        multipliers = spaces.Discrete(len(config.multipliers))
        return {
            "slice": Role("slice", n, unit_box(features), changes, "oracle", absences),
            "vsp": Role("vsp", n, unit_box(vsp_features), multipliers, "truthful", absences),
        }

    def allocate(self) -> SlicingState:
        """Return the zeroed arrays of the batch."""
        return allocate_market(self.num_envs, self.config)

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""
        return self.config.providers + (2 if self.config.banked else 1)

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of the markets ``mask``, bool (batch,)."""
        write_types(self.config, self.market, mask)
        kernels.open_markets(self.market, self._record, mask)
        if self.bank is not None:
            self.bank.open(mask)

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
            if self.bank is not None:
                self.bank.take_bids(mask, actions.get("vsp"))
            elif "vsp" in actions:
                self.optima.take_reports(mask, actions["vsp"], self._multipliers)
            return
        if self.bank is not None:
            self.bank.before_change(mask, actions["slice"])
        self._play_slices(
            self.market, self._record, self._changes, mask, actions["slice"], self._share_noise,
            rewards.get("slice", self._no_rewards), rewards.get("vsp", self._no_vsp_rewards), terminated,
        )  # fmt: skip
        if self.bank is not None:
            self.bank.settle(mask, rewards.get("vsp"))
        if self.config.coalitions and "vsp" in rewards:
            share_rewards(self._coalition, len(self.config.coalitions), self.market.present, mask, rewards["vsp"])

    def write_observations(self, observations: Arrays) -> None:
        """Write observations, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        if "slice" in observations:
            self._observe_slices(self.market, self._record, observations["slice"])
        if "vsp" in observations:
            if self.bank is not None:
                self.bank.observe(observations["vsp"])
                return
            observe_vsps(self.market, self._record, observations["vsp"])

    @classmethod
    def requirements(cls, config: VCGSlicingConfig) -> tuple[Requirement, ...]:
        """Return the requirement of the slices' agent with ``externality="critic"``; see `Game.requirements`."""
        return (CRITIC,) if config.externality == "critic" else ()

    def supply(self, role: str, provider: ExternalityEstimator) -> None:
        """Set the slices' agent's estimator of the optimal welfare without each provider."""
        if self.bank is None or self.config.externality != "critic" or role != CRITIC.role:
            super().supply(role, provider)  # raises an error
        else:
            self.bank.critic = provider

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, with the bank's critic, which belongs to the agent of the slices."""
        return super().__getstate__() | {"critic": None if self.bank is None else self.bank.critic}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["critic"] is not None:
            self.supply(CRITIC.role, state["critic"])
        super().__setstate__(state)

    def write_active(self, active: Arrays) -> None:
        """Write which agents act in the next step, bool (batch, agents); see `PhasedGame.write_active`."""
        super().write_active(active)
        if self.config.fewest_providers is not None:
            present = self.market.present[:, None] > np.arange(self.config.providers)
            for mask in active.values():
                mask &= present

    def saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies, with those of the bank; see `PhasedGame.saved_arrays`."""
        return super().saved_arrays() | ({} if self.bank is None else self.bank.arrays())

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        records = metrics.view(self._metrics.dtype())[:, 0]
        if not self.full_metrics:
            measures.measure_quickly(self.market, self._record, mask, records, ledger)
        else:
            self.optima.solve(mask)
            measures.measure_markets(self.market, self._record, mask, records, ledger)
        if self.bank is not None:
            self.bank.measure(mask, records, ledger)
        if self.config.coalitions:
            self._measure_coalitions(mask, records, ledger)

    def _measure_coalitions(self, mask: NDArray[np.bool_], records: NDArray[Any], ledger: NDArray[np.float64]) -> None:
        """Write the mean net profits inside and outside coalitions; arguments as of `write_metrics`."""
        market, n = self.market, self.config.providers
        rounds = np.maximum(market.rounds[mask], 1)[:, None]
        receipts = ledger[mask, :n]
        profits = receipts if self.bank is not None else receipts + market.total_utility[mask]
        inside, outside = mean_profits(self._coalition, market.present[mask], profits / rounds)
        known = self.full_metrics or self.bank is not None or self.providers_choose
        records["coalition_profit"][mask] = inside if known else np.nan
        records["others_profit"][mask] = outside if known else np.nan

    def state(self) -> NDArray[np.float32]:
        """Return the global state, float32 (batch, 8·providers + 1), scaled to [0, 1].

        It has the shares, worths, rates and reports of all providers and the round. With a bank there are five more
        features of each provider: belief, last loan, value of information, α and its estimate.
        """
        market, config = self.market, self.config
        relative = market.share * market.present[:, None, None]
        parts = [
            (relative / (1.0 + relative)).reshape(self.num_envs, -1),
            market.worth / config.worth[1],
            market.rate.reshape(self.num_envs, -1) / max(config.rate[1], 1e-300),
            market.multiplier / config.multipliers[-1],
            market.rounds[:, None] / config.rounds,
            *([] if self.bank is None else self.bank.state()),
        ]
        return np.clip(np.concatenate(parts, axis=1), 0.0, 1.0).astype(np.float32)

    @classmethod
    def reference(
        cls,
        config: Any,
        seeds: NDArray[np.uint64],
        streams: NDArray[np.uint64],
        instances: NDArray[np.uint64] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return SW* [utility], the bound of every round's welfare, by role, shape (batch,)."""
        return {"slice": optimal_welfare(config, seeds, streams, seeds if instances is None else instances)}


def _metrics_of(config: VCGSlicingConfig) -> type[Metrics]:
    """Return the record of the metrics that a market with these settings has."""
    if config.banked:
        return CoalitionBankMetrics if config.coalitions else BankMetrics
    return CoalitionMetrics if config.coalitions else Metrics
