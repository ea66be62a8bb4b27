"""`check_market`, which checks that a market keeps the promises of `Game`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ioa_marl.envs.core import Game
from ioa_marl.envs.testing.case import Case
from ioa_marl.envs.testing.declaration import check_declaration
from ioa_marl.envs.testing.followers import check_cycle_limit, check_episodes, check_instances
from ioa_marl.envs.testing.processes import check_process
from ioa_marl.envs.testing.reference import check_reference
from ioa_marl.envs.testing.refusals import check_refusals, check_scripted_policies


def check_market(
    game_class: type[Game],
    preset: str | None = None,
    *,
    controlled_roles: Sequence[str] | None = None,
    num_envs: int = 7,
    episodes: int = 2,
    seed: int = 0,
    processes: bool = True,
    **settings: Any,
) -> None:
    """Check that a market keeps the promises of `Game`: spaces, ends, randomness, saving, policies, reference.

    In every step of whole episodes, the arrays are compared bit for bit with those of games that must be equal: a game
    with the same seeds, each market alone, a game with other actions of inactive agents, a game restored from
    `Game.save`, a game without ``autoreset``, and a game in another process. Call this function once for every choice
    of controlled roles that the market allows.

    Parameters
    ----------
    game_class : type of Game
        The market.
    preset : str, optional
        Named settings; default is the market's first preset.
    controlled_roles : sequence of str, optional
        Roles that are controlled; default is the market's `default_controlled_roles`.
    num_envs : int, default 7
        Number of markets in the batch; at least 2 are needed to check that markets are independent.
    episodes : int, default 2
        Number of episodes that every market finishes; at least 2 are needed to check the reset at the end.
    seed : int, default 0
        Seed of the markets and of the random actions.
    processes : bool, default True
        Whether to compare with a new process, which takes a second. It must be able to import the class.
    **settings
        Changes of the preset.

    Raises
    ------
    AssertionError
        At the first broken promise; the message is one line, which names the promise, the step and the market.
    ValueError
        If ``processes`` is set and another process cannot import the class.
    """
    config = game_class.make_config(preset, **settings)
    controlled_roles = tuple(controlled_roles) if controlled_roles is not None else game_class.default_controlled_roles
    # Evaluations use seeds from 2**63 on, so both halves of the range are checked.
    seeds = np.array([seed + b // 2 + (2**63 if b % 2 else 0) for b in range(num_envs)], np.uint64)
    case = Case(game_class, config, game_class(config, 1, controlled_roles).controlled_roles, seeds, seed)
    check_declaration(case)
    longest = check_episodes(case, episodes)
    check_cycle_limit(case, max(1, longest // 2))
    check_instances(case)
    check_refusals(case)
    check_scripted_policies(case)
    check_reference(case)
    if processes:
        check_process(case, episodes)
