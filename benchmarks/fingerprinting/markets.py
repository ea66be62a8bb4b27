"""Fingerprints of markets: play under random actions, scripted policies, references, and the ways in by name."""

from __future__ import annotations

import itertools
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fingerprinting.doors import NAMES, door, of, own_names
from fingerprinting.values import Entry, Trace, tokens_of

Item = tuple[str, Callable[[], Entry]]
"""A name, and what makes its entry."""
SEEDS = (0, 7, 123_456)
"""Seeds of the markets in a batch; where a market has instances, these are their numbers as well."""
ACTION_SEED = 20_240_613
EPISODES = 2
REFERENCE_EPISODES = 4
ALL_CHOICES_UP_TO = 100_000
"""Bytes of one market up to which every choice of roles is played; larger ones: the usual roles, and all of them."""
WHOLE_EPISODES_UP_TO = 1_000_000
"""Bytes of one market up to which whole episodes are played; of larger ones `FEW_STEPS` steps of one market."""
REFERENCES_UP_TO = 60_000
"""Bytes of one market up to which references are computed and scripted policies are played."""
FEW_STEPS = 3
MOST_STEPS = 20_000
VARIANTS: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "double_dutch": [
        ("paper", {"observation": "extended"}),
        ("paper", {"observation": "extended", "max_cycles": 7, "welfare_paid": "at_end"}),
        ("mixed", {"psi": 0.25, "trade_weight": 0.5, "message_weight": 0.1, "scripted_step": 0.75}),
        ("paper", {"level": (30.0, 70.0), "cost_spread": (-3.0, 1.0), "buyer_clock": 92.0}),
    ],
    "second_bid": [
        ("paper", {"information": "history", "tasks": 12}),
        ("paper", {"uav_bid_visible": True, "tasks": 12, "max_cycles": 7}),
        ("paper", {"rivals": "providers", "tasks": 12}),
        ("paper", {"tasks": 1, "levels": 1, "stations": 2, "periods": 1}),
        ("paper", {"stations": 40, "tasks": 2, "uav_weight": 0.7, "smoothing": 0.5}),
    ],
    "stackelberg": [
        ("city", {"action": "box", "rounds": 4}),
        ("city", {"action": "box", "observation": "extended", "rounds": 4, "max_cycles": 3}),
        ("city", {"observation": "extended", "redraw": "episode", "instance": 4, "rounds": 4}),
        ("city", {"mobility": "as_printed", "mobility_weight": 0.5, "congestion": True, "rounds": 4}),
        ("city", {"dynamics": True, "latency_case": "ma", "redraw": "episode", "observation": "extended", "rounds": 4}),
        ("city", {"dynamics": True, "latency_case": "fa", "rounds": 4}),
        ("city", {"dynamics": True, "latency_case": "aa", "rounds": 4}),
        ("city", {"wireless": 3, "mobile": 5, "fixed": 4, "rounds": 4}),
    ],
    "two_tier": [
        ("paper", {"observation": "extended", "rounds": 4}),
        ("paper", {"observation": "extended", "instance": 3, "rounds": 4, "max_cycles": 3}),
        ("paper", {"wireless": 1, "mobile": 1, "fixed": 1, "aerial": 1, "steps": (0.5, 1.25), "rounds": 4}),
        ("paper", {"capacity": (1e-9, 1e-9), "psi": 0.0, "rounds": 4}),
        ("paper", {"capacity": (1e6, 1e6), "price_levels": 2, "rounds": 4}),
        ("paper", {"dynamics": True, "bids": "chosen", "rounds": 4}),
    ],
    "vcg_slicing": [
        ("paper", {"observation": "extended", "redraw": "episode", "rounds": 8}),
        ("paper", {"observation": "extended", "slice_reward": "increment", "rounds": 8}),
        ("paper", {"max_cycles": 3, "slice_reward": "bids", "instance": 5, "rounds": 8}),
        ("paper", {"slice_reward": "own", "providers": 5, "fewest_providers": 1, "rounds": 8}),
        ("paper", {"slice_reward": "utility", "providers": 2, "rate": (0.0, 1e-4), "rounds": 8}),
        ("dual_currency", {"externality": "estimated", "bills": 4, "providers": 4, "rounds": 8}),
        ("dual_currency", {"externality": "estimated", "providers": 5, "fewest_providers": 2, "rounds": 8}),
        ("dual_currency", {"noise": "as_printed", "prior_bills": 4, "providers": 2, "rounds": 8}),
        ("dual_currency", {"voi": "network", "providers": 4, "rounds": 8}),
        ("no_interest", {"redraw": "episode", "observation": "extended", "slice_reward": "bids", "rounds": 8}),
    ],
}
"""Presets with changes, so that every branch of a market is played; the usual roles, and all of them."""


def items() -> Iterator[Item]:
    """Yield everything that is recorded of every market; of one that cannot be imported, an item that says so."""
    for market in own_names("environment"):
        try:
            found = list(_items_of(market))
        except Exception as error:  # the other markets can still be compared
            found = [(f"markets/{market}", partial(_fail, error))]
        yield from found


def _fail(error: Exception) -> Entry:
    raise error


def _items_of(market: str) -> Iterator[Item]:
    cls = door("load_env")(market)
    for preset in of(cls, "presets"):
        if preset not in of(cls, "infeasible"):
            yield from _preset_items(cls, f"markets/{market}/{preset}", preset)
    for preset, changes in VARIANTS.get(market, ()):
        text = " ".join(f"{key}={value}" for key, value in changes.items())
        config = cls.make_config(preset, **changes)
        for roles in _few_choices(cls, config):
            yield f"markets/{market}/{preset} {text}/random {'+'.join(roles)}", partial(play, cls, config, roles)
    for name, enter in _ENTRANCES.items():
        yield f"markets/{market}/by name/{name}", partial(enter, market)


def _preset_items(cls: type[Any], name: str, preset: str) -> Iterator[Item]:
    config = cls.make_config(preset)
    size = sum(array.nbytes for array in cls(config, 1).save().values())
    if size <= WHOLE_EPISODES_UP_TO:
        for roles in _all_choices(cls, config) if size <= ALL_CHOICES_UP_TO else _few_choices(cls, config):
            yield f"{name}/random {'+'.join(roles)}", partial(play, cls, config, roles)
    else:
        for roles in _few_choices(cls, config):
            title = f"{name}/first {FEW_STEPS} steps, random {'+'.join(roles)}"
            yield title, partial(play, cls, config, roles, seeds=SEEDS[:1], most_steps=FEW_STEPS)
    if size <= REFERENCES_UP_TO:
        yield f"{name}/references", partial(references, cls, config)
        for role in cls.make_roles(config):
            for policy in of(cls, "scripted_policies")(role):
                usual = _usual(cls, config)
                roles = usual if role in usual else (*usual, role)
                title = f"{name}/{policy} as {role}"
                yield title, partial(play, cls, config, roles, scripted={role: policy}, episodes=1)


def _usual(cls: type[Any], config: Any) -> tuple[str, ...]:
    return tuple(role for role in cls.make_roles(config) if role in of(cls, "default_roles"))


def _few_choices(cls: type[Any], config: Any) -> list[tuple[str, ...]]:
    """Return the usual roles, and all roles."""
    return list(dict.fromkeys([_usual(cls, config), tuple(cls.make_roles(config))]))


def _all_choices(cls: type[Any], config: Any) -> list[tuple[str, ...]]:
    roles = tuple(cls.make_roles(config))
    return [choice for size in range(1, len(roles) + 1) for choice in itertools.combinations(roles, size)]


def random_actions(space: spaces.Space[Any], shape: tuple[int, ...], key: Sequence[int], name: str) -> NDArray[Any]:
    """Return legal actions that depend on the key and the name, and on nothing that was drawn before."""
    rng = np.random.default_rng([ACTION_SEED, *key, zlib.crc32(name.encode())])
    if isinstance(space, spaces.Discrete):
        return np.asarray(rng.integers(int(space.n), size=shape) + int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(rng.integers(space.nvec, size=(*shape, *space.nvec.shape)) + space.start)
    assert isinstance(space, spaces.Box)
    return np.asarray(space.low + rng.random((*shape, *space.shape)) * (space.high - space.low), space.dtype)


def play(
    cls: type[Any],
    config: Any,
    roles: Sequence[str],
    seeds: Sequence[int] = SEEDS,
    episodes: int = EPISODES,
    most_steps: int = MOST_STEPS,
    scripted: Mapping[str, str] | None = None,
) -> Entry:
    """Play a batch until every market has ended ``episodes`` episodes; returns what was seen, got and measured.

    Parameters
    ----------
    cls, config
        The market and its settings.
    roles : sequence of str
        Roles that act: at random, but for those in ``scripted``.
    seeds : sequence of int
        Seeds of the markets in the batch.
    episodes, most_steps : int
        When to stop.
    scripted : mapping of str to str, optional
        Scripted policies by role.
    """
    game, trace = cls(config, len(seeds), roles), Trace()
    setattr(game, NAMES["final_states"], True)
    observations, active = game.reset(np.array(seeds, np.uint64))
    policies = {role: of(game, "scripted")(policy, role) for role, policy in (scripted or {}).items()}
    counts = {role: of(game, "roles")[role].count for role in roles}
    space = {role: of(game, "roles")[role].action_space for role in roles}
    _add_all(trace, {"opening": observations, "active": active})
    trace.add("state", "", game.state())
    done = np.zeros(len(seeds), np.int64)
    for step in range(most_steps):
        actions = {
            role: policies[role]() if role in policies
            else random_actions(space[role], (len(seeds), counts[role]), (step,), role)
            for role in roles
        }  # fmt: skip
        for role in policies:
            trace.add("scripted actions", role, actions[role])
        done += _add_step(trace, game, game.step(actions))
        if (done >= episodes).all():
            break
    return trace.entry()


def _add_all(trace: Trace, kinds: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    for kind, arrays in kinds.items():
        for role in sorted(arrays):
            trace.add(kind, role, arrays[role])


def _add_step(trace: Trace, game: Any, step: Any) -> NDArray[np.bool_]:
    """Add a step to the trace; returns which markets ended, of which alone some of its arrays are defined."""
    terminated, truncated = of(step, "terminated"), of(step, "truncated")
    ended: NDArray[np.bool_] = terminated | truncated
    _add_all(trace, {kind: of(step, kind) for kind in ("observations", "rewards", "active")})
    trace.add("ends", "terminated", terminated)
    trace.add("ends", "truncated", truncated)
    trace.add("state", "", game.state())
    if ended.any():
        final = of(step, "final_observations")
        _add_all(trace, {"final observations": {role: array[ended] for role, array in final.items()}})
        for name, values in of(step, "metrics").items():
            trace.add("metrics", name, values[ended])
        trace.add("ledger", "", game.ledger()[ended])
    if truncated.any() and of(step, "final_state") is not None:
        trace.add("final state", "", of(step, "final_state")[truncated])
    return ended.copy()


def references(cls: type[Any], config: Any) -> Entry:
    """Return the ends of the scale and what the market knows of constant and random play."""
    instance = (0, 3) if of(cls, "instanced") else ()
    return {"values": tokens_of(door("compute_references")(cls, config, REFERENCE_EPISODES, *instance))}


def _keywords(market: str) -> dict[str, Any]:
    cls = door("load_env")(market)
    return {NAMES["roles_keyword"]: list(cls.make_roles(cls.make_config()))}


def _pettingzoo(market: str) -> Entry:
    """Play an episode of the parallel environment with all roles, made by its PettingZoo name."""
    from pettingzoo.env_registry.registration import make

    import ioa_marl  # noqa: F401 - registers the names

    env, trace, step = make("parallel", f"ioa_marl/{market}-v0", **_keywords(market)), Trace(), 0
    observations, infos = env.reset(seed=5)
    while env.agents:
        _add_all(trace, {"observations": observations})
        actions = {
            agent: random_actions(env.action_space(agent), (), (step,), agent)
            for agent in env.agents if infos[agent]["active"]
        }  # fmt: skip
        step += 1
        observations, rewards, ended, cut, infos = env.step(actions)
        for kind, values in {"rewards": rewards, "ends": ended, "truncations": cut}.items():
            _add_all(trace, {kind: {agent: np.array([value]) for agent, value in values.items()}})
        for agent, info in infos.items():
            for name, value in info.get("metrics", {}).items():
                trace.add("metrics", f"{agent} {name}", np.array([value]))
    return trace.entry()


def _turns(market: str) -> Entry:
    """Play a hundred turns of the turn-based environment with all roles."""
    from pettingzoo.env_registry.registration import make

    import ioa_marl  # noqa: F401

    env, trace = make("aec", f"ioa_marl/{market}-v0", **_keywords(market)), Trace()
    env.reset(seed=5)
    for turn, agent in enumerate(env.agent_iter(100)):
        observation, reward, ended, cut, _ = env.last()
        trace.add("observations", agent, np.asarray(observation)[None])
        trace.add("rewards", agent, np.array([reward], np.float64))
        trace.add("ends", agent, np.array([ended, cut]))
        env.step(None if ended or cut else random_actions(env.action_space(agent), (), (turn,), agent))
    return trace.entry()


def _gymnasium(market: str) -> Entry:
    """Play the single and the batched Gymnasium environment of those markets that have them."""
    import gymnasium

    import ioa_marl  # noqa: F401

    name, trace, step = f"ioa_marl/{market}-v0", Trace(), 0
    if name not in gymnasium.registry:
        return {}
    env: Any = gymnasium.make(name)
    observation, _ = env.reset(seed=5)
    over = False
    while not over:
        trace.add("observations", "one", observation[None])
        action = random_actions(env.action_space, (), (step,), "one")
        observation, reward, ended, cut, _ = env.step(action)
        trace.add("rewards", "one", np.array([reward], np.float64))
        over, step = ended or cut, step + 1
    batch: Any = gymnasium.make_vec(name, num_envs=4)
    observations, _ = batch.reset(seed=5)
    for turn in range(100):
        trace.add("observations", "batch", observations)
        actions = random_actions(batch.single_action_space, (4,), (turn,), "batch")
        observations, rewards, ends, cuts, _ = batch.step(actions)
        trace.add("rewards", "batch", rewards)
        trace.add("ends", "batch", np.stack([ends, cuts]))
    return trace.entry()


def _score(market: str) -> Entry:
    """Score a policy from outside: the middle one of every role's actions."""

    def middle(space: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
        value = (space.nvec if isinstance(space, spaces.MultiDiscrete) else np.array(space.n)) // 2
        # Markets, and agents where there are several, come before the features.
        return lambda seen: np.broadcast_to(value, (*seen.shape[:-1], *value.shape))

    cls = door("load_env")(market)
    config = cls.make_config()
    roles = {role: made for role, made in cls.make_roles(config).items() if role in _usual(cls, config)}
    result = door("score")(
        f"ioa_marl/{market}-v0", {role: middle(made.action_space) for role, made in roles.items()}, episodes=4
    )
    return {"values": tokens_of(result.scores, result.metrics, result.references)}


def _quietly(enter: Callable[[str], Entry], market: str) -> Entry:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Gymnasium and PettingZoo, about their own names
        return enter(market)


_ENTRANCES = {
    "PettingZoo": partial(_quietly, _pettingzoo),
    "turns": partial(_quietly, _turns),
    "Gymnasium": partial(_quietly, _gymnasium),
    "score": partial(_quietly, _score),
}
