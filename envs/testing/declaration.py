"""Checks of what the class of a market declares."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping

import numpy as np
from gymnasium import spaces

from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.testing.case import Case
from ioa_marl.foundations.parameters import ParameterError


def check_declaration(case: Case) -> None:
    """Check the class attributes, the roles and the presets of a market."""
    cls, roles = case.game_class, case.roles
    for name, role in roles.items():
        box, acts = role.observation_space, role.action_space
        case.ensure(name == role.name and name.isidentifier(), f"role {name!r} is not an identifier or named otherwise")
        case.ensure(role.count >= 1, f"role {name} has no agents")
        is_vector = isinstance(box, spaces.Box) and box.dtype == np.float32 and len(box.shape) == 1
        case.ensure(is_vector, f"observation space of {name} is not a float32 vector")
        case.ensure((box.low >= 0).all() and (box.high <= 1).all(), f"observation space of {name} leaves [0, 1]")
        supported = isinstance(acts, (spaces.Discrete, spaces.MultiDiscrete, spaces.Box))
        case.ensure(supported, f"action space of {name} is not Discrete, MultiDiscrete or Box")
        bounded = not isinstance(acts, spaces.Box) or acts.is_bounded()
        case.ensure(bounded, f"action space of {name} is not bounded")
        policies = cls.scripted_policies(name)
        case.ensure(role.scripted in policies, f"{role.scripted!r}, which plays {name}, is not a scripted policy of it")
    _check_scores(case)
    for preset in cls.presets:
        try:
            cls.make_config(preset)
        except ParameterError as error:
            case.ensure(preset in cls.infeasible, f"preset {preset!r} cannot be made: {error}")
        else:
            case.ensure(preset not in cls.infeasible, f"preset {preset!r} is called infeasible, but can be made")


def _check_scores(case: Case) -> None:
    """Check the attributes from which scores are computed."""
    cls, roles = case.game_class, case.roles
    for scored, policy in cls.constant_baseline.items():
        is_policy = scored in roles and policy in cls.scripted_policies(scored)
        case.ensure(is_policy, f"constant_baseline: no policy {policy!r} of {scored}")
    for scored, metric in cls.objectives.items():
        case.ensure(metric in cls.metric_names, f"objectives: no metric {metric!r} for {scored}")
    case.ensure(set(cls.minimised) <= set(cls.objectives), "minimised are not all among objectives")
    case.ensure(set(cls.infeasible) <= set(cls.presets), "infeasible are not all among presets")
    for player, (policy, _) in cls.score_floor.items():
        is_policy = player in roles and policy in cls.scripted_policies(player)
        case.ensure(is_policy, f"score_floor: no policy {policy!r} of {player}")
    case.ensure(
        set(cls.score_floor) <= set(cls.default_controlled_roles),
        "score_floor names roles that are not in default_controlled_roles",
    )
    case.ensure(set(cls.score_floor_name) <= set(cls.objectives), "score_floor_name are not all among objectives")
    _check_partners(case, cls, roles)
    known = all(preset in cls.presets and type(n) is int and n >= 1 for preset, n in cls.final_episodes.items())
    case.ensure(known, "final_episodes is not a number of episodes for each of some presets")
    case.ensure(set(cls.board_metrics) <= set(cls.metric_names), "board_metrics are not all among metric_names")
    case.ensure(
        cls.default_controlled_roles and set(cls.default_controlled_roles) <= set(roles),
        "default_controlled_roles names no roles",
    )
    case.ensure(dataclasses.is_dataclass(cls.config_class), "config_class is not a dataclass")
    for preset, by_key in cls.best_known.items():
        known = preset in cls.presets and set(by_key) <= set(cls.objectives)
        case.ensure(known, f"best_known: {preset!r} is no preset, or has keys that are not among objectives")
    _check_audit(case, cls)


def _check_audit(case: Case, cls: type[Game]) -> None:
    """Check that the audit that a market names is a function of the policies, the settings and the progress."""
    if cls.audit is None:
        return
    module, _, name = cls.audit.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        inspect.signature(function).bind("subject", "settings", "progress")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        case.ensure(False, f"audit: {cls.audit!r} is no function of subject, settings and progress: {error}")


def _check_partners(case: Case, cls: type[Game], roles: Mapping[str, Role]) -> None:
    """Check who plays the other roles while one is scored, if the market names anybody."""
    controlled = set(cls.default_controlled_roles)
    grouped = {role for group in cls.objective_roles.values() for role in group}
    case.ensure(grouped <= controlled, "objective_roles names roles that are not in default_controlled_roles")
    if not cls.reference_partners:
        return
    complete = set(cls.reference_partners) == controlled
    case.ensure(complete, "reference_partners are not exactly those of default_controlled_roles")
    for role, (policy, _) in cls.reference_partners.items():
        known = role in roles and policy in cls.scripted_policies(role)
        case.ensure(known, f"reference_partners: no policy {policy!r} of {role}")
    for key in cls.objectives:
        named = key in controlled or key in cls.objective_roles
        case.ensure(named, f"objective_roles does not say which roles {key} is")
