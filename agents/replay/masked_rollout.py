"""The rollout buffer of Stable-Baselines3 for agents that do not act in every step of the market."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from ioa_marl.agents.replay.rollouts import generalised_advantages


class MaskedRolloutBuffer(RolloutBuffer):
    """A rollout buffer that knows in which rows the agent decides.

    The reward of any other row belongs to the agent's last decision, and the row is not used for training. If all rows
    are decisions, the buffer equals that of Stable-Baselines3.
    """

    active: NDArray[np.bool_]
    """(steps, columns): whether the agent decides in the row."""
    open_decision: NDArray[np.bool_]
    """(columns,): whether the agent waits after the last row, so that the outcome of its last decision is not known."""

    def reset(self) -> None:
        """Remove all rows."""
        super().reset()
        self.active = np.ones((self.buffer_size, self.n_envs), dtype=np.bool_)
        self.open_decision = np.zeros(self.n_envs, dtype=np.bool_)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[Any]) -> None:
        """Estimate advantages and returns; a decision whose outcome is not known is not used for training.

        The last reward of a truncated episode already includes the value of the next state. Every end of an episode is
        therefore treated as a termination.

        Parameters
        ----------
        last_values : Tensor
            (columns, 1): values of the observations after the last row.
        dones : ndarray
            (columns,): whether the episode ended in the last row.
        """
        ended = np.concatenate([self.episode_starts[1:], np.asarray(dones, np.float32)[None]]) > 0
        next_values = np.broadcast_to(last_values.numpy(force=True).reshape(-1), self.values.shape)
        self.advantages, self.active = generalised_advantages(
            self.rewards, self.values, next_values, self.active, ended, np.zeros_like(ended), self.open_decision,
            self.gamma, self.gae_lambda,
        )  # fmt: skip
        self.returns = self.advantages + self.values

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield shuffled batches of ``batch_size`` rows whose outcome is known; by default one batch of all."""
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
