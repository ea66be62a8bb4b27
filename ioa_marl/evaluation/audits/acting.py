"""Actions of agents in a batch that has the same markets several times, once for each deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ioa_marl.agents.base import Agent
from ioa_marl.envs.core import Arrays


def choose(agents: Sequence[Agent], observations: Arrays, markets: int) -> Arrays:
    """Return the actions of agents that play one seed.

    Networks round differently in batches of another size, and a policy that is all but indifferent may then choose
    otherwise. They see the markets of one deviation at a time, so that equal observations give equal actions.

    Parameters
    ----------
    agents : sequence of Agent
        The agents; of two that play a role, the later one does.
    observations : dict of ndarray
        Observations by role, shape (batch, agents, features).
    markets : int
        Number of markets of a deviation, which divides the batch.
    """
    of_seed = {role: array[None] for role, array in observations.items()}
    batch = len(next(iter(observations.values())))
    actions: Arrays = {}
    for agent in agents:
        if agent.privileged:  # it looks at the game, not at observations
            chosen = [agent.act(of_seed, deterministic=True)]
        else:
            chosen = [
                agent.act(
                    {role: array[:, first : first + markets] for role, array in of_seed.items()}, deterministic=True
                )
                for first in range(0, batch, markets)
            ]
        actions |= {role: np.concatenate([part[role][0] for part in chosen]) for role in chosen[0]}
    return actions


def draws_numbers(agents: Sequence[Agent], observations: Arrays, markets: int) -> bool:
    """Return whether agents choose other actions if they are asked twice, because they draw random numbers."""
    first, second = (choose(agents, observations, markets) for _ in range(2))
    return any(not np.array_equal(first[role], second[role]) for role in first)
