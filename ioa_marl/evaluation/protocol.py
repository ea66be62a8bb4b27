"""The protocol of scores: the same episodes for all agents, and a scale from 0 (usually random play) to 1 (optimum)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.envs.vector import Transition, VectorGame
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import DamagedFileError, read_json, write_atomically
from ioa_marl.foundations.parameters import is_whole, without_unchanged
from ioa_marl.foundations.paths import cache_folder
from ioa_marl.foundations.scalars import plain_value
from ioa_marl.foundations.seeds import EVALUATION_SEED, MAX_TRAINING_SEED

RANDOM_DRAWS = 20
"""Number of independent action sequences over which random play is averaged."""
REFERENCE_SEED = 2**40
"""First seed of these action sequences; it is larger than any training seed."""
PROTOCOL_VERSION = 2
"""Raised whenever the scores of the same policy change."""
LARGEST_BATCH = 2**27
"""Largest size of a seed's markets that are played together [bytes]; more episodes are played in groups."""
SHORTEST_SCALE = 1e-9
"""Smallest distance of optimum and zero, relative to their magnitude; a smaller one is rounding and gives no scale."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the evaluation."""

    episodes: int = 100
    """Episodes per evaluation; they are the same for every agent."""
    points: int = 20
    """Number of evaluations, evenly spread over training; the last one is at the end."""
    bidder_gain: bool = False
    """Whether the last evaluation also computes what controlled bidders would gain by the best constant action.
    This takes one more evaluation per action for each of up to five agents of a role."""


def make_agent(
    agent_class: type[Agent], config: Any, game: Game, roles: Sequence[str], seeds: int, first_seed: int = 0
) -> Agent:
    """Return an agent of ``seeds`` seeds for evaluation only.

    Parameters
    ----------
    agent_class : type of Agent
        Class of the agent.
    config : dataclass
        Settings of the agent.
    game : Game
        A game of the market, for its roles.
    roles : sequence of str
        Roles that the agent plays.
    seeds : int
        Number of seeds side by side.
    first_seed : int, default 0
        The seeds are ``first_seed``, ``first_seed`` + 1, ….
    """
    plays = tuple(game.roles[name] for name in roles)
    controlled_roles = tuple(game.roles[name] for name in game.controlled_roles)
    together = tuple(range(first_seed, first_seed + seeds))
    state_features = game.state().shape[-1] if agent_class.needs_state else 0
    return agent_class(
        AgentContext(plays, controlled_roles, together, 1, 1, torch.device("cpu"), state_features), config
    )


def evaluation_config(config: Any) -> Any:
    """Return a market's settings for evaluation, in which the cycle limit of training does not truncate episodes."""
    return dataclasses.replace(config, max_cycles=None) if hasattr(config, "max_cycles") else config


def play_episodes(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    seeds: int,
    episodes: int,
    first_episode: int = 0,
    instances: Sequence[int] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Play every evaluation episode once, in deterministic mode.

    Episode e is the first episode of market e of the evaluation seed, so that all agents play in the same markets.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    agents : sequence of Agent
        Agents that play the controlled roles, of ``seeds`` seeds each.
    controlled_roles : sequence of str
        Roles that the agents play.
    seeds : int
        Number of seeds side by side.
    episodes : int
        Number of episodes.
    first_episode : int, default 0
        Number of the first episode.
    instances : sequence of int, optional
        Training seed of each of the ``seeds``: in a market with instances, a seed is evaluated on the instance that it
        was trained on. Default: instance 0 for all.

    Returns
    -------
    dict of str to ndarray of float64, shape (seeds, episodes)
        The market's metrics; ``reward_<role>``, the total reward of an episode, averaged over the agents of the role;
        and ``length``, the number of steps of the episode.
    """
    seed_instances = [0] * seeds if instances is None else instances
    config = evaluation_config(config)
    groups = [
        _play_group(game_class, config, agents, controlled_roles, seed_instances, count, first)
        for first, count in episode_groups(game_class, config, controlled_roles, episodes, first_episode)
    ]
    return {name: np.concatenate([group[name] for group in groups], axis=1) for name in groups[0]}


def episode_groups(
    game_class: type[Game], config: Any, controlled_roles: Sequence[str], episodes: int, first_episode: int
) -> list[tuple[int, int]]:
    """Return the first episode and the number of episodes of each group that is played as one batch.

    Grouping does not change results: a market does not depend on the other markets of its batch.
    """
    one = game_class(config, 1, controlled_roles)
    state_bytes = sum(array.nbytes for array in one.save().values())
    observation_bytes = sum(
        4 * role.count * role.observation_space.shape[0] for role in (one.roles[name] for name in controlled_roles)
    )
    # Observations and final observations, twice each.
    batch = max(1, LARGEST_BATCH // (state_bytes + 4 * observation_bytes))
    return [(first_episode + start, min(batch, episodes - start)) for start in range(0, episodes, batch)]


def evaluation_steps(game: VectorGame, agents: Sequence[Agent]) -> Iterator[tuple[Transition, NDArray[np.bool_]]]:
    """Play the first episode of every market in deterministic mode.

    Yields each transition, and bool (seeds, markets): whether the step belongs to the first episode of the market. The
    step that ends the episode belongs to it.
    """
    game.game.single_episode = True
    game.reset()
    for agent in agents:
        agent.attach(game.game)
    running = np.ones((len(game.seeds), game.num_envs), np.bool_)
    while running.any():
        actions: Arrays = {}
        for agent in agents:
            actions.update(agent.act(game.observations, deterministic=True))
        transition = game.step(actions)
        yield transition, running
        running = running & ~transition.ended


def _play_group(
    game_class: type[Game],
    config: Any,
    agents: Sequence[Agent],
    controlled_roles: Sequence[str],
    instances: Sequence[int],
    episodes: int,
    first_episode: int,
) -> dict[str, NDArray[np.float64]]:
    seeds = len(instances)
    game = VectorGame(
        game_class, config, [EVALUATION_SEED] * seeds, episodes, controlled_roles, first_episode, instances
    )
    shape = (seeds, episodes)
    out = {name: np.zeros(shape) for name in game.game.metric_names}
    rewards = {f"reward_{role}": np.zeros(shape) for role in game.game.controlled_roles}
    length = np.zeros(shape)
    for transition, running in evaluation_steps(game, agents):
        length += running
        for role in game.game.controlled_roles:
            rewards[f"reward_{role}"] += np.where(running, transition.rewards[role].mean(axis=2), 0.0)
        finished = transition.ended & running
        for name, values in transition.metrics.items():
            out[name][finished] = values[finished]
    return out | rewards | {"length": length}


@dataclass(frozen=True)
class References:
    """Mean objectives of reference policies on the evaluation episodes; zero and optimum define the scale."""

    zero: dict[str, float]
    """Per key of `Game.objectives`: mean objective at score 0, usually that of random play."""
    optimum: dict[str, float]
    """Per key: mean of the market's exact optimum or of an upper bound, at score 1."""
    constant: dict[str, float]
    """Per key: mean objective of the best constant action, which is selected on other markets."""
    random: dict[str, float]
    """Per key: mean objective of random play."""

    def has_scale(self, key: str) -> bool:
        """Whether zero and optimum differ by more than rounding."""
        zero, one = self.zero[key], self.optimum[key]
        return abs(one - zero) > SHORTEST_SCALE * max(abs(one), abs(zero))

    def score(self, key: str, objective: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map mean objectives, (…,), to scores of the same shape; scores are not clipped."""
        zero, one = self.zero[key], self.optimum[key]
        return np.asarray((objective - zero) / (one - zero))

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return the references as plain dictionaries."""
        return dataclasses.asdict(self)

    def checksum(self) -> str:
        """Return the SHA-256 of all references, as 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def references(
    game_class: type[Game], config: Any, episodes: int, first_episode: int = 0, instance: int = 0
) -> References:
    """Return the references of a market or of one of its instances; they are computed once and cached on disk."""
    # Settings of rewards do not change objectives, so all values of them share one entry of the cache.
    config = dataclasses.replace(config, **game_class.reward_settings)
    instance = instance if game_class.instanced and config.instance is None else 0
    key = {
        "protocol": PROTOCOL_VERSION,
        "env": game_class.name,
        "version": game_class.version,
        "module": game_class.__module__,
        "config": without_unchanged(game_class.config_class, dataclasses.asdict(evaluation_config(config))),
        "episodes": [first_episode, episodes],
        "instance": instance,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return _references(game_class, evaluation_config(config), episodes, first_episode, instance, digest)


@lru_cache(maxsize=512)
def _references(
    game_class: type[Game], config: Any, episodes: int, first_episode: int, instance: int, digest: str
) -> References:
    path = cache_folder() / "references" / f"{game_class.name}-{digest}.json"
    cached = _read_cached(path)
    if cached is not None:
        return cached
    computed = compute_references(game_class, config, episodes, first_episode, instance)
    with suppress(UserError):  # without a writable cache, references are only computed again
        write_atomically(path, json.dumps({**computed.as_dict(), "checksum": computed.checksum()}).encode())
    return computed


def _read_cached(path: Path) -> References | None:
    """Return references from the cache, or None if the file is missing or does not match its checksum.

    Files of earlier versions have no checksum and are accepted without one.
    """
    try:
        entries = read_json(path)
        checksum = entries.pop("checksum", None)
        cached = References(**entries)
        numbers = [value for inner in cached.as_dict().values() for value in inner.values()]
    except (DamagedFileError, AttributeError, TypeError):
        return None
    valid = all(type(number) in (int, float) for number in numbers) and checksum in (None, cached.checksum())
    return cached if valid else None


def compute_references(
    game_class: type[Game], config: Any, episodes: int, first_episode: int = 0, instance: int = 0
) -> References:
    """Compute the references of a market, or of one of its instances, on the evaluation episodes."""
    controlled_roles = game_class.default_controlled_roles
    probe = game_class(config, 1, controlled_roles)

    def means(agents: Sequence[Agent], draws: int = 1) -> dict[str, float]:
        played = play_episodes(
            game_class, config, agents, controlled_roles, draws, episodes, first_episode, [instance] * draws
        )  # fmt: skip
        return {key: float(played[name].mean()) for key, name in game_class.objectives.items()}

    def scripted(role: str, policy: str, settings: Mapping[str, Any], draws: int = 1) -> Agent:
        return make_agent(ScriptedAgent, ScriptedConfig(policy, dict(settings)), probe, [role], draws)

    def at_random(roles: Sequence[str]) -> list[Agent]:
        agent = RandomAgent, RandomConfig(), probe, roles, RANDOM_DRAWS, REFERENCE_SEED
        return [make_agent(*agent)] if roles else []

    random = means(at_random(controlled_roles), RANDOM_DRAWS)
    others = [role for role in controlled_roles if role not in game_class.score_floor]
    draws = RANDOM_DRAWS if others else 1
    named = [scripted(role, policy, settings, draws) for role, (policy, settings) in game_class.score_floor.items()]
    seeds = np.full(episodes, EVALUATION_SEED, np.uint64)
    streams = np.arange(first_episode, first_episode + episodes, dtype=np.uint64)
    instances = {"instances": np.full(episodes, instance, np.uint64)} if game_class.instanced else {}
    return References(
        zero=means([*named, *at_random(others)], draws) if named else random,
        optimum={k: float(v.mean()) for k, v in game_class.reference(config, seeds, streams, **instances).items()},
        constant=means([scripted(role, policy, {}) for role, policy in game_class.constant_baseline.items()]),
        random=random,
    )


def scores(
    game_class: type[Game],
    config: Any,
    episodes: Mapping[str, NDArray[np.float64]],
    controlled_roles: Sequence[str],
    first_episode: int = 0,
    instances: Sequence[int] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the score for each key of `Game.objectives`, shape (seeds,), from what `play_episodes` returned.

    The references are computed for the default controlled roles, with the other roles scripted. If other roles are
    controlled there is no score, and neither is there one where zero and optimum are equal.
    """
    if tuple(controlled_roles) != game_class.default_controlled_roles or not game_class.objectives:
        return {}
    seeds, count = next(iter(episodes.values())).shape
    anchors = [
        references(game_class, config, count, first_episode, instance)
        for instance in ([0] * seeds if instances is None else instances)
    ]
    return {
        key: np.array([float(anchors[i].score(key, episodes[name][i].mean())) for i in range(seeds)])
        for key, name in game_class.objectives.items()
        if all(anchor.has_scale(key) for anchor in anchors)
    }


def check_episodes(config: EvaluationConfig) -> None:
    """Refuse numbers of episodes or evaluations that are out of range."""
    for name, most in (("episodes", 100_000), ("points", 10_000)):
        value = getattr(config, name)
        if not 1 <= value <= most:
            raise UserError(f"evaluation.{name}={value} is not allowed: use 1 to {most}")


def check_training_seed(seed: Any) -> None:
    """Refuse a value that is not a training seed."""
    seed = plain_value(seed)
    if not is_whole(seed) or not 0 <= seed <= MAX_TRAINING_SEED:
        raise UserError(f"seed={seed} is not allowed: use a whole number from 0 to {MAX_TRAINING_SEED}")
