"""A learnt best response: one role learns against all others, whose policies are frozen.

Where no deviation can be computed exactly, a learner is the best deviation there is. What it gains over the frozen
policy of its role is a lower bound of what the role could gain: a better learner, or a longer training, may gain more.
This is the approximate best response by which exploitability is measured where games are too large to be solved; see
F. Timbers et al., "Approximate Exploitability: Learning a Best Response", IJCAI 2022.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import OmegaConf

from ioa_marl import registry
from ioa_marl.agents.base import Agent
from ioa_marl.evaluation.audits.constant_actions import total_rewards
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Progress, silent
from ioa_marl.evaluation.audits.rounds import mean_of_markets
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.errors import UserError, shown, unknown_name
from ioa_marl.training.agent_specs import as_choice
from ioa_marl.training.compose import configuration
from ioa_marl.training.config import RunSpec, resolve
from ioa_marl.training.groups import Groups
from ioa_marl.training.runner import Trainer
from ioa_marl.training.sweep import composed

EPISODES = 100
"""Evaluation episodes on which a gain is measured by default."""


def learnt_best_response(
    spec: RunSpec,
    checkpoint: Path | None,
    role: str,
    learner: str = "ppo",
    budget: int = 100_000,
    *,
    seeds: int = 1,
    num_envs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    episodes: int = EPISODES,
    first_episode: int = 0,
    progress: Progress = silent,
) -> AuditResult:
    """Train a learner for one role against the frozen policies of a run, and return what it gains over the role's own.

    Frozen policies act as they do in evaluation: learnt ones take their likeliest actions. In a market with instances
    the learner trains on the instance of the run. Nothing is written.

    Parameters
    ----------
    spec : RunSpec
        The run, of which the first seed is audited.
    checkpoint : Path or None
        Checkpoint file or seed folder of that seed; None if none of its agents learn.
    role : str
        The role that deviates. If nobody controls it in the run, the market's scripted policy is the frozen one.
    learner : str, default "ppo"
        Name of a learner, or NAME/PRESET. Of a name alone the preset for this market is taken, if there is one.
    budget : int, default 100000
        Environment steps of training, per seed of the learner.
    seeds : int, default 1
        Training seeds of the learner. Of several, the best on other episodes is measured.
    num_envs : int, optional
        Markets that are stepped together, per seed; default: as in the run.
    settings : mapping, optional
        Changes to the settings of the learner.
    episodes : int, default 100
        Evaluation episodes on which the gain is measured.
    first_episode : int, default 0
        The first of them. Of several seeds one is chosen on as many further episodes.
    progress : callable, optional
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
        The finding ``best_response_ROLE``: mean gain of an agent of the role in total reward per episode, over the same
        episodes with the frozen policy. It is reported as it is measured, also if it is negative.

    Raises
    ------
    UserError
        If there is no such role or learner, it does not learn, the budget is too small for one update, or a frozen
        policy cannot be loaded.
    """
    roles = spec.game_class.make_roles(spec.env_config)
    if role not in roles:
        raise unknown_name("role", role, roles)
    seat = _Seat(spec, checkpoint, role, budget, spec.num_envs if num_envs is None else num_envs)
    own = seat.frozen()
    run = seat.run(_learner(spec, role, learner, settings or {}), range(seeds))
    trained = _train(run, progress)
    progress("playing the evaluation episodes", 1.0)

    def gains(first: int) -> NDArray[np.float64]:
        """Return the gain of each seed of the learner in each episode, (seeds, episodes)."""
        usual = _rewards(own, seat.agents(own), role, 1, episodes, first)
        return _rewards(run, trained, role, seeds, episodes, first) - usual

    chosen = int(gains(first_episode + episodes).mean(axis=1).argmax()) if seeds > 1 else 0
    name = run.agents[[agent.roles for agent in run.agents].index((role,))].name
    return _described(gains(first_episode), chosen, role, roles[role].count, name, budget)


class _Seat:
    """The place of one role among the frozen policies of a run."""

    def __init__(self, spec: RunSpec, checkpoint: Path | None, role: str, budget: int, num_envs: int) -> None:
        self._spec, self._role = spec, role
        self._others, self._own = {}, {"name": "scripted", "policy": self._scripted()}
        for agent in spec.agents:
            choice = agent.as_dict()
            if agent.agent_class.learns_in(spec.game_class, agent.roles):
                if checkpoint is None:
                    raise UserError(f"{agent.name} learns in this run: name a checkpoint whose policies are frozen")
                choice = {"name": "loaded", "path": str(checkpoint)}
            for name in agent.roles:
                if name == role:
                    self._own = choice
                else:
                    self._others[name] = choice
        self._common = {"budget": budget, "num_envs": num_envs, "device": spec.device, "runs": str(spec.runs)}

    def _scripted(self) -> str:
        return self._spec.game_class.make_roles(self._spec.env_config)[self._role].scripted

    def frozen(self) -> RunSpec:
        """Return the run in which the role's own policy, frozen as well, has the seat."""
        return self.run(self._own, self._spec.seeds[:1])

    @staticmethod
    def agents(run: RunSpec) -> list[Agent]:
        """Return the agents of a run in which none learns."""
        probe = run.game_class(run.env_config, 1, run.controlled_roles)
        return [make_agent(a.agent_class, a.config, probe, a.roles, 1, run.seeds[0]) for a in run.agents]

    def run(self, choice: Mapping[str, Any], seeds: Sequence[int]) -> RunSpec:
        """Return the run in which an agent of these settings has the seat."""
        spec, env = self._spec, self._spec.resolved()["env"]
        if spec.game_class.uses_instances(spec.env_config) and env["instance"] is None:
            env["instance"] = spec.seeds[0]
        agents = {**self._others, self._role: choice}
        evaluation = dataclasses.asdict(spec.evaluation)
        return resolve(
            {
                **self._common, "env": env, "agent": None, "seeds": list(seeds), "evaluation": evaluation,
                "roles": {name: as_choice(agent) for name, agent in agents.items()},
            }
        )  # fmt: skip


def _learner(spec: RunSpec, role: str, learner: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name and the settings of a learner; see `learnt_best_response`."""
    groups = Groups()
    tuned = f"{learner}/{spec.game_class.name}"
    choice = tuned if tuned in groups.options("agent") else learner
    groups.check("agent", choice, "learner")
    with configuration(None) as hydra:
        values = OmegaConf.to_container(composed(hydra, [f"agent={choice}"], RunMode.RUN).agent)
    assert isinstance(values, dict)
    if not registry.load_agent(values["name"]).learns_in(spec.game_class, (role,)):
        raise UserError(f"learner={shown(learner)} is not allowed: use an agent that learns, such as ppo or sac")
    return {**{str(key): value for key, value in values.items()}, **changes}


def _train(run: RunSpec, progress: Progress) -> Sequence[Agent]:
    """Train the seeds of a run to the end of its budget, without evaluations or files; return its agents."""
    trainer = Trainer(run, run.seeds, [])
    for agent in trainer.agents:
        agent.attach(trainer.game.game)
    while trainer.iteration < trainer.iterations:
        trainer.step()
        progress("training the best response", trainer.iteration / trainer.iterations)
    return trainer.agents


def _rewards(
    run: RunSpec, agents: Sequence[Agent], role: str, seeds: int, episodes: int, first: int
) -> NDArray[np.float64]:
    """Return the mean total reward of the agents of a role in evaluation episodes, (seeds, episodes)."""
    instances = [getattr(run.env_config, "instance", None) or 0] * seeds
    rewards = total_rewards(
        run.game_class, run.env_config, agents, run.controlled_roles, role, instances, episodes, first
    )
    return np.asarray(rewards.mean(axis=2))


def _described(
    gains: NDArray[np.float64], chosen: int, role: str, count: int, learner: str, budget: int
) -> AuditResult:
    """Return the gains of the seeds of a learner, (seeds, episodes), as a result about the ``chosen`` one."""
    value, error = mean_of_markets(gains[chosen])
    who = f"the agent of {role}" if count == 1 else f"all {count} agents of {role} together, each for its own reward"
    outcome = "" if value > 0.0 else "; it found no better response, which does not show that there is none"
    meaning = (
        f"gain of {who}, in the mean total reward of an agent per episode, by what {learner} learns in {budget} "
        f"environment steps against the frozen policies of all other roles{outcome}"
    )
    finding = Finding(f"best_response_{role}", value, "reward per episode", "lower bound", meaning, error)
    rows = []
    for seed in range(len(gains)):
        mean, spread = mean_of_markets(gains[seed])
        rows.append(Gain(role, f"learnt by {learner}", mean, spread, f"training seed {seed}"))
    return AuditResult((finding,), tuple(rows))
