"""`Subject`, the policies that are audited in their market, and `AuditSettings`, how thoroughly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.core import Game
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.partners import evaluate_agents
from ioa_marl.evaluation.playing import episode_groups, evaluation_config, evaluation_steps, make_agent
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.seeds import EVALUATION_SEED

MOST_MARKETS, MOST_REPORTS = 100_000, 1_000
"""Largest numbers of markets and of reports of a grid: more take days, or more memory than there is."""


@dataclass(frozen=True)
class AuditSettings:
    """How thoroughly an audit searches."""

    markets: int | None = None
    """Evaluation markets on which deviations are tried; None: as many as each audit says."""
    reports: int = 41
    """Reports of the grid that each bidder tries where reports are searched."""
    refine: bool = True
    """Whether reports next to those of others, and next to the best one of the grid, are tried as well."""

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing can be measured."""
        allowed = self.markets is None or 2 <= self.markets <= MOST_MARKETS
        require(allowed, "markets", self.markets, f"2 to {MOST_MARKETS}")
        require(2 <= self.reports <= MOST_REPORTS, "reports", self.reports, f"2 to {MOST_REPORTS}")

    def markets_or(self, usual: int) -> int:
        """Return the number of markets, or the usual number of an audit if none was requested."""
        return usual if self.markets is None else self.markets


@dataclass(frozen=True)
class Subject:
    """Policies of one seed in a market, which an audit plays as often as it needs."""

    game_class: type[Game]
    """Class of the market."""
    config: Any
    """Settings of the market."""
    controlled_roles: tuple[str, ...]
    """Roles that the agents play."""
    make_agents: Callable[[], Sequence[Agent]]
    """Returns the agents with random streams that begin anew, each of one seed."""
    instance: int = 0
    """Training seed of the agents, which is their instance in a market that is `Game.instanced`."""
    first_episode: int = 0
    """First evaluation episode."""

    @cached_property
    def agents(self) -> tuple[Agent, ...]:
        """The agents; for play in which random numbers do not matter."""
        return tuple(self.make_agents())

    def agent_of(self, role: str) -> Agent:
        """Return the agent that plays a controlled role; of two, the later one plays."""
        return next(a for a in reversed(self.agents) if role in {r.name for r in a.context.plays})

    def policy_of(self, role: str) -> str | None:
        """Return the name of the scripted policy that plays a controlled role, or None if an agent of its own does."""
        agent = self.agent_of(role)
        return agent.config.policy if isinstance(agent, ScriptedAgent) else None

    def play(self, episodes: int) -> dict[str, NDArray[np.float64]]:
        """Play evaluation episodes with fresh agents; return their figures, float64 (episodes,) each.

        These are the metrics of the market, rewards and lengths; see `evaluate_agents`.
        """
        figures = evaluate_agents(
            self.game_class, self.config, self.make_agents(), self.controlled_roles, [self.instance], episodes,
            self.first_episode,
        )  # fmt: skip
        return {name: values[0] for name, values in figures.items()}

    def ledgers(self, episodes: int) -> NDArray[np.float64]:
        """Play evaluation episodes with fresh agents; return the receipts of all accounts.

        Returns
        -------
        ndarray of float64, shape (episodes, accounts)
            As `Game.ledger` describes them.
        """
        parts = []
        groups = episode_groups(self.game_class, self.config, self.controlled_roles, episodes, self.first_episode)
        for first, count in groups:
            game = VectorGame(
                self.game_class, evaluation_config(self.config), [EVALUATION_SEED], count, self.controlled_roles, first,
                [self.instance],
            )  # fmt: skip
            parts.append(np.zeros(game.game.ledger().shape))
            for transition, running in evaluation_steps(game, self.make_agents()):
                ending = (transition.ended & running)[0]
                if ending.any():
                    parts[-1][ending] = game.game.ledger()[ending]
        return np.concatenate(parts)


def scripted_subject(game_class: type[Game], config: Any, policy: str, **settings: Any) -> Subject:
    """Return the market's scripted policy ``policy`` as the player of all roles that are controlled by default.

    Parameters
    ----------
    game_class : type of Game
        Class of the market.
    config : dataclass
        Settings of the market.
    policy : str
        Name of the policy.
    **settings
        Settings of the policy.
    """
    roles = game_class.default_controlled_roles

    def make() -> Sequence[Agent]:
        probe = game_class(config, 1, roles)
        return [make_agent(ScriptedAgent, ScriptedConfig(policy, dict(settings)), probe, roles, 1)]

    return Subject(game_class, config, roles, make)
