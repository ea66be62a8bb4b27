"""Scores of policies from other training stacks: any callable is played on the benchmark's episodes and scale."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl import registry
from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.evaluation.averages import mean_metrics
from ioa_marl.evaluation.columns import objective_columns
from ioa_marl.evaluation.partners import evaluate_agents
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.evaluation.protocol import (
    EvaluationConfig,
    References,
    check_episodes,
    check_training_seed,
    final_episodes,
    references,
    scores,
)
from ioa_marl.foundations.errors import UserError, unknown_name
from ioa_marl.foundations.scalars import whole_number

ActFunction = Callable[[NDArray[np.float32]], Any]
"""Maps the observations of one role to its actions; see `score` for the shapes."""


@dataclass(frozen=True)
class ScoreResult:
    """The scores and metrics of a policy on the evaluation episodes."""

    env: str
    """Name of the market."""
    preset: str
    """Preset of the market, or ``custom`` if settings were changed."""
    roles: tuple[str, ...]
    """Roles that the policy played."""
    scores: dict[str, float]
    """Score per objective of the market: 0 is random play unless the market defines another zero, 1 is the optimum.
    Scores are not clipped."""
    metrics: dict[str, float]
    """Mean of each metric over the episodes."""
    references: References
    """The references that define the scale."""
    episodes: Mapping[str, NDArray[np.float64]]
    """Metrics of each episode, float64 (1, episodes) each."""
    config: Any
    """Settings of the market."""
    game_class: type[Game]
    """Class of the market."""
    seed: int
    """Training seed; in a market with instances, the number of the instance that was played."""

    @property
    def score(self) -> float:
        """The score, if the market has only one."""
        if len(self.scores) != 1:
            raise UserError(f"{self.env} has no overall score: its scores are {', '.join(self.scores)}")
        return next(iter(self.scores.values()))


class _Function(Agent):
    """Adapter that turns a callable into an agent of one role."""

    config_class = dict
    action_spaces = (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)
    learns = False

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        role = self.context.plays[0]
        observed = observations[role.name][0]
        single = role.count == 1
        chosen = np.asarray(self.config(observed[:, 0].copy() if single else observed.copy()))
        space = role.action_space
        shape = (len(observed), *(() if single else (role.count,)), *(space.shape or ()))
        if chosen.shape != shape:
            raise UserError(f"act_fn returned actions of shape {chosen.shape}; {role.name} needs {shape}")
        return {role.name: chosen.reshape(1, len(observed), role.count, *(space.shape or ()))}


def find_game(env_id: str) -> tuple[type[Game], str | None]:
    """Return the market class and the preset of ``name``, ``name/preset`` or ``ioa_marl/name-v0``.

    The markets of this package are registered as v0, whatever the version of their numbers.
    """
    name = env_id.removeprefix("ioa_marl/")
    name, _, preset = name.partition("/")
    versioned = re.fullmatch(r"(.+)-v(\d+)", name)
    name, number = versioned.groups() if versioned else (name, None)
    game_class = registry.load_env(name)
    known = {game_class.version, 0} if name in registry.MARKETS else {game_class.version}
    if number is not None and int(number) not in known:
        raise UserError(f"environment {env_id!r} has version {game_class.version}: use {name}-v{game_class.version}")
    if preset and preset not in game_class.presets:
        raise unknown_name("preset", preset, game_class.presets)
    return game_class, preset or None


def score(
    env_id: str,
    act_fn: ActFunction | Mapping[str, ActFunction],
    *,
    episodes: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> ScoreResult:
    """Score a policy exactly as the benchmark scores its own agents.

    Parameters
    ----------
    env_id : str
        Environment: ``"ioa_marl/double_dutch-v0"``, ``"double_dutch"`` or ``"double_dutch/calm"``.
    act_fn : callable, or mapping of str to callable
        Maps observations to actions: float32 (episodes, features) to (episodes,) for Discrete actions or
        (episodes, heads) for others; for a role of several agents (episodes, agents, features) to
        (episodes, agents, …). Called once per step with all episodes; actions in episodes that have ended are
        ignored. A policy with a memory recognises the first step by the time in its observation. In a market where
        several roles learn, a mapping from the name of each role to its callable.
    episodes : int, optional
        Number of evaluation episodes; default: that of the market's board, usually 1000, with whose rows the score can
        then be compared.
    seed : int, default 0
        Training seed. A market with instances is played on the instance of this number; train on the same one.
    **settings
        Changes to the preset; the scale is that of the changed market.

    Returns
    -------
    ScoreResult
        `ioa_marl.training.external.save_score` adds it to a run store for the leaderboard.

    Examples
    --------
    >>> import numpy as np
    >>> from ioa_marl.evaluation import score
    >>> always_two = score("double_dutch", lambda observations: np.full(len(observations), 5), episodes=10)
    >>> always_two.roles, 0.0 < always_two.score < 1.0
    (('auctioneer',), True)
    """
    seed = _whole("seed", seed)
    check_training_seed(seed)
    if episodes is not None:
        episodes = _whole("episodes", episodes)
        check_episodes(EvaluationConfig(episodes))
    game_class, preset = find_game(env_id)
    if episodes is None:
        episodes = final_episodes(game_class, preset)
    config = game_class.make_config(preset, **settings)
    played = game_class.default_controlled_roles
    functions = _by_role(act_fn, played)
    probe = game_class(config, 1, played)
    controlled_roles = tuple(probe.roles[role] for role in played)
    agents = [
        _Function(
            AgentContext((probe.roles[role],), controlled_roles, (0,), 1, 1, torch.device("cpu")), functions[role]
        )
        for role in played
    ]
    metrics = evaluate_agents(game_class, config, agents, played, [seed], episodes)
    seed_scores = scores(game_class, config, metrics, played, instances=[seed])
    if not seed_scores:
        raise UserError(f"{game_class.name} has no scale with these settings: random play is the optimum already")
    first = next(iter(game_class.presets)) if preset is None else preset
    return ScoreResult(
        env=game_class.name,
        preset=first if evaluation_config(config) == evaluation_config(game_class.make_config(first)) else "custom",
        roles=played,
        scores={key: float(values[0]) for key, values in seed_scores.items()},
        metrics=mean_metrics(
            {name: values[0] for name, values in metrics.items()}, objective_columns(game_class).values()
        ),
        references=references(game_class, config, episodes, instance=seed),
        episodes=metrics,
        config=config,
        game_class=game_class,
        seed=seed,
    )


def _whole(name: str, value: Any) -> int:
    number = whole_number(value)
    if number is None:
        raise UserError(f"{name}={value} is not allowed: use a whole number")
    return number


def _by_role(act_fn: ActFunction | Mapping[str, ActFunction], roles: tuple[str, ...]) -> Mapping[str, ActFunction]:
    if not isinstance(act_fn, Mapping):
        if len(roles) > 1:
            raise UserError(f"act_fn must be a mapping with one callable for each of the roles {', '.join(roles)}")
        return {roles[0]: act_fn}
    if set(act_fn) != set(roles):
        raise UserError(f"act_fn is for {', '.join(act_fn)}: use one callable for each of {', '.join(roles)}")
    return act_fn
