"""Marks on the scale of a board: policies that have no rank, such as the optimum and the best constant action."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ioa_marl.envs.core import Game
from ioa_marl.envs.marks import BestKnown
from ioa_marl.leaderboard.installed import market_class
from ioa_marl.leaderboard.seeds import SeedRow, on_scale, zero_of
from ioa_marl.leaderboard.settings import SettingValue, flatten

REFERENCES = {"optimum": "optimum", "constant": "best constant", "random": "random play"}
"""Keys in ``result.json`` and displayed names of the references of every board, usually the highest first."""
BEST_KNOWN = "best known"
"""Displayed name of the mark that `Game.best_known` has."""


@dataclass(frozen=True)
class Reference:
    """A reference policy on the scale; it has no rank."""

    name: str
    """Displayed name."""
    score: float
    """Score of the reference."""
    objective: float
    """Mean objective of the reference, in the market's units."""


def references(
    env: str, preset: str, role: str, identity: Sequence[tuple[str, SettingValue]], seeds: Sequence[SeedRow]
) -> tuple[Reference, ...]:
    """Return the marks of a board, highest first, averaged over the seeds that have all of them.

    References differ between seeds only if each seed has its own instance of the market.

    Parameters
    ----------
    env, preset, role : str
        Market, preset and scored role of the board.
    identity : sequence of (str, value)
        Settings on which the scale depends.
    seeds : sequence of SeedRow
        The seeds that are done.
    """
    known = _best_known(env, preset, role, dict(identity))
    by_seed = {}
    for seed in seeds:
        objectives = {key: seed.references.get(key, {}).get(role, math.nan) for key in REFERENCES}
        objectives["zero"] = zero_of(seed, role)
        if known is not None:
            objectives[BEST_KNOWN] = known.objective
        if role in seed.scores and all(math.isfinite(value) for value in objectives.values()):
            by_seed[seed.seed] = {key: (on_scale(seed, role, value), value) for key, value in objectives.items()}
    if not by_seed:
        return ()
    names = dict(REFERENCES)
    if known is not None:
        names[BEST_KNOWN] = BEST_KNOWN
    if any(marks["zero"] != marks["random"] for marks in by_seed.values()):
        names["zero"] = _name_of_zero(env, role)
    means = {key: np.mean([marks[key] for marks in by_seed.values()], axis=0).tolist() for key in names}
    return tuple(sorted((Reference(names[key], *means[key]) for key in names), key=lambda mark: -mark.score))


def _best_known(env: str, preset: str, role: str, identity: Mapping[str, SettingValue]) -> BestKnown | None:
    """Return the mark of exactly this board, or None if it has none."""
    game = market_class(env)
    known = game.best_known.get(preset, {}).get(role) if game is not None else None
    if game is None or known is None:
        return None
    same = identity.get("versions.env") == known.version and identity.get("evaluation.final_episodes") == known.episodes
    return known if same and _is_preset(game, preset, identity) else None


def _is_preset(game: type[Game], preset: str, identity: Mapping[str, SettingValue]) -> bool:
    """Whether no setting of the market differs from those of the preset."""
    settings = flatten({"env": dataclasses.asdict(game.make_config(preset))})
    return all(value == settings[name] for name, value in identity.items() if name in settings)


def _name_of_zero(env: str, role: str) -> str:
    game = market_class(env)
    return "zero of the scale" if game is None else game.score_floor_name.get(role, "zero of the scale")
