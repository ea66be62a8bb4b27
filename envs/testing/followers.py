"""Comparisons of games that must agree: the same seeds, single markets, restored games, instances, cycle limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game
from ioa_marl.envs.testing.case import FINAL_STATE, Case, Snapshot, identical, identical_rows
from ioa_marl.envs.testing.play import StepRecord, current_snapshot, play, result_snapshot
from ioa_marl.foundations.parameters import ParameterError


class _Follower:
    """A second game of some of the markets, whose arrays must equal those of the first game bit for bit.

    Parameters
    ----------
    case : Case
        The batch of markets.
    claim : str
        Beginning of the error message.
    game : Game
        The second game.
    markets : sequence of int
        Markets of the batch that it plays.
    changes_inactive : bool, default False
        Whether it plays other actions for the agents that are not active.
    """

    def __init__(
        self, case: Case, claim: str, game: Game, markets: Sequence[int], changes_inactive: bool = False
    ) -> None:
        self.case = case
        self.claim = claim
        self.game = game
        self.markets = list(markets)
        self.changes_inactive = changes_inactive
        self.active: Arrays = {}

    def start(self, observations_and_active: tuple[Arrays, Arrays], record: StepRecord) -> _Follower:
        """Compare the results of `Game.reset`, `Game.restore` or `Game.next_episode`, or of a step."""
        self.compare(record.current, current_snapshot(self.game, *observations_and_active), record.step)
        self.active = {role: array.copy() for role, array in observations_and_active[1].items()}
        return self

    def compare(self, expected: Snapshot, actual: Snapshot, t: int) -> None:
        """Compare arrays of the first game, shape (batch, …), with those of this game, shape (markets, …)."""
        for what, array in expected.items():
            if what == FINAL_STATE and what not in actual:
                self.case.ensure(not self.game.final_states, "final_state is given in some batches only", t)
                continue
            if not identical(array[self.markets], actual[what]):
                same = identical_rows(array[self.markets], actual[what])
                self.case.ensure(same, f"{self.claim}: {what}", t, self.markets)

    def follow(self, record: StepRecord, others: Arrays) -> None:
        """Take the step of ``record`` and compare its arrays.

        Parameters
        ----------
        record : StepRecord
            A step of the first game.
        others : dict of ndarray
            Actions, shape (batch, agents, …), for the agents that are not active if they are to be changed.
        """
        actions = {role: array[self.markets] for role, array in record.actions.items()}
        if self.changes_inactive:
            actions = {role: _where(self.active[role], array, others[role]) for role, array in actions.items()}
        step = self.game.step(actions)
        self.compare(record.results, result_snapshot(self.game, step), record.step)
        if self.game.autoreset or not record.ended[self.markets].any():
            self.start((step.observations, step.active), record)
            return
        final = {f"final_observations of {role}": step.observations[role] for role in self.case.controlled_roles}
        final |= {FINAL_STATE: self.game.state()} if FINAL_STATE in record.results else {}
        self.compare({name: record.results[name] for name in final}, final, record.step)
        self.start(self.game.next_episode(), record)


def _where(mask: NDArray[np.bool_], yes: NDArray[Any], no: NDArray[Any]) -> NDArray[Any]:
    """Return ``yes`` where the mask (batch, agents) is true, else ``no``, shape (batch, agents, …) each."""
    return np.where(mask.reshape(*mask.shape, *[1] * (yes.ndim - mask.ndim)), yes, no)


def _followers(case: Case, opening: StepRecord) -> list[_Follower]:
    """Return the games that follow from the reset on."""
    all_markets = range(len(case.seeds))
    out = [
        _Follower(case, "the same seeds give other numbers", case.game(), all_markets),
        _Follower(case, "an inactive agent's action is used", case.game(), all_markets, changes_inactive=True),
        _Follower(case, "final_states changes what happens", case.game(final_states=False), all_markets),
    ]
    for b in all_markets:
        alone = "a market alone differs from the same one in the batch"
        stays = "the end of an episode or the next one differ from a game without autoreset"
        out += [_Follower(case, alone, case.game(1), [b]), _Follower(case, stays, case.game(1, autoreset=False), [b])]
    for follower in out:
        follower.start(follower.game.reset(case.seeds[follower.markets], case.streams[follower.markets]), opening)
    return out


def _restored_followers(case: Case, saved: Snapshot, record: StepRecord) -> list[_Follower]:
    """Return games that continue from saved arrays: a new one, and for each market one that has played before."""
    n = len(case.seeds)
    case.ensure(all(len(array) == n for array in saved.values()), f"save() has arrays without the leading axis {n}")
    claim = "a restored game goes on differently"
    whole = _Follower(case, claim, case.game(), range(n))
    out = [whole.start(whole.game.restore(saved), record)]
    for b in range(n):
        alone = _Follower(case, f"{claim}, one market alone", case.game(1), [b])
        alone.game.reset(case.seeds[b : b + 1] + np.uint64(99), case.streams[b : b + 1])
        alone.game.step({role: array[b : b + 1] for role, array in case.actions(0).items()})
        out.append(alone.start(alone.game.restore({name: array[b : b + 1] for name, array in saved.items()}), record))
    return out


def check_episodes(case: Case, episodes: int) -> int:
    """Play with followers from the reset on and from saved arrays; return the largest length of a first episode."""
    game = case.game()
    followers: list[_Follower] = []
    snapshots: list[tuple[NDArray[Any], NDArray[Any]]] = []
    second_openings: Snapshot = {}
    longest, running = 0, np.ones(game.num_envs, np.bool_)
    for record in play(case, game, episodes):
        if record.step == 0:
            followers = _followers(case, record)
            second_openings = {name: array.copy() for name, array in record.current.items()}
            continue
        others = case.actions(record.step, draw=1)
        for follower in followers:
            follower.follow(record, others)
        first_ends = record.ended & running
        # Games are restored after one step, when most of the state is unchanged, and after the first reset of a market.
        if record.step == 1 or (first_ends.any() and running.all()):
            saved = game.save()
            snapshots += [(array, array.copy()) for array in saved.values()]
            followers += _restored_followers(case, saved, record)
        for name, array in record.current.items():
            second_openings[name][first_ends] = array[first_ends]
        longest = max(longest, int(record.age[running].max(initial=0)))
        running &= ~record.ended
    case.ensure(all(identical(a, b) for a, b in snapshots), "what save() returned changes as games go on")
    _check_next_episode(case, second_openings)
    return longest


def _check_next_episode(case: Case, second_openings: Snapshot) -> None:
    """Check that `Game.next_episode` opens the second episode from any step of the first one, and does so only once."""
    game = case.game()
    start = current_snapshot(game, *game.reset(case.seeds))
    follower = _Follower(case, "next_episode() moves on although nothing was stepped", game, range(game.num_envs))
    follower.compare(start, current_snapshot(game, *game.next_episode()), 0)
    game.step(case.actions(0))
    for claim in ("next_episode() in mid-episode opens another one", "next_episode() twice differs from once"):
        follower.claim = claim
        follower.compare(second_openings, current_snapshot(game, *game.next_episode()), 1)


def check_instances(case: Case) -> None:
    """Check the instances of an instanced market: the seed is the default, and argument and setting are obeyed."""
    if not case.game_class.instanced:
        return
    has_setting = hasattr(case.config, "instance")
    case.ensure(has_setting, "a market with instances needs the setting instance")
    if case.config.instance is not None:
        return
    game, n = case.game(), len(case.seeds)
    default = current_snapshot(game, *game.reset(case.seeds))
    instanced_game: Any = game  # only markets with instances take the argument
    follower = _Follower(case, "instances that are the seeds differ from none given", game, range(n))
    follower.compare(default, current_snapshot(game, *instanced_game.reset(case.seeds, case.streams, case.seeds)), 0)
    other = current_snapshot(game, *instanced_game.reset(case.seeds, case.streams, np.full(n, 3, np.uint64)))
    try:
        config = dataclasses.replace(case.config, instance=3)
    except ParameterError:  # with these settings no part of the market stays the same over a run
        return
    fixed = case.changed(config=config).game()
    follower = _Follower(case, "instances=3 differs from the setting instance=3", fixed, range(n))
    follower.compare(other, current_snapshot(fixed, *fixed.reset(case.seeds)), 0)


def check_cycle_limit(case: Case, limit: int) -> None:
    """Check that ``max_cycles`` only truncates: up to the last observation, all arrays are as without it."""
    limited, unlimited = case.with_limit(limit), case.with_limit(None)
    if limited is case:
        return
    game = unlimited.game()
    game.reset(case.seeds)
    running = np.ones(game.num_envs, np.bool_)
    for record in play(limited, limited.game(), 2):  # this checks that second episodes are truncated as well
        if record.step == 0 or not running.any():
            continue
        step = game.step(record.actions)
        actual = {**current_snapshot(game, step.observations, step.active), **result_snapshot(game, step)}
        expected = {**record.current, **record.results}
        continuing = running & ~record.ended
        # Where both games end in this step, the other one shows the beginning of its next episode.
        truncated = running & record.results["truncated"] & ~(actual["terminated"] | actual["truncated"])
        for name, array in expected.items():
            if name == FINAL_STATE:
                continue
            checked = running if name.startswith("rewards") else continuing
            same = identical_rows(array, actual[name]) | ~checked
            case.ensure(same, f"max_cycles changes {name}", record.step)
        for role in case.controlled_roles:
            final = identical_rows(expected[f"final_observations of {role}"], actual[f"observations of {role}"])
            what = f"final_observations of {role} at max_cycles are not the true successors"
            case.ensure(final | ~truncated, what, record.step)
        if FINAL_STATE in expected:
            final = identical_rows(expected[FINAL_STATE], actual["state()"])
            case.ensure(final | ~truncated, "final_state at max_cycles is not the true successor", record.step)
        running = continuing
