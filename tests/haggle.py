"""A toy market of two phases, for tests of what all markets have in common."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.policies import policy

UNIT = spaces.Box(0.0, 1.0, (3,), np.float32)


@dataclass(frozen=True)
class HaggleConfig:
    rounds: int = 3
    max_cycles: int | None = None
    instance: int | None = None

    def __post_init__(self):
        check_common(self)


class Haggle(NamedTuple):
    seed: NDArray
    stream: NDArray
    instance: NDArray
    episode: NDArray
    phase: NDArray
    cycles: NDArray
    round: NDArray
    worth: NDArray
    offer: NDArray
    paid: NDArray


class Always:
    def __init__(self, game, role, action=0):
        self._actions = np.full((game.num_envs, game.roles[role].count), action, np.int64)

    def __call__(self):
        return self._actions


class HaggleGame(PhasedGame):
    """Two buyers offer 0 to 4, then one seller takes (1) or refuses (0) the higher offer; it likes 3 and more."""

    name, version, config_class = "haggle", 0, HaggleConfig
    presets: ClassVar = {"paper": {}}
    default_controlled_roles = ("buyer",)
    metric_names = ("paid", "worth")
    objectives: ClassVar = {"buyer": "paid"}
    constant_baseline: ClassVar = {"buyer": "always"}
    board_metrics = ("paid",)
    instanced = True
    phases = (("buyer",), ("seller",))
    native = frozenset({"seller"})
    policies: ClassVar = {
        "buyer": {"always": policy(Always, "buyer")},
        "seller": {"always": policy(Always, "seller"), "native": policy(Always, "seller", 1)},
    }

    @classmethod
    def make_roles(cls, config):
        return {
            "buyer": Role("buyer", 2, UNIT, spaces.Discrete(5), "always"),
            "seller": Role("seller", 1, UNIT, spaces.Discrete(2), "native"),
        }

    def allocate(self):
        n = self.num_envs
        whole = [np.zeros(n, np.uint64) for _ in range(4)] + [np.zeros(n, np.int64) for _ in range(3)]
        return Haggle(*whole, worth=np.zeros(n), offer=np.zeros(n, np.int64), paid=np.zeros(n))

    def count_accounts(self):
        return 2

    def open_markets(self, mask):
        m = self.market
        m.round[mask], m.offer[mask], m.paid[mask] = 0, 0, 0.0
        drawn = (m.instance * np.uint64(7) + m.seed % np.uint64(5) + m.stream + m.episode) % np.uint64(10)
        m.worth[mask] = drawn[mask] / 10.0

    def play_phase(self, phase, mask, actions, rewards, terminated):
        m = self.market
        if phase == 0:
            m.offer[mask] = actions["buyer"].max(axis=1)[mask]
            return
        takes = actions["seller"][:, 0] == 1 if "seller" in actions else m.offer >= 3
        sold = mask & takes
        m.paid[sold] += m.offer[sold]
        if "buyer" in rewards:
            rewards["buyer"][sold] = 4.0 - m.offer[sold, None]
        if "seller" in rewards:
            rewards["seller"][sold, 0] = m.offer[sold]
        m.round[mask] += 1
        terminated |= mask & (m.round >= self.config.rounds)

    def write_observations(self, observations):
        for seen in observations.values():
            seen[..., 0] = (self.market.round / self.config.rounds)[:, None]
            seen[..., 1] = (self.market.offer / 4)[:, None]
            seen[..., 2] = self.market.worth[:, None]

    def write_metrics(self, mask, metrics, ledger):
        metrics[mask, 0], metrics[mask, 1] = self.market.paid[mask], self.market.worth[mask]
        ledger[mask, 0], ledger[mask, 1] = -self.market.paid[mask], self.market.paid[mask]

    def state(self):
        m = self.market
        return np.stack([m.round / self.config.rounds, m.offer / 4, m.worth], axis=1).astype(np.float32)

    @classmethod
    def reference(cls, config, seeds, streams, instances=None):
        return {"buyer": np.full(len(seeds), 4.0 * config.rounds)}

    def draw(self, mode, index):
        return "haggle" if mode == "ansi" else np.zeros((2, 2, 3), np.uint8)
