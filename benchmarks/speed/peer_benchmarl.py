"""BenchMARL's algorithms on one of our markets, in an interpreter that has BenchMARL; started by `peer_process.Peer`.

One step of a turn is one iteration of its training loop: it collects frames and makes its gradient steps. Evaluation,
logging to files and checkpoints are off.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
import peer_child
import torch
from benchmarl.algorithms import IppoConfig, MaddpgConfig, MappoConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from pettingzoo.utils.env import ParallelEnv
from torchrl.envs import PettingZooWrapper

from ioa_marl import registry
from ioa_marl.envs.parallel import MarketParallelEnv

ALGORITHMS = {"ippo": IppoConfig, "mappo": MappoConfig, "maddpg": MaddpgConfig}


class Plain(ParallelEnv):
    """A market as BenchMARL takes it: without infos, and for MADDPG with scores of the actions as its actions.

    BenchMARL's MADDPG has continuous actions only. An action then is a vector of one score for each outcome, and
    the market gets the best one: networks have the same inputs and outputs as with one-hot actions.
    """

    def __init__(self, market: str, preset: str, roles: list[str], scores: bool) -> None:
        self._env = MarketParallelEnv(registry.load_env(market), preset, roles)
        self.metadata, self.render_mode = self._env.metadata, None
        self.possible_agents = self._env.possible_agents
        self.observation_spaces, self.state_space = self._env.observation_spaces, self._env.state_space
        spaces = self._env.action_spaces
        self._scores = scores
        self.action_spaces = {
            agent: gymnasium.spaces.Box(-1.0, 1.0, (int(space.n),), np.float32) if scores else space
            for agent, space in spaces.items()
        }

    @property
    def agents(self) -> list[str]:
        """Agents of the episode that runs."""
        return self._env.agents

    def observation_space(self, agent: str) -> gymnasium.Space:
        """Return the agent's observation space."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        """Return the agent's action space."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start an episode."""
        seen, _ = self._env.reset(seed)
        return seen, {agent: {} for agent in seen}

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Play one step."""
        if self._scores:
            actions = {agent: int(scores.argmax()) for agent, scores in actions.items()}
        seen, rewards, terminated, truncated, _ = self._env.step(actions)
        return seen, rewards, terminated, truncated, {agent: {} for agent in seen}

    def state(self) -> np.ndarray:
        """Return the market's state."""
        return self._env.state()

    def close(self) -> None:
        """Close the market."""
        self._env.close()


class MarketTask(PettingZooClass):
    """The market as a task of BenchMARL."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Any:
        """Return what makes one market."""
        config = dict(self.config)
        return lambda: PettingZooWrapper(
            env=Plain(config["market"], config["preset"], config["roles"], config["scores"]),
            categorical_actions=True, device=device, seed=seed, return_state=config["state"],
        )  # fmt: skip

    def supports_continuous_actions(self) -> bool:
        """Whether actions are scores."""
        return bool(self.config["scores"])

    def supports_discrete_actions(self) -> bool:
        """Whether actions are the market's own."""
        return not self.config["scores"]

    def has_state(self) -> bool:
        """Whether critics see the market's state; else they see all observations."""
        return bool(self.config["state"])

    def has_render(self, env: Any) -> bool:
        """Whether anything is drawn."""
        return False

    def max_steps(self, env: Any) -> int:
        """Return the steps of an episode in evaluation, of which there is none."""
        return 1_000

    @staticmethod
    def env_name() -> str:
        """Name of the suite."""
        return "market"


class Turns(Callback):
    """Pauses the training loop between turns."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 0
        self._started: float | None = None

    def on_batch_collected(self, batch: Any) -> None:
        """Answer at the end of a turn and wait for the next one; one iteration lies between two calls."""
        self._left -= 1
        if self._left > 0:
            return
        if self._started is None:
            peer_child.say({"torch": torch.__version__, "frames": batch.numel()})
        else:
            peer_child.say(time.process_time() - self._started)
        steps = peer_child.next_turn()
        if steps is None:
            raise SystemExit
        self._left, self._started = steps, time.process_time()


def experiment_config(s: dict[str, Any]) -> ExperimentConfig:
    """Return BenchMARL's own settings with the sizes of the comparison."""
    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames, config.max_n_iters = None, 10**6
    config.loggers, config.create_json, config.evaluation, config.render = [], False, False, False
    config.save_folder = "."
    config.gamma, config.lr, config.polyak_tau = s["gamma"], s["lr"], s["tau"]
    config.share_policy_params = s["shared"]
    config.clip_grad_val = s["max_grad_norm"]
    config.exploration_anneal_frames = 10**6
    config.prefer_continuous_actions = s["algorithm"] == "maddpg"
    config.on_policy_n_envs_per_worker = config.off_policy_n_envs_per_worker = s["markets"]
    config.on_policy_collected_frames_per_batch = config.off_policy_collected_frames_per_batch = s["frames"]
    config.on_policy_n_minibatch_iters, config.on_policy_minibatch_size = s["epochs"], s["batch"]
    config.off_policy_n_optimizer_steps, config.off_policy_train_batch_size = s["updates"], s["batch"]
    config.off_policy_memory_size = s["memory"]
    return config


def main() -> None:
    """Build the experiment and train, in turns."""
    torch.set_num_threads(1)
    s = peer_child.settings
    algorithm = ALGORITHMS[s["algorithm"]].get_from_yaml()
    algorithm.share_param_critic = s["shared"]
    task = MarketTask(
        name=s["market"].upper(),
        config={**{k: s[k] for k in ("market", "preset", "roles", "state")}, "scores": s["algorithm"] == "maddpg"},
    )
    activation = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[s["activation"]]
    models = [MlpConfig(num_cells=s["hidden"], layer_class=torch.nn.Linear, activation_class=activation) for _ in "ab"]
    experiment = Experiment(
        task=task, algorithm_config=algorithm, model_config=models[0], critic_model_config=models[1], seed=0,
        config=experiment_config(s), callbacks=[Turns()],
    )  # fmt: skip
    experiment.run()


if __name__ == "__main__":
    main()
