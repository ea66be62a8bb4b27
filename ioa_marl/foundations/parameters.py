"""Checks of parameters, and the error for a parameter that is not allowed."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from ioa_marl.foundations.scalars import plain_value

LONGEST_VALUE = 1000
"""Longest value in a message, in characters."""

T = TypeVar("T")


class ParameterError(ValueError):
    """A parameter has a value that is not allowed; the message is one line that says what is allowed."""

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        # Escaped, because the message is one line and the value may be any text.
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
        text = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"
        super().__init__(f"{name}={text} is not allowed: use {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise `ParameterError` unless ``condition`` holds."""
    if not condition:
        raise ParameterError(name, value, allowed)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number of Python or NumPy; booleans are not."""
    value = plain_value(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def integer_if_whole(value: Any) -> Any:
    """Return whole numbers as int, including floats such as 1e6 and NumPy scalars; return anything else unchanged."""
    value = plain_value(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_whole(value: Any) -> bool:
    """Whether ``value`` is an int; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _python_field(config: Any, name: str) -> Any:
    """Return a field's value after converting NumPy scalars to Python numbers, which YAML and JSON need."""
    value = getattr(config, name)
    plain = plain_value(value)
    if plain is not value:
        object.__setattr__(config, name, plain)
    return plain


def check_integer(config: Any, name: str, low: int, high: int) -> None:
    """Raise `ParameterError` unless the field ``name`` is a whole number in [low, high]."""
    value = _python_field(config, name)
    require(is_whole(value) and low <= value <= high, name, value, f"{low} to {high}")


def check_number(config: Any, name: str, low: float, high: float = math.inf, open_low: bool = False) -> None:
    """Raise `ParameterError` unless the field ``name`` is a finite number in [low, high], or in (low, high]."""
    value = _python_field(config, name)
    allowed = f"a number of at least {low:g}"
    if open_low:
        allowed = f"a number above {low:g}"
    elif high < math.inf:
        allowed = f"a number from {low:g} to {high:g}"
    require(is_number(value) and low <= value <= high and not (open_low and value == low), name, value, allowed)


def check_range(config: Any, name: str, low: float, high: float) -> None:
    """Make the field ``name`` a tuple, or raise `ParameterError` unless it is two numbers in [low, high] in order."""
    value = getattr(config, name)
    allowed = f"two numbers from {low:g} to {high:g}, the lower first"
    try:
        value = plain_value(value)
        # Text and booleans are refused, although float() accepts them.
        ends = () if any(isinstance(x, (str, bool)) for x in value) else tuple(float(x) for x in value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(name, value, allowed) from error
    require(len(ends) == 2 and low <= ends[0] <= ends[1] <= high, name, value, allowed)
    object.__setattr__(config, name, ends)


def make_preset(
    config_class: type[T], presets: Mapping[str, Mapping[str, Any]], name: str, changes: Mapping[str, Any]
) -> T:
    """Return the ``config_class`` of the preset ``name`` with ``changes``, a mapping of fields to values, applied."""
    require(isinstance(name, str) and name in presets, "preset", name, ", ".join(presets))
    fields: Any = config_class
    known = sorted(field.name for field in dataclasses.fields(fields))
    for key, value in changes.items():
        require(key in known, key, value, f"one of the settings {', '.join(known)}")
    return config_class(
        **without_what_data_sets(config_class, presets[name], {**presets[name], **plain_value(changes)})
    )


def without_what_data_sets(
    config_class: Any, of_preset: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return settings without those of the preset that a table of one's own replaces.

    Parameters
    ----------
    config_class : type
        Dataclass of the settings. Its ``set_by_data(data)``, if there is one, returns the names of the numbers of
        agents that follow from a table, and of the parameters that the table has as columns.
    of_preset : mapping
        Settings in which the preset differs from the defaults.
    settings : mapping
        All settings that are given.

    Raises
    ------
    ParameterError
        If a parameter has a value of its own and is a column of the table as well.
    """
    if settings.get("data") is None or not hasattr(config_class, "set_by_data"):
        return dict(settings)
    counts, columns = config_class.set_by_data(settings["data"])
    defaults = {field.name: field.default for field in dataclasses.fields(config_class)}
    out = dict(settings)
    for key in (*counts, *columns):
        if key in out and _same(out[key], of_preset.get(key, defaults[key])):
            del out[key]
        elif key in out and key in columns:
            raise ParameterError(key, out[key], f"one of the two: data has a column {key}")
    return out


_UNCHANGED = "ioa_marl: value that changes nothing"


def added_setting(default: Any) -> Any:
    """Return a dataclass field for a setting that is added to a published market, agent or protocol.

    Its default must leave all results unchanged. Runs with the default keep the digest, the board and the cached
    references that they had before the setting was added.

    Parameters
    ----------
    default : bool, int, float, str, None or tuple
        The value that leaves results unchanged.
    """
    return dataclasses.field(default=default, metadata={_UNCHANGED: default})


def unchanged_settings(config_class: Any) -> dict[str, Any]:
    """Return the settings that were added later, each with the value that leaves results unchanged."""
    return {
        field.name: field.metadata[_UNCHANGED]
        for field in dataclasses.fields(config_class)
        if _UNCHANGED in field.metadata
    }


def without_unchanged(config_class: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that were added later and leave results unchanged; keys are field names."""
    neutral = unchanged_settings(config_class)
    return {key: value for key, value in settings.items() if key not in neutral or not _same(value, neutral[key])}


def _same(one: Any, two: Any) -> bool:
    """Whether two settings are equal; lists equal tuples, because files contain tuples as lists."""
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)
