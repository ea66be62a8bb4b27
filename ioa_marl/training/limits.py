"""Checks before a run starts that need several settings together, or the memory of the machine."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.per_agent import Player
from ioa_marl.foundations.errors import ParameterError, UserError

if TYPE_CHECKING:
    from ioa_marl.training.config import RunSpec

_CGROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/meminfo")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_NO_LIMIT = 2**60
"""Version 1 of control groups reports a number of at least this size [bytes] where there is no limit."""


def check_limits(spec: RunSpec, special: Collection[str]) -> None:
    """Refuse a run whose settings contradict each other, or whose arrays alone need more than the available memory.

    Parameters
    ----------
    spec : RunSpec
        The run.
    special : collection of str
        Roles whose agents are chosen in ``roles``, for messages.

    Raises
    ------
    UserError
        With the setting and its limit.
    """
    roles = spec.game_class.make_roles(spec.env_config)
    controlled_roles = tuple(roles[name] for name in spec.controlled_roles)
    needs: dict[str, int] = {}
    for agent, player in [(each, player) for each in spec.agents for player in each.players]:
        prefix = f"roles.{agent.roles[0]}.agent" if agent.roles[0] in special else "agent"
        plays = tuple(roles[name] for name in agent.roles)
        acting = controlled_roles
        if isinstance(player, Player):
            prefix, plays = f"roles.{agent.roles[0]}.{player.key}", (player.part(roles[agent.roles[0]]),)
            others = tuple(role for role in controlled_roles if role.name not in agent.roles)
            acting = (*others, *(part.part(roles[agent.roles[0]]) for part in agent.parts))
        context = AgentContext(plays, acting, spec.seeds, spec.num_envs, spec.budget, torch.device("cpu"))
        try:
            player.agent_class.check_context(player.config, context)
        except ParameterError as error:
            raise UserError(f"{prefix}.{error}") from error
        if not player.agent_class.learns_in(spec.game_class, agent.roles):
            continue
        for key, size in player.agent_class.memory(player.config, context).items():
            needs[f"{prefix}.{key}={_written(getattr(player.config, key))}"] = size
    if spec.device != "cpu":
        needs.clear()  # their arrays are in the memory of that device
    # The observations before and after a step, float32; the market's own arrays are not counted.
    features = sum(role.count * role.observation_space.shape[0] for role in controlled_roles)
    if spec.learns:
        needs[f"num_envs={spec.num_envs}"] = len(spec.seeds) * spec.num_envs * features * 2 * 4
    _check_memory(spec, needs)


def _written(value: Any) -> str:
    return str(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def _check_memory(spec: RunSpec, needs: dict[str, int]) -> None:
    limit, whose = memory_limit()
    if sum(needs.values()) <= limit:
        return
    from ioa_marl.training.store import SeedFolder  # imported here because no other check needs the store

    # Seeds that are done are not trained again.
    missing = [s for s in spec.seeds if SeedFolder(spec.seed_folder(s)).result().get("status") != "done"]
    total = sum(needs.values()) * len(missing) // len(spec.seeds)
    if total <= limit:
        return
    largest = max(needs, key=lambda name: needs[name])
    raise UserError(
        f"{largest} is not allowed: the arrays of this run take at least {in_words(total)} of memory, with "
        f"{len(missing)} seeds side by side, and {whose} has {in_words(limit)}; use less, or fewer seeds at a time"
    )


def in_words(size: float) -> str:
    """Return a number of bytes as text in a suitable unit."""
    unit = min(int(math.log10(max(size, 1)) // 3), len(_UNITS) - 1)
    return f"{size / 1000**unit:.3g} {_UNITS[unit]}" if size < 10**18 else f"{size / 10**15:.0f} PB"


def memory_limit() -> tuple[int, str]:
    """Return the most memory that this process may use, swap included [bytes], and whose limit that is."""
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in _fields(_MACHINE) if name in ("MemTotal", "SwapTotal")}
    swap = sizes.get("SwapTotal", 0)
    limits = [(sizes["MemTotal"] + swap, "this machine")] if "MemTotal" in sizes else [(_NO_LIMIT, "nobody")]
    limits += [(limit, "the control group of this process") for limit in _group_limits(swap)]
    return min(limits)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # another operating system, or no permission
        return []


def _fields(path: Path) -> list[tuple[str, str]]:
    return [(name, rest) for name, _, rest in (line.partition(":") for line in _lines(path))]


def _group_limits(swap: int) -> list[int]:
    """Return the memory limits [bytes] of the control groups of this process and of their parents, of both versions.

    Parameters
    ----------
    swap : int
        Swap space of the machine [bytes].
    """
    limits = []
    for _, rest in _fields(_OF_THIS_PROCESS):
        controllers, _, place = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        # In a container the paths of the host do not exist, and the container's own group is the root.
        around = (Path(place), *Path(place).parents) if place.startswith("/") else ()
        for group in {root, *(root / parent.relative_to("/") for parent in around)}:
            limit = _group_limit(group, swap, together=bool(controllers))
            if limit is not None:
                limits.append(limit)
    return limits


def _group_limit(group: Path, swap: int, together: bool) -> int | None:
    """Return the memory and swap [bytes] that a group may use; version 1 has one limit for both ``together``."""
    memory = _number(group / ("memory.limit_in_bytes" if together else "memory.max"))
    if memory is None:
        return None
    swap_limit = _number(group / ("memory.memsw.limit_in_bytes" if together else "memory.swap.max"))
    if swap_limit is None:
        return memory + swap
    return min(memory + swap, swap_limit) if together else memory + min(swap, swap_limit)


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() and int(lines[0]) < _NO_LIMIT else None
