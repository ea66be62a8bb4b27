"""Rounds of phases: who is asked when, what runs inside a step, where rewards and ends belong."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs import check_market
from ioa_marl.envs.core import Role
from ioa_marl.envs.phased import PhasedGame, check_common
from ioa_marl.envs.policies import policy
from ioa_marl.envs.vector import VectorGame
from ioa_marl.markets.parameters import ParameterError

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
    default_learning = ("buyer",)
    metric_names = ("paid", "worth")
    objectives: ClassVar = {"buyer": "paid"}
    uninformed: ClassVar = {"buyer": "always"}
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

    def _allocate(self):
        n = self.num_envs
        whole = [np.zeros(n, np.uint64) for _ in range(4)] + [np.zeros(n, np.int64) for _ in range(3)]
        return Haggle(*whole, worth=np.zeros(n), offer=np.zeros(n, np.int64), paid=np.zeros(n))

    def _accounts(self):
        return 2

    def _open(self, which):
        m = self.market
        m.round[which], m.offer[which], m.paid[which] = 0, 0, 0.0
        drawn = (m.instance * np.uint64(7) + m.seed % np.uint64(5) + m.stream + m.episode) % np.uint64(10)
        m.worth[which] = drawn[which] / 10.0

    def _play(self, phase, which, actions, rewards, terminated):
        m = self.market
        if phase == 0:
            m.offer[which] = actions["buyer"].max(axis=1)[which]
            return
        takes = actions["seller"][:, 0] == 1 if "seller" in actions else m.offer >= 3
        sold = which & takes
        m.paid[sold] += m.offer[sold]
        if "buyer" in rewards:
            rewards["buyer"][sold] = 4.0 - m.offer[sold, None]
        if "seller" in rewards:
            rewards["seller"][sold, 0] = m.offer[sold]
        m.round[which] += 1
        terminated |= which & (m.round >= self.config.rounds)

    def _observe(self, observations):
        for seen in observations.values():
            seen[..., 0] = (self.market.round / self.config.rounds)[:, None]
            seen[..., 1] = (self.market.offer / 4)[:, None]
            seen[..., 2] = self.market.worth[:, None]

    def _measure(self, which, metrics, ledger):
        metrics[which, 0], metrics[which, 1] = self.market.paid[which], self.market.worth[which]
        ledger[which, 0], ledger[which, 1] = -self.market.paid[which], self.market.paid[which]

    def state(self):
        m = self.market
        return np.stack([m.round / self.config.rounds, m.offer / 4, m.worth], axis=1).astype(np.float32)

    @classmethod
    def reference(cls, config, seeds, streams, instances=None):
        return {"buyer": np.full(len(seeds), 4.0 * config.rounds)}

    def _draw(self, mode, index):
        return "haggle" if mode == "ansi" else np.zeros((2, 2, 3), np.uint8)


def started(roles=None, num_envs=2, **settings):
    game = HaggleGame(HaggleGame.make_config(**settings), num_envs, roles)
    _, active = game.reset(np.arange(num_envs, dtype=np.uint64))
    return game, active


@pytest.mark.parametrize("roles", [("buyer",), ("seller",), ("buyer", "seller")], ids="+".join)
@pytest.mark.parametrize("limit", [None, 1, 2, 5])
def test_a_game_of_phases_keeps_every_promise(roles, limit):
    check_market(HaggleGame, roles=roles, num_envs=4, processes=False, max_cycles=limit)


def test_with_one_learning_role_a_round_is_one_step():
    game, active = started(("buyer",))
    assert active["buyer"].all()
    step = game.step({"buyer": np.array([[1, 3], [2, 0]])})
    # The native seller has answered within the step: 3 is taken, 2 is not.
    np.testing.assert_array_equal(step.rewards["buyer"], [[1, 1], [0, 0]])
    assert step.active["buyer"].all()
    ends = [game.step({"buyer": np.zeros((2, 2), int)}).terminated.tolist() for _ in range(2)]
    assert ends == [[False, False], [True, True]]


def test_with_both_learning_the_buyers_are_paid_in_the_step_of_the_seller():
    game, active = started(("buyer", "seller"))
    assert active["buyer"].all()
    assert not active["seller"].any()
    first = game.step({"buyer": np.array([[1, 3], [2, 0]]), "seller": np.ones((2, 1), int)})
    assert first.active["seller"].all()
    assert not first.active["buyer"].any()
    assert not first.rewards["buyer"].any()
    second = game.step({"buyer": np.full((2, 2), 4), "seller": np.array([[0], [1]])})
    np.testing.assert_array_equal(second.rewards["buyer"], [[0, 0], [2, 2]])
    np.testing.assert_array_equal(second.rewards["seller"], [[0], [2]])


def test_a_scripted_first_phase_is_played_before_anybody_is_asked():
    game, active = started(("seller",))
    assert active["seller"].all()
    game.market.offer[:] = 0
    assert game.market.phase.tolist() == [1, 1]


def test_markets_in_different_phases_go_on_separately():
    game, _ = started(("buyer", "seller"))
    early = game.save()
    game.step({"buyer": np.array([[1, 3], [2, 4]]), "seller": np.ones((2, 1), int)})
    late = game.save()
    game.restore({name: np.stack([early[name][0], late[name][1]]) for name in early})
    step = game.step({"buyer": np.full((2, 2), 3), "seller": np.ones((2, 1), int)})
    assert step.active["seller"][:, 0].tolist() == [True, False]
    np.testing.assert_array_equal(step.rewards["seller"][:, 0], [0, 4])


def test_the_instance_is_the_seed_unless_another_is_given():
    game, _ = started(num_envs=3)
    assert game.market.instance.tolist() == [0, 1, 2]
    game.reset(np.zeros(3, np.uint64), None, np.array([7, 8, 9], np.uint64))
    assert game.market.instance.tolist() == [7, 8, 9]
    fixed, _ = started(num_envs=3, instance=4)
    assert fixed.market.instance.tolist() == [4, 4, 4]


def test_a_vector_of_seeds_gives_every_seed_its_instance():
    def instances(**given):
        game = VectorGame(HaggleGame, HaggleConfig(), [3, 5], 2, **given)
        game.reset()
        return game.game.market.instance.tolist()

    assert instances() == [3, 3, 5, 5]
    assert instances(instances=[0, 9]) == [0, 0, 9, 9]


@pytest.mark.parametrize(("key", "value"), [("instance", -1), ("instance", 0.5), ("max_cycles", 0), ("instance", True)])
def test_what_cannot_be_a_setting_is_refused_by_name(key, value):
    with pytest.raises(ParameterError, match=f"{key}={value} is not allowed"):
        HaggleConfig(**{key: value})
