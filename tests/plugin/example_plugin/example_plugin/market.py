"""A small market in plain NumPy: a seller posts a price to one customer after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, PolicyFactory, Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.policies import policy
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
        check_common(self)


class Market(NamedTuple):
    """Everything that a batch of markets is, as arrays that can be saved and restored."""

    seed: NDArray[Any]
    """uint64 (batch,)."""
    stream: NDArray[Any]
    """uint64 (batch,)."""
    episode: NDArray[Any]
    """uint64 (batch,)."""
    cycles: NDArray[Any]
    """int64 (batch,): customers who have come in this episode."""
    valuation: NDArray[Any]
    """int64 (batch, customers): what each customer would pay at most [ticks]."""
    sold: NDArray[Any]
    """int64 (batch,): units sold in this episode."""
    revenue: NDArray[Any]
    """float64 (batch,): prices paid in this episode [units of account]."""


class BestConstant:
    """The best constant price."""

    def __init__(self, game: PostedPriceGame, role: str) -> None:
        self._prices = np.full((game.num_envs, 1), best_constant_price(game.config), np.int64)

    def __call__(self) -> NDArray[np.int64]:
        """Return the price of every market, (batch, 1)."""
        return self._prices


class Clairvoyant:
    """The plan of somebody who knows every valuation: sell to the highest ones at what they are."""

    def __init__(self, game: PostedPriceGame, role: str) -> None:
        self._game = game

    def __call__(self) -> NDArray[np.int64]:
        """Return the valuation of the next customer, or the highest price where a unit is worth more to others."""
        market, config = self._game.market, self._game.config
        rows = np.arange(self._game.num_envs)
        # A stable sort: among equal valuations the first come first.
        rank = np.argsort(np.argsort(-market.valuation, axis=1, kind="stable"), axis=1)
        customer = np.minimum(market.cycles, config.customers - 1)
        chosen = rank[rows, customer] < config.stock
        return np.where(chosen, market.valuation[rows, customer], config.prices - 1)[:, None]


class PostedPriceGame(PhasedGame):
    """A seller with a limited stock posts a price; the customer buys if the price is not above its valuation.

    ## Roles

    `seller`: 1 agent. It observes the share of customers and of stock that is left, and chooses a price.

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
    phases: ClassVar[tuple[tuple[str, ...], ...]] = (("seller",),)
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = {
        "seller": {"constant": policy(BestConstant, "seller"), "clairvoyant": policy(Clairvoyant, "seller")}
    }

    config: PostedPriceConfig
    market: Market

    @classmethod
    def make_roles(cls, config: PostedPriceConfig) -> dict[str, Role]:
        """Return the only role."""
        features = spaces.Box(0.0, 1.0, (2,), np.float32)
        return {"seller": Role("seller", 1, features, spaces.Discrete(config.prices), "constant")}

    def allocate(self) -> Market:
        """Return the zeroed arrays of the batch."""
        n = self.num_envs
        keys = [np.zeros(n, np.uint64) for _ in range(3)]
        valuation = np.zeros((n, self.config.customers), np.int64)
        return Market(*keys, np.zeros(n, np.int64), valuation, np.zeros(n, np.int64), np.zeros(n))

    def count_accounts(self) -> int:
        """Return 2 accounts: the seller, and all customers together."""
        return 2

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw the customers of the present episode of the markets ``mask``, bool (batch,)."""
        market = self.market
        for b in np.flatnonzero(mask):
            # A stream of its own for each seed, market and episode: neighbours in the batch change nothing.
            rng = np.random.default_rng([int(key[b]) for key in (market.seed, market.stream, market.episode)])
            market.valuation[b] = rng.integers(self.config.prices, size=self.config.customers)
        market.sold[mask], market.revenue[mask] = 0, 0.0

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Post the prices to the next customers of the markets ``mask``."""
        market, price = self.market, actions["seller"][:, 0]
        buys = mask & (market.valuation[np.arange(self.num_envs), market.cycles % self.config.customers] >= price)
        paid = np.where(buys, price / (self.config.prices - 1), 0.0)
        market.sold[...] += buys
        market.revenue[...] += paid
        if "seller" in rewards:
            rewards["seller"][:, 0] = paid
        terminated |= mask & ((market.cycles + 1 == self.config.customers) | (market.sold == self.config.stock))

    def write_observations(self, observations: Arrays) -> None:
        """Write the shares of customers and of stock that are left, float32 (batch, 1, 2)."""
        observations["seller"][:, 0] = self.state()

    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write revenue and sales of the episodes that end in the markets ``mask``, and who received what."""
        market = self.market
        metrics[mask] = np.stack([market.revenue, market.sold], axis=1)[mask]
        ledger[mask] = np.stack([market.revenue, -market.revenue], axis=1)[mask]

    def state(self) -> NDArray[np.float32]:
        """Return the shares of customers and of stock that are left, (batch, 2)."""
        gone = np.stack([self.market.cycles / self.config.customers, self.market.sold / self.config.stock], axis=1)
        return (1.0 - gone).astype(np.float32)

    @classmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the sum of the highest valuations, one for each unit in stock, (batch,) [units of account]."""
        game = cls(config, len(seeds))
        game.reset(seeds, streams)
        highest = np.sort(game.market.valuation, axis=1)[:, ::-1][:, : config.stock]
        return {"seller": highest.sum(axis=1) / (config.prices - 1)}

    def draw(self, mode: str, index: int) -> Any:
        """Draw the customers' valuations, those to come in a lighter shade."""
        valuation, period = self.market.valuation[index], int(self.market.cycles[index])
        if mode == "ansi":
            sold, revenue = self.market.sold[index], self.market.revenue[index]
            return f"customer {period + 1} of {len(valuation)}   sold {sold}   revenue {revenue:.2f}"
        frame = np.full((10 * self.config.prices, 10 * len(valuation), 3), 255, np.uint8)
        for i, height in enumerate(valuation):
            frame[len(frame) - 10 * (height + 1) :, 10 * i : 10 * i + 8] = 60 if i < period else 160
        return frame


def best_constant_price(config: PostedPriceConfig) -> int:
    """Return the price that earns most on markets that nobody is scored on."""
    game = PostedPriceGame(dataclasses.replace(config, max_cycles=None), 500)
    game.reset(np.full(500, CALIBRATION_SEED, np.uint64))
    buyers = (game.market.valuation[..., None] >= np.arange(config.prices)).sum(axis=1)
    earned = np.minimum(buyers, config.stock).mean(axis=0) * np.arange(config.prices)
    return int(np.argmax(earned))
