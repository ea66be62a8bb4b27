"""How much a critic's estimate of SW*₋ᵢ (Eqs. 30–33) tells the bank, beside the bounds to which it is clipped.

``python benchmarks/dual_currency/critic.py [--budget N] [--seeds N]`` writes ``results/critic.json``. Slices are
trained on the common reward by every learner whose critics a bank can ask. Then they play, with the bank asking: every
estimate is compared with the exact optimum without the provider, before and after clipping, and so is the lower bound
alone, the largest welfare of the others that is on a bill. Two controls change one thing each:

- ``termination``: the last round terminates the episode, as in version 0 of the market. Q − γQ is the reward of a round
  only if the task goes on.
- ``absences``: in half of the training episodes the last provider is absent. Its critic learns from these with an
  observation of zeros, as it is asked, and with the welfare of the others for a reward. The market pays absent agents
  nothing and leaves them out, so the control pays them. Only the last provider's figures are comparable.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ioa_marl.envs.vcg_slicing import VCGSlicingGame
from ioa_marl.envs.vector import Transition
from ioa_marl.markets.vcg_slicing import clarke_payments
from ioa_marl.training.compose import specification
from ioa_marl.training.runner import Trainer
from ioa_marl.training.store import SeedFolder

RESULTS = Path(__file__).resolve().parent / "results" / "critic.json"
CASES = (
    ("mean_field_ac", "cut"), ("maddpg", "cut"), ("independent_ac", "cut"), ("mean_field_ac", "absences"),
    ("maddpg", "absences"), ("independent_ac", "absences"), ("mean_field_ac", "termination"),
)  # fmt: skip
PROVIDERS, MARKETS, EPISODES = 10, 16, 20
FIRST_EPISODE = 2**40
"""Seed of the first market in which the bank asks; training seeds are smaller."""


def types_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return β, (providers,), and ξ, (providers, 3), of the instance on which a seed trains."""
    game = VCGSlicingGame(VCGSlicingGame.make_config("dual_currency"))
    game.reset(np.zeros(1, np.uint64), instances=np.array([seed], np.uint64))
    return game.market.worth[0].copy(), game.market.rate[0].copy()


def exact_of(seed: int) -> np.ndarray:
    """Return SW*₋ᵢ over Σβ of the instance on which a seed trains, shape (providers,)."""
    worth, rate = types_of(seed)
    return np.asarray(clarke_payments(worth, rate).welfare_without / worth.sum())


def including_the_absent(transition: Transition, remaining: np.ndarray) -> Transition:
    """Return a step in which absent slices get the others' welfare for a reward, and count as acting.

    Parameters
    ----------
    transition : Transition
        A step of a market with the common reward, welfare over Σβ of those present.
    remaining : ndarray, shape (seeds,)
        Σβ without the last provider over Σβ.
    """
    absent, rewards = ~transition.active["slice"], transition.rewards["slice"]
    welfare = rewards[..., :1] * remaining[:, None, None].astype(np.float32)
    everybody = {"slice": np.ones_like(absent)}
    return dataclasses.replace(
        transition, active=everybody, next_active=everybody, rewards={"slice": np.where(absent, welfare, rewards)}
    )


def train(learner: str, control: str, budget: int, seeds: int, folder: Path) -> Any:
    """Return the agent of the slices, trained with the common reward on instance i with seed i."""
    VCGSlicingGame.endless = control != "termination"
    asked = [] if control == "absences" else ["env.externality=critic"]
    spec = specification(
        [
            "env=vcg_slicing/dual_currency", "env.slice_reward=utility", f"agent={learner}/vcg_slicing", *asked,
            "agent.reward_scale=2", f"budget={budget}", f"num_envs={MARKETS}", f"seeds={seeds}",
            f"env.fewest_providers={PROVIDERS - 1 if control == 'absences' else 'null'}", f"runs={folder}",
        ]
    )  # fmt: skip
    trainer = Trainer(spec, spec.seeds, [SeedFolder(folder / str(seed)) for seed in spec.seeds])
    (agent,) = trainer.agents
    if control == "absences":
        observe, worth = agent.observe, np.array([types_of(seed)[0] for seed in spec.seeds])
        remaining = worth[:, :-1].sum(axis=1) / worth.sum(axis=1)
        agent.observe = lambda transition: observe(including_the_absent(transition, remaining))  # type: ignore[method-assign]
    for _ in range(budget // MARKETS):
        trainer.step()
    return agent


def ask(agent: Any, seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Play with a bank that asks the agent's critic, all providers present.

    Returns
    -------
    low, estimate, high : ndarray, shape (rounds, seeds, episodes, providers)
        Bounds and estimates before clipping, over Σβ.
    welfare_ratio : float
        Welfare over its optimum, mean over seeds and episodes.
    """
    config = VCGSlicingGame.make_config("dual_currency", externality="critic", slice_reward="utility")
    game = VCGSlicingGame(config, seeds * EPISODES, autoreset=False)
    agent.attach(game)
    critic, records = game.bank.critic, []

    def recorded(before: Any, after: Any, *, hold: Any, largest: Any, largest_of_others: Any) -> np.ndarray:
        raw = critic(before, after, hold=hold, largest=largest + np.inf, largest_of_others=largest_of_others - np.inf)
        high = np.broadcast_to(largest[:, None], raw.shape)
        records.append([x.reshape(seeds, EPISODES, -1).copy() for x in (largest_of_others, raw, high)])
        return np.minimum(np.maximum(raw, largest_of_others), high)

    game.bank.critic = recorded
    streams = np.tile(np.arange(EPISODES, dtype=np.uint64) + np.uint64(FIRST_EPISODE), seeds)
    observed = game.reset(streams, instances=np.repeat(np.arange(seeds, dtype=np.uint64), EPISODES))[0]
    for _ in range(config.rounds):
        seen = observed["slice"].reshape(seeds, EPISODES, PROVIDERS, -1)
        actions = agent.act({"slice": seen}, deterministic=True)["slice"]
        step = game.step({"slice": actions.reshape(seeds * EPISODES, PROVIDERS, -1)})
        observed = step.observations
    low, raw, high = (np.stack([record[k] for record in records]) for k in range(3))
    return low, raw, high, float(np.mean(step.metrics["welfare_ratio"]))


def compared(low: np.ndarray, estimate: np.ndarray, high: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Return the share of estimates inside the bounds, and mean relative errors.

    ``exact`` has the shape (seeds, providers), the others (rounds, seeds, episodes, providers). ``deviation`` is the
    standard deviation of a provider's estimates over rounds and episodes, relative to the exact value; ``correlation``
    is that of the providers' mean estimates with their exact values, mean over seeds.
    """
    clipped, true = np.minimum(np.maximum(estimate, low), high), exact[:, None]
    found = {
        "inside": float(((estimate > low) & (estimate < high)).mean()),
        "below": float((estimate <= low).mean()),
        "error_of_estimate": float(np.abs(estimate / true - 1.0).mean()),
        "error_of_clipped": float(np.abs(clipped / true - 1.0).mean()),
        "error_of_lower_bound": float(np.abs(low / true - 1.0).mean()),
        "deviation": float((estimate.std(axis=(0, 2)) / exact).mean()),
    }
    if exact.shape[1] > 1:
        means = estimate.mean(axis=(0, 2))
        found["correlation"] = float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(means, exact, strict=True)]))
    return found


def result(learner: str, control: str, budget: int, seeds: int) -> dict[str, Any]:
    """Train, ask, and compare: the figures of all providers, and those of the last one."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        agent = train(learner, control, budget, seeds, Path(folder))
    low, raw, high, welfare_ratio = ask(agent, seeds)
    exact = np.stack([exact_of(seed) for seed in range(seeds)])
    last = (x[..., -1:] for x in (low, raw, high, exact))
    return {
        "learner": learner, "control": control, "welfare_ratio": welfare_ratio, "all": compared(low, raw, high, exact),
        "last": compared(*last), "seconds": round(time.perf_counter() - started),
    }  # fmt: skip


def main() -> None:
    """Make all cases, each in a process of its own, and write what was compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=20_000, help="environment steps of a training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--case", type=int, help="make this case only, and print it")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(result(*CASES[options.case], options.budget, options.seeds)))
        return
    rows = []
    for number in range(len(CASES)):
        again = [sys.executable, __file__, "--budget", str(options.budget), "--seeds", str(options.seeds)]
        done = subprocess.run([*again, "--case", str(number)], check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
        about = {
            "date": time.strftime("%Y-%m-%d"), "versions": {name: version(name) for name in ("torch", "numpy")},
            "budget": options.budget, "seeds": options.seeds, "rows": rows,
        }  # fmt: skip
        RESULTS.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
