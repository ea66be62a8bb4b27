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
from ioa_marl.envs.phased import PhasedBuffers, PhasedGame, check_common
from ioa_marl.envs.spaces import unit_box
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch import drivers
from ioa_marl.markets.double_dutch.auction import PRESETS, DoubleDutchParams
from ioa_marl.markets.double_dutch.clairvoyant import clairvoyant_bounds
from ioa_marl.markets.double_dutch.state import AuctionState, Metrics, allocate_state


@dataclass(frozen=True)
class DoubleDutchConfig(DoubleDutchParams):
    """Settings of the environment: those of the auction, and what the agents see."""

    observation: str = "paper"
    """What the auctioneer sees: ``paper`` (6 features) or ``extended`` (12)."""
    max_cycles: int | None = None
    """Cut episodes off after this many steps (truncation). None: only the auction's own rules end them."""

    def __post_init__(self) -> None:
        """Check the settings that the auction does not know."""
        super().__post_init__()
        check_common(self)
        require(self.observation in ("paper", "extended"), "observation", self.observation, "paper or extended")


BIDDERS = ("buyer", "seller")
"""Roles of the bidders, by side."""
_UNASKED = {"auctioneer": 1, "buyer": 0, "seller": 0}
"""Agents in the arrays that stand for those of a role that does not learn; bidders see what the auctioneer sees."""


class DoubleDutchGame(PhasedGame):
    """Two clocks look for the price at which fixed agents buy computing from aerial agents.

    ## Description

    J buyers (fixed agents) have a value for one lot of computing, K sellers (aerial agents) a cost of one lot. The
    buyer clock C_b starts high and falls, the seller clock C_s starts low and rises. In each tick the active side's
    clock is broadcast to its bidders who have not accepted yet. Those with value ≥ C_b (cost ≤ C_s) accept, and
    the other side becomes active; if nobody accepts, the clock moves by the step that the auctioneer chose, and the
    side stays active. Small steps find the efficient trades and cost many messages; the auctioneer has to find out
    where the bidders are. A side of which everybody has accepted cannot hold the turn.

    When the auction ends, as many pairs trade as the shorter list of acceptors has; the last acceptors of the longer
    one are dropped (within a tick, lower indices go first). All trade at r* = ψ C_b + (1 − ψ) C_s, taken from the
    clocks before they crossed. It is individually rational and strongly budget balanced. It is **not** incentive
    compatible, although that has been claimed: see Fidelity.

    ## Roles

    | Role | Agents | Default | Scripted policies |
    | --- | --- | --- | --- |
    | `auctioneer` | 1 | learns | `fixed_step` (the best one, or `step`), `two_phase`, `oracle`, `scripted_step` |
    | `buyer` | `buyers` | `truthful` | `truthful`, `shaded` |
    | `seller` | `sellers` | `truthful` | `truthful`, `shaded` |

    Any of them can learn. A broadcast to a side that learns is a step of its own, in which that side's waiting
    bidders are active; the auctioneer then decides in another step, knowing that nobody accepted. A broadcast to
    scripted bidders and the clock move after it are one step. Where only sellers learn, nobody is active at the start:
    the first step uses no action and plays on to the first question to them.

    ## Observation space

    `auctioneer`: float32 in [0, 1]; 6 features, or 12 with `observation="extended"`.

    | Index | Meaning | Scale |
    | --- | --- | --- |
    | 0 | active side Ψ (0 buyers, 1 sellers) | 1 |
    | 1 | tick t | `max_ticks` |
    | 2, 3 | buyer clock, seller clock | `buyer_clock` |
    | 4, 5 | buyers, sellers that have accepted | `buyers`, `sellers` |
    | 6, 7 | distance of each clock from its last acceptance (from its start before one) | `buyer_clock` |
    | 8, 9 | distance between the last two acceptances of each side | `buyer_clock` |
    | 10, 11 | number of buyers, sellers taking part | `buyers`, `sellers` |

    `buyer` and `seller`: the same, then the own valuation (over `buyer_clock`) and whether one has accepted (0, 1).

    ## Action space

    | Role | Space | Meaning |
    | --- | --- | --- |
    | `auctioneer` | `Discrete(len(steps))` | index of the step; used only if nobody accepts in this tick |
    | `buyer`, `seller` | `Discrete(2)` | 0 wait, 1 accept at the present clock |

    ## Rewards

    `auctioneer`: −b · Σ|valuation − clock| of the bidders who accept; −d · (bidders listening) for a broadcast
    that nobody accepts; + c · (value − cost) + e for each pair, when both are in (`welfare_paid="per_trade"`) or in
    one lump at the end (`"at_end"`). Both sum to the same return.
    `buyer`, `seller`: at the end value − r* or r* − cost for those who trade, otherwise 0.

    ## Starting state

    A market level m ~ U(`level`) and a width s ~ log-U(`width`); values m + s·U(`value_spread`), costs
    m − s·U(`cost_spread`); sizes uniform between the minimum and the maximum. Clocks at `buyer_clock` and
    `seller_clock`, buyers active.

    ## Episode end

    Termination: the clocks have crossed; or one side is exhausted and the other has at least as many acceptors; or
    `max_ticks` broadcasts were made. Truncation: after `max_cycles` steps, if that is set; nothing is settled then.

    ## Metrics

    | Name | Meaning |
    | --- | --- |
    | `return` | undiscounted return of the auctioneer: what is scored |
    | `welfare`, `optimal_welfare`, `efficiency` | Σ values − Σ costs of the traders, its maximum, the ratio |
    | `clock_surplus` | Eq. 37 as printed: accepted clocks in place of valuations |
    | `price`, `trades` | clearing price, number of trades |
    | `ticks`, `messages` | broadcasts, and listeners summed over broadcasts |
    | `regret` | Σ |valuation − clock| over all acceptors |

    The score's 1 is the clairvoyant plan: the largest return of an auctioneer who knows every bid
    (`ioa_marl.markets.double_dutch.clairvoyant`).

    ## Arguments

    The fields of `DoubleDutchConfig`; `conf/env/double_dutch.yaml` lists them with their meaning.

    ## Presets

    | Preset | Market |
    | --- | --- |
    | `paper` | 10 × 10, level and width vary: the board on which learners are compared |
    | `calm` | 10 × 10, values U[15, 50], costs U[5, 35]: a constant step is nearly as good as any policy |
    | `mixed` | 4 to 16 bidders a side |
    | `thin` | 5 buyers, 1 to 10 sellers |
    | `thick` | 50 × 50 |
    | `exchange` | 1 000 × 1 000 |

    ## Fidelity

    Differences from the printed model, each necessary or measured:

    - The auction ends when C_b < C_s; the condition is printed the other way round.
    - Welfare is Σ v_j − Σ v_k over traders. Eq. 37 adds accepted clocks instead of valuations; that is kept as
      `clock_surplus`.
    - Eq. 34: λ_k restored in the computing energy, t_k_up in place of t_up. A seller whose cost exceeds every
      buyer's income stays away; clipping its cost down, as printed, would make it trade at a loss.
    - Valuations come from Eqs. 33 and 34 with unit prices and hover powers drawn so that they are spread as under
      Starting state; with one fixed distribution a constant step would do as well as any policy (preset `calm`).
    - Prices and clocks are whole ticks. Winners of the two sides are equalised by dropping the last acceptors, on
      which the paper is silent.
    - The reward's constants b, c, d, e are not given; here they are chosen so that neither the finest nor the
      coarsest fixed step is best.
    - Theorem 1 claims incentive compatibility. With bids 10, 8, 6, 3 and asks 1, 2, 5, 7, truth clears at 5, and the
      seller with cost 5 gains 0.8 by asking 5.8. `ioa_marl.evaluation.audits.double_dutch` measures
      how much there is to gain.

    ## References

    "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet of
    Agents", Sections IV-D and V-B, Eqs. 33-39.

    ## Version history

    - v0: first version.
    """

    name: ClassVar[str] = "double_dutch"
    version: ClassVar[int] = 0
    config_class: ClassVar[type[Any]] = DoubleDutchConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("auctioneer",)
    metric_names: tuple[str, ...] = Metrics.names()
    objectives: ClassVar[Mapping[str, str]] = {"auctioneer": "return"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"auctioneer": "fixed_step"}
    board_metrics: ClassVar[tuple[str, ...]] = ("efficiency", "messages", "ticks")
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = POLICIES

    pictures: ClassVar[str] = "ioa_marl.envs.double_dutch.render"
    # Who of them is asked depends on how the auction goes: the driver plays on until somebody is.
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
        # In place of the arrays of roles that do not learn.
        features = {name: role.observation_space.shape[0] for name, role in self.roles.items()}
        self._no_steps = np.zeros((num_envs, 1), np.int64)
        self._unseen = {role: np.zeros((num_envs, n, features[role]), np.float32) for role, n in _UNASKED.items()}
        self._unpaid = {role: np.zeros((num_envs, n), np.float32) for role, n in _UNASKED.items()}
        self._unasked = {role: np.zeros((num_envs, n), np.bool_) for role, n in _UNASKED.items()}
        self._lone_auctioneer = self.controlled_roles == ("auctioneer",)
        self._outputs = [self._outputs_of(buffers) for buffers in self.buffers]
        driver = drivers.step_auctioneer if self._lone_auctioneer else drivers.step_roles
        given = (self._no_steps,) if self._lone_auctioneer else (self._no_steps, self._choices)
        self._step_markets: Callable[..., None] = machine_code(
            driver, self.market, self._params, self._steps, *given, *self._outputs[0]
        )

    def _outputs_of(self, buffers: PhasedBuffers) -> tuple[Any, ...]:
        """Return the arrays that the driver of a whole step writes, as its last arguments."""
        seen = self._of_all(self._unseen, buffers.observations)
        final = self._of_all(self._unseen, buffers.final_observations)
        rewards = self._of_all(self._unpaid, buffers.rewards)
        active = self._of_all(self._unasked, buffers.active)
        common = drivers.StepOutputs(
            terminated=buffers.terminated,
            truncated=buffers.truncated,
            observation=seen[0],
            reward=rewards[0],
            final_observation=final[0],
            metrics=_as_records(buffers.metrics),
            ledger=buffers.ledger,
        )
        if self._lone_auctioneer:
            active[0].fill(True)  # it is asked in every step
            return (common,)
        bidders = (drivers.BidderOutputs(seen[side], rewards[side], final[side], active[side]) for side in (1, 2))
        return common, active[0], *bidders

    @classmethod
    def make_roles(cls, config: DoubleDutchConfig) -> dict[str, Role]:
        """Return the roles auctioneer, buyer and seller."""
        extended = config.observation == "extended"
        features = drivers.AUCTIONEER_FEATURES_EXTENDED if extended else drivers.AUCTIONEER_FEATURES
        unit = [unit_box(n) for n in (features, features + drivers.BIDDER_EXTRAS)]
        return {
            "auctioneer": Role("auctioneer", 1, unit[0], spaces.Discrete(len(config.steps)), "scripted_step"),
            "buyer": Role("buyer", config.buyers, unit[1], spaces.Discrete(2), "truthful"),
            "seller": Role("seller", config.sellers, unit[1], spaces.Discrete(2), "truthful"),
        }

    def allocate(self) -> AuctionState:
        """Return the zeroed arrays of the batch."""
        return allocate_state(self.num_envs, max(self.config.buyers, self.config.sellers))

    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger: buyers, sellers and, last, the auctioneer."""
        return self.config.buyers + self.config.sellers + 1

    def reset_to(self, values: NDArray[np.float64], costs: NDArray[np.float64]) -> tuple[Arrays, Arrays]:
        """Start auctions over given valuations, shapes (batch, buyers) and (batch, sellers), finite and at least 0."""
        both = np.atleast_2d(np.asarray(values, np.float64)), np.atleast_2d(np.asarray(costs, np.float64))
        for name, given, most in zip(("values", "costs"), both, (self.config.buyers, self.config.sellers), strict=True):
            require(len(given) == self.num_envs, "markets", len(given), f"{name} of {self.num_envs}")
            require(given.shape[1] <= most, "bidders", given.shape[1], f"at most {most} {name}")
            require(bool(np.all(np.isfinite(given) & (given >= 0))), name, given.tolist(), "finite numbers from 0")
        for side, given in enumerate(both):
            n = given.shape[1]
            self.market.size[:, side] = n
            self.market.valuation[:, side] = 0.0
            self.market.valuation[:, side, :n] = given
            self.market.order[:, side, :n] = np.arange(n)
        self.openings += 1
        drivers.open_markets(self.market, self._params, False, np.ones(self.num_envs, np.bool_))
        return self._show()

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the present episode of the markets ``mask``, bool (batch,)."""
        drivers.open_markets(self.market, self._params, True, mask)

    def play_step(self, actions: Arrays, into: int) -> None:
        """Play one tick, or on to the next question to a learning role; see `PhasedGame.play_step`.

        One compiled call does everything, but where somebody wants the state that an episode ends in.
        """
        if self.final_states:
            super().play_step(actions, into)
            return
        steps, outputs = actions.get("auctioneer", self._no_steps), self._outputs[into]
        if self._lone_auctioneer:
            self._step_markets(self.market, self._params, self._steps, steps, *outputs)
        else:
            self._take_choices(actions)
            self._step_markets(self.market, self._params, self._steps, steps, self._choices, *outputs)

    def _take_choices(self, actions: Arrays) -> None:
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
        """Play the markets ``mask`` until a learning role is asked again; see `PhasedGame.play_phase`."""
        self._take_choices(actions)
        steps, paid = actions.get("auctioneer", self._no_steps), self._of_all(self._unpaid, rewards)
        self._play_markets(self.market, self._params, self._steps, mask, steps, self._choices, *paid, terminated)

    def write_observations(self, observations: Arrays) -> None:
        """Write what agents see, float32 (batch, agents, features); see `PhasedGame.write_observations`."""
        self._observe_markets(self.market, self._params, *self._of_all(self._unseen, observations))

    def write_active(self, active: Arrays) -> None:
        """Write whose action the next step uses, bool (batch, agents); see `PhasedGame.write_active`."""
        self._write_active(self.market, self._params, *self._of_all(self._unasked, active))

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write metrics and ledger of the episodes that end; see `PhasedGame.write_metrics`."""
        drivers.end_episodes(self.market, self._params, mask, _as_records(metrics), ledger)

    def _of_all(self, otherwise: Arrays, given: Arrays) -> list[NDArray[Any]]:
        """Return the arrays of all roles, in order: those given, and for roles that do not learn others."""
        return [given.get(role, array) for role, array in otherwise.items()]

    @cached_property
    def _play_markets(self) -> Callable[..., None]:
        every = np.ones(self.num_envs, np.bool_)
        return machine_code(
            drivers.play_markets, self.market, self._params, self._steps, every, self._no_steps, self._choices,
            *self._unpaid.values(), every,
        )  # fmt: skip

    @cached_property
    def _observe_markets(self) -> Callable[..., None]:
        return machine_code(drivers.observe_markets, self.market, self._params, *self._unseen.values())

    @cached_property
    def _write_active(self) -> Callable[..., None]:
        return machine_code(drivers.write_active, self.market, self._params, *self._unasked.values())

    def state(self) -> NDArray[np.float32]:
        """Return clocks, turn and every bidder's valuation and acceptance, (batch, 6 + 2·(buyers + sellers))."""
        market, config = self.market, self.config
        out = np.zeros((self.num_envs, 6 + 2 * (config.buyers + config.sellers)), np.float32)
        cap = round(config.buyer_clock / config.tick)
        out[:, 0] = market.side
        out[:, 1] = market.ticks / config.max_ticks
        out[:, 2:4] = market.clock / cap
        out[:, 4:6] = market.winners / (config.buyers, config.sellers)
        at = 6
        for side, n in enumerate((config.buyers, config.sellers)):
            out[:, at : at + n] = market.valuation[:, side, :n] / config.buyer_clock
            out[:, at + n : at + 2 * n] = market.accepted_at[:, side, :n] >= 0
            at += 2 * n
        return np.clip(out, 0.0, 1.0)

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the clairvoyant bound of the auctioneer's return, per market; ``max_cycles`` is not considered."""
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        return {"auctioneer": clairvoyant_bounds(game.market, config)}


def _as_records(metrics: NDArray[np.float64]) -> NDArray[Any]:
    """Return contiguous metrics (batch, metrics) as `Metrics` (batch,), sharing memory."""
    return metrics.view(Metrics.dtype())[:, 0]
