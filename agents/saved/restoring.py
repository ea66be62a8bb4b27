"""Agents from what a checkpoint holds of them, which a stranger may have written."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ioa_marl.agents.base import Agent
from ioa_marl.agents.common.streams import Streams
from ioa_marl.foundations.errors import UserError, one_line
from ioa_marl.foundations.trees import difference, in_first_format, not_a_number

ROOM = 2**30
"""Bytes that any agent may take when it is built, whatever its policy takes."""
ROOM_PER_BYTE = 64
"""Bytes that it may take besides for each byte of its policy: critics and memories are not part of it."""


def restored(make: Callable[[], Agent], state: Any, name: str) -> Agent:
    """Return an agent that plays the policy that was stored, and nothing else.

    Parameters
    ----------
    make : callable
        Builds the agent for one seed.
    state : dict
        What `Agent.policy_state` returned, as it was read from a file.
    name : str
        Name of the agent, for messages.

    Raises
    ------
    UserError
        If the agent needs far more memory than its policy takes, or does not play exactly what is stored.
    """
    agent = built(make, state, name)
    take_over(agent, 0, state, name)
    return agent


def built(make: Callable[[], Agent], state: Any, name: str, seeds: int = 1) -> Agent:
    """Return a new agent that is not out of proportion to a policy that it is to play; errors as in `restored`."""
    Streams((0,), 0).uniform(1)  # a compiler that runs out of memory ends the process
    size = size_of(state)
    room = seeds * (ROOM + ROOM_PER_BYTE * size)
    try:
        with _at_most(room):
            return make()
    except UserError:
        raise
    except Exception as error:  # whatever an agent finds wrong with its settings
        reason = one_line(error)
        if isinstance(error, MemoryError) or "allocate memory" in reason or "bad_alloc" in reason:
            told = f"{name} would take more than {room} bytes with these settings, and its policy has {size}"
        else:
            told = f"{name} cannot be built with these settings: {type(error).__name__}: {reason}"
        raise UserError(told) from error


def take_over(agent: Agent, seed_index: int, state: Any, name: str, part: bool = False) -> None:
    """Let an agent play a policy that was stored for a seed, exactly as it is; errors as in `restored`.

    With ``part`` the policy may hold more than the agent needs: roles that are not here, agents beyond those there are.
    """
    try:
        place = not_a_number(state)
        if place is not None:
            raise UserError(f"the policy of {name} has diverged: {one_line(place)} holds what is no number")
        agent.load_policy_state(seed_index, state)
        found = agent.policy_state(seed_index)
        wanted = _common(state, found) if part else state
        told = difference(found, wanted)
        if told is not None and difference(in_first_format(found), wanted) is None:
            told = None  # taken over from an old file, whole
    except UserError:
        raise
    except Exception as error:  # whatever an agent finds wrong with it
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"the policy of {name} does not fit its settings: {reason}") from error
    if told is not None:
        raise UserError(f"the policy of {name} does not fit its settings: {one_line(told)}")


def _common(whole: Any, part: Any) -> Any:
    """Return what some nested values hold at the keys of others."""
    if type(whole) is dict and type(part) is dict:
        return {key: _common(whole[key], inner) for key, inner in part.items() if key in whole}
    return whole


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
