"""The global state beside the transitions: what agents acted in, and the true successor wherever an episode ends."""

import numpy as np
import pytest
from every_market import MARKETS
from haggle import HaggleGame

from ioa_marl.envs.vector import VectorGame

SEEDS, NUM_ENVS, STEPS = (3, 4), 3, 24
GAMES = {
    "haggle": (HaggleGame, None, {}),
    **{f"{market}, {'+'.join(roles)}": (market.game_class, roles, {}) for market in MARKETS for roles in market.states},
}
every_game = pytest.mark.parametrize(("game_class", "controlled_roles", "settings"), GAMES.values(), ids=GAMES)
cut_off = pytest.mark.parametrize("max_cycles", [None, 2])


def drawn(game):
    """Return random actions, (seeds, markets, agents, …)."""
    return {
        name: np.array(
            [
                [
                    [game.roles[name].action_space.sample() for _ in range(game.roles[name].count)]
                    for _ in range(NUM_ENVS)
                ]
                for _ in SEEDS
            ]
        )
        for name in game.controlled_roles
    }


def made(game_class, controlled_roles, settings, max_cycles, **how):
    game = VectorGame(
        game_class, game_class.make_config(max_cycles=max_cycles, **settings), SEEDS, NUM_ENVS, controlled_roles, **how
    )
    for i, role in enumerate(game.game.roles.values()):
        role.action_space.seed(i)
    game.game.full_metrics = False
    game.reset()
    return game


@cut_off
@every_game
def test_states_are_those_of_games_that_do_not_reset_themselves(game_class, controlled_roles, settings, max_cycles):
    """Each market is played a second time alone, and looked at after every step before it is put into the next one."""
    game = made(game_class, controlled_roles, settings, max_cycles, with_state=True)
    config = game.game.config
    alone = [
        [game_class(config, 1, game.game.controlled_roles, autoreset=False) for _ in range(NUM_ENVS)] for _ in SEEDS
    ]
    for s, seed in enumerate(SEEDS):
        for e, single in enumerate(alone[s]):
            single.full_metrics = False
            single.reset(np.array([seed], np.uint64), np.array([e], np.uint64))
    ends = 0
    for _ in range(STEPS):
        actions = drawn(game.game)
        before = [[single.state()[0].copy() for single in row] for row in alone]
        transition = game.step(actions)
        assert np.array_equal(transition.state, np.array(before))
        for s, row in enumerate(alone):
            for e, single in enumerate(row):
                step = single.step({name: array[s, e][None] for name, array in actions.items()})
                assert np.array_equal(transition.next_state[s, e], single.state()[0])
                if step.terminated[0] or step.truncated[0]:
                    ends += 1
                    single.next_episode()
        assert np.array_equal(game.state, np.array([[single.state()[0] for single in row] for row in alone]))
    assert ends > 0 or max_cycles is None


@cut_off
@every_game
def test_nothing_else_depends_on_whether_the_state_is_asked_for(game_class, controlled_roles, settings, max_cycles):
    """And without it there is none."""
    plain, stated = (made(game_class, controlled_roles, settings, max_cycles, with_state=w) for w in (False, True))
    for _ in range(STEPS):
        actions = drawn(plain.game)
        one, other = plain.step(actions), stated.step(actions)
        assert one.state is None
        assert one.next_state is None
        assert plain.state is None
        for name in plain.game.controlled_roles:
            for key in ("rewards", "next_observations", "active", "next_active"):
                assert np.array_equal(getattr(one, key)[name], getattr(other, key)[name]), key
        assert np.array_equal(one.terminated, other.terminated)
        assert np.array_equal(one.truncated, other.truncated)
    for i in range(len(SEEDS)):
        a, b = plain.save(i), stated.save(i)
        assert all(np.array_equal(a[name], b[name]) for name in a)


@every_game
def test_restored_markets_know_their_state(game_class, controlled_roles, settings):
    game, other = (made(game_class, controlled_roles, settings, 2, with_state=True) for _ in range(2))
    for _ in range(3):
        game.step(drawn(game.game))
    for i in range(len(SEEDS)):
        other.restore(i, game.save(i))
    assert np.array_equal(other.state, game.state)
