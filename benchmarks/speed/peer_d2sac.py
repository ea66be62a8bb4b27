"""The published D2SAC at its own sizes, from a checkout of its code; started by `peer_process`.

Its networks, its policy class and its replay buffer are imported; what is done with them is what its main program does.
One step of a turn is one call of its policy's ``update``: sample, n-step target, critics, actor, targets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import peer_child
import torch
from diffusion import Diffusion
from diffusion.model import MLP, DoubleCritic
from policy.diffusion_sac import DiffusionSAC
from tianshou.data import Batch, VectorReplayBuffer


def make_policy(s: dict[str, Any]) -> DiffusionSAC:
    """Build what its main program builds, with its defaults."""
    features, actions, width = s["features"], s["actions"], s["width"]
    network = MLP(state_dim=features, action_dim=actions, hidden_dim=width)
    actor = Diffusion(
        state_dim=features, action_dim=actions, model=network, max_action=1.0, beta_schedule="vp",
        n_timesteps=s["denoising_steps"],
    )  # fmt: skip
    critic = DoubleCritic(state_dim=features, action_dim=actions, hidden_dim=width)
    return DiffusionSAC(
        actor, torch.optim.Adam(actor.parameters(), lr=1e-4, weight_decay=1e-4), actions,
        critic, torch.optim.Adam(critic.parameters(), lr=1e-3, weight_decay=1e-4),
        torch.distributions.Categorical, torch.device("cpu"),
        alpha=0.05, tau=0.005, gamma=0.95, estimation_step=s["n_step"], lr_decay=False, pg_coef=1.0,
    )  # fmt: skip


def filled_buffer(s: dict[str, Any]) -> VectorReplayBuffer:
    """Return its replay buffer with random transitions in episodes of 50 steps."""
    rng = np.random.default_rng(0)
    buffer = VectorReplayBuffer(s["transitions"], buffer_num=1)
    seen = rng.random((s["transitions"] + 1, s["features"])).astype(np.float32)
    for i in range(s["transitions"]):
        row = Batch(
            obs=seen[i][None], act=rng.integers(0, s["actions"], 1), rew=rng.random(1), obs_next=seen[i + 1][None],
            terminated=np.array([i % 50 == 49]), truncated=np.array([False]), info=Batch(),
        )  # fmt: skip
        buffer.add(row, buffer_ids=[0])
    return buffer


def main() -> None:
    """Update, in turns."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = peer_child.settings
    policy, buffer = make_policy(settings), filled_buffer(settings)
    policy.train()

    def run(steps: int) -> None:
        for _ in range(steps):
            policy.update(settings["batch_size"], buffer)

    peer_child.serve({"torch": torch.__version__}, run)


if __name__ == "__main__":
    main()
