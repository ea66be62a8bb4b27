"""Checks of the arguments of games and of the interfaces to other libraries; each refusal is a message of one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.scalars import whole_number

RESET_FIRST = "the episode has ended, or none was begun: call reset() first"
"""Message of the error that a step without an episode raises."""
LARGEST_SEED = 2**63 - 1
"""Largest seed of an episode; the seeds above it belong to evaluations."""


def checked_seed(seed: Any) -> int:
    """Return a seed as a Python int, or refuse it."""
    value = whole_number(seed)
    if value is None or not 0 <= value <= LARGEST_SEED:
        raise ParameterError("seed", shown(seed), "a whole number from 0 to 2**63 - 1")
    return value


def check_options(options: Any) -> None:
    """Refuse reset options that are not a mapping; the content is ignored, because no market has options."""
    require(options is None or isinstance(options, Mapping), "options", shown(options), "null or a mapping")


def checked_count(num_envs: Any) -> int:
    """Return a number of markets as a Python int, or refuse it."""
    count = whole_number(num_envs)
    if count is None or count < 1:
        raise ParameterError("num_envs", shown(num_envs), "a whole number, 1 or more")
    return count


def as_array(values: Any, what: str, whose: str = "") -> NDArray[Any]:
    """Return ``values`` as an array, or refuse them.

    Parameters
    ----------
    values : array_like
        Any values; a list of rows of different lengths, for example, is refused.
    what, whose : str
        Beginning of the error message.

    Returns
    -------
    ndarray
        Shape and type of ``values``.

    Raises
    ------
    ValueError
        If the values cannot be converted.
    """
    try:
        return np.asarray(values)
    except Exception as error:  # the conversion of another library's object may raise any exception
        raise ValueError(f"{what}{whose} are no array: {shown(error)}") from error


def usable_actions(who: str, actions: Any, shape: tuple[int, ...], space: gymnasium.spaces.Space[Any]) -> NDArray[Any]:
    """Return actions with the right shape and kind of number, or refuse them; their range is not checked.

    Parameters
    ----------
    who : str
        Agent or role, for the error message.
    actions : array_like
        Actions.
    shape : tuple of int
        Required shape.
    space : Space
        A Box, which needs numbers, or a discrete space, which needs integers.

    Returns
    -------
    ndarray of int or float32, shape ``shape``
        In the unit of the space.

    Raises
    ------
    ValueError
        If the actions have another shape or kind of number.
    """
    array = actions if type(actions) is np.ndarray else as_array(actions, "actions of ", who)
    if array.shape != shape:
        raise ValueError(f"actions of {who} have shape {array.shape}, expected {shape}")
    if array.dtype.kind in "iu":
        return array
    box = isinstance(space, gymnasium.spaces.Box)
    if box and array.dtype.kind == "f":
        return to_float32(array)
    wanted = "numbers" if box else "integers"
    raise ValueError(f"actions of {who} are {array.dtype}, expected {wanted}, not {shown(actions)}")


def to_float32(reals: NDArray[Any]) -> NDArray[np.float32]:
    """Return actions of a `Box` in the precision of its bounds, so that a float64 close to a bound is inside.

    Parameters
    ----------
    reals : ndarray of float, any shape
        Actions, in the unit of the space.

    Returns
    -------
    ndarray of float32, of the same shape
    """
    if reals.dtype == np.float32:
        return reals
    with np.errstate(over="ignore"):  # an overflow gives an infinity, which is outside every space
        return reals.astype(np.float32)
