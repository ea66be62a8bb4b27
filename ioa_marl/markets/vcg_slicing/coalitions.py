"""Coalitions: groups of providers that share their net profits.

Source: Section VI (Figs. 8 and 10) of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV:
A Value of Information Perspective", where two providers have the sum of their net profits as their common reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import ParameterError, integer_if_whole, is_whole, require
from ioa_marl.markets.vcg_slicing.workspace import Array

NOBODY = -1
"""Number of the coalition of a provider that is in none."""


def checked_coalitions(value: Any, providers: int) -> tuple[tuple[int, ...], ...]:
    """Return coalitions as tuples of the numbers of their members, or refuse them.

    Parameters
    ----------
    value : sequence of sequence of int
        The members of each coalition.
    providers : int
        Number of providers in the market.

    Raises
    ------
    ParameterError
        If a member is no provider or is named twice, or a coalition has fewer than two members.
    """
    value = list(value) if _is_list(value) else value
    if not isinstance(value, list) or not all(map(_is_list, value)):
        raise ParameterError("coalitions", value, "a list of groups of providers, as in [[0,3,7]]")
    groups = [tuple(integer_if_whole(member) for member in group) for group in value]
    shown = [list(group) for group in groups]
    known = all(is_whole(member) and 0 <= member < providers for group in groups for member in group)
    require(known, "coalitions", shown, f"numbers of providers, 0 to {providers - 1}")
    require(all(len(group) >= 2 for group in groups), "coalitions", shown, "groups of two providers or more")
    members = [member for group in groups for member in group]
    require(len(set(members)) == len(members), "coalitions", shown, "every provider once, in one group")
    return tuple(sorted(tuple(sorted(group)) for group in groups))  # the order of members changes nothing


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict))


def coalition_of(coalitions: Sequence[Sequence[int]], providers: int) -> NDArray[np.int64]:
    """Return the number of each provider's coalition, `NOBODY` for a provider in none; int64 (providers,)."""
    numbers = np.full(providers, NOBODY, np.int64)
    for number, group in enumerate(coalitions):
        numbers[list(group)] = number
    return numbers


@kernel
def share_rewards(coalition: Array, count: int, present: Array, mask: Array, rewards: Array) -> None:
    """Replace the reward of every member of a coalition by the mean reward of the members that are present.

    The mean and not the sum, so that the scale of rewards does not depend on the size of a coalition; with c members
    the sum is c times as large, and the best actions are the same. The total of all rewards does not change.

    Parameters
    ----------
    coalition : ndarray of int64, shape (n,)
        Number of each provider's coalition, or `NOBODY`.
    count : int
        Number of coalitions.
    present : ndarray of int64, shape (batch,)
        Number of providers present, the first ones.
    mask : ndarray of bool, shape (batch,)
        Markets that count; the others do not change.
    rewards : ndarray of float32, shape (batch, n)
        Rewards of the providers [mean β], which are written.
    """
    for number in range(count):
        for b in range(rewards.shape[0]):
            if not mask[b]:
                continue
            total, members = 0.0, 0
            for i in range(present[b]):
                if coalition[i] == number:
                    total += rewards[b, i]
                    members += 1
            for i in range(present[b] if members > 0 else 0):
                if coalition[i] == number:
                    rewards[b, i] = np.float32(total / members)


def mean_profits(
    coalition: NDArray[np.int64], present: NDArray[np.int64], profits: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean net profit of the providers in coalitions, and that of all others.

    Parameters
    ----------
    coalition : ndarray of int64, shape (n,)
        Number of each provider's coalition, or `NOBODY`.
    present : ndarray of int64, shape (batch,)
        Number of providers present, the first ones.
    profits : ndarray of float64, shape (batch, n)
        Net profit of each provider, in any unit.

    Returns
    -------
    inside, outside : ndarray of float64, shape (batch,)
        In the unit of ``profits``; NaN where no such provider is present.
    """
    here = np.arange(coalition.size) < present[:, None]
    means = []
    for chosen in (here & (coalition != NOBODY), here & (coalition == NOBODY)):
        count = chosen.sum(axis=1)
        total = np.where(chosen, profits, 0.0).sum(axis=1)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return means[0], means[1]
