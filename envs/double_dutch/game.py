"""The double Dutch auction as a game; see `DoubleDutchGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, PolicyFactory, Role, Step, StepBuffers
from ioa_marl.envs.double_dutch.policies import POLICIES
from ioa_marl.envs.spaces import unit_box
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import check_integer, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.double_dutch import drivers
from ioa_marl.markets.double_dutch.auction import PRESETS, DoubleDutchParams, allocate_state
from ioa_marl.markets.double_dutch.clairvoyant import clairvoyant_bounds
from ioa_marl.markets.double_dutch.kernels import Metrics


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
        require(self.observation in ("paper", "extended"), "observation", self.observation, "paper or extended")
        if self.max_cycles is not None:
            check_integer(self, "max_cycles", 1, 10**9)


class DoubleDutchGame(Game):
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

    config: DoubleDutchConfig

    def __init__(
        self,
        config: DoubleDutchConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self._bidders = max(config.buyers, config.sellers)
        self._params = config.record(
            self.controlled_roles, config.max_cycles, config.observation == "extended", autoreset
        )
        # Where the state has to be looked at before it is gone, markets are reset after the kernel.
        self._params_without_reset = self._params.copy()
        self._params_without_reset["autoreset"] = False
        self._steps = config.step_ticks()
        self.auctions = allocate_state(num_envs, self._bidders)
        self._features = self.roles["auctioneer"].observation_space.shape[0]
        self._only_auctioneer = self.controlled_roles == ("auctioneer",)
        self._ledger = np.zeros((num_envs, config.buyers + config.sellers + 1))
        self._buffers = [_Buffers(self, self._ledger), _Buffers(self, self._ledger)]
        self._turn = 0
        self.openings = 0
        """Times that auctions were opened or replaced from outside; with the episode it tells when bids are new."""
        self._no_auctioneer = np.zeros((num_envs, 1), np.int64)
        self._choices = np.zeros((num_envs, 2, self._bidders), np.int64)
        self._step_auctioneer = machine_code(
            drivers.step_auctioneer, self.auctions, self._params, self._steps, self._no_auctioneer,
            self._buffers[0].outputs,
        )  # fmt: skip

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

    def reset(self, seeds: NDArray[np.uint64], streams: NDArray[np.uint64] | None = None) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market; see `Game.reset`."""
        self.auctions.seed[:] = self.checked_seeds(seeds)
        streams = np.arange(self.num_envs, dtype=np.uint64) if streams is None else streams
        self.auctions.stream[:] = self.checked_seeds(streams)
        self.auctions.episode[:] = 0
        return self._open(True, np.ones(self.num_envs, np.bool_))

    def reset_to(self, values: NDArray[np.float64], costs: NDArray[np.float64]) -> tuple[Arrays, Arrays]:
        """Start auctions over given valuations, shapes (batch, buyers) and (batch, sellers), finite and at least 0."""
        both = np.atleast_2d(np.asarray(values, np.float64)), np.atleast_2d(np.asarray(costs, np.float64))
        for name, given, most in zip(("values", "costs"), both, (self.config.buyers, self.config.sellers), strict=True):
            require(len(given) == self.num_envs, "markets", len(given), f"{name} of {self.num_envs}")
            require(given.shape[1] <= most, "bidders", given.shape[1], f"at most {most} {name}")
            require(bool(np.all(np.isfinite(given) & (given >= 0))), name, given.tolist(), "finite numbers from 0")
        for side, given in enumerate(both):
            n = given.shape[1]
            self.auctions.size[:, side] = n
            self.auctions.valuation[:, side] = 0.0
            self.auctions.valuation[:, side, :n] = given
            self.auctions.order[:, side, :n] = np.arange(n)
        return self._open(False, np.ones(self.num_envs, np.bool_))

    def _open(self, draw: bool, mask: NDArray[np.bool_]) -> tuple[Arrays, Arrays]:
        self.openings += 1
        drivers.open_markets(self.auctions, self._params, draw, mask)
        return self._observe()

    def _observe(self) -> tuple[Arrays, Arrays]:
        buffers = self._buffers[self._turn]
        drivers.observe_markets(self.auctions, self._params, buffers.outputs.observation)
        if not self._only_auctioneer:
            drivers.observe_all_bidders(self.auctions, self._params, buffers.outputs.observation, buffers.bidders)
        return buffers.step.observations, buffers.step.active

    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Put every market that has been stepped at the start of its next episode."""
        stepped = self.auctions.cycles > 0
        self.auctions.episode[stepped] += np.uint64(1)
        return self._open(True, stepped)

    def step(self, actions: Arrays) -> Step:
        """Play one tick, or on to the next question to a learning role; see `Game.step`."""
        if self._only_auctioneer:
            steps = self.checked_actions("auctioneer", actions)
            self._turn = 1 - self._turn
            buffers = self._buffers[self._turn]
            params = self._params_without_reset if self.final_states else self._params
            self._step_auctioneer(self.auctions, params, self._steps, steps, buffers.outputs)
            self._keep_final_states(buffers)
            return buffers.step
        checked = {role: self.checked_actions(role, actions) for role in self.controlled_roles}
        for side, role in enumerate(("buyer", "seller")):
            if role in checked:
                self._choices[:, side, : self.roles[role].count] = checked[role]
        self._turn = 1 - self._turn
        buffers = self._buffers[self._turn]
        steps = checked.get("auctioneer", self._no_auctioneer)
        drivers.step_roles(
            self.auctions, self._params_without_reset if self.final_states else self._params,
            self._steps, steps, self._choices, buffers.outputs, buffers.bidders,
        )  # fmt: skip
        self._keep_final_states(buffers)
        return buffers.step

    def _keep_final_states(self, buffers: _Buffers) -> None:
        """Write the states that episodes ended in, if they are wanted, and then reset these markets."""
        final_state = buffers.final_state(self)
        ended = buffers.outputs.terminated | buffers.outputs.truncated
        if final_state is None or not ended.any():
            return
        final_state[...] = self.state()
        if self.autoreset:
            self.auctions.episode[ended] += np.uint64(1)
            drivers.open_markets(self.auctions, self._params, True, ended)
            self._observe()

    def state(self) -> NDArray[np.float32]:
        """Return clocks, turn and every bidder's valuation and acceptance, (batch, 6 + 2·(buyers + sellers))."""
        a, c = self.auctions, self.config
        out = np.zeros((self.num_envs, 6 + 2 * (c.buyers + c.sellers)), np.float32)
        cap = round(c.buyer_clock / c.tick)
        out[:, 0] = a.side
        out[:, 1] = a.ticks / c.max_ticks
        out[:, 2:4] = a.clock / cap
        out[:, 4:6] = a.winners / (c.buyers, c.sellers)
        at = 6
        for side, n in enumerate((c.buyers, c.sellers)):
            out[:, at : at + n] = a.valuation[:, side, :n] / c.buyer_clock
            out[:, at + n : at + 2 * n] = a.accepted_at[:, side, :n] >= 0
            at += 2 * n
        return np.clip(out, 0.0, 1.0)

    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of the arrays that the auctions are made of."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        auctions = {name: plain_view(array) for name, array in self.auctions._asdict().items()}
        return {**auctions, "ledger": self._ledger}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Go on from what `save` returned."""
        for name, array in self._arrays().items():
            array[...] = saved[name]
        self.openings += 1
        return self._observe()

    def ledger(self) -> NDArray[np.float64]:
        """Return the receipts of buyers, sellers and, last, the auctioneer, (batch, buyers + sellers + 1)."""
        return self._ledger.copy()

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the clairvoyant bound of the auctioneer's return, per market; ``max_cycles`` is not considered."""
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        return {"auctioneer": clairvoyant_bounds(game.auctions, config)}

    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``; see `Game.render`."""
        from ioa_marl.envs.double_dutch import render

        return render.render(self, mode, index)


class _Buffers(StepBuffers):
    """Output arrays of one step and the `Step` that shows them, made once."""

    def __init__(self, game: DoubleDutchGame, ledger: NDArray[np.float64]) -> None:
        n, roles = game.num_envs, game.roles
        features = roles["auctioneer"].observation_space.shape[0]
        counts = {name: role.count for name, role in roles.items()}
        bidders = max(counts["buyer"], counts["seller"])
        self.outputs = drivers.StepOutputs(
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
            observation=np.zeros((n, 1, features), np.float32),
            reward=np.zeros((n, 1), np.float32),
            final_observation=np.zeros((n, 1, features), np.float32),
            metrics=Metrics.zeros(n),
            ledger=ledger,
        )
        only_auctioneer = game.controlled_roles == ("auctioneer",)
        rows = 0 if only_auctioneer else n
        shape = (rows, 2, bidders)
        self.bidders = drivers.BidderOutputs(
            observation=np.zeros((*shape, features + drivers.BIDDER_EXTRAS), np.float32),
            reward=np.zeros(shape, np.float32),
            final_observation=np.zeros((*shape, features + drivers.BIDDER_EXTRAS), np.float32),
            active=np.zeros(shape, np.bool_),
            auctioneer_active=np.ones((n, 1), np.bool_),
        )
        out, seen = self.outputs, self.bidders

        def by_role(auctioneer: NDArray[Any], both: NDArray[Any]) -> Arrays:
            arrays = {"auctioneer": auctioneer}
            for side, role in enumerate(("buyer", "seller")):
                arrays[role] = both[:, side, : counts[role]]
            return {role: arrays[role] for role in game.controlled_roles}

        self.step = Step(
            observations=by_role(out.observation, seen.observation),
            rewards=by_role(out.reward, seen.reward),
            terminated=out.terminated,
            truncated=out.truncated,
            active=by_role(seen.auctioneer_active, seen.active),
            final_observations=by_role(out.final_observation, seen.final_observation),
            metrics=dict(zip(game.metric_names, plain_view(out.metrics).T, strict=True)),
        )
