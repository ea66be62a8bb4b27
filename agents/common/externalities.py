"""What an actor–critic tells of the welfare that the others could have without an agent.

Eqs. 30–33 of the paper on dual-currency VCG auctions for network slices ask the target critic of agent i for its value
if i observed 0 and the others acted without it. Which inputs a critic has is up to the learner: `AbsenceLearner` shows
it a `View` of the market without i, through the `critic_inputs` of training. What the estimate can tell therefore
depends on the learner. The critic of `maddpg` sees what every other agent observes and does, that of `mean_field_ac`
their mean, and that of `independent_ac` nothing: its estimate is a constant of the policy, whatever the others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.actor_critic import RoleLearner
from ioa_marl.agents.common.actor_critic_agent import ActorCriticAgent
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.replay.joint_views import View, present_agents
from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.foundations.errors import UserError

LARGEST_PASS = 2**17
"""Agents whose actions are computed at once when externalities are estimated."""
TARGETS = "targets"
"""Where the policy of a role holds the target networks, which a market that asks for externalities plays with."""


class AbsenceLearner(RoleLearner):
    """A learner of one role whose target critics can be asked for their value if one agent were absent."""

    def __init__(self, context: AgentContext, config: ActorCriticConfig, role: Role, roles: Mapping[str, Role]) -> None:
        super().__init__(context, config, role, roles)
        self.without_targets: set[int] = set()
        """Seeds whose actors were loaded without target networks that fit this market."""
        self.with_targets: set[int] = set()
        """Seeds whose actors were loaded together with their target networks: these stay part of the policy."""

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
        """Act with the actors of one seed, and tell externalities with its target networks if they are there.

        Critics of all agents, as those of `maddpg`, fit no market with other agents than where they were trained.
        """
        super().load_actor(seed_index, state)
        if TARGETS not in state or not self._fit(seed_index, state[TARGETS]["critics"]):
            self.without_targets.add(seed_index)
            self.with_targets.discard(seed_index)
            return
        rows, twins = self.members.rows(seed_index), self.members.rows(seed_index, self.copies)
        self.target_actor.load_member_state(rows, state[TARGETS]["actor"])
        self.target_critics.load_member_state(twins, state[TARGETS]["critics"])
        self.without_targets.discard(seed_index)
        self.with_targets.add(seed_index)

    def _fit(self, seed_index: int, critics: State) -> bool:
        """Return whether critics have as many inputs as those of this market."""
        own = self.targets(seed_index)["critics"]
        return {name: x.shape for name, x in critics.items()} == {name: x.shape for name, x in own.items()}

    # The market without an agent.

    @torch.no_grad()
    def value_in_absence(
        self, observations: Mapping[str, Tensor], actions: Mapping[str, Tensor], hold: Tensor | None
    ) -> Tensor:
        """Return the target critics' values for each agent if it saw nothing (an observation of zeros).

        The others do what their target actors find best without it; where they see a mean, it is not in it.

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
        n = self.role.count
        seeds, batch = observations[self.role.name].shape[:2]
        size = max(1, LARGEST_PASS // (n * seeds * batch))
        parts = []
        for first in range(0, n, size):
            absent = torch.arange(first, min(first + size, n), device=self.device)
            parts.append(self._own_inputs(self.view_in_absence(observations, actions, hold, absent), absent))
        inputs = self.stacked(torch.cat(parts, dim=2))
        found = self.values(self.target_critics, inputs).min(dim=1).values
        return self.unstacked(found[..., None]).squeeze(-1)

    def view_in_absence(
        self, observations: Mapping[str, Tensor], actions: Mapping[str, Tensor], hold: Tensor | None, absent: Tensor
    ) -> View:
        """Return the market once for each agent that is imagined to be absent.

        Parameters
        ----------
        observations, actions, hold
            As in `value_in_absence`.
        absent : Tensor
            int64 (some,): indices of agents.

        Returns
        -------
        View
            Arrays (seeds, batch · some, agents, …); row b · some + k is market b without agent ``absent[k]``.
        """
        name, some = self.role.name, len(absent)
        seeds, batch, n = observations[name].shape[:3]
        away = torch.nn.functional.one_hot(absent, n).bool().repeat(batch, 1).expand(seeds, -1, -1)
        seen = {other: x.repeat_interleave(some, dim=1) for other, x in observations.items()}
        seen[name] = torch.where(away[..., None], 0.0, seen[name])
        present = present_agents(self.role, seen[name])
        others = ~away if present is None else present & ~away
        logits = self.logits(self.target_actor, seen, others)
        own = self.encoded_actions(logits, others | away, draw=False)
        if hold is not None:
            held = self.codes[name](hold.to(self.device).expand(*away.shape, -1), away)
            own = torch.where(away[..., None], held, own)
        done = {other: x.repeat_interleave(some, dim=1) for other, x in actions.items()}
        return View(seen, {**done, name: own})

    def _own_inputs(self, view: View, absent: Tensor) -> Tensor:
        """Return what the critic of each absent agent sees of `view_in_absence`, (seeds, batch, some, features)."""
        some = len(absent)
        if self.members.shared:
            seeds, rows = view.observations[self.role.name].shape[:2]
            whose = absent.repeat(rows // some).expand(seeds, -1)[..., None]
            own: Tensor = self.critic_inputs(view, None, whose).unflatten(1, (-1, some))
            return own
        of_all = self.critic_inputs(view, None, None)
        by_agent: Tensor = of_all.unflatten(0, (self.members.seeds, -1)).unflatten(2, (-1, some))
        return by_agent[:, absent, :, torch.arange(some, device=self.device)].movedim(0, 2)


class ExternalityAgent(ActorCriticAgent):
    """An actor–critic that tells a market, if it asks, what the others could have without an agent.

    Its learners are `AbsenceLearner`.
    """

    def __init__(self, context: AgentContext, config: ActorCriticConfig) -> None:
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
        if self._learner(self._asked).without_targets:
            raise UserError(
                f"the market asks the agent of {self._asked} for externalities, and the checkpoint of its policy was "
                "saved without the critics that tell them here: train it again in this market"
            )
        game.supply(self._asked, Criticism(self, self._asked))

    def policy_state(self, seed_index: int) -> State:
        """Return the actors of one seed, and the target networks where a market asks, or asked, for externalities."""
        state = super().policy_state(seed_index)
        for name in self._learners:
            learner = self._learner(name)
            if name == self._asked or seed_index in learner.with_targets:
                state[name][TARGETS] = learner.targets(seed_index)
        return state

    def _learner(self, role: str) -> AbsenceLearner:
        learner = self._learners[role]
        assert isinstance(learner, AbsenceLearner)
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
        best; clipped to [largest_of_others, largest]. m̄⁰ is what the critic sees of the others: their mean, all that
        they observe and do, or nothing. As printed, the lower bound sums the utility of i itself N − 1 times; it is the
        others' here.

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
            raise UserError(f"this agent does not play {role}: it plays {', '.join(self._learners)}")
        learner = self._learner(role)
        without = [
            learner.value_in_absence(*self._moment(role, *moment), hold=chosen)
            for moment, chosen in ((now, torch.from_numpy(np.asarray(hold, np.int64))), (then, None))
        ]
        scaled = (without[0] - self.config.gamma * without[1]).numpy(force=True).astype(np.float64)
        estimate = np.maximum(scaled / self.config.reward_scale, largest_of_others)
        return np.asarray(np.minimum(largest[..., None], estimate), np.float64)

    def _moment(self, role: str, observations: Arrays, actions: Arrays) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return observations of all roles that the critics see, and encoded actions of the others."""
        device, seen, done = self.context.device, self._tensors(observations), {}
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
    agent : ExternalityAgent
        Whose critics are asked.
    role : str
        For which role.
    """

    def __init__(self, agent: ExternalityAgent, role: str) -> None:
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
        """Return estimates for markets side by side, (seeds · markets, agents); see `ExternalityAgent.externality`."""
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
