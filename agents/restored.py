"""Agents from what a checkpoint holds of them, which a stranger may have written."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ioa_marl.agents.base import Agent, State
from ioa_marl.agents.randomness import Streams
from ioa_marl.errors import UserError, in_one_line
from ioa_marl.trees import difference

ROOM = 2**30
"""Bytes that any agent may take when it is built, whatever its policy takes."""
ROOM_PER_BYTE = 64
"""Bytes that it may take besides for each byte of its policy: critics and memories are not part of it."""


def restored(make: Callable[[], Agent], state: State, name: str) -> Agent:
    """Return an agent that plays the policy that was stored, and nothing else.

    Parameters
    ----------
    make : callable
        Builds the agent for one seed.
    state : dict
        What `Agent.policy_state` returned.
    name : str
        Name of the agent, for messages.

    Raises
    ------
    UserError
        If the agent needs far more memory than its policy takes, or does not play exactly what is stored.
    """
    Streams((0,), 0).uniform(1)  # a compiler that runs out of memory ends the process
    room = ROOM + ROOM_PER_BYTE * size_of(state)
    try:
        with _at_most(room):
            agent = make()
            agent.load_policy_state(0, state)
            told = difference(agent.policy_state(0), state)
    except (UserError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} would need more than {room} bytes, and its policy has {size_of(state)}") from error
    except Exception as error:  # whatever an agent finds wrong with it
        reason = in_one_line(error)
        if isinstance(error, RuntimeError) and ("allocate memory" in reason or "bad_alloc" in reason):
            raise UserError(f"{name} would need more than {room} bytes, and its policy has {size_of(state)}") from error
        raise UserError(f"the policy of {name} does not fit: {type(error).__name__}: {reason}") from error
    if told is not None:
        raise UserError(f"the policy of {name} does not fit: loaded, {in_one_line(told)}")
    return agent


def size_of(tree: Any) -> int:
    """Return the bytes of all tensors and arrays in nested values."""
    if isinstance(tree, Mapping):
        return sum(map(size_of, tree.values()))
    if isinstance(tree, (list, tuple)):
        return sum(map(size_of, tree))
    return int(tree.nbytes) if isinstance(tree, (torch.Tensor, np.ndarray)) else 0


@contextmanager
def _at_most(more: int) -> Iterator[None]:
    """Let this process have at most so many bytes more than it has; asking for them fails, and takes no time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
