"""Figures j: training steps per second against BenchMARL, on the same market with the same sizes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from learning import PARTS, Training
from measure import Effort, Figure, SkippedError, interleave_turns, ratios, timed
from peer_process import Peer, PeerError

MARKET, PRESET, ROLES = "vcg_slicing", "paper", ["vsp"]
"""Ten providers with eleven choices each. BenchMARL cannot play a role that chooses several things at once."""
AGENTS = 10
MARKETS = 10
"""Side by side, as many as BenchMARL has if nothing is said."""
GAMMA, LR, TAU, MEMORY = 0.99, 3e-4, 0.005, 100_000

COMMON: dict[str, Any] = {
    "market": MARKET, "preset": PRESET, "roles": ROLES, "markets": MARKETS, "gamma": GAMMA, "lr": LR, "tau": TAU,
    "memory": MEMORY,
}  # fmt: skip
FRAMES, EPOCHS, MINIBATCH = 800, 10, 400
"""Of the on-policy learners: environment steps of a rollout, passes over it, and environment steps in a gradient step,
BenchMARL's own number."""
UPDATES, FRAMES_OF_UPDATES, BATCH = 20, 120, 128
"""Of MADDPG: gradient steps for so many environment steps, BenchMARL's ratio, and its batch of environment steps."""


@dataclass(frozen=True)
class Pair:
    """A learner of ours and BenchMARL's, with the same sizes."""

    key: str
    learner: str
    changes: dict[str, Any]
    """Our settings."""
    settings: dict[str, Any]
    """BenchMARL's."""
    sizes: str
    """What is the same, in words."""
    steps: int
    """Environment steps of a turn."""


def maddpg(key: str, width: int) -> Pair:
    """Return MADDPG with two hidden layers of a width."""
    changes = {
        "width": width, "batch_size": BATCH, "update_every": FRAMES_OF_UPDATES // UPDATES, "n_step": 1, "gamma": GAMMA,
        "tau": TAU, "learning_starts": MARKETS,
    }  # fmt: skip
    settings = {
        "frames": FRAMES_OF_UPDATES, "epochs": 1, "batch": BATCH, "updates": UPDATES, "hidden": [width, width],
        "activation": "relu", "max_grad_norm": 10.0, "shared": False, "algorithm": "maddpg", "state": False,
    }  # fmt: skip
    every = FRAMES_OF_UPDATES // UPDATES
    sizes = f"2×{width} for each agent, batch {BATCH} steps of all agents, an update per {every} steps"
    return Pair(key, "maddpg", changes, settings, sizes, FRAMES_OF_UPDATES)


def on_policy(key: str, learner: str, changes: dict[str, Any], settings: dict[str, Any], networks: str) -> Pair:
    """Return a learner that learns from rollouts."""
    changes = {"n_epochs": EPOCHS, "gamma": GAMMA, **changes}
    settings = {
        "frames": FRAMES, "epochs": EPOCHS, "batch": MINIBATCH, "updates": 1, "hidden": [64, 64], "max_grad_norm": 0.5,
        **settings,
    }  # fmt: skip
    sizes = f"2×64 {networks}, {FRAMES} steps of all agents, {EPOCHS} epochs, batches of {MINIBATCH}"
    return Pair(key, learner, changes, settings, sizes, FRAMES)


PAIRS = (
    maddpg("j1", 64),
    on_policy(
        "j2", "ppo",
        {"rollout_size": FRAMES * AGENTS, "batch_size": MINIBATCH * AGENTS, "hidden": (64, 64)},
        {"activation": "tanh", "shared": True, "algorithm": "ippo", "state": False}, "shared by all agents",
    ),
    on_policy(
        "j3", "mappo", {"rollout_size": FRAMES, "minibatches": FRAMES // MINIBATCH, "width": 64},
        {"activation": "relu", "shared": False, "algorithm": "mappo", "state": True}, "for each agent",
    ),
    maddpg("j4", 128),
)  # fmt: skip
"""What is compared. Two layers of 64 are the size of MADDPG's own paper, and the default of ours."""


def against_benchmarl(effort: Effort, python: str) -> list[Figure]:
    """Figures j: environment steps per second of training, everything included but evaluation."""
    try:
        return [compare(pair, effort, python) for pair in PAIRS]
    except PeerError as error:
        raise SkippedError(f"BenchMARL cannot be run: {error}") from error


def compare(pair: Pair, effort: Effort, python: str) -> Figure:
    """Return the figure of one pair."""
    training = Training(pair.learner, MARKET, num_envs=MARKETS, preset=PRESET, controlled_roles=ROLES, **pair.changes)
    training.warm()
    training.spent[:] = 0.0

    def run(turns: int) -> None:
        training.run(turns * pair.steps // MARKETS)

    with Peer(python, "peer_benchmarl.py", {**COMMON, **pair.settings}) as peer:
        peer.turn(1)  # warm, as ours is
        theirs, mine = interleave_turns([peer.turn, timed(run)], effort, [1, 1])
    shares = zip(PARTS, training.spent / training.spent.sum(), strict=True)
    algorithm = pair.settings["algorithm"]
    return Figure(
        key=pair.key,
        title=f"training with {pair.learner} against BenchMARL's {algorithm} on {MARKET} with {AGENTS} agents in "
        f"{MARKETS} markets, {pair.sizes}, environment steps/s",
        unit="×",
        target=3.0,
        values=ratios(theirs, mine),
        absolute={
            f"{pair.learner} [environment steps/s]": pair.steps / statistics.median(mine),
            "BenchMARL [environment steps/s]": pair.steps / statistics.median(theirs),
        },
        note=f"our time: {', '.join(f'{part} {share:.0%}' for part, share in shares)}",
    )
