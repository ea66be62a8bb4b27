"""The policies of a run by training seed, or one policy that all seeds play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioa_marl.agents.saved.policy import SavedPolicy, resolve_path
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.parameters import ParameterError

Policies = Mapping[str, SavedPolicy]
"""Policies by the role that they play."""


@dataclass(frozen=True)
class PoliciesBySeed:
    """The policies that an agent plays: the same ones for all training seeds, or for each seed its own."""

    by_seed: Mapping[int | None, Policies]
    """Policies by training seed; those of all seeds have the key None, and then there is no other key."""

    @classmethod
    def read(cls, path: str, roles: Mapping[str, str]) -> PoliciesBySeed:
        """Read policies from a checkpoint file, the folder of a seed or the folder of a run.

        Parameters
        ----------
        path : str
            As in `SavedPolicy.read`, or the folder of a run: then each seed has the policy of the seed of its number.
        roles : mapping of str to str
            For each role that is played the role whose policy plays it.

        Raises
        ------
        ParameterError
            As `SavedPolicy.read`, or if the seeds of the run have been trained differently.
        """
        folders = _seed_folders(Path(resolve_path(path)))
        places: dict[int | None, str] = {None: path} if not folders else {s: str(f) for s, f in folders.items()}
        found = cls({
            seed: {role: SavedPolicy.read(place, other) for role, other in roles.items()}
            for seed, place in places.items()
        })  # fmt: skip
        _check_alike(path, found.by_seed)
        return found

    @property
    def any(self) -> Policies:
        """The policies of one of the seeds, which differ from those of others by what was learnt only."""
        return next(iter(self.by_seed.values()))

    def of(self, seed: int) -> Policies | None:
        """Return the policies of a training seed, or None if there are none."""
        return self.by_seed.get(None, self.by_seed.get(seed))

    def seeds(self) -> str:
        """Return the training seeds that have policies, for messages; nothing if all seeds have the same ones."""
        return ", ".join(str(seed) for seed in self.by_seed if seed is not None)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each seed's policies by the number of the seed; empty if all have the same ones."""
        return {str(seed): fingerprint(own) for seed, own in self.by_seed.items() if seed is not None}

    def content(self) -> str:
        """Return the fingerprint of all policies."""
        prints = self.fingerprints()
        return content_of(prints) if prints else fingerprint(self.any)

    def description(self) -> str:
        """Return what the policies are, in a few words: learner, training market and environment steps."""
        parts = [_described(saved) for saved in self.any.values()]
        return " + ".join(dict.fromkeys(parts)) + (
            "" if self.seeds() else f", seed {next(iter(self.any.values())).seed}"
        )


def fingerprint(policies: Policies) -> str:
    """Return the fingerprint of policies, with a prefix so that a command line never reads it as a number."""
    return f"policy-{checkpoint.digest({name: policy.identity() for name, policy in policies.items()})}"


def content_of(fingerprints: Mapping[str, str]) -> str:
    """Return the fingerprint of the policies of several seeds from the fingerprint of each, by the seed's number."""
    return f"policy-{checkpoint.digest(dict(sorted(fingerprints.items())))}"


def _seed_folders(place: Path) -> dict[int, Path]:
    """Return the folders of seeds with a checkpoint in the folder of a run; none if it is no such folder."""
    if not place.is_dir() or (place / checkpoint.LATEST).exists():
        return {}
    numbers = {f.name.removeprefix("seed_"): f for f in place.glob("seed_*") if (f / checkpoint.LATEST).exists()}
    return {int(n): numbers[n] for n in sorted(numbers, key=lambda n: (len(n), n)) if n.isascii() and n.isdigit()}


def _check_alike(path: str, by_seed: Mapping[int | None, Policies]) -> None:
    """Refuse seeds that are not of one run, or that have been trained for different numbers of steps."""

    def training(policies: Policies) -> list[Any]:
        specs = [{key: value for key, value in p.spec.items() if key != "seed"} for p in policies.values()]
        return [specs, [policy.steps for policy in policies.values()]]

    (first, wanted), *others = ((seed, training(policies)) for seed, policies in by_seed.items())
    for seed, own in others:
        if own != wanted:
            what = (
                f"a run whose seeds have the same settings and steps of training, unlike {first} and {seed} of this one"
            )
            raise ParameterError("path", path, what)


def _described(saved: SavedPolicy) -> str:
    preset, count = str(saved.spec["env"].get("preset")), saved.controlled_roles()[saved.role].count
    market = preset if preset in saved.game_class.presets else f"{count} {saved.role} agents"
    steps = "" if saved.steps is None else f", {saved.steps} steps"
    return f"{saved.agent_name} of {market}{steps}"
