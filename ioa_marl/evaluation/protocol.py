"""The protocol of scores: the same episodes for all agents, and a scale from 0 (usually random play) to 1 (optimum)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Game
from ioa_marl.evaluation.columns import objective_columns, sampled_figures
from ioa_marl.evaluation.partners import evaluate_agents, is_scored
from ioa_marl.evaluation.playing import evaluation_config, make_agent
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import DamagedFileError, read_json, write_atomically
from ioa_marl.foundations.parameters import is_whole, without_unchanged
from ioa_marl.foundations.paths import cache_folder
from ioa_marl.foundations.scalars import plain_value
from ioa_marl.foundations.seeds import EVALUATION_SEED, MAX_TRAINING_SEED

RANDOM_DRAWS = 20
"""Largest number of independent action sequences over which random play is averaged."""
RANDOM_EPISODES = 2000
"""Number of episodes of random play, over all action sequences, that suffice; there are at least two sequences."""
FINAL_EPISODES = 1000
"""Episodes of the last evaluation, where `Game.final_episodes` names no other number for the preset."""
REFERENCE_SEED = 2**40
"""First seed of these action sequences; it is larger than any training seed."""
PROTOCOL_VERSION = 3
"""Raised whenever the scores of the same policy change."""
SHORTEST_SCALE = 1e-9
"""Smallest distance of optimum and zero, relative to their magnitude; a smaller one is rounding and gives no scale."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the evaluation."""

    episodes: int = 100
    """Episodes of each evaluation before the last one; they are the same for every agent. At most as many as in the
    last one are played."""
    final_episodes: int | None = None
    """Episodes of the last evaluation, from which the score is made. null: the board's constant, usually 1000; or
    ``episodes``, where that is not 100."""
    points: int = 20
    """Number of evaluations, evenly spread over training; the last one is at the end."""


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


def with_final_episodes(config: EvaluationConfig, game_class: type[Game], preset: str | None) -> EvaluationConfig:
    """Return settings in which the number of episodes of the last evaluation is filled in if it is null.

    Parameters
    ----------
    config : EvaluationConfig
        The settings.
    game_class : type of Game
        Class of the market.
    preset : str or None
        The preset from which the market's settings were made, whether they were changed or not; default: the first.
    """
    if config.final_episodes is not None:
        return config
    count = config.episodes if config.episodes != EvaluationConfig.episodes else final_episodes(game_class, preset)
    return dataclasses.replace(config, final_episodes=count)


def final_episodes(game_class: type[Game], preset: str | None) -> int:
    """Return the constant number of episodes of the last evaluation on a board; see `Game.final_episodes`."""
    chosen = next(iter(game_class.presets)) if preset is None else preset
    return game_class.final_episodes.get(chosen, FINAL_EPISODES)


def references(
    game_class: type[Game], config: Any, episodes: int, first_episode: int = 0, instance: int = 0
) -> References:
    """Return the references of a market or of one of its instances; they are computed once and cached on disk."""
    # Settings of rewards do not change objectives, so all values of them share one entry of the cache.
    config = dataclasses.replace(config, **game_class.reward_settings)
    instance = instance if game_class.uses_instances(config) and config.instance is None else 0
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
    seeds = np.full(episodes, EVALUATION_SEED, np.uint64)
    streams = np.arange(first_episode, first_episode + episodes, dtype=np.uint64)
    instances = {"instances": np.full(episodes, instance, np.uint64)} if game_class.instanced else {}
    random = _means(game_class, config, episodes, first_episode, instance, {})
    floor = game_class.score_floor
    constant: dict[str, tuple[str, Mapping[str, Any]]] = {
        role: (policy, {}) for role, policy in game_class.constant_baseline.items()
    }
    return References(
        zero=_means(game_class, config, episodes, first_episode, instance, floor) if floor else random,
        optimum={k: float(v.mean()) for k, v in game_class.reference(config, seeds, streams, **instances).items()},
        constant=_means(game_class, config, episodes, first_episode, instance, constant),
        random=random,
    )


def _means(
    game_class: type[Game],
    config: Any,
    episodes: int,
    first_episode: int,
    instance: int,
    named: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> dict[str, float]:
    """Return the mean of what is scored, per key of `Game.objectives`, where scripted policies or chance play.

    Parameters
    ----------
    named : mapping of str to (str, mapping)
        Scripted policy of each role, with its settings; the other roles play at random.
    """
    controlled_roles = game_class.default_controlled_roles
    probe = game_class(config, 1, controlled_roles)
    others = [role for role in controlled_roles if role not in named]
    draws = max(2, min(RANDOM_DRAWS, RANDOM_EPISODES // episodes)) if others else 1
    agents = [
        make_agent(ScriptedAgent, ScriptedConfig(policy, dict(settings)), probe, [role], draws)
        for role, (policy, settings) in named.items()
    ]
    if others:
        agents.append(make_agent(RandomAgent, RandomConfig(), probe, others, draws, REFERENCE_SEED))
    played = evaluate_agents(
        game_class, config, agents, controlled_roles, [instance] * draws, episodes, first_episode,
        only_scored=True,
    )  # fmt: skip
    return {key: float(played[name].mean()) for key, name in objective_columns(game_class).items()}


def scores(
    game_class: type[Game],
    config: Any,
    episodes: Mapping[str, NDArray[np.float64]],
    controlled_roles: Sequence[str],
    first_episode: int = 0,
    instances: Sequence[int] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the score for each key of `Game.objectives`, shape (seeds,), from what `evaluate_agents` returned.

    The references are computed for the default controlled roles, with the other roles scripted. If other roles are
    controlled there is no score, and neither is there one where zero and optimum are equal.
    """
    if not is_scored(game_class, controlled_roles):
        return {}
    seeds, count = next(iter(episodes.values())).shape
    anchors = [
        references(game_class, config, count, first_episode, instance)
        for instance in ([0] * seeds if instances is None else instances)
    ]
    return {
        key: np.array([float(anchors[i].score(key, episodes[name][i].mean())) for i in range(seeds)])
        for key, name in objective_columns(game_class).items()
        if all(anchor.has_scale(key) for anchor in anchors)
    }


def sampled_scores(
    game_class: type[Game],
    config: Any,
    episodes: Mapping[str, NDArray[np.float64]],
    controlled_roles: Sequence[str],
    first_episode: int = 0,
    instances: Sequence[int] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the scores of the sampled policies, as `scores`; empty if nothing was played with sampled actions."""
    drawn = sampled_figures(episodes)
    return scores(game_class, config, drawn, controlled_roles, first_episode, instances) if drawn else {}


def check_episodes(config: EvaluationConfig) -> None:
    """Refuse numbers of episodes or evaluations that are out of range."""
    for name, most in (("episodes", 100_000), ("final_episodes", 100_000), ("points", 10_000)):
        value = getattr(config, name)
        if value is not None and not 1 <= value <= most:
            raise UserError(f"evaluation.{name}={value} is not allowed: use 1 to {most}")


def check_training_seed(seed: Any) -> None:
    """Refuse a value that is not a training seed."""
    seed = plain_value(seed)
    if not is_whole(seed) or not 0 <= seed <= MAX_TRAINING_SEED:
        raise UserError(f"seed={seed} is not allowed: use a whole number from 0 to {MAX_TRAINING_SEED}")
