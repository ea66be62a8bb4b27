"""Mean-field actor–critic: the critic of an agent has the mean of the other agents as input, whatever their number.

The actor–critic with critics Q_i(o_i, a_i, m̄_i) of the paper on dual-currency VCG auctions for network slices
(Eqs. 28–38), after Yang et al., "Mean field multi-agent reinforcement learning" (2018). m̄_i contains for every role the
mean of (one-hot action, observation) over those of its agents that are present, but i. It is computed from the joint
step in the replay buffer whenever the step is sampled. An agent that does not act contributes an action of zeros; one
that is absent, which observes only zeros, does not count. An actor has the mean observation of its own role only,
because whoever plays a role need not see what other roles do: in the paper the operator never sees providers' data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_agent import ActorCriticAgent
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.replay.joint_views import View, mean_of_all, mean_of_others, present_agents, summed
from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.foundations.errors import UserError

LARGEST_PASS = 2**17
"""Agents whose actions are computed at once when externalities are estimated."""
TARGETS = "targets"
"""Where the policy of a role holds the target networks, which a market that asks for externalities plays with."""


@dataclass(frozen=True)
class MeanFieldACConfig(ActorCriticConfig):
    """Hyper-parameters of the mean-field actor–critic."""


class MeanFieldLearner(RoleLearner):
    """Actors π(o_i, mean observations) and critics Q(o_i, a_i, m̄_i).

    The number of inputs does not depend on the number of agents.
    """

    def __init__(self, context: AgentContext, config: ActorCriticConfig, role: Role, roles: Mapping[str, Role]) -> None:
        super().__init__(context, config, role, roles)
        self.without_targets: set[int] = set()
        """Seeds whose actors were loaded without the target networks that belong to them."""
        self.with_targets: set[int] = set()
        """Seeds whose actors were loaded together with their target networks: these stay part of the policy."""

    def actor_features(self) -> int:
        """Return the number of inputs of an actor."""
        return 2 * int(self.role.observation_space.shape[0])

    def actor_inputs(self, observations: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return own observations and the mean observation of the other agents of the own role.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features).
        present : Tensor, optional
            bool (seeds, batch, agents): which agents of the own role count. Default: those that `present_agents` finds.

        Returns
        -------
        Tensor
            (seeds, batch, agents, actor features).
        """
        own = observations[self.role.name]
        present = present_agents(self.role, own) if present is None else present
        return torch.cat([own, mean_of_others(own, present)], dim=-1)

    def means(self, values: Mapping[str, Tensor], observations: Mapping[str, Tensor]) -> Tensor:
        """Return for every agent of the role the means over the other agents of each role, concatenated.

        Parameters
        ----------
        values : mapping of Tensor
            For each role (seeds, batch, agents of that role, k).
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features); they tell who is present.

        Returns
        -------
        Tensor
            (seeds, batch, agents, Σ k).
        """
        agents, parts = self.role.count, []
        for name in self.roles:
            present = present_agents(self.roles[name], observations[name])
            if name == self.role.name:
                parts.append(mean_of_others(values[name], present))
            else:
                parts.append(mean_of_all(values[name], present).unsqueeze(2).expand(-1, -1, agents, -1))
        return torch.cat(parts, dim=-1)

    def critic_features(self) -> int:
        """Return the number of inputs of a critic."""
        observed = sum(int(role.observation_space.shape[0]) for role in self.roles.values())
        acted = sum(code.width for code in self.codes.values())
        return int(self.role.observation_space.shape[0]) + self.heads.width + observed + acted

    def own_columns(self) -> Tensor:
        """Return the indices of the critic inputs that are the own action, int64 (1, width)."""
        return torch.arange(self.heads.width)[None].to(self.device) + self.role.observation_space.shape[0]

    def critic_inputs(self, view: View, own_actions: Tensor | None, agent_indices: Tensor | None) -> Tensor:
        """Return (o_i, a_i, m̄_i), (members, rows, critic features); m̄_i is a constant for the gradient.

        Parameters are those of `RoleNetworks.critic_inputs`.
        """
        name = self.role.name
        actions = self.stacked(view.actions[name], agent_indices) if own_actions is None else own_actions
        seen = view.observations
        mean = torch.cat([self.means(seen, seen), self.means(view.actions, seen)], dim=-1).detach()
        own = self.stacked(view.observations[name], agent_indices)
        return torch.cat([own, actions, self.stacked(mean, agent_indices)], dim=-1)

    # State.

    def load_state(self, seed_index: int, state: State) -> None:
        """Set networks, optimisers and random streams of one seed."""
        super().load_state(seed_index, state)
        self.without_targets.discard(seed_index)
        self.with_targets.discard(seed_index)

    def targets(self, seed_index: int) -> State:
        """Return the target networks of one seed, which tell externalities."""
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, self.copies)
        return {
            "actor": self.target_actor.member_state(rows), "critics": self.target_critics.member_state(twins)
        }  # fmt: skip

    def load_actor(self, seed_index: int, state: State) -> None:
        """Act with the actors of one seed, and tell externalities with its target networks if they are there."""
        super().load_actor(seed_index, state)
        if TARGETS not in state:
            self.without_targets.add(seed_index)
            self.with_targets.discard(seed_index)
            return
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, self.copies)
        self.target_actor.load_member_state(rows, state[TARGETS]["actor"])
        self.target_critics.load_member_state(twins, state[TARGETS]["critics"])
        self.without_targets.discard(seed_index)
        self.with_targets.add(seed_index)

    # The welfare that the others could have without an agent.

    @torch.no_grad()
    def value_in_absence(
        self, observations: Mapping[str, Tensor], actions: Mapping[str, Tensor], hold: Tensor | None
    ) -> Tensor:
        """Return the target critics' values for each agent if it saw nothing (an observation of zeros).

        The others do what their target actors find best if this agent's observation is 0 in the mean that they see.

        Parameters
        ----------
        observations : mapping of Tensor
            For each role (seeds, batch, agents, features).
        actions : mapping of Tensor
            Of the other roles, encoded, (seeds, batch, agents, width).
        hold : Tensor, optional
            int64 (heads,): what the absent agent does; by default what its target actor finds best.

        Returns
        -------
        Tensor
            (seeds, batch, agents), the smaller one of two critics.
        """
        name, n = self.role.name, self.role.count
        size = max(1, LARGEST_PASS // (n * observations[name].shape[0] * observations[name].shape[1]))
        parts = [
            self._inputs_in_absence(observations, actions, hold, torch.arange(first, min(first + size, n)))
            for first in range(0, n, size)
        ]
        inputs = self.stacked(torch.cat(parts, dim=2))
        found = self.values(self.target_critics, inputs).min(dim=1).values
        return self.unstacked(found[..., None]).squeeze(-1)

    def _inputs_in_absence(
        self, observations: Mapping[str, Tensor], actions: Mapping[str, Tensor], hold: Tensor | None, absent: Tensor
    ) -> Tensor:
        """Return what the critics of the absent agents see, (seeds, batch, absent, critic features)."""
        name, n, some = self.role.name, self.role.count, len(absent)
        who = torch.nn.functional.one_hot(absent, n).bool().to(self.device)[:, :, None]  # (absent, agents, 1)

        def without(x: Tensor) -> Tensor:
            return torch.where(who, 0.0, x[:, :, None])  # (seeds, batch, absent, agents, k)

        present = present_agents(self.role, observations[name])
        others_present = (~who.squeeze(-1)).expand(*observations[name].shape[:2], -1, -1)
        if present is not None:
            others_present = others_present & present[:, :, None]  # (seeds, batch, absent, agents)
        present_count = others_present.sum(-1, keepdim=True).clamp(min=1)

        def mean(x: Tensor) -> Tensor:
            return summed(torch.where(others_present[..., None], x, 0.0), 3) / present_count

        seen = {
            other: x.repeat_interleave(some, dim=1) if other != name else without(x).flatten(1, 2)
            for other, x in observations.items()
        }
        active = torch.ones(seen[name].shape[:-1], dtype=torch.bool, device=self.device)
        logits = self.heads.logits(
            self.target_actor(self.stacked(self.actor_inputs(seen, others_present.flatten(1, 2))))
        )
        done = self.encoded_actions(logits, active, draw=False).unflatten(1, (-1, some))
        own = summed(torch.where(who, done, 0.0), 3)
        if hold is not None:
            here = torch.ones(own.shape[:-1], dtype=torch.bool, device=self.device)
            own = self.codes[name](hold.expand(*own.shape[:-1], -1), here)
        observed, acted = [], []
        for other in self.roles:
            if other == name:
                observed.append(mean(without(observations[name])))
                acted.append(mean(torch.where(who, 0.0, done)))
            else:
                present = present_agents(self.roles[other], observations[other])
                for parts, values in ((observed, observations), (acted, actions)):
                    parts.append(mean_of_all(values[other], present).unsqueeze(2).expand(-1, -1, some, -1))
        nothing = torch.zeros_like(observations[name][:, :, :1]).expand(-1, -1, some, -1)
        return torch.cat([nothing, own, *observed, *acted], dim=-1)


class MeanFieldACAgent(ActorCriticAgent):
    """Mean-field actor–critic with separate networks for each role.

    A policy whose networks are shared (more than ``share_above`` agents) plays any number of agents.
    """

    config_class: ClassVar[type[Any]] = MeanFieldACConfig
    learner_class: ClassVar[type[RoleLearner]] = MeanFieldLearner
    centralised_critic: ClassVar[bool] = True
    version: ClassVar[int] = 3

    def __init__(self, context: AgentContext, config: MeanFieldACConfig) -> None:
        super().__init__(context, config)
        self._asked: str | None = None
        """Role whose externalities the market asks for."""

    def attach(self, game: Game) -> None:
        """Tell the market's bank, if it asks, what the critics know of the others' welfare without an agent.

        Raises
        ------
        UserError
            If it asks, and the policy was loaded from a checkpoint that lacks what tells it.
        """
        asking = [asked.role for asked in game.requirements(game.config) if isinstance(self, asked.protocol)]
        self._asked = next((role for role in asking if role in self._learners), None)
        if self._asked is None:
            return
        if self._mean_field(self._asked).without_targets:
            raise UserError(
                f"the market asks mean_field_ac for externalities, and the checkpoint of its policy for {self._asked} "
                "was saved without the critics that tell them: train it again in this market"
            )
        game.supply(self._asked, Criticism(self, self._asked))

    def policy_state(self, seed_index: int) -> State:
        """Return the actors of one seed, and the target networks where a market asks, or asked, for externalities."""
        state = super().policy_state(seed_index)
        for name in self._learners:
            learner = self._mean_field(name)
            if name == self._asked or seed_index in learner.with_targets:
                state[name][TARGETS] = learner.targets(seed_index)
        return state

    def _mean_field(self, role: str) -> MeanFieldLearner:
        learner = self._learners[role]
        assert isinstance(learner, MeanFieldLearner)
        return learner

    def externality(
        self,
        role: str,
        now: tuple[Arrays, Arrays],
        then: tuple[Arrays, Arrays],
        *,
        hold: NDArray[np.int64],
        largest: NDArray[np.float64],
        largest_of_others: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Estimate the welfare that the others could have without each agent, from its target critic.

        Eqs. 30–33 of the paper on dual-currency VCG auctions, for a critic that was trained on rewards of which the
        welfare of a round is one: SW' = Q'(0, hold, m̄⁰ₜ) − γ Q'(0, a⁰ₜ₊₁, m̄⁰ₜ₊₁), where agent i observes 0, the
        others are seen without it and do what their target actors find best, and a⁰ is what its own target actor finds
        best; clipped to [largest_of_others, largest]. As printed, the lower bound sums the utility of i itself N − 1
        times; it is the others' here.

        Parameters
        ----------
        role : str
            A role that this agent plays.
        now, then : (dict, dict)
            Of this round and of the next one, what all acting roles observe, (seeds, markets, agents, features), and
            what the other roles do, (seeds, markets, agents, …); roles that are left out do nothing.
        hold : ndarray of int64, shape (heads,)
            The action that changes nothing.
        largest : ndarray, shape (seeds, markets)
            Largest welfare that was seen, Σ_j u_j.
        largest_of_others : ndarray, shape (seeds, markets, agents)
            Largest welfare of the others that was seen, Σ_{j≠i} u_j.

        Returns
        -------
        ndarray of float64
            (seeds, markets, agents), in units of reward.

        Raises
        ------
        UserError
            If it does not play the role.
        """
        if role not in self._learners:
            raise UserError(f"this mean_field_ac does not play {role}: it plays {', '.join(self._learners)}")
        learner = self._mean_field(role)
        without = [
            learner.value_in_absence(*self._moment(role, *moment), hold=chosen)
            for moment, chosen in ((now, torch.from_numpy(np.asarray(hold, np.int64))), (then, None))
        ]
        scaled = (without[0] - self.config.gamma * without[1]).numpy(force=True).astype(np.float64)
        estimate = np.maximum(scaled / self.config.reward_scale, largest_of_others)
        return np.asarray(np.minimum(largest[..., None], estimate), np.float64)

    def _moment(self, role: str, observations: Arrays, actions: Arrays) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return observations of all roles and encoded actions of the others."""
        device = self.context.device
        seen = {name: torch.from_numpy(np.ascontiguousarray(observations[name])).to(device) for name in self.roles}
        done = {}
        for name, code in self._codes.items():
            if name == role:
                continue
            shape = seen[name].shape[:-1]
            if name in actions:
                taken = torch.from_numpy(np.ascontiguousarray(actions[name])).to(device).reshape(*shape, -1)
                done[name] = code(taken, torch.ones(shape, dtype=torch.bool, device=device))
            else:
                done[name] = torch.zeros(*shape, code.width, device=device)
        return seen, done


class Criticism:
    """The externality that a market's bank asks for, in the market's own shapes.

    Parameters
    ----------
    agent : MeanFieldACAgent
        Whose critics are asked.
    role : str
        For which role.
    """

    def __init__(self, agent: MeanFieldACAgent, role: str) -> None:
        self._agent, self._role = agent, role

    def __call__(
        self,
        before: Mapping[str, NDArray[np.float32]],
        after: Mapping[str, NDArray[np.float32]],
        *,
        hold: NDArray[np.int64],
        largest: NDArray[np.float64],
        largest_of_others: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return estimates for markets side by side, (seeds · markets, agents); see `MeanFieldACAgent.externality`."""
        seeds = len(self._agent.context.seeds)

        def split(x: NDArray[Any]) -> NDArray[Any]:
            return x.reshape(seeds, -1, *x.shape[1:])

        found = self._agent.externality(
            self._role,
            ({name: split(x) for name, x in before.items()}, {}),
            ({name: split(x) for name, x in after.items()}, {}),
            hold=hold, largest=split(largest), largest_of_others=split(largest_of_others),
        )  # fmt: skip
        return found.reshape(-1, found.shape[-1])
