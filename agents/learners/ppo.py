"""PPO of Stable-Baselines3, of which the policy, the rollout buffer and the update are used, but not the training loop.

There is one instance per seed and role: all agents of a role share one policy, whose input includes a one-hot index of
the agent in roles of up to 64 agents, unless `PPOConfig.agent_index` is off. With `PPOConfig.share_above` agents can
have policies of their own instead, one instance each.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from torch import Tensor

from ioa_marl.agents.base import Agent, AgentContext, NotFiniteError, State, action_heads
from ioa_marl.agents.common.members import MAX_INDEXED_AGENTS, separate_networks, with_index
from ioa_marl.agents.common.schedules import linear
from ioa_marl.agents.common.streams import Streams, by_inversion
from ioa_marl.agents.replay.masked_rollout import MaskedRolloutBuffer
from ioa_marl.agents.replay.rollouts import rollout_steps
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import added_setting, check_integer, check_number, require

T = TypeVar("T")


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of PPO; the defaults are those of Stable-Baselines3."""

    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    rollout_size: int = 2048
    """Number of transitions of each policy per update, over all markets and all agents that share the policy. If a role
    has several agents, a rollout has at least 16 steps of the markets, because some agents may be waiting."""
    batch_size: int = 64
    """Number of transitions per gradient step."""
    n_epochs: int = 10
    """Number of passes over a rollout."""
    gamma: float = 0.99
    """Discount per action."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage estimate."""
    clip_range: float = 0.2
    """Clip range ε of the probability ratio."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus at the beginning."""
    ent_coef_end: float = 0.0
    """Weight of the entropy bonus at the end of the budget; it changes linearly."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Largest norm of the gradient."""
    normalize_advantage: bool = True
    """Whether advantages are normalised per batch."""
    reward_scale: float = 1.0
    """Factor by which all rewards are multiplied."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of policy and value network."""
    share_above: int = added_setting(1)
    """Largest number of agents of a role that have policies of their own; a larger role shares one policy."""
    agent_index: bool = added_setting(True)
    """Whether the input of a shared policy includes a one-hot index of the agent, in roles of up to 64 agents. Without
    it the policy can play any number of agents."""

    def __post_init__(self) -> None:
        """Refuse values with which no training is possible."""
        for name in ("learning_rate", "max_grad_norm", "reward_scale"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("gamma", "gae_lambda"):
            check_number(self, name, low=0.0, high=1.0)
        for name in ("clip_range", "ent_coef", "ent_coef_end", "vf_coef"):
            check_number(self, name, low=0.0)
        for name, low in (("rollout_size", 2), ("batch_size", 2), ("n_epochs", 1)):
            check_number(self, name, low=low, high=10**8)
        check_integer(self, "share_above", 1, 10**6)
        usable = len(self.hidden) <= 64 and all(1 <= n <= 65536 for n in self.hidden)
        require(usable, "hidden", list(self.hidden), "up to 64 widths from 1 to 65536")


def rollout_length(config: PPOConfig, role: Role, num_envs: int) -> int:
    """Return the number of steps of the markets between two updates of a role."""
    per_step = num_envs * role.count // separate_networks(role, config.share_above)
    return rollout_steps(config.rollout_size, per_step, several=role.count > 1)


def random_numbers(streams: Streams, role: Role, markets: int) -> NDArray[Any]:
    """Draw the random numbers from which the actions of a role are sampled in evaluation.

    Parameters
    ----------
    streams : Streams
        Random streams of the seeds.
    role : Role
        The role.
    markets : int
        Markets per seed.

    Returns
    -------
    ndarray
        (seeds, markets · agents, heads), uniform in [0, 1), for discrete actions; (seeds, markets · agents, numbers),
        standard normal, for those of a Box.
    """
    rows, space = markets * role.count, role.action_space
    if isinstance(space, spaces.Box):
        return streams.normal(rows, *space.shape)
    return streams.uniform(rows, len(action_heads(space)))


class PPOAgent(Agent):
    """Stable-Baselines3's PPO with correct treatment of truncated episodes and of agents that wait."""

    config_class: ClassVar[type[Any]] = PPOConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    stochastic: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # random generators of other devices are not saved
    # The observation after a termination is stored but never used, so it may be NaN.
    need_not_be_finite: frozenset[str] = frozenset({"rollout"})

    def __init__(self, context: AgentContext, config: PPOConfig) -> None:
        super().__init__(context, config)
        self._learners = [
            {role.name: PPORole(context, config, role, seed) for role in context.plays} for seed in context.seeds
        ]

    @classmethod
    def first_update(cls, config: PPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return the number of environment steps per seed in a rollout."""
        return num_envs * rollout_length(config, role, num_envs)

    @classmethod
    def check_context(cls, config: PPOConfig, context: AgentContext) -> None:
        """Refuse batches that are larger than a rollout."""
        for role in context.plays:
            rows = rollout_length(config, role, context.num_envs) * context.num_envs * role.count
            rows //= separate_networks(role, config.share_above)
            allowed = f"2 to {rows}, the transitions that a rollout of {role.name} has"
            require(config.batch_size <= rows, "batch_size", config.batch_size, allowed)

    @classmethod
    def memory(cls, config: PPOConfig, context: AgentContext) -> dict[str, int]:
        """Return the size [bytes] of the rollouts, and of the networks with their optimisers."""
        rollouts = networks = 0
        for role in context.plays:
            features, seeds = role.observation_space.shape[0], len(context.seeds)
            steps = rollout_length(config, role, context.num_envs)
            rollouts += seeds * steps * context.num_envs * role.count * 4 * features
            policies = seeds * separate_networks(role, config.share_above)
            networks += 2 * 3 * 4 * policies * sum(a * b for a, b in itertools.pairwise([features, *config.hidden]))
        return {"rollout_size": rollouts, "hidden": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample actions, or take the most likely ones."""
        names = [role.name for role in self.context.plays]
        actions_by_seed = self._for_every_seed(
            lambda s, learners: {name: learners[name].act(observations[name][s], deterministic) for name in names}
        )
        return {name: np.stack([actions[name] for actions in actions_by_seed]) for name in names}

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Sample actions with the random numbers of an evaluation."""
        drawn = {
            role.name: random_numbers(streams[role.name], role, observations[role.name].shape[1])
            for role in self.context.plays
        }
        actions_by_seed = self._for_every_seed(
            lambda s, learners: {name: learners[name].sample(observations[name][s], u[s]) for name, u in drawn.items()}
        )
        return {name: np.stack([actions[name] for actions in actions_by_seed]) for name in drawn}

    def _for_every_seed(self, call: Callable[[int, dict[str, PPORole]], T]) -> list[T]:
        """Call a function for the learners of every seed; raise one error for all seeds that have diverged."""
        results, diverged = [], []
        for s, learners in enumerate(self._learners):
            try:
                results.append(call(s, learners))
            except NotFiniteError:
                diverged.append(s)
        if diverged:
            raise NotFiniteError("what a policy returns is not finite", diverged)
        return results

    def observe(self, transition: Transition) -> None:
        """Add the step to the rollouts."""
        for s, learners in enumerate(self._learners):
            for learner in learners.values():
                learner.observe(transition, s)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update the policies whose rollouts are complete."""
        metrics: dict[str, np.ma.MaskedArray[Any, np.dtype[np.float64]]] = {}
        by_seed = self._for_every_seed(lambda s, learners: {name: it.learn() for name, it in learners.items()})
        for s, of_seed in enumerate(by_seed):
            for name, of_role in of_seed.items():
                for key, value in of_role.items():
                    # A seed whose rollout contains no decision makes no update, and its metrics stay masked.
                    metrics.setdefault(f"{name}/{key}", np.ma.masked_array(np.zeros(len(by_seed)), True))[s] = value
        return metrics or None

    def state_dict(self, seed_index: int) -> State:
        """Return policies, optimisers, rollouts and random states of one seed."""
        return {name: learner.state() for name, learner in self._learners[seed_index].items()}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        for name, learner in self._learners[seed_index].items():
            learner.load_state(state[name])

    def policy_state(self, seed_index: int) -> State:
        """Return the policies of one seed."""
        return {name: learner.policy_state() for name, learner in self._learners[seed_index].items()}

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the policies that `policy_state` returned."""
        for name, learner in self._learners[seed_index].items():
            learner.load_policy_state(state[name])

    def parameters_count(self) -> int:
        """Return the number of policy and value parameters of one seed."""
        learners = [learner for role in self._learners[0].values() for learner in role.learners]
        return sum(p.numel() for learner in learners for p in learner.ppo.policy.parameters())


class PPORole:
    """The learners of one role and one seed: a single one for all agents, or one for each agent.

    Parameters are those of `PPOLearner`. Arrays of the role are split along the axis of the agents.
    """

    def __init__(self, context: AgentContext, config: PPOConfig, role: Role, seed: int) -> None:
        count = separate_networks(role, config.share_above)
        one, size = dataclasses.replace(role, count=role.count // count), role.count // count
        # A single learner keeps the random streams that the role has always had.
        indices = [None] if count == 1 else range(count)
        steps = rollout_length(config, role, context.num_envs)
        self.learners = [PPOLearner(context, config, one, seed, steps, index) for index in indices]
        self._parts = [slice(k * size, (k + 1) * size) for k in range(count)]

    def _together(self, call: Callable[[PPOLearner, slice], NDArray[Any]]) -> NDArray[Any]:
        """Return what a function gives for every learner and its agents, put together along the agents."""
        parts = [call(learner, part) for learner, part in zip(self.learners, self._parts, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[Any]:
        """Choose the actions of one seed; see `PPOLearner.act`."""
        return self._together(lambda learner, part: learner.act(observations[:, part], deterministic))

    def sample(self, observations: NDArray[np.float32], drawn: NDArray[Any]) -> NDArray[Any]:
        """Sample the actions of one seed in evaluation; see `PPOLearner.sample`."""
        by_agent = drawn.reshape(*observations.shape[:2], -1)

        def of(learner: PPOLearner, part: slice) -> NDArray[Any]:
            return learner.sample(observations[:, part], by_agent[:, part].reshape(-1, by_agent.shape[2]))

        return self._together(of)

    def observe(self, transition: Transition, s: int) -> None:
        """Add one step of the seed with the index ``s``."""
        for learner, part in zip(self.learners, self._parts, strict=True):
            learner.observe(transition, s, part)

    def learn(self) -> dict[str, float]:
        """Update the policies whose rollouts are complete; returns metrics by name, means over the policies."""
        results = [result for result in (learner.learn() for learner in self.learners) if result]
        return {key: sum(result[key] for result in results) / len(results) for key in (results[0] if results else ())}

    def policy_state(self) -> State:
        """Return the networks."""
        return self._state([learner.policy_state() for learner in self.learners])

    def load_policy_state(self, state: State) -> None:
        """Act with the networks that `policy_state` returned."""
        for learner, own in zip(self.learners, self._states(state), strict=True):
            learner.ppo.policy.load_state_dict(own)

    def state(self) -> State:
        """Return everything that continues the training."""
        return self._state([learner.state() for learner in self.learners])

    def load_state(self, state: State) -> None:
        """Continue from a state that `state` returned."""
        for learner, own in zip(self.learners, self._states(state), strict=True):
            learner.load_state(own)

    def _state(self, states: list[State]) -> State:
        """Return the state of the only learner, or those of all by the index of the agent."""
        return states[0] if len(states) == 1 else {str(k): own for k, own in enumerate(states)}

    def _states(self, state: State) -> list[State]:
        """Return the state of every learner, the inverse of `_state`."""
        return [state] if len(self.learners) == 1 else [state[str(k)] for k in range(len(self.learners))]


class PPOLearner:
    """An instance of Stable-Baselines3's PPO for one seed and the agents of a role that share it.

    Parameters
    ----------
    context : AgentContext
        The run.
    config : PPOConfig
        Hyper-parameters.
    role : Role
        The role that is learnt, with as many agents as share this instance.
    seed : int
        The training seed.
    n_steps : int
        Steps of the markets in a rollout.
    index : int, optional
        Index of the agent, if it has this instance for itself.
    """

    def __init__(
        self, context: AgentContext, config: PPOConfig, role: Role, seed: int, n_steps: int, index: int | None = None
    ) -> None:
        self.role, self.config, self.budget = role, config, context.budget
        self.num_envs = context.num_envs
        self.columns = context.num_envs * role.count
        self.indexed = config.agent_index and 1 < role.count <= MAX_INDEXED_AGENTS
        if n_steps * self.columns < 2:
            raise UserError(f"rollout_size={config.rollout_size} is not allowed: use 2 or more")
        key = [seed, context.stream_offset(role), *([] if index is None else [1 + index])]
        generator = np.random.SeedSequence(key).generate_state(2, np.uint32)
        self._torch_state = torch.Generator().manual_seed(int(generator[0])).get_state()
        self._numpy_state = np.random.RandomState(int(generator[1])).get_state(legacy=False)
        features = role.observation_space.shape[0] + (role.count if self.indexed else 0)
        with self._own_generators():
            self.ppo = PPO(
                "MlpPolicy", None,  # type: ignore[arg-type]
                learning_rate=config.learning_rate, n_steps=n_steps, batch_size=config.batch_size,
                n_epochs=config.n_epochs, gamma=config.gamma, gae_lambda=config.gae_lambda,
                clip_range=config.clip_range, ent_coef=config.ent_coef, vf_coef=config.vf_coef,
                max_grad_norm=config.max_grad_norm, normalize_advantage=config.normalize_advantage,
                policy_kwargs={"net_arch": list(config.hidden)}, device=context.device,
                rollout_buffer_class=MaskedRolloutBuffer, _init_setup_model=False,
            )  # fmt: skip
            self.ppo.observation_space = spaces.Box(0.0, 1.0, (features,), np.float32)
            self.ppo.action_space = role.action_space
            self.ppo.n_envs = self.columns
            self.ppo._setup_model()
        self.ppo.set_logger(Logger(folder=None, output_formats=[]))
        self.buffer: MaskedRolloutBuffer = self.ppo.rollout_buffer  # type: ignore[assignment]
        self._starts = np.ones(self.columns, np.float32)
        self._last_decision: tuple[NDArray[Any], NDArray[Any], Tensor, Tensor] | None = None
        self._next_inputs: NDArray[np.float32] | None = None

    @contextmanager
    def _own_generators(self) -> Iterator[None]:
        """Set the global random generators, which Stable-Baselines3 uses, to the state of this learner."""
        outer = torch.get_rng_state(), np.random.get_state(legacy=False)
        torch.set_rng_state(self._torch_state)
        np.random.set_state(self._numpy_state)
        try:
            yield
        finally:
            self._torch_state, self._numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
            torch.set_rng_state(outer[0])
            np.random.set_state(outer[1])

    @contextmanager
    def _finite_policy(self, observations: Tensor) -> Iterator[None]:
        """Raise `NotFiniteError` in place of PyTorch's error if the policy returns infinite or NaN numbers."""
        try:
            yield
        except (ValueError, RuntimeError) as error:
            policy = self.ppo.policy
            with torch.no_grad():
                outputs = [policy.action_net(policy.mlp_extractor.forward_actor(observations))]
                if isinstance(self.role.action_space, spaces.Box):
                    outputs += [policy.log_std.exp(), policy.log_std.exp().reciprocal()]
            if all(bool(torch.isfinite(x).all()) for x in outputs):
                raise
            raise NotFiniteError("what a policy returns is not finite", ()) from error

    def _inputs(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return inputs (markets · agents, features), with the agent's index, of observations (markets, agents, …)."""
        markets = observations.shape[0]
        if self.indexed:
            observations = with_index(observations)
        return observations.reshape(markets * self.role.count, -1)

    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[Any]:
        """Choose the actions of one seed.

        Parameters
        ----------
        observations : ndarray of float32
            (markets, agents, features).
        deterministic : bool
            Whether the most likely actions are taken; otherwise they are sampled.

        Returns
        -------
        ndarray
            (markets, agents), or (markets, agents, numbers) for MultiDiscrete and Box spaces.
        """
        inputs = self._inputs(observations)
        policy = self.ppo.policy
        policy.set_training_mode(False)
        tensor = torch.as_tensor(inputs, device=self.ppo.device)
        with torch.no_grad(), self._finite_policy(tensor):
            if deterministic:
                actions = policy._predict(tensor, deterministic=True).cpu().numpy()
            else:
                with self._own_generators():
                    sampled, values, log_probs = policy(tensor)
                actions = sampled.cpu().numpy()
                self._last_decision = inputs, actions, values, log_probs
        return self._playable(actions, observations.shape[0])

    def sample(self, observations: NDArray[np.float32], drawn: NDArray[Any]) -> NDArray[Any]:
        """Sample the actions of one seed in evaluation.

        Parameters
        ----------
        observations : ndarray of float32
            (markets, agents, features).
        drawn : ndarray
            Random numbers for every agent of every market: (markets · agents, heads), uniform in [0, 1), for discrete
            actions; (markets · agents, numbers), standard normal, for those of a Box.

        Returns
        -------
        ndarray
            As `act`.
        """
        policy = self.ppo.policy
        policy.set_training_mode(False)
        tensor = torch.as_tensor(self._inputs(observations), device=self.ppo.device)
        with torch.no_grad(), self._finite_policy(tensor):
            distribution = policy.get_distribution(tensor).distribution
        if isinstance(self.role.action_space, spaces.Box):
            assert isinstance(distribution, torch.distributions.Normal)
            actions = distribution.mean.numpy(force=True) + distribution.stddev.numpy(force=True) * drawn
        else:
            heads = distribution if isinstance(distribution, list) else [distribution]
            chosen = []
            for head, u in zip(heads, drawn.T, strict=True):
                assert isinstance(head, torch.distributions.Categorical)
                chosen.append(by_inversion(head.probs.numpy(force=True), u))
            actions = np.stack(chosen, axis=-1)
            actions = actions[:, 0] if isinstance(self.role.action_space, spaces.Discrete) else actions
        return self._playable(actions, observations.shape[0])

    def _playable(self, actions: NDArray[Any], markets: int) -> NDArray[Any]:
        """Return actions (markets · agents, …) as (markets, agents, …), those of a Box within its bounds."""
        space = self.role.action_space
        if isinstance(space, spaces.Box):
            if not np.isfinite(actions).all():
                raise NotFiniteError("an action is not finite", ())
            actions = np.clip(actions, space.low, space.high)
        return actions.reshape(markets, self.role.count, *(space.shape or ()))

    def _values(self, observations: NDArray[np.float32]) -> Tensor:
        with torch.no_grad():
            return self.ppo.policy.predict_values(torch.as_tensor(observations, device=self.ppo.device))

    def observe(self, transition: Transition, s: int, agents: slice) -> None:
        """Add one step; the last reward of a truncated episode is increased by the discounted value of the next state.

        Parameters
        ----------
        transition : Transition
            The step of all seeds, arrays (seeds, markets, agents, …).
        s : int
            Index of this learner's seed.
        agents : slice
            The agents of the role that share this learner.
        """
        assert self._last_decision is not None
        inputs, actions, values, log_probs = self._last_decision
        name, count = self.role.name, self.role.count
        rewards = transition.rewards[name][s][:, agents].reshape(-1).astype(np.float32) * np.float32(
            self.config.reward_scale
        )
        self._next_inputs = self._inputs(transition.next_observations[name][s][:, agents]).copy()
        truncated = np.repeat(transition.truncated[s] & ~transition.terminated[s], count)
        if truncated.any():
            next_values = self._values(self._next_inputs[truncated]).cpu().numpy().reshape(-1)
            rewards[truncated] += self.config.gamma * next_values
        self.buffer.active[self.buffer.pos] = transition.active[name][s][:, agents].reshape(-1)
        self.buffer.open_decision = ~transition.next_active[name][s][:, agents].reshape(-1)
        discrete = isinstance(self.role.action_space, spaces.Discrete)
        actions = actions.reshape(-1, 1) if discrete else actions
        self.buffer.add(inputs, actions, rewards, self._starts, values, log_probs)
        self._starts = np.repeat(transition.ended[s], count).astype(np.float32)
        self._last_decision = None
        self.ppo.num_timesteps += self.num_envs

    def learn(self) -> dict[str, float]:
        """Update the policy if the rollout is complete; returns metrics by name, or none."""
        if not self.buffer.full:
            return {}
        assert self._next_inputs is not None
        self.buffer.compute_returns_and_advantage(self._values(self._next_inputs), self._starts)
        self.ppo._update_current_progress_remaining(self.ppo.num_timesteps, self.budget)
        progress = self.ppo.num_timesteps / self.budget
        self.ppo.ent_coef = linear(self.config.ent_coef, self.config.ent_coef_end, 1.0, progress)
        if self.buffer.active.any():
            inputs = torch.as_tensor(self.buffer.observations, device=self.ppo.device).flatten(0, 1)
            with self._finite_policy(inputs), self._own_generators():
                self.ppo.train()
        self.buffer.reset()
        logged = self.ppo.logger.name_to_value
        metrics = {key.removeprefix("train/"): float(value) for key, value in logged.items()}
        logged.clear()
        return {key: metrics[key] for key in ("entropy_loss", "value_loss", "approx_kl") if key in metrics}

    _ARRAYS = (
        "observations", "actions", "rewards", "values", "log_probs", "episode_starts", "advantages", "returns",
        "active", "open_decision",
    )  # fmt: skip

    def policy_state(self) -> State:
        """Return the networks."""
        return {key: value.clone() for key, value in self.ppo.policy.state_dict().items()}

    def state(self) -> State:
        """Return networks, optimiser, rollout and the states of the random generators."""
        optimiser = self.ppo.policy.optimizer.state_dict()["state"]
        numpy_state = self._numpy_state
        return {
            "policy": self.policy_state(),
            "optimiser": {str(k): {key: value.clone() for key, value in row.items()} for k, row in optimiser.items()},
            "torch_state": self._torch_state.clone(),
            "numpy_key": numpy_state["state"]["key"].copy(),
            "numpy_pos": int(numpy_state["state"]["pos"]),
            "rollout": {name: getattr(self.buffer, name).copy() for name in self._ARRAYS},
            "pos": int(self.buffer.pos),
            "starts": self._starts.copy(),
            "num_timesteps": int(self.ppo.num_timesteps),
            "n_updates": int(self.ppo._n_updates),
        }

    def load_state(self, state: State) -> None:
        """Continue from a state that `state` returned."""
        self.ppo.policy.load_state_dict(state["policy"])
        optimiser = self.ppo.policy.optimizer.state_dict()
        # The keys have to be integers. With strings, the optimiser would load an empty state without an error.
        optimiser["state"] = {int(k): {key: v.clone() for key, v in r.items()} for k, r in state["optimiser"].items()}
        self.ppo.policy.optimizer.load_state_dict(optimiser)
        self._torch_state = torch.as_tensor(state["torch_state"]).clone()
        key = np.asarray(state["numpy_key"], np.uint32)
        self._numpy_state = {
            "bit_generator": "MT19937",
            "state": {"key": key.copy(), "pos": int(state["numpy_pos"])},
            "has_gauss": 0,
            "gauss": 0.0,
        }
        for name in self._ARRAYS:
            getattr(self.buffer, name)[...] = np.asarray(state["rollout"][name])
        self.buffer.pos = int(state["pos"])
        self.buffer.full = False
        self._starts = np.asarray(state["starts"], np.float32).copy()
        self.ppo.num_timesteps, self.ppo._n_updates = int(state["num_timesteps"]), int(state["n_updates"])
