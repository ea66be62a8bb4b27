"""What is refused at the door of a game and of the interfaces to other libraries, in one line each."""

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
LARGEST_SEED = 2**63 - 1


def checked_seed(seed: Any) -> int:
    """Return a seed as a Python int, or refuse it."""
    value = whole_number(seed)
    if value is None or not 0 <= value <= LARGEST_SEED:
        raise ParameterError("seed", shown(seed), "a whole number from 0 to 2**63 - 1")
    return value


def check_options(options: Any) -> None:
    """Refuse options of a reset that are none; no market has any, so that what is in them does not matter."""
    require(options is None or isinstance(options, Mapping), "options", shown(options), "null or a mapping")


def checked_count(num_envs: Any) -> int:
    """Return a number of markets as a Python int, or refuse it."""
    count = whole_number(num_envs)
    if count is None or count < 1:
        raise ParameterError("num_envs", shown(num_envs), "a whole number, 1 or more")
    return count


def as_array(values: Any, what: str, whose: str = "") -> NDArray[Any]:
    """Return what was given as an array; the names tell what is none, as a list of rows of different lengths."""
    try:
        return np.asarray(values)
    except Exception as error:  # objects of other libraries may raise anything when they are asked for an array
        raise ValueError(f"{what}{whose} are no array: {shown(error)}") from error


def usable_actions(who: str, actions: Any, shape: tuple[int, ...], space: gymnasium.spaces.Space[Any]) -> NDArray[Any]:
    """Return actions of this shape that are of the kind of ``space``, or refuse them; it may not contain them yet."""
    array = actions if type(actions) is np.ndarray else as_array(actions, "actions of ", who)
    if array.shape != shape:
        raise ValueError(f"actions of {who} have shape {array.shape}, expected {shape}")
    if array.dtype.kind in "iu":
        return array
    box = isinstance(space, gymnasium.spaces.Box)
    if box and array.dtype.kind == "f":
        return rounded(array)
    wanted = "numbers" if box else "integers"
    raise ValueError(f"actions of {who} are {array.dtype}, expected {wanted}, not {shown(actions)}")


def rounded(reals: NDArray[Any]) -> NDArray[np.float32]:
    """Return actions of a `Box` as float32, as its bounds are: a float64 that rounds to one of them is on it."""
    if reals.dtype == np.float32:
        return reals
    with np.errstate(over="ignore"):  # infinities are outside every space
        return reals.astype(np.float32)
