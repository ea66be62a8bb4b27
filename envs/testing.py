"""`check_market`: whether a market keeps the promises of `Game` that agents, runner and wrappers rely on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.envs.testing_case import (
    FINAL_STATE,
    Case,
    Frame,
    Moment,
    identical,
    identical_rows,
    is_array,
    outcome_of,
    play,
    shown_by,
)
from ioa_marl.foundations.parameters import ParameterError


def check_market(
    game_class: type[Game],
    preset: str | None = None,
    *,
    controlled_roles: Sequence[str] | None = None,
    num_envs: int = 7,
    episodes: int = 2,
    seed: int = 0,
    processes: bool = True,
    **settings: Any,
) -> None:
    """Play a market in many ways and compare: spaces, ends, randomness, saving, scripted policies, reference.

    Everything that must be equal is compared bit for bit in every step of whole episodes: the same seeds again, each
    market alone, other actions of inactive agents, a game restored from `Game.save`, one without ``autoreset``,
    another process. Call it once for every choice of learning roles that your market allows.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    controlled_roles : sequence of str, optional
        Roles that act; default is the market's `default_controlled_roles`.
    num_envs : int, default 7
        Markets in the batch; from 2 on it can be seen whether they are independent.
    episodes : int, default 2
        Episodes that every market finishes; from 2 on it can be seen whether they reset themselves.
    seed : int, default 0
        Which markets and actions are drawn.
    processes : bool, default True
        Whether to compare with a fresh process, which takes a second. The class must be importable there.
    **settings
        Changes of the preset.

    Raises
    ------
    AssertionError
        At the first broken promise, with one line that says which, and in which step and market.
    ValueError
        If ``processes`` is set and another process cannot import the class.
    """
    config = game_class.make_config(preset, **settings)
    controlled_roles = tuple(controlled_roles) if controlled_roles is not None else game_class.default_controlled_roles
    # Evaluation uses seeds from 2**63 on: both halves of the range must work.
    seeds = np.array([seed + b // 2 + (2**63 if b % 2 else 0) for b in range(num_envs)], np.uint64)
    case = Case(game_class, config, game_class(config, 1, controlled_roles).controlled_roles, seeds, seed)
    _check_declaration(case)
    longest = _check_episodes(case, episodes)
    _check_cycle_limit(case, max(1, longest // 2))
    _check_instances(case)
    _check_refusals(case)
    _check_scripted(case)
    _check_reference(case)
    if processes:
        _check_process(case, episodes)


def _check_declaration(case: Case) -> None:
    """Check what the class says about itself."""
    cls, roles = case.game_class, case.roles
    for name, role in roles.items():
        box, acts = role.observation_space, role.action_space
        case.ensure(name == role.name and name.isidentifier(), f"role {name!r} is not an identifier or named otherwise")
        case.ensure(role.count >= 1, f"role {name} has no agents")
        unit = isinstance(box, spaces.Box) and box.dtype == np.float32 and len(box.shape) == 1
        case.ensure(unit, f"observation space of {name} is not a float32 vector")
        case.ensure((box.low >= 0).all() and (box.high <= 1).all(), f"observation space of {name} leaves [0, 1]")
        known = isinstance(acts, (spaces.Discrete, spaces.MultiDiscrete, spaces.Box))
        case.ensure(known, f"action space of {name} is not Discrete, MultiDiscrete or Box")
        bounded = not isinstance(acts, spaces.Box) or acts.is_bounded()
        case.ensure(bounded, f"action space of {name} is not bounded")
        policies = cls.scripted_policies(name)
        case.ensure(role.scripted in policies, f"{role.scripted!r}, which plays {name}, is not a scripted policy of it")
    for scored, policy in cls.constant_baseline.items():
        known = scored in roles and policy in cls.scripted_policies(scored)
        case.ensure(known, f"constant_baseline: no policy {policy!r} of {scored}")
    for scored, metric in cls.objectives.items():
        case.ensure(metric in cls.metric_names, f"objectives: no metric {metric!r} for {scored}")
    case.ensure(set(cls.minimised) <= set(cls.objectives), "minimised are not all among objectives")
    case.ensure(set(cls.infeasible) <= set(cls.presets), "infeasible are not all among presets")
    for player, (policy, _) in cls.score_floor.items():
        known = player in roles and policy in cls.scripted_policies(player)
        case.ensure(known, f"zero: no policy {policy!r} of {player}")
    case.ensure(
        set(cls.score_floor) <= set(cls.default_controlled_roles),
        "score_floor names roles that are not in default_controlled_roles",
    )
    case.ensure(set(cls.score_floor_name) <= set(cls.objectives), "score_floor_name are not all among objectives")
    case.ensure(set(cls.board_metrics) <= set(cls.metric_names), "board_metrics are not all among metric_names")
    case.ensure(
        cls.default_controlled_roles and set(cls.default_controlled_roles) <= set(roles),
        "default_controlled_roles names no roles",
    )
    case.ensure(dataclasses.is_dataclass(cls.config_class), "config_class is not a dataclass")
    for preset in cls.presets:
        try:
            cls.make_config(preset)
        except ParameterError as error:
            case.ensure(preset in cls.infeasible, f"preset {preset!r} cannot be made: {error}")
        else:
            case.ensure(preset not in cls.infeasible, f"preset {preset!r} is called infeasible, but can be made")


class _Follower:
    """A second game over some of the markets that must show, bit for bit, what the first one shows."""

    def __init__(self, case: Case, claim: str, game: Game, markets: Sequence[int], disturbed: bool = False) -> None:
        self.case, self.claim, self.game, self.markets, self.disturbed = case, claim, game, list(markets), disturbed
        self.active: Arrays = {}

    def opens(self, opened: tuple[Arrays, Arrays], moment: Moment) -> _Follower:
        """Compare what `Game.reset` or another start returned."""
        self.compare(moment.shown, shown_by(self.game, *opened), moment.step)
        self.active = {role: array.copy() for role, array in opened[1].items()}
        return self

    def compare(self, expected: Frame, actual: Frame, t: int) -> None:
        for what, array in expected.items():
            if what == FINAL_STATE and what not in actual:
                self.case.ensure(not self.game.final_states, "final_state is given in some batches only", t)
                continue
            if not identical(array[self.markets], actual[what]):
                same = identical_rows(array[self.markets], actual[what])
                self.case.ensure(same, f"{self.claim}: {what}", t, self.markets)

    def follow(self, moment: Moment, others: Arrays) -> None:
        """Take the step that led to ``moment``; if disturbed, with other actions of the agents that are not active."""
        actions = {role: array[self.markets] for role, array in moment.actions.items()}
        if self.disturbed:
            actions = {role: _where(self.active[role], array, others[role]) for role, array in actions.items()}
        step = self.game.step(actions)
        self.compare(moment.outcome, outcome_of(self.game, step), moment.step)
        if self.game.autoreset or not moment.ended[self.markets].any():
            self.opens((step.observations, step.active), moment)
            return
        final = {f"final_observations of {role}": step.observations[role] for role in self.case.controlled_roles}
        final |= {FINAL_STATE: self.game.state()} if FINAL_STATE in moment.outcome else {}
        self.compare({name: moment.outcome[name] for name in final}, final, moment.step)
        self.opens(self.game.next_episode(), moment)


def _where(mask: NDArray[np.bool_], yes: NDArray[Any], no: NDArray[Any]) -> NDArray[Any]:
    return np.where(mask.reshape(*mask.shape, *[1] * (yes.ndim - mask.ndim)), yes, no)


def _followers(case: Case, start: Moment) -> list[_Follower]:
    """Return the games that play along from the first step."""
    everyone = range(len(case.seeds))
    out = [
        _Follower(case, "the same seeds give other numbers", case.game(), everyone),
        _Follower(case, "an inactive agent's action is used", case.game(), everyone, disturbed=True),
        _Follower(case, "final_states changes what happens", case.game(final_states=False), everyone),
    ]
    for b in everyone:
        alone = "a market alone differs from the same one in the batch"
        stays = "the end of an episode or the next one differ from a game without autoreset"
        out += [_Follower(case, alone, case.game(1), [b]), _Follower(case, stays, case.game(1, autoreset=False), [b])]
    for follower in out:
        follower.opens(follower.game.reset(case.seeds[follower.markets], case.streams[follower.markets]), start)
    return out


def _restored(case: Case, saved: Frame, moment: Moment) -> list[_Follower]:
    """Return games that go on from what was saved: a new one, and for each market a used one of its own."""
    n = len(case.seeds)
    case.ensure(all(len(array) == n for array in saved.values()), f"save() has arrays without the leading axis {n}")
    claim = "a restored game goes on differently"
    whole = _Follower(case, claim, case.game(), range(n))
    out = [whole.opens(whole.game.restore(saved), moment)]
    for b in range(n):
        alone = _Follower(case, f"{claim}, one market alone", case.game(1), [b])
        alone.game.reset(case.seeds[b : b + 1] + np.uint64(99), case.streams[b : b + 1])
        alone.game.step({role: array[b : b + 1] for role, array in case.actions(0).items()})
        out.append(alone.opens(alone.game.restore({name: array[b : b + 1] for name, array in saved.items()}), moment))
    return out


def _check_episodes(case: Case, episodes: int) -> int:
    """Play with followers; returns the length of the longest first episode."""
    game = case.game()
    followers: list[_Follower] = []
    snapshots: list[tuple[NDArray[Any], NDArray[Any]]] = []
    seconds: Frame = {}
    longest, running = 0, np.ones(game.num_envs, np.bool_)
    for moment in play(case, game, episodes):
        if moment.step == 0:
            followers = _followers(case, moment)
            seconds = {name: array.copy() for name, array in moment.shown.items()}
            continue
        others = case.actions(moment.step, draw=1)
        for follower in followers:
            follower.follow(moment, others)
        first = moment.ended & running
        # After one step most state is still as in the beginning; when a market has ended, another episode runs.
        if moment.step == 1 or (first.any() and running.all()):
            saved = game.save()
            snapshots += [(array, array.copy()) for array in saved.values()]
            followers += _restored(case, saved, moment)
        for name, array in moment.shown.items():
            seconds[name][first] = array[first]
        longest = max(longest, int(moment.age[running].max(initial=0)))
        running &= ~moment.ended
    case.ensure(all(identical(a, b) for a, b in snapshots), "what save() returned changes as games go on")
    _check_next_episode(case, seconds)
    return longest


def _check_next_episode(case: Case, seconds: Frame) -> None:
    """`Game.next_episode` must open the second episode, however far the first one got, and only once."""
    game = case.game()
    start = shown_by(game, *game.reset(case.seeds))
    follower = _Follower(case, "next_episode() moves on although nothing was stepped", game, range(game.num_envs))
    follower.compare(start, shown_by(game, *game.next_episode()), 0)
    game.step(case.actions(0))
    for claim in ("next_episode() in mid-episode opens another one", "next_episode() twice differs from once"):
        follower.claim = claim
        follower.compare(seconds, shown_by(game, *game.next_episode()), 1)


def _check_instances(case: Case) -> None:
    """Where there are instances, the seed must name one by default, and a given or fixed one must be obeyed."""
    if not case.game_class.instanced:
        return
    named = hasattr(case.config, "instance")
    case.ensure(named, "a market with instances needs the setting instance")
    if case.config.instance is not None:
        return
    game, n = case.game(), len(case.seeds)
    usual = shown_by(game, *game.reset(case.seeds))
    instanced_game: Any = game  # only markets with instances take the argument
    follower = _Follower(case, "instances that are the seeds differ from none given", game, range(n))
    follower.compare(usual, shown_by(game, *instanced_game.reset(case.seeds, case.streams, case.seeds)), 0)
    other = shown_by(game, *instanced_game.reset(case.seeds, case.streams, np.full(n, 3, np.uint64)))
    try:
        config = dataclasses.replace(case.config, instance=3)
    except ParameterError:  # with these settings nothing stays the same over a run
        return
    fixed = case.changed(config=config).game()
    follower = _Follower(case, "instances=3 differs from the setting instance=3", fixed, range(n))
    follower.compare(other, shown_by(fixed, *fixed.reset(case.seeds)), 0)


def _check_cycle_limit(case: Case, limit: int) -> None:
    """Check that ``max_cycles`` only cuts: until then, and in the last observation, nothing is different."""
    cut, uncut = case.with_limit(limit), case.with_limit(None)
    if cut is case:
        return
    game = uncut.game()
    game.reset(case.seeds)
    running = np.ones(game.num_envs, np.bool_)
    for moment in play(cut, cut.game(), 2):  # which sees to it that second episodes are cut as well
        if moment.step == 0 or not running.any():
            continue
        step = game.step(moment.actions)
        actual = {**shown_by(game, step.observations, step.active), **outcome_of(game, step)}
        expected = {**moment.shown, **moment.outcome}
        stopped, going = running & moment.outcome["truncated"], running & ~moment.ended
        for name, array in expected.items():
            if name == FINAL_STATE:
                continue
            checked = running if name.startswith("rewards") else going
            same = identical_rows(array, actual[name]) | ~checked
            case.ensure(same, f"max_cycles changes {name}", moment.step)
        for role in case.controlled_roles:
            final = identical_rows(expected[f"final_observations of {role}"], actual[f"observations of {role}"])
            what = f"final_observations of {role} at max_cycles are not the true successors"
            case.ensure(final | ~stopped, what, moment.step)
        if FINAL_STATE in expected:
            final = identical_rows(expected[FINAL_STATE], actual["state()"])
            case.ensure(final | ~stopped, "final_state at max_cycles is not the true successor", moment.step)
        running = going


def _wrong(role: Role, good: NDArray[Any], active: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield actions that must be refused; values are wrong in the last active entry only."""
    yield "a market too many", np.concatenate([good, good[:1]])
    yield "an agent too many", np.concatenate([good, good[:, :1]], axis=1)
    yield "an axis too many", good[..., None]
    space = role.action_space
    if isinstance(space, spaces.Box):
        width = space.high - space.low
        values = {"below": space.low - width - 1, "above": space.high + width + 1, "nan": np.full(space.shape, np.nan)}
    else:
        assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
        size = space.n if isinstance(space, spaces.Discrete) else space.nvec
        values = {"below": space.start - 1, "above": space.start + size}
    at = tuple(np.argwhere(active)[-1]) if active.any() else (-1, -1)
    for what, value in values.items():
        actions = good.copy()
        actions[at] = value
        yield f"an action {what} its space", actions


def _check_refusals(case: Case) -> None:
    """Actions that cannot be played must raise ValueError before anything changes."""
    game = case.game()
    _, active = game.reset(case.seeds)
    for t in range(1, 5):
        good = case.actions(t)
        for name in case.controlled_roles:
            for what, actions in _wrong(case.roles[name], good[name], active[name]):
                before = {**game.save(), "state()": game.state()}
                try:
                    game.step({**good, name: actions})
                except ValueError:
                    after = {**game.save(), "state()": game.state()}
                    unchanged = all(identical(before[key], after[key]) for key in before)
                    case.ensure(unchanged, f"{what} of {name} is refused, but has changed the game", t)
                except Exception as error:
                    case.ensure(False, f"{what} of {name} raises {type(error).__name__}, not ValueError", t)
                else:
                    case.ensure(False, f"{what} of {name} is not refused", t)
        active = game.step(good).active


def _check_scripted(case: Case) -> None:
    """Every scripted policy must play legally, and what does not exist must be refused."""
    game = case.game()
    game.reset(case.seeds)
    for role in case.roles:
        acting_case = case.changed(
            controlled_roles=tuple(r for r in case.roles if r in case.controlled_roles or r == role)
        )
        names = case.game_class.scripted_policies(role)
        for name in names:
            for _ in play(acting_case, acting_case.game(), 1, {role: name}):
                pass
            _check_refused(case, game, name, role, no_such_setting=1)
        _check_refused(case, game, "no_such_policy", role)
    _check_refused(case, game, "no_such_policy", "no_such_role")


def _check_refused(case: Case, game: Game, policy: str, role: str, **settings: Any) -> None:
    call = f"scripted({', '.join(map(repr, (policy, role, *settings)))})"
    try:
        game.scripted(policy, role, **settings)
    except ParameterError:
        return
    except Exception as error:
        case.ensure(False, f"{call} raises {type(error).__name__}, not ParameterError")
    case.ensure(False, f"{call} is not refused")


def _check_reference(case: Case) -> None:
    """No policy may exceed the reference, which is that of untruncated episodes of the usual learners."""
    cls, n = case.game_class, len(case.seeds)
    case = case.changed(controlled_roles=case.game_class(case.config).controlled_roles).with_limit(None)
    bounds = cls.reference(case.config, case.seeds, case.streams)
    last = cls.reference(case.config, case.seeds[-1:], case.streams[-1:])
    case.ensure(set(bounds) == set(cls.objectives), f"reference() is keyed by {sorted(bounds)}, not as objectives")
    for role, bound in bounds.items():
        case.ensure(is_array(bound, (n,), np.float64), f"reference of {role} is not float64 ({n},)")
        case.ensure(np.isfinite(bound), f"reference of {role} is not finite")
        case.ensure(identical(bound[-1:], last[role]), f"reference of {role} depends on the other markets")
    choices = [{}, *({role: name} for role in case.controlled_roles for name in cls.scripted_policies(role))]
    for choice in choices:
        who = " and ".join(f"{name!r} of {role}" for role, name in choice.items()) or "random play"
        running = np.ones(n, np.bool_)
        for moment in play(case, case.game(), 1, choice):
            for role, metric in cls.objectives.items() if moment.step else ():
                better = -1.0 if role in cls.minimised else 1.0
                beaten = better * (moment.outcome[f"metric {metric}"] - bounds[role]) > 1e-6
                case.ensure(~(beaten & moment.ended & running), f"{who} beats the reference of {role}", moment.step)
            running &= ~moment.ended


def _digests(case: Case, episodes: int) -> list[str]:
    """Return for every step a hash of everything that was shown up to it."""
    chain, out = hashlib.sha256(), []
    for moment in play(case, case.game(), episodes):
        for name, array in {**moment.shown, **moment.outcome}.items():
            chain.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        out.append(chain.hexdigest())
    return out


def _check_process(case: Case, episodes: int) -> None:
    """Play in a fresh process, with another order of sets, and compare the hashes."""
    # What can be imported here must be importable there.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    program = "from ioa_marl.envs.testing import _answer; _answer()"
    try:
        request = pickle.dumps((case, episodes))
    except (pickle.PicklingError, AttributeError) as error:
        raise _unimportable(case, str(error)) from error
    salt = "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": salt}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, input=request, capture_output=True, check=False, env=environment)
    last_line = (done.stderr.decode().strip().splitlines() or ["it says nothing"])[-1]
    if done.returncode == 3:
        raise _unimportable(case, last_line)
    case.ensure(done.returncode == 0, f"another process fails: {last_line}")
    for t, (here, there) in enumerate(zip_longest(_digests(case, episodes), done.stdout.decode().split())):
        case.ensure(here == there, "another process gives other numbers", t)


def _unimportable(case: Case, reason: str) -> ValueError:
    return ValueError(
        f"another process cannot import {case.game_class.__qualname__} ({reason}): "
        "define it in a module that can be imported, or pass processes=False"
    )


def _answer() -> None:
    """Answer `_check_process`, whose request is on the standard input."""
    try:
        case, episodes = pickle.load(sys.stdin.buffer)
    except (ImportError, AttributeError) as error:
        sys.stderr.write(str(error))
        sys.exit(3)
    sys.stdout.write("\n".join(_digests(case, episodes)))
