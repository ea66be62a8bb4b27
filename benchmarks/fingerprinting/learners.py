"""Fingerprints of agents: short trainings of every learner on every market, and scores of those that do not learn."""

from __future__ import annotations

import importlib.resources
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fingerprinting.doors import NAMES, door, of, own_names
from fingerprinting.values import REFUSED, Entry, pooled, tokens_of

Item = tuple[str, Callable[[], Entry]]
COMMON = ("seeds=[0,3]", "num_envs=4", "budget=400", "evaluation.points=2", "evaluation.episodes=3")
OFF_POLICY = (
    "agent.width=16", "agent.batch_size=16", "agent.buffer_size=80", "agent.update_every=8", "agent.learning_starts=40",
)  # fmt: skip
"""Some 45 updates; the replay memory is full after a fifth of the training."""
LEARNERS: Mapping[str, Sequence[str]] = {
    "diffusion_sac": OFF_POLICY,
    "diffusion_sac_ref": OFF_POLICY,
    "greedy": (),
    "independent_ac": OFF_POLICY,
    "maddpg": OFF_POLICY,
    "mappo": ("agent.width=16", "agent.rollout_size=64", "agent.n_epochs=2", "agent.minibatches=2"),
    "mean_field_ac": OFF_POLICY,
    "ppo": ("agent.hidden=[16,16]", "agent.rollout_size=64", "agent.n_epochs=2", "agent.batch_size=32"),
    "sac": OFF_POLICY,
}
MARKETS: Mapping[str, Sequence[str]] = {
    "double_dutch": (),
    "second_bid": ("env.stations=3", "env.tasks=20"),
    "stackelberg": (
        "env.wireless=4", "env.mobile=2", "env.fixed=2", "env.rounds=4", "env.spread=0.2", "env.relay_time=[0.11,0.15]",
    ),
    "two_tier": (
        "env.wireless=6", "env.mobile=3", "env.fixed=3", "env.aerial=4", "env.capacity=[0.5,12.0]", "env.rounds=4",
    ),
    "vcg_slicing": ("env.providers=3", "env.rounds=10"),
}  # fmt: skip
"""Small markets for training."""
NOT_BY_ITSELF = ("loaded",)
"""Agents that need a run of another one; see `SPECIAL`."""


def _as_role(role: str, learner: str) -> list[str]:
    """Return overrides with which a learner plays a role besides the usual ones."""
    small = [text.replace("agent.", f"roles.{role}.agent.", 1) for text in LEARNERS[learner]]
    return [f"roles.{role}.agent={learner}", *small]


def _varied(market: str, learner: str, *changes: str) -> list[list[str]]:
    """Return one run of a learner on a market with other settings."""
    # The last one of two overrides holds.
    return [[f"env={market}", f"agent={learner}", *MARKETS[market], *LEARNERS[learner], *changes]]


BANK = ("env.mechanism=dual_currency", "env.providers=3", "env.rounds=8")
SPECIAL: Mapping[str, Sequence[Sequence[str]]] = {
    "double_dutch: everybody learns": [
        ["env=double_dutch", "agent=ppo", *LEARNERS["ppo"], *_as_role("buyer", "sac"), *_as_role("seller", "mappo")]
    ],
    "double_dutch: bidders alone": [
        ["env=double_dutch", *_as_role("buyer", "maddpg"), *_as_role("seller", "independent_ac")]
    ],
    "second_bid: stations learn, and are met again": [
        ["env=second_bid", *MARKETS["second_bid"], *_as_role("station", "sac"), "evaluation.bidder_gain=true"],
        ["env=second_bid", *MARKETS["second_bid"], "agent=sac", *LEARNERS["sac"], "roles.station.agent=loaded",
         "roles.station.agent.path={first}"],
        ["env=second_bid", *MARKETS["second_bid"], "agent=threshold", "roles.station.agent=loaded",
         "roles.station.agent.path={first}", "roles.station.agent.member=1", "roles.station.agent.sample=true"],
    ],
    "stackelberg: followers learn": [
        ["env=stackelberg", *MARKETS["stackelberg"], "agent=mappo", *LEARNERS["mappo"],
         *_as_role("wireless", "independent_ac")],
    ],
    "stackelberg: real-valued prices": _varied("stackelberg", "ppo", "env.action=box"),
    "stackelberg: dynamics, other technology in every episode": _varied(
        "stackelberg", "mappo", "env.dynamics=true", "env.redraw=episode", "env.observation=extended"
    ),
    "two_tier: a mixed company": [
        ["env=two_tier", *MARKETS["two_tier"], "agent=sac", *LEARNERS["sac"], *_as_role("auctioneer", "ppo"),
         "roles.fixed.agent=best_response"],
    ],
    "two_tier: constant pair": [
        ["env=two_tier", *MARKETS["two_tier"], "agent=best_response", "roles.auctioneer.agent=fixed_pair"],
    ],
    "two_tier: published diffusion as auctioneer": [
        ["env=two_tier", *MARKETS["two_tier"], "agent=posted_pair", *_as_role("auctioneer", "diffusion_sac_ref")],
    ],
    "vcg_slicing: providers learn": [
        ["env=vcg_slicing", *MARKETS["vcg_slicing"], "agent=mean_field_ac", *LEARNERS["mean_field_ac"],
         *_as_role("vsp", "maddpg")],
    ],
    "vcg_slicing: a bank that asks a critic and trains networks": [
        ["env=vcg_slicing", *BANK, "env.externality=critic", "env.voi=network", "env.slice_reward=bids",
         "agent=mean_field_ac", *LEARNERS["mean_field_ac"], *_as_role("vsp", "sac")],
    ],
    "vcg_slicing: a bank that estimates": [
        ["env=vcg_slicing", *BANK, "env.externality=estimated", "agent=mappo", *LEARNERS["mappo"]],
    ],
    "maddpg: expected gradient, two critics": _varied(
        "stackelberg", "maddpg", "agent.actor_gradient=expected", "agent.twin_critics=true", "agent.n_step=1"
    ),
    "maddpg: shared networks": _varied("two_tier", "maddpg", "agent.share_above=1", "agent.agents_per_row=2"),
    "mean_field_ac: shared networks": _varied(
        "vcg_slicing", "mean_field_ac", "agent.share_above=1", "agent.agents_per_row=2", "agent.actor_gradient=expected"
    ),
    "independent_ac: no entropy, deeper": _varied(
        "second_bid", "independent_ac", "agent.entropy_start=0", "agent.entropy_end=0", "agent.depth=3"
    ),
    "mappo: plain advantages": _varied(
        "double_dutch", "mappo", "agent.normalize_advantage=false", "agent.ent_coef_start=0", "agent.ent_coef_end=0"
    ),
    "ppo: entropy": _varied("double_dutch", "ppo", "agent.ent_coef=0.1", "agent.normalize_advantage=false"),
    "sac: one step": _varied("double_dutch", "sac", "agent.n_step=1", "agent.gamma=0.9", "agent.tau=0.1"),
    "sac: episodes cut off": _varied("second_bid", "sac", "env.max_cycles=6"),
    "maddpg: episodes cut off": _varied("stackelberg", "maddpg", "env.max_cycles=3"),
    "mappo: episodes cut off": _varied("vcg_slicing", "mappo", "env.max_cycles=4"),
    "ppo: episodes cut off": _varied("second_bid", "ppo", "env.max_cycles=6"),
    "diffusion_sac: other activations": _varied("double_dutch", "diffusion_sac", "agent.activation=silu"),
    "diffusion_sac: mish": _varied("second_bid", "diffusion_sac", "agent.activation=mish", "agent.denoising_steps=3"),
}  # fmt: skip
"""Runs of a list of overrides each; ``{first}`` is the folder of the first seed of the first one."""


def items() -> Iterator[Item]:
    """Yield every run, and every file of settings."""
    for market in own_names("environment"):
        for agent in own_names("agent"):
            if agent not in NOT_BY_ITSELF:
                small = [*MARKETS.get(market, ()), *LEARNERS.get(agent, ())]
                yield f"learners/{market}/{agent}", partial(run, [[f"env={market}", f"agent={agent}", *small]])
    for name, runs in SPECIAL.items():
        yield f"learners/special/{name}", partial(run, runs)
    yield from _settings()


def run(runs: Sequence[Sequence[str]]) -> Entry:
    """Train some runs, one after the other; returns what their seeds' policies became and how they play."""
    entry: Entry = {}
    with tempfile.TemporaryDirectory() as folder:
        first: Path | None = None
        for number, overrides in enumerate(runs):
            told = [text.replace("{first}", str(first)) for text in overrides]
            spec = _specification([*COMMON, *told, f"runs={folder}/{number}"])
            if spec is None:
                entry[f"run {number}"] = [REFUSED]
                continue
            door("train_seeds")(spec, spec.seeds)
            for seed in spec.seeds:
                path = of(spec, "seed_folder")(seed)
                first = first or path
                entry |= {f"run {number}, seed {seed}, {kind}": tokens for kind, tokens in _trained(path).items()}
    return entry


def _trained(path: Path) -> Entry:
    policies = door("load_checkpoint")(path / NAMES["checkpoint_file"])[NAMES["policies"]]
    table = pq.read_table(path / NAMES["episodes_file"])
    result = json.loads((path / NAMES["result_file"]).read_text())
    return {
        "policy": tokens_of(policies),
        "all numbers of the policy": pooled(policies),
        "evaluation": tokens_of([table[name].to_numpy() for name in table.column_names]),
        "score": tokens_of([result.get(NAMES[key]) for key in ("scores", "references", "gains")]),
    }


def _specification(overrides: Sequence[str]) -> Any:
    """Return the run that overrides describe; None where the package refuses it."""
    try:
        return door("specification")(overrides)
    except door("user_error"):
        return None


def _settings() -> Iterator[Item]:
    """Yield what every file of settings makes of a run: a number that is lost on the way would change results."""
    folder = importlib.resources.files("ioa_marl.conf")
    for group in ("env", "agent"):
        for name in sorted(_named(folder / group)):
            yield f"settings/{group}/{name}", partial(_composed, f"{group}={name}")


def _named(folder: Any) -> Iterator[str]:
    """Yield the names under which Hydra knows the files of a group."""
    for file in folder.iterdir():
        if file.name.endswith(".yaml"):
            yield file.name[:-5]
        elif file.is_dir():
            yield from (f"{file.name}/{name}" for name in _named(file))


def _composed(choice: str) -> Entry:
    """Return the settings of a market, or those of an agent on its market, else on the first that it can play."""
    market = choice.rpartition("/")[2]
    others = [f"env={name}" for name in ([market] if market in MARKETS else MARKETS)]
    for other in ["agent=random"] if choice.startswith("env=") else others:
        spec = _specification([choice, other, "budget=1000000"])
        if spec is not None:
            return {other: tokens_of(spec)}
    return {"": [REFUSED]}
