"""Checks that a registered class is usable, so that a broken plug-in fails with a clear message when it is loaded."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from ioa_marl.foundations.settings import build, plain


class BrokenContractError(Exception):
    """A class is not usable as an environment or agent; the message gives the reason, without the registered name."""


def check_contract(kind: str, name: str, loaded: Any) -> None:
    """Check that a class can be used as an environment or an agent, by its attributes and its default settings.

    Parameters
    ----------
    kind : str
        ``environment`` or ``agent``.
    name : str
        Name in the registry.
    loaded : object
        The object that the entry point names.

    Raises
    ------
    BrokenContractError
        If it cannot be used. The code of a plug-in may raise any other type.
    """
    # Imported by name: this module may not depend on either, and checking an environment must not load the agents.
    base = ("ioa_marl.envs.core", "Game") if kind == "environment" else ("ioa_marl.agents.base", "Agent")
    base_class = getattr(importlib.import_module(base[0]), base[1])
    _check_class(loaded, base_class)
    _check_version(loaded)
    if kind == "environment":
        _check_game(name, loaded)
    else:
        _check_agent(loaded)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise BrokenContractError(message)


def _check_class(loaded: Any, base: type[Any]) -> None:
    requirement = f"a subclass of {base.__module__}.{base.__qualname__}"
    if not isinstance(loaded, type):
        kind = "a module" if inspect.ismodule(loaded) else "a function" if inspect.isroutine(loaded) else "no class"
        raise BrokenContractError(f"it is {kind}, and has to be {requirement}")
    _need(issubclass(loaded, base), f"{loaded.__name__} has to be {requirement}")
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    _need(not missing, f"{loaded.__name__} lacks {', '.join(missing)}")


def _check_version(loaded: type[Any]) -> None:
    version = getattr(loaded, "version", None)
    _need(type(version) is int, f"{loaded.__name__}.version has to be a whole number")


def _check_settings(loaded: type[Any]) -> type[Any]:
    """Refuse a class of settings without defaults for all fields, or with values that cannot be written as JSON."""
    schema: Any = getattr(loaded, "config_class", None)
    usable = isinstance(schema, type) and dataclasses.is_dataclass(schema)
    _need(usable, f"{loaded.__name__}.config_class has to be a dataclass")
    missing = dataclasses.MISSING
    for field in dataclasses.fields(schema):
        usual = not field.init or field.default is not missing or field.default_factory is not missing
        _need(usual, f"the setting {field.name} of {schema.__name__} has no default")
    usual_settings = build(schema, {}, schema.__name__)
    json.dumps(plain(dataclasses.asdict(usual_settings)))
    checked: type[Any] = schema
    return checked


def _check_agent(loaded: type[Any]) -> None:
    name = loaded.__name__
    _check_settings(loaded)
    played: Any = getattr(loaded, "action_spaces", None)
    usable = isinstance(played, tuple) and len(played) > 0
    usable = usable and all(isinstance(space, type) and issubclass(space, spaces.Space) for space in played)
    _need(usable, f"{name}.action_spaces has to be a tuple of classes of Gymnasium spaces")
    devices = loaded.devices
    usable = isinstance(devices, tuple) and len(devices) > 0 and all(isinstance(device, str) for device in devices)
    _need(usable, f"{name}.devices has to be a tuple of names")
    incidental = loaded.incidental
    usable = isinstance(incidental, (set, frozenset)) and all(isinstance(setting, str) for setting in incidental)
    _need(usable, f"{name}.incidental has to be a frozenset of names")


def _check_game(name: str, loaded: type[Any]) -> None:
    own = loaded.__name__
    _need(getattr(loaded, "name", None) == name, f"{own}.name has to be {name!r}, the name that it is registered by")
    schema = _check_settings(loaded)
    presets: Any = getattr(loaded, "presets", None)
    _need(
        isinstance(presets, Mapping) and len(presets) > 0, f"{own}.presets has to be a mapping with one preset or more"
    )
    for preset, changes in presets.items():
        _need(
            isinstance(preset, str) and preset.isprintable() and not set(preset) & set("/,=\\ ") and preset != "",
            f"the preset {preset!a} of {own} has to be a word",
        )
        _need(isinstance(changes, Mapping), f"the preset {preset} of {own} has to be a mapping of settings")
        if preset not in loaded.infeasible:
            config = loaded.make_config(preset)
            _need(isinstance(config, schema), f"the preset {preset} of {own} makes no {schema.__name__}")
            _check_roles(own, loaded, loaded.make_roles(config))
    _check_scores(own, loaded)


def _check_roles(own: str, loaded: type[Any], roles: Any) -> None:
    role_class = importlib.import_module("ioa_marl.envs.core").Role
    usable = isinstance(roles, Mapping) and len(roles) > 0
    usable = usable and all(isinstance(role, role_class) and role.name == key for key, role in roles.items())
    _need(usable, f"{own}.make_roles has to return a mapping of names to roles")
    for role in roles.values():
        _need(type(role.count) is int and role.count >= 1, f"the role {role.name} of {own} has no number of agents")
        observed = role.observation_space
        usable = isinstance(observed, spaces.Box) and len(observed.shape) == 1
        _need(usable, f"the role {role.name} of {own} has to see a Box of one axis")
        acts = isinstance(role.action_space, (spaces.Discrete, spaces.MultiDiscrete, spaces.Box))
        _need(acts, f"the role {role.name} of {own} has to act in a Discrete, MultiDiscrete or Box")
    controlled_roles: Any = getattr(loaded, "default_controlled_roles", None)
    usable = (
        isinstance(controlled_roles, tuple)
        and len(controlled_roles) > 0
        and all(role in roles for role in controlled_roles)
    )
    _need(usable, f"{own}.default_controlled_roles has to be a tuple of its roles: {', '.join(roles)}")


def _check_scores(own: str, loaded: type[Any]) -> None:
    for what in ("objectives", "constant_baseline"):
        _need(isinstance(getattr(loaded, what, None), Mapping), f"{own}.{what} has to be a mapping")
    for what in ("metric_names", "board_metrics"):
        names = getattr(loaded, what, ())
        usable = isinstance(names, tuple) and all(isinstance(metric, str) for metric in names)
        _need(usable, f"{own}.{what} has to be a tuple of names")
    _need(hasattr(loaded, "board_metrics"), f"{own}.board_metrics is missing")
