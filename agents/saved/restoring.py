"""Building agents from checkpoints, which may come from an untrusted source."""

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

BASE_BYTES = 2**30
"""Memory [bytes] that every agent may use when it is built, in addition to the share for its policy."""
BYTES_PER_POLICY_BYTE = 64
"""Memory [bytes] that it may use per byte of its policy, for instance for critics and replay buffers."""


def restore_agent(make: Callable[[], Agent], state: Any, name: str) -> Agent:
    """Build an agent that plays exactly the policy in a checkpoint.

    Parameters
    ----------
    make : callable
        Builds the agent for one seed.
    state : dict
        State that `Agent.policy_state` returned, as it was read from a file.
    name : str
        Name of the agent, for messages.

    Raises
    ------
    UserError
        If the agent needs far more memory than its policy, or the state after loading differs from the file.
    """
    agent = build_agent(make, state, name)
    load_exactly(agent, 0, state, name)
    return agent


def build_agent(make: Callable[[], Agent], state: Any, name: str, seeds: int = 1) -> Agent:
    """Build an agent whose memory is limited in proportion to the size of the policy that it will play.

    Parameters
    ----------
    make : callable
        Builds the agent for ``seeds`` seeds.
    state, name
        As in `restore_agent`, with the same errors.
    seeds : int, default 1
        Number of seeds.
    """
    Streams((0,), 0).uniform(1)  # compiles the kernel now: a compiler without enough memory would end the process
    size = size_of(state)
    limit = seeds * (BASE_BYTES + BYTES_PER_POLICY_BYTE * size)
    try:
        with _limited_memory(limit):
            return make()
    except UserError:
        raise
    except Exception as error:  # an agent may raise anything because of its settings
        reason = one_line(error)
        if isinstance(error, MemoryError) or "allocate memory" in reason or "bad_alloc" in reason:
            problem = f"{name} would take more than {limit} bytes with these settings, and its policy has {size}"
        else:
            problem = f"{name} cannot be built with these settings: {type(error).__name__}: {reason}"
        raise UserError(problem) from error


def load_exactly(agent: Agent, seed_index: int, state: Any, name: str, part: bool = False) -> None:
    """Load the policy of a seed, and check that the agent's state then equals it; errors as in `restore_agent`.

    With ``part``, the policy may contain more than the agent needs, such as other roles or more agents.
    """
    try:
        place = not_a_number(state)
        if place is not None:
            raise UserError(f"the policy of {name} has diverged: {one_line(place)} holds what is no number")
        agent.load_policy_state(seed_index, state)
        loaded = agent.policy_state(seed_index)
        wanted = _common(state, loaded) if part else state
        problem = difference(loaded, wanted)
        if problem is not None and difference(in_first_format(loaded), wanted) is None:
            problem = None  # an old file, loaded completely
    except UserError:
        raise
    except Exception as error:  # an agent may raise anything because of the state
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"the policy of {name} does not fit its settings: {reason}") from error
    if problem is not None:
        raise UserError(f"the policy of {name} does not fit its settings: {one_line(problem)}")


def _common(whole: Any, part: Any) -> Any:
    """Return nested values ``whole``, restricted to the keys of ``part``."""
    if type(whole) is dict and type(part) is dict:
        return {key: _common(whole[key], inner) for key, inner in part.items() if key in whole}
    return whole


def size_of(tree: Any) -> int:
    """Return the size [bytes] of all tensors and arrays in nested values."""
    if isinstance(tree, Mapping):
        return sum(map(size_of, tree.values()))
    if isinstance(tree, (list, tuple)):
        return sum(map(size_of, tree))
    return int(tree.nbytes) if isinstance(tree, (torch.Tensor, np.ndarray)) else 0


@contextmanager
def _limited_memory(more: int) -> Iterator[None]:
    """Limit the memory of this process to ``more`` bytes above its present use; larger allocations fail at once."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
