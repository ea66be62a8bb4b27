"""A small market in plain NumPy: a seller posts a price to one customer after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role, ScriptedPolicy, Step
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import CALIBRATION_SEED


@dataclass(frozen=True)
class PostedPriceConfig:
    """Settings of the posted-price market."""

    customers: int = 8
    """Customers who come, one in each step."""
    stock: int = 4
    """Units that the seller has."""
    prices: int = 11
    """Prices to choose from: 0, 1, …, prices − 1, in ticks of 1/(prices − 1) units of account."""
    max_cycles: int | None = None
    """Cut episodes off after this many steps (truncation). None: they end with the customers or the stock."""

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        require(self.customers >= 1, "customers", self.customers, "1 or more")
        require(self.stock >= 1, "stock", self.stock, "1 or more")
        require(self.prices >= 2, "prices", self.prices, "2 or more")
        require(self.max_cycles is None or self.max_cycles >= 1, "max_cycles", self.max_cycles, "null or 1, 2, …")


class PostedPriceGame(Game):
    """A seller with a limited stock posts a price; the customer buys if the price is not above its valuation.

    ## Roles

    `seller`: 1 agent. It sees the share of customers and of stock that is left, and chooses a price.

    ## Rewards

    The price of each sale [units of account].
    """

    name: ClassVar[str] = "posted_price"
    version: ClassVar[int] = 0
    config_class: ClassVar[type[Any]] = PostedPriceConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"scarce": {}, "plenty": {"stock": 8}}
    default_controlled_roles: ClassVar[tuple[str, ...]] = ("seller",)
    metric_names: tuple[str, ...] = ("revenue", "sold")
    objectives: ClassVar[Mapping[str, str]] = {"seller": "revenue"}
    constant_baseline: ClassVar[Mapping[str, str]] = {"seller": "constant"}
    board_metrics: ClassVar[tuple[str, ...]] = ("sold",)

    config: PostedPriceConfig

    def __init__(
        self,
        config: PostedPriceConfig,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self._market: dict[str, NDArray[Any]] = {
            "seed": np.zeros(num_envs, np.uint64),
            "stream": np.zeros(num_envs, np.uint64),
            "episode": np.zeros(num_envs, np.uint64),
            "valuation": np.zeros((num_envs, config.customers), np.int64),
            "period": np.zeros(num_envs, np.int64),
            "sold": np.zeros(num_envs, np.int64),
            "revenue": np.zeros(num_envs),
            "receipts": np.zeros((num_envs, 2)),
        }

    @classmethod
    def make_roles(cls, config: PostedPriceConfig) -> dict[str, Role]:
        """Return the only role."""
        seen = spaces.Box(0.0, 1.0, (2,), np.float32)
        return {"seller": Role("seller", 1, seen, spaces.Discrete(config.prices), "constant")}

    def reset(self, seeds: NDArray[np.uint64], streams: NDArray[np.uint64] | None = None) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market."""
        self._market["seed"][:] = seeds
        self._market["stream"][:] = np.arange(self.num_envs) if streams is None else streams
        self._market["episode"][:] = 0
        return self._open(np.ones(self.num_envs, np.bool_))

    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Put every market that has been stepped at the start of its next episode."""
        stepped = self._market["period"] > 0
        self._market["episode"][stepped] += np.uint64(1)
        return self._open(stepped)

    def _open(self, mask: NDArray[np.bool_]) -> tuple[Arrays, Arrays]:
        market = self._market
        for b in np.flatnonzero(mask):
            # A stream of its own for each seed, market and episode: neighbours in the batch change nothing.
            rng = np.random.default_rng([int(market[key][b]) for key in ("seed", "stream", "episode")])
            market["valuation"][b] = rng.integers(self.config.prices, size=self.config.customers)
        for name in ("period", "sold", "revenue"):
            market[name][mask] = 0
        return self._observe()

    def _observe(self) -> tuple[Arrays, Arrays]:
        return {"seller": self.state()[:, None]}, {"seller": np.ones((self.num_envs, 1), np.bool_)}

    def step(self, actions: Arrays) -> Step:
        """Post the prices to the next customers."""
        price = self.checked_actions("seller", actions)[:, 0]
        market, config = self._market, self.config
        buys = market["valuation"][np.arange(self.num_envs), market["period"]] >= price
        paid = np.where(buys, price / (config.prices - 1), 0.0)
        market["sold"] += buys
        market["revenue"] += paid
        market["period"] += 1
        terminated = (market["period"] == config.customers) | (market["sold"] == config.stock)
        truncated = ~terminated & (config.max_cycles is not None and market["period"] == config.max_cycles)
        ended = terminated | truncated
        final, active = self._observe()
        metrics = {"revenue": market["revenue"].copy(), "sold": market["sold"].astype(np.float64)}
        final_state = self.state() if self.final_states else None
        market["receipts"][ended] = np.stack([market["revenue"], -market["revenue"]], axis=1)[ended]
        observations = final
        if self.autoreset and ended.any():
            market["episode"][ended] += np.uint64(1)
            observations, active = self._open(ended)
        rewards = {"seller": paid[:, None].astype(np.float32)}
        return Step(observations, rewards, terminated, truncated, active, final, metrics, final_state)

    def state(self) -> NDArray[np.float32]:
        """Return the shares of customers and of stock that are left, (batch, 2)."""
        gone = np.stack([self._market["period"] / self.config.customers, self._market["sold"] / self.config.stock], 1)
        return (1.0 - gone).astype(np.float32)

    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that the markets are."""
        return {name: array.copy() for name, array in self._market.items()}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Go on from what `save` returned."""
        for name, array in self._market.items():
            array[...] = saved[name]
        return self._observe()

    def ledger(self) -> NDArray[np.float64]:
        """Return the receipts of the seller and of all customers together, (batch, 2)."""
        return self._market["receipts"]

    @classmethod
    def scripted_policies(cls, role: str) -> tuple[str, ...]:
        """Return the names of the seller's policies."""
        return ("constant", "clairvoyant")

    def scripted(self, policy: str, role: str, **settings: Any) -> ScriptedPolicy:
        """Return the best constant price, or the plan of somebody who knows every valuation."""
        require(role == "seller", "role", role, "seller")
        require(policy in self.scripted_policies(role), "policy", policy, "constant or clairvoyant")
        require(not settings, "settings", settings, "none: the policies have no settings")
        if policy == "clairvoyant":
            return self._clairvoyant
        prices = np.full((self.num_envs, 1), best_constant_price(self.config), np.int64)
        return lambda: prices

    def _clairvoyant(self) -> NDArray[np.int64]:
        """Sell to the highest valuations at what they are; post the highest price to everybody else."""
        valuation, rows = self._market["valuation"], np.arange(self.num_envs)
        # A stable sort: among equal valuations the first come first.
        rank = np.argsort(np.argsort(-valuation, axis=1, kind="stable"), axis=1)
        now = np.minimum(self._market["period"], self.config.customers - 1)
        chosen = rank[rows, now] < self.config.stock
        return np.where(chosen, valuation[rows, now], self.config.prices - 1)[:, None]

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the sum of the highest valuations, one for each unit in stock."""
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        highest = np.sort(game._market["valuation"], axis=1)[:, ::-1][:, : config.stock]
        return {"seller": highest.sum(axis=1) / (config.prices - 1)}

    def render(self, mode: str, index: int = 0) -> Any:
        """Draw the customers' valuations, those to come in a lighter shade."""
        valuation, period = self._market["valuation"][index], int(self._market["period"][index])
        if mode == "ansi":
            sold, revenue = self._market["sold"][index], self._market["revenue"][index]
            return f"customer {period + 1} of {len(valuation)}   sold {sold}   revenue {revenue:.2f}"
        frame = np.full((10 * self.config.prices, 10 * len(valuation), 3), 255, np.uint8)
        for i, height in enumerate(valuation):
            frame[len(frame) - 10 * (height + 1) :, 10 * i : 10 * i + 8] = 60 if i < period else 160
        return frame


def best_constant_price(config: PostedPriceConfig) -> int:
    """Return the price that earns most on markets that nobody is scored on."""
    game = PostedPriceGame(dataclasses.replace(config, max_cycles=None), 500)
    game.reset(np.full(500, CALIBRATION_SEED, np.uint64))
    buyers = (game.save()["valuation"][..., None] >= np.arange(config.prices)).sum(axis=1)
    earned = np.minimum(buyers, config.stock).mean(axis=0) * np.arange(config.prices)
    return int(np.argmax(earned))
