"""Evaluation of a run's policies: load the agents of a checkpoint, and play episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.saved.restoring import restore_agent
from ioa_marl.evaluation.partners import evaluate_agents
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.training.config import RunSpec


def evaluate(
    spec: RunSpec, agents: Sequence[Agent], seeds: Sequence[int], first_episode: int = 0, *, last: bool = True
) -> dict[str, NDArray[np.float64]]:
    """Play the evaluation episodes with the agents of a run, trained with ``seeds``.

    Parameters
    ----------
    spec : RunSpec
        The run.
    agents : sequence of Agent
        Its agents, with one seed for each of the ``seeds``.
    seeds : sequence of int
        Training seeds.
    first_episode : int, default 0
        First evaluation episode.
    last : bool, default True
        Whether this is the evaluation at the end, which has more episodes, also with sampled actions; or one on the
        way.

    Returns
    -------
    dict of str to ndarray of float64, shape (seeds, episodes)
        Figures of each episode, as `evaluate_agents` returns them.
    """
    return evaluate_agents(
        spec.game_class, spec.env_config, agents, spec.controlled_roles, seeds,
        spec.last_episodes if last else spec.episodes_on_the_way, first_episode, sampled=last,
    )  # fmt: skip


def load_agents(spec: RunSpec, saved: Mapping[str, Any]) -> list[Agent]:
    """Return the agents of a checkpoint, ready to act."""
    probe = spec.game_class(spec.env_config, 1, spec.controlled_roles)
    agents = []
    for choice, state in zip(spec.agents, saved["policies"], strict=True):
        # The run's own seed, because random actions in evaluation depend on it.
        make = partial(make_agent, choice.agent_class, choice.config, probe, choice.roles, 1, spec.seeds[0])
        agents.append(restore_agent(make, state, choice.name))
    return agents
