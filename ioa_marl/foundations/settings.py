"""Construction of config dataclasses from plain values, with all mistakes reported in one line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ioa_marl.foundations.errors import ParameterError, UserError, UserErrors, nearest, one_line, shown
from ioa_marl.foundations.parameters import integer_if_whole
from ioa_marl.foundations.scalars import plain_value


def plain(value: Any) -> Any:
    """Return nested values with tuples as lists, as in YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def build(schema: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """Create a config dataclass from plain values; mistakes become one line that names each ``prefix.key``.

    NumPy scalars count as numbers, and floats such as 1e6 as whole numbers where the field is an int.
    """
    known = [field.name for field in dataclasses.fields(schema)]
    errors = UserErrors()
    for key, value in values.items():
        if key not in known:
            near = nearest(str(key), known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known) or 'none'}"
            errors.messages.append(f"unknown key {prefix}.{shown(key)}={shown(value)}: {hint}")
    errors.throw()
    try:
        hints = _hints(schema)
        values = {key: _converted(plain(plain_value(value)), hints.get(key)) for key, value in values.items()}
        if len(values) == len(known) and all(_fits(values[key], hints.get(key)) for key in known):
            checked: Any = values  # usually all types are correct already, and OmegaConf is slow
        else:
            checked = _checked(schema, values, prefix)
        return schema(**_tuples(schema, checked))
    except ParameterError as error:
        raise UserError(f"{prefix}.{error}") from error
    except UserError:
        raise
    except Exception as error:  # the settings of a plug-in may raise any type
        raise UserError(f"{prefix} cannot be made: {one_line(f'{type(error).__name__}: {error}')}") from error


def _checked(schema: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """Return all settings as plain values of the declared types, defaults included."""
    errors = UserErrors()
    checked = OmegaConf.structured(schema)
    OmegaConf.set_readonly(checked, False)  # frozen dataclasses start read-only
    for key, value in values.items():
        with errors.collected():
            _set(checked, key, value, f"{prefix}.{key}")
    errors.throw()
    return OmegaConf.to_container(checked)


def _set(checked: Any, key: str, value: Any, name: str) -> None:
    try:
        OmegaConf.update(checked, key, value)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        if isinstance(value, list) and len(value) > 1:
            inner = ",".join(map(str, value))
            reason = f"use one value, or each of them in a run of its own: {name}={shown(inner)} with -m"
        raise UserError(f"{name}={shown(value)} is not allowed: {reason}") from error


def _hints(schema: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(schema)
    except NameError:  # names that only type checkers import; without hints nothing is converted
        return {}


def _converted(value: Any, hint: Any) -> Any:
    """Return a value with whole numbers as int where the type hint is int."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        hint = inner[0] if len(inner) == 1 else None
    if hint is int:
        return integer_if_whole(value)
    if isinstance(value, list) and typing.get_origin(hint) in (list, tuple) and typing.get_args(hint):
        return [_converted(inner, typing.get_args(hint)[0]) for inner in value]
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has exactly the declared type and needs no conversion."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = [arm for arm in typing.get_args(hint) if arm is not Ellipsis]
        return all(_fits(element, inner[0]) for element in value) and len(set(inner)) == 1
    if isinstance(value, str) and ("${" in value or value == "???"):
        return False
    return type(value) in arms and type(value) in (int, float, str, bool, type(None))


def _tuples(schema: type[Any], values: Any) -> dict[str, Any]:
    declared = {field.name: str(field.type) for field in dataclasses.fields(schema)}
    return {
        key: tuple(value) if isinstance(value, list) and declared[key].startswith("tuple") else value
        for key, value in values.items()
    }
