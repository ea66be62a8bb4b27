"""Checks of `Game.reference`."""

from __future__ import annotations

import numpy as np

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
    choices = [{}, *({role: name} for role in case.controlled_roles for name in cls.scripted_policies(role))]
    for choice in choices:
        who = " and ".join(f"{name!r} of {role}" for role, name in choice.items()) or "random play"
        running = np.ones(n, np.bool_)
        for record in play(case, case.game(), 1, choice):
            for role, metric in cls.objectives.items() if record.step else ():
                sign = -1.0 if role in cls.minimised else 1.0
                beaten = sign * (record.results[f"metric {metric}"] - bounds[role]) > 1e-6
                case.ensure(~(beaten & record.ended & running), f"{who} beats the reference of {role}", record.step)
            running &= ~record.ended
