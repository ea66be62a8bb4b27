"""Checks of `Game.reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.testing.case import Case, identical, is_array
from ioa_marl.envs.testing.play import play


def check_reference(case: Case) -> None:
    """Check that no policy is better than the reference; episodes have the default roles and no ``max_cycles``."""
    cls, n = case.game_class, len(case.seeds)
    case = case.changed(controlled_roles=case.game_class(case.config).controlled_roles).with_limit(None)
    bounds = cls.reference(case.config, case.seeds, case.streams)
    last = cls.reference(case.config, case.seeds[-1:], case.streams[-1:])
    case.ensure(set(bounds) == set(cls.objectives), f"reference() is keyed by {sorted(bounds)}, not as objectives")
    for role, bound in bounds.items():
        case.ensure(is_array(bound, (n,), np.float64), f"reference of {role} is not float64 ({n},)")
        case.ensure(np.isfinite(bound), f"reference of {role} is not finite")
        case.ensure(identical(bound[-1:], last[role]), f"reference of {role} depends on the other markets")
    partners = cls.reference_partners
    settings = {role: chosen for role, (_, chosen) in partners.items()}
    # Among reference partners each objective has a play of its own, otherwise all have the same one.
    for scored in [(key,) for key in cls.objectives] if partners else [tuple(cls.objectives)]:
        scored_roles = {role for key in scored for role in cls.objective_roles.get(key, (key,))}
        beside = {role: policy for role, (policy, _) in partners.items() if role not in scored_roles}
        own = [role for role in case.controlled_roles if role not in beside]
        for choice in [{}, *({role: name} for role in own for name in cls.scripted_policies(role))]:
            _check_bounds(case, bounds, scored, choice, beside, settings)


def _check_bounds(
    case: Case,
    bounds: Mapping[str, NDArray[np.float64]],
    scored: Sequence[str],
    choice: Mapping[str, str],
    beside: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
) -> None:
    """Play policies of the scored roles, ``choice``, beside their partners; no metric may exceed its bound."""
    cls = case.game_class
    who = " and ".join(f"{name!r} of {role}" for role, name in choice.items()) or "random play"
    running = np.ones(len(case.seeds), np.bool_)
    of_partners = {role: settings[role] for role in beside}
    for record in play(case, case.game(), 1, {**beside, **choice}, of_partners):
        for key in scored if record.step else ():
            sign = -1.0 if key in cls.minimised else 1.0
            beaten = sign * (record.results[f"metric {cls.objectives[key]}"] - bounds[key]) > 1e-6
            case.ensure(~(beaten & record.ended & running), f"{who} beats the reference of {key}", record.step)
        running &= ~record.ended
