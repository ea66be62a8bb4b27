"""The double Dutch auction as a game; see `DoubleDutchGame`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role, ScriptedPolicy, Step
from ioa_marl.envs.double_dutch_policies import POLICIES
from ioa_marl.markets import double_dutch_batch as batch
from ioa_marl.markets import double_dutch_kernels as k
from ioa_marl.markets.double_dutch import PRESETS, DoubleDutchParams, allocate_state
from ioa_marl.markets.double_dutch_clairvoyant import clairvoyant_bounds
from ioa_marl.markets.parameters import require


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
        require(
            self.observation in ("paper", "extended"), "observation", self.observation, "paper or extended"
        )
        require(
            self.max_cycles is None or self.max_cycles >= 1, "max_cycles", self.max_cycles, "null or 1, 2, …"
        )


class DoubleDutchGame(Game):
    """Double Dutch auction."""

    name: ClassVar[str] = "double_dutch"
    version: ClassVar[int] = 0
    config_class: ClassVar[type[Any]] = DoubleDutchConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    default_learning: ClassVar[tuple[str, ...]] = ("auctioneer",)
    metric_names: ClassVar[tuple[str, ...]] = k.METRICS
    objectives: ClassVar[Mapping[str, str]] = {"auctioneer": "return"}
    uninformed: ClassVar[Mapping[str, str]] = {"auctioneer": "fixed_step"}
    board_metrics: ClassVar[tuple[str, ...]] = ("efficiency", "messages", "ticks")

    config: DoubleDutchConfig

    def __init__(
        self,
        config: DoubleDutchConfig,
        num_envs: int = 1,
        learning: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, learning, autoreset)
        self._bidders = max(config.buyers, config.sellers)
        self._numbers = config.numbers()
        self._counts = config.counts(
            self.learning, config.max_cycles, config.observation == "extended", autoreset
        )
        self._steps = config.step_ticks()
        self.auctions = allocate_state(num_envs, self._bidders)
        self._features = self.roles["auctioneer"].observation_space.shape[0]
        self._only_auctioneer = self.learning == ("auctioneer",)
        self._buffers = [_Buffers(self), _Buffers(self)]
        self._turn = 0
        self._no_auctioneer = np.zeros((num_envs, 1), np.int64)
        self._choices = np.zeros((num_envs, 2, self._bidders), np.int64)

    @classmethod
    def make_roles(cls, config: DoubleDutchConfig) -> dict[str, Role]:
        """Return the roles auctioneer, buyer and seller."""
        extended = config.observation == "extended"
        features = batch.AUCTIONEER_FEATURES_EXTENDED if extended else batch.AUCTIONEER_FEATURES
        unit = [spaces.Box(0.0, 1.0, (n,), np.float32) for n in (features, features + batch.BIDDER_EXTRAS)]
        return {
            "auctioneer": Role("auctioneer", 1, unit[0], spaces.Discrete(len(config.steps)), "fixed_step"),
            "buyer": Role("buyer", config.buyers, unit[1], spaces.Discrete(2), "truthful"),
            "seller": Role("seller", config.sellers, unit[1], spaces.Discrete(2), "truthful"),
        }

    def reset(
        self, seeds: NDArray[np.uint64], streams: NDArray[np.uint64] | None = None
    ) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market; see `Game.reset`."""
        self.auctions.seed[:] = seeds
        self.auctions.stream[:] = np.arange(self.num_envs) if streams is None else streams
        self.auctions.episode[:] = 0
        return self._open(draw=True)

    def reset_to(self, values: NDArray[np.float64], costs: NDArray[np.float64]) -> tuple[Arrays, Arrays]:
        """Start auctions over given valuations, shapes (batch, buyers) and (batch, sellers)."""
        values, costs = np.atleast_2d(values), np.atleast_2d(costs)
        for side, given in enumerate((values, costs)):
            n = given.shape[1]
            require(
                n <= (self.config.buyers, self.config.sellers)[side], "bidders", n, "as many as configured"
            )
            self.auctions.size[:, side] = n
            self.auctions.valuation[:, side, :n] = given
            self.auctions.order[:, side, :n] = np.arange(n)
        return self._open(draw=False)

    def _open(self, draw: bool) -> tuple[Arrays, Arrays]:
        batch.open_markets(self.auctions, self._numbers, self._counts, draw)
        return self._observe()

    def _observe(self) -> tuple[Arrays, Arrays]:
        buffers = self._buffers[self._turn]
        batch.observe_markets(self.auctions, self._counts, buffers.outputs.observation)
        if not self._only_auctioneer:
            batch.observe_all_bidders(
                self.auctions, self._numbers, self._counts, buffers.outputs.observation, buffers.bidders
            )
        return buffers.step.observations, buffers.step.active

    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Put every market that has been stepped at the start of its next episode."""
        self.auctions.episode[self.auctions.turn[:, k.STEPS] > 0] += np.uint64(1)
        return self._open(draw=True)

    def step(self, actions: Arrays) -> Step:
        """Play one tick, or on to the next question to a learning role; see `Game.step`."""
        if self._only_auctioneer:
            steps = self.checked_actions("auctioneer", actions["auctioneer"])
            self._turn = 1 - self._turn
            buffers = self._buffers[self._turn]
            batch.step_auctioneer(
                self.auctions, self._numbers, self._counts, self._steps, steps, buffers.outputs
            )
            return buffers.step
        checked = {role: self.checked_actions(role, actions[role]) for role in self.learning}
        for side, role in enumerate(("buyer", "seller")):
            if role in checked:
                self._choices[:, side, : self.roles[role].count] = checked[role]
        self._turn = 1 - self._turn
        buffers = self._buffers[self._turn]
        steps = checked.get("auctioneer", self._no_auctioneer)
        batch.step_roles(
            self.auctions, self._numbers, self._counts, self._steps,
            steps, self._choices, buffers.outputs, buffers.bidders,
        )  # fmt: skip
        return buffers.step

    def state(self) -> NDArray[np.float32]:
        """Return clocks, turn and every bidder's valuation and acceptance, (batch, 6 + 2·(buyers + sellers))."""
        a, c = self.auctions, self.config
        out = np.zeros((self.num_envs, 6 + 2 * (c.buyers + c.sellers)), np.float32)
        cap = round(c.buyer_clock / c.tick)
        out[:, 0] = a.turn[:, k.SIDE]
        out[:, 1] = a.turn[:, k.TICKS] / c.max_ticks
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
        return {name: array.copy() for name, array in self.auctions._asdict().items()}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Go on from what `save` returned."""
        for name, array in self.auctions._asdict().items():
            array[...] = saved[name]
        return self._observe()

    def ledger(self) -> NDArray[np.float64]:
        """Return the receipts of buyers, sellers and, last, the auctioneer, (batch, buyers + sellers + 1)."""
        return self._buffers[self._turn].outputs.ledger

    @classmethod
    def scripted_policies(cls, role: str) -> tuple[str, ...]:
        """Return the names of the scripted policies of a role."""
        return tuple(POLICIES[role])

    def scripted(self, policy: str, role: str, **settings: Any) -> ScriptedPolicy:
        """Return a scripted policy for ``role``, bound to this game."""
        require(role in POLICIES, "role", role, f"one of {', '.join(POLICIES)}")
        require(policy in POLICIES[role], "policy", policy, f"one of {', '.join(POLICIES[role])} for {role}")
        return POLICIES[role][policy](self, **settings)

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the clairvoyant bound of the auctioneer's return, per market."""
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        return {"auctioneer": clairvoyant_bounds(game.auctions, config)}

    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``; see `Game.render`."""
        from ioa_marl.envs import double_dutch_render

        return double_dutch_render.render(self, mode, index)


class _Buffers:
    """Output arrays of one step and the `Step` that shows them, made once."""

    def __init__(self, game: DoubleDutchGame) -> None:
        n, roles = game.num_envs, game.roles
        features = roles["auctioneer"].observation_space.shape[0]
        counts = {name: role.count for name, role in roles.items()}
        bidders = max(counts["buyer"], counts["seller"])
        self.outputs = batch.StepOutputs(
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
            observation=np.zeros((n, 1, features), np.float32),
            reward=np.zeros((n, 1), np.float32),
            final_observation=np.zeros((n, 1, features), np.float32),
            metrics=np.zeros((n, len(k.METRICS))),
            ledger=np.zeros((n, counts["buyer"] + counts["seller"] + 1)),
        )
        only_auctioneer = game.learning == ("auctioneer",)
        rows = 0 if only_auctioneer else n
        shape = (rows, 2, bidders)
        self.bidders = batch.BidderOutputs(
            observation=np.zeros((*shape, features + batch.BIDDER_EXTRAS), np.float32),
            reward=np.zeros(shape, np.float32),
            final_observation=np.zeros((*shape, features + batch.BIDDER_EXTRAS), np.float32),
            active=np.zeros(shape, np.bool_),
            auctioneer_active=np.ones((n, 1), np.bool_),
        )
        out, seen = self.outputs, self.bidders

        def by_role(auctioneer: NDArray[Any], both: NDArray[Any]) -> Arrays:
            arrays = {"auctioneer": auctioneer}
            for side, role in enumerate(("buyer", "seller")):
                arrays[role] = both[:, side, : counts[role]]
            return {role: arrays[role] for role in game.learning}

        self.step = Step(
            observations=by_role(out.observation, seen.observation),
            rewards=by_role(out.reward, seen.reward),
            terminated=out.terminated,
            truncated=out.truncated,
            active=by_role(seen.auctioneer_active, seen.active),
            final_observations=by_role(out.final_observation, seen.final_observation),
            metrics={name: out.metrics[:, column] for column, name in enumerate(k.METRICS)},
        )
