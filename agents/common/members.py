"""The mapping between the agents of a role and the members of a stack of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Role

MAX_SEPARATE_AGENTS = 64
"""Largest number of agents of a role that have separate networks; a larger role shares one network."""
MAX_INDEXED_AGENTS = 64
"""Largest number of agents of a role whose observations are extended by a one-hot index of the agent."""


def with_index(observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return observations (…, agents, features) with a one-hot index of the agent, (…, agents, features + agents)."""
    agents = observations.shape[-2]
    index = np.broadcast_to(np.eye(agents, dtype=np.float32), (*observations.shape[:-1], agents))
    return np.concatenate([observations, index], axis=-1)


def separate_networks(role: Role, share_above: int = MAX_SEPARATE_AGENTS) -> int:
    """Return the number of networks of each kind per seed: one for each agent of the role, or one that all share."""
    return role.count if role.count <= share_above else 1


class Members:
    """The members of a stack of networks for one role.

    The stack has a member for each seed and agent, ordered by seed and then agent, or one for each seed if the agents
    share a network.

    Parameters
    ----------
    context : AgentContext
        The run, of which the seeds and the number of markets are used.
    role : Role
        The role.
    share_above : int, default `MAX_SEPARATE_AGENTS`
        Largest number of agents that have networks of their own.
    """

    def __init__(self, context: AgentContext, role: Role, share_above: int = MAX_SEPARATE_AGENTS) -> None:
        self.role, self.seeds, self.num_envs = role, len(context.seeds), context.num_envs
        self.separate = separate_networks(role, share_above)
        self.count = self.seeds * self.separate

    @property
    def shared(self) -> bool:
        """Whether the agents share a network."""
        return self.separate < self.role.count

    def uniforms(self, streams: Streams, copies: int = 1) -> Callable[[int], NDArray[np.float64]]:
        """Return a function that draws the numbers with which `StackedMLP` initialises its weights.

        Parameters
        ----------
        streams : Streams
            Random streams of the seeds.
        copies : int, default 1
            Networks per member, such as 2 for twin critics. The networks of a member are adjacent in the stack.

        Returns
        -------
        callable
            ``uniforms(k)`` returns float64 (members · copies, k), uniform in [0, 1).
        """
        return lambda k: streams.uniform(self.separate * copies, k).reshape(-1, k)

    def rows(self, seed_index: int, copies: int = 1) -> slice:
        """Return the indices of one seed's networks in a stack with ``copies`` networks per member."""
        n = self.separate * copies
        return slice(seed_index * n, (seed_index + 1) * n)

    def columns(self, seed_index: int) -> slice:
        """Return the indices of one seed on an axis of length seeds · num_envs · agents."""
        n = self.num_envs * self.role.count
        return slice(seed_index * n, (seed_index + 1) * n)

    def of_columns(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the member of each index on an axis of length seeds · num_envs · agents; both int64 (n,)."""
        seeds, agents = columns // (self.num_envs * self.role.count), columns % self.role.count
        return seeds if self.separate == 1 else seeds * self.separate + agents

    def stacked(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn (seeds, markets, agents, …) into contiguous (members, batch, …)."""
        markets, agents = array.shape[1:3]
        if self.separate == 1:
            return np.ascontiguousarray(array.reshape(self.count, markets * agents, *array.shape[3:]))
        return np.ascontiguousarray(np.swapaxes(array, 1, 2).reshape(self.count, markets, *array.shape[3:]))

    def unstacked(self, array: NDArray[Any], markets: int) -> NDArray[Any]:
        """Turn (members, batch, …) into (seeds, markets, agents, …)."""
        rest = array.shape[2:]
        if self.separate == 1:
            return array.reshape(self.seeds, markets, self.role.count, *rest)
        return np.swapaxes(array.reshape(self.seeds, self.separate, markets, *rest), 1, 2)
