"""Stable-Baselines3's PPO, driven by our loop: its policy, rollout buffer and update.

There is one instance per seed and role. All agents of a role share one policy; a one-hot index tells them apart,
up to 64 agents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from ioa_marl.agents.base import Agent, AgentContext, NotFiniteError, State
from ioa_marl.agents.common.schedules import linear
from ioa_marl.agents.replay.rollouts import generalised_advantages, rollout_steps
from ioa_marl.envs.core import Arrays, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import check_number, require

T = TypeVar("T")

MAX_INDEXED_AGENTS = 64
"""Up to so many agents of a role see a one-hot index of themselves."""


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of PPO; the defaults are those of Stable-Baselines3."""

    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    rollout_size: int = 2048
    """Transitions collected per update, over all markets and agents of a seed; at least 16 steps where several agents
    share a policy, because some of them may be waiting."""
    batch_size: int = 64
    """Transitions per gradient step."""
    n_epochs: int = 10
    """Passes over a rollout."""
    gamma: float = 0.99
    """Discount per action."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage estimate."""
    clip_range: float = 0.2
    """Largest change of the probability ratio that is rewarded."""
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
    """Factor of all rewards."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of policy and value network."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("learning_rate", "max_grad_norm", "reward_scale"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("gamma", "gae_lambda"):
            check_number(self, name, low=0.0, high=1.0)
        for name in ("clip_range", "ent_coef", "ent_coef_end", "vf_coef"):
            check_number(self, name, low=0.0)
        for name, low in (("rollout_size", 2), ("batch_size", 2), ("n_epochs", 1)):
            check_number(self, name, low=low, high=10**8)
        usable = len(self.hidden) <= 64 and all(1 <= n <= 65536 for n in self.hidden)
        require(usable, "hidden", list(self.hidden), "up to 64 widths from 1 to 65536")


def rollout_length(config: PPOConfig, role: Role, num_envs: int) -> int:
    """Return the steps of the markets between two updates of a role."""
    return rollout_steps(config.rollout_size, num_envs * role.count, several=role.count > 1)


class MaskedRolloutBuffer(RolloutBuffer):
    """A rollout buffer that knows which rows are decisions of their agent.

    An inactive row is transparent: its reward belongs to the agent's last decision, and it is never trained
    on. With all rows active it is Stable-Baselines3's buffer.
    """

    active: NDArray[np.bool_]
    """(steps, columns): rows that are decisions."""
    open_decision: NDArray[np.bool_]
    """(columns,): whether the agent waits after the last row, so that what its last decision brings is not known."""

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self.active = np.ones((self.buffer_size, self.n_envs), dtype=np.bool_)
        self.open_decision = np.zeros(self.n_envs, dtype=np.bool_)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[Any]) -> None:
        """Estimate what decisions were worth; what an open one will bring is not known, and it is not trained on.

        Where an episode was truncated, its last rewards hold the value of what would have followed: every end is one.
        """
        ended = np.concatenate([self.episode_starts[1:], np.asarray(dones, np.float32)[None]]) > 0
        following = np.broadcast_to(last_values.numpy(force=True).reshape(-1), self.values.shape)
        self.advantages, self.active = generalised_advantages(
            self.rewards, self.values, following, self.active, ended, np.zeros_like(ended), self.open_decision,
            self.gamma, self.gae_lambda,
        )  # fmt: skip
        self.returns = self.advantages + self.values

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield shuffled batches of the active rows."""
        if not self.generator_ready:
            for name in (
                "observations", "actions", "values", "log_probs", "advantages", "returns", "active",
            ):  # fmt: skip
                array = self.__dict__[name]
                flat = self.swap_and_flatten(array if array.ndim > 2 else array[..., None])
                self.__dict__[name] = flat
            self.generator_ready = True
        rows = np.flatnonzero(self.active)
        order = rows[np.random.permutation(len(rows))]
        size = len(rows) if batch_size is None else batch_size
        for start in range(0, len(rows), size):
            yield self._get_samples(order[start : start + size])


class PPOAgent(Agent):
    """Stable-Baselines3's PPO with correct treatment of truncation and of agents that wait."""

    config_class: ClassVar[type[Any]] = PPOConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # the state of other generators is not swapped or saved
    on_policy: ClassVar[bool] = True
    # What follows a termination is remembered and counts nothing, even where it is not a number.
    need_not_be_finite: frozenset[str] = frozenset({"rollout"})

    def __init__(self, context: AgentContext, config: PPOConfig) -> None:
        super().__init__(context, config)
        self._learners = [
            {role.name: PPOLearner(context, config, role, seed) for role in context.plays} for seed in context.seeds
        ]

    @classmethod
    def first_update(cls, config: PPOConfig, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return when the first rollout is full."""
        return num_envs * rollout_length(config, role, num_envs)

    @classmethod
    def check_context(cls, config: PPOConfig, context: AgentContext) -> None:
        """Refuse batches that no rollout can fill."""
        for role in context.plays:
            rows = rollout_length(config, role, context.num_envs) * context.num_envs * role.count
            allowed = f"2 to {rows}, the transitions that a rollout of {role.name} has"
            require(config.batch_size <= rows, "batch_size", config.batch_size, allowed)

    @classmethod
    def memory(cls, config: PPOConfig, context: AgentContext) -> dict[str, int]:
        """Return the size of rollouts, and of networks with their optimisers."""
        rollouts = networks = 0
        for role in context.plays:
            features, seeds = role.observation_space.shape[0], len(context.seeds)
            steps = rollout_length(config, role, context.num_envs)
            rollouts += seeds * steps * context.num_envs * role.count * 4 * features
            networks += 2 * 3 * 4 * seeds * sum(a * b for a, b in itertools.pairwise([features, *config.hidden]))
        return {"rollout_size": rollouts, "hidden": networks}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Sample actions, or take the most likely ones."""
        names = [role.name for role in self.context.plays]
        chosen = self._of_every_seed(
            lambda s, learners: {name: learners[name].act(observations[name][s], deterministic) for name in names}
        )
        return {name: np.stack([actions[name] for actions in chosen]) for name in names}

    def _of_every_seed(self, ask: Callable[[int, dict[str, PPOLearner]], T]) -> list[T]:
        """Ask the learners of every seed; the seeds whose networks return no numbers are told together."""
        found, wrong = [], []
        for s, learners in enumerate(self._learners):
            try:
                found.append(ask(s, learners))
            except NotFiniteError:
                wrong.append(s)
        if wrong:
            raise NotFiniteError("what a policy returns is not finite", wrong)
        return found

    def observe(self, transition: Transition) -> None:
        """Add the step to the rollouts."""
        for s, learners in enumerate(self._learners):
            for learner in learners.values():
                learner.observe(transition, s)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update the policies whose rollouts are full."""
        figures: dict[str, np.ma.MaskedArray[Any, np.dtype[np.float64]]] = {}
        found = self._of_every_seed(lambda s, learners: {name: it.learn() for name, it in learners.items()})
        for s, of_seed in enumerate(found):
            for name, of_role in of_seed.items():
                for key, value in of_role.items():
                    # A seed in which nobody decided anything has learnt nothing.
                    figures.setdefault(f"{name}/{key}", np.ma.masked_array(np.zeros(len(found)), True))[s] = value
        return figures or None

    def state_dict(self, seed_index: int) -> State:
        """Return policies, optimisers, rollouts and random states of one seed."""
        return {name: learner.state() for name, learner in self._learners[seed_index].items()}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        for name, learner in self._learners[seed_index].items():
            learner.load_state(state[name])

    def policy_state(self, seed_index: int) -> State:
        """Return the policies of one seed."""
        return {name: learner.policy_state() for name, learner in self._learners[seed_index].items()}

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with the policies that `policy_state` returned."""
        for name, learner in self._learners[seed_index].items():
            learner.ppo.policy.load_state_dict(state[name])

    def parameters_count(self) -> int:
        """Return the number of policy and value parameters of one seed."""
        learners = self._learners[0].values()
        return sum(p.numel() for learner in learners for p in learner.ppo.policy.parameters())


class PPOLearner:
    """One instance of Stable-Baselines3's PPO: one seed, one role."""

    def __init__(self, context: AgentContext, config: PPOConfig, role: Role, seed: int) -> None:
        self.role, self.config, self.budget = role, config, context.budget
        self.num_envs = context.num_envs
        self.columns = context.num_envs * role.count
        self.indexed = 1 < role.count <= MAX_INDEXED_AGENTS
        n_steps = rollout_length(config, role, context.num_envs)
        if n_steps * self.columns < 2:
            raise UserError(f"rollout_size={config.rollout_size} is not allowed: use 2 or more")
        generator = np.random.SeedSequence([seed, context.stream_offset(role)]).generate_state(2, np.uint32)
        self._torch_state = torch.Generator().manual_seed(int(generator[0])).get_state()
        self._numpy_state = np.random.RandomState(int(generator[1])).get_state(legacy=False)
        features = role.observation_space.shape[0] + (role.count if self.indexed else 0)
        with self._own_randomness():
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
        self._decided: tuple[NDArray[Any], NDArray[Any], Tensor, Tensor] | None = None
        self._successors: NDArray[np.float32] | None = None

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Use this learner's state of the global generators that Stable-Baselines3 draws from."""
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
    def _numbers(self, observations: Tensor) -> Iterator[None]:
        """Tell PyTorch's complaints about a policy that returns no numbers as what they are."""
        try:
            yield
        except (ValueError, RuntimeError) as error:
            policy = self.ppo.policy
            with torch.no_grad():
                returned = [policy.action_net(policy.mlp_extractor.forward_actor(observations))]
                if isinstance(self.role.action_space, spaces.Box):
                    returned += [policy.log_std.exp(), policy.log_std.exp().reciprocal()]
            if all(bool(torch.isfinite(x).all()) for x in returned):
                raise
            raise NotFiniteError("what a policy returns is not finite", ()) from error

    def _seen(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """(markets, agents, features) to (markets · agents, features with index)."""
        markets = observations.shape[0]
        if self.indexed:
            index = np.broadcast_to(np.eye(self.role.count, dtype=np.float32), (markets,) + (self.role.count,) * 2)
            observations = np.concatenate([observations, index], axis=-1)
        return observations.reshape(markets * self.role.count, -1)

    def act(self, observations: NDArray[np.float32], deterministic: bool) -> NDArray[Any]:
        """Return the actions (markets, agents, …) of one seed."""
        seen = self._seen(observations)
        policy = self.ppo.policy
        policy.set_training_mode(False)
        tensor = torch.as_tensor(seen, device=self.ppo.device)
        with torch.no_grad(), self._numbers(tensor):
            if deterministic:
                actions = policy._predict(tensor, deterministic=True).cpu().numpy()
            else:
                with self._own_randomness():
                    chosen, values, log_probs = policy(tensor)
                actions = chosen.cpu().numpy()
                self._decided = seen, actions, values, log_probs
        space = self.role.action_space
        if isinstance(space, spaces.Box):
            if not np.isfinite(actions).all():
                raise NotFiniteError("an action is not finite", ())
            actions = np.clip(actions, space.low, space.high)
        return actions.reshape(observations.shape[0], self.role.count, *(space.shape or ()))

    def _values(self, observations: NDArray[np.float32]) -> Tensor:
        with torch.no_grad():
            return self.ppo.policy.predict_values(torch.as_tensor(observations, device=self.ppo.device))

    def observe(self, transition: Transition, s: int) -> None:
        """Add one step of seed ``s``; a truncated episode is credited with the value of what would follow."""
        assert self._decided is not None
        seen, actions, values, log_probs = self._decided
        name, count = self.role.name, self.role.count
        rewards = transition.rewards[name][s].reshape(-1).astype(np.float32) * np.float32(self.config.reward_scale)
        self._successors = self._seen(transition.next_observations[name][s]).copy()
        truncated = np.repeat(transition.truncated[s] & ~transition.terminated[s], count)
        if truncated.any():
            beyond = self._values(self._successors[truncated]).cpu().numpy().reshape(-1)
            rewards[truncated] += self.config.gamma * beyond
        self.buffer.active[self.buffer.pos] = transition.active[name][s].reshape(-1)
        self.buffer.open_decision = ~transition.next_active[name][s].reshape(-1)
        discrete = isinstance(self.role.action_space, spaces.Discrete)
        self.buffer.add(seen, actions.reshape(-1, 1) if discrete else actions, rewards, self._starts, values, log_probs)
        self._starts = np.repeat(transition.ended[s], count).astype(np.float32)
        self._decided = None
        self.ppo.num_timesteps += self.num_envs

    def learn(self) -> dict[str, float]:
        """Update if the rollout is full."""
        if not self.buffer.full:
            return {}
        assert self._successors is not None
        self.buffer.compute_returns_and_advantage(self._values(self._successors), self._starts)
        self.ppo._update_current_progress_remaining(self.ppo.num_timesteps, self.budget)
        done = self.ppo.num_timesteps / self.budget
        self.ppo.ent_coef = linear(self.config.ent_coef, self.config.ent_coef_end, 1.0, done)
        if self.buffer.active.any():
            seen = torch.as_tensor(self.buffer.observations, device=self.ppo.device).flatten(0, 1)
            with self._numbers(seen), self._own_randomness():
                self.ppo.train()
        self.buffer.reset()
        figures = self.ppo.logger.name_to_value
        found = {key.removeprefix("train/"): float(value) for key, value in figures.items()}
        self.ppo.logger.name_to_value.clear()
        return {key: found[key] for key in ("entropy_loss", "value_loss", "approx_kl") if key in found}

    _ARRAYS = (
        "observations", "actions", "rewards", "values", "log_probs", "episode_starts", "advantages", "returns",
        "active", "open_decision",
    )  # fmt: skip

    def policy_state(self) -> State:
        """Return the networks."""
        return {key: value.clone() for key, value in self.ppo.policy.state_dict().items()}

    def state(self) -> State:
        """Return networks, optimiser, rollout and random states."""
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
        """Set everything that `state` returned."""
        self.ppo.policy.load_state_dict(state["policy"])
        held = self.ppo.policy.optimizer.state_dict()
        # Keys must be integers: with strings the optimiser would load silently empty.
        held["state"] = {int(k): {key: v.clone() for key, v in r.items()} for k, r in state["optimiser"].items()}
        self.ppo.policy.optimizer.load_state_dict(held)
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
