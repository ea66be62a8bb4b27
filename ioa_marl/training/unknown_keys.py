"""Settings that are not there: all of them are named, each with what it may have been meant for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from ioa_marl import registry
from ioa_marl.foundations.errors import nearest, shown
from ioa_marl.training.overrides import Given


class UnknownKeys:
    """Collects the settings that are not there, over all jobs of a sweep.

    Parameters
    ----------
    chosen : dict
        What the sweep chooses of each group, by the setting that does: ``{"agent": ["ppo", "sac"]}``.
    """

    def __init__(self, chosen: Mapping[str, Sequence[str | None]]) -> None:
        self._chosen = chosen
        self._hints: dict[str, str] = {}
        self._lacking: dict[str, dict[str | None, None]] = {}

    def note(self, given: Given, config: DictConfig, choices: Mapping[str, str | None]) -> bool:
        """Note a setting that could not be set; returns whether that is because it is not there.

        Parameters
        ----------
        given : Given
            The setting.
        config : DictConfig
            What it could not be set in.
        choices : dict
            What the job chooses, as ``chosen``.
        """
        place = missing(config, given.name)
        if place is None:
            return False
        self._hints.setdefault(given.name, hint_of(given, config, *place))
        self._lacking.setdefault(given.name, {})[choices.get(self._group(given.name) or "")] = None
        return True

    def _group(self, name: str) -> str | None:
        """Return the setting that chooses what a setting belongs to."""
        return next((group for group in self._chosen if name.startswith(f"{group}.")), None)

    def messages(self) -> Iterator[str]:
        """Yield what is wrong with each setting; where only some of the swept choices lack it, which."""
        for name, hint in self._hints.items():
            chosen = list(dict.fromkeys(self._chosen.get(self._group(name) or "", ())))
            lacking = [choice for choice in chosen if choice in self._lacking[name]]
            if 0 < len(lacking) < len(chosen):
                yield (
                    f"{shown(name)} is not a setting of {', '.join(map(str, lacking))} "
                    f"(swept: {', '.join(map(str, chosen))})"
                )
            else:
                yield hint


def missing(config: DictConfig, name: str) -> tuple[str, Any, str] | None:
    """Return the deepest part of a key that is there, what it holds, and what it lacks; None if all is there."""
    held: Any = config
    parts = name.split(".")
    for i, part in enumerate(parts):
        if not isinstance(held, DictConfig) or part not in held:
            return ".".join(parts[:i]), held, part
        held = held[part]
    return None


def hint_of(given: Given, config: DictConfig, owner: str, held: Any, leaf: str) -> str:
    """Return in a sentence what a setting may have been meant for."""
    unknown = f"unknown key {shown(f'{owner}.{leaf}' if owner else leaf)}"
    value = given.typed.partition("=")[2]
    if not owner and leaf in ("env", "agent"):
        names = registry.env_names() if leaf == "env" else registry.agent_names()
        return f"{leaf} is not set: choose one with {leaf}=NAME, of {', '.join(names)}"
    if owner == "roles":
        of_it = given.name == f"roles.{leaf}"
        return f"{unknown}: use roles.{leaf}.agent={shown(value) if of_it else 'NAME'}"
    if owner == "hydra.launcher":
        return f"{unknown} of this launcher: choose one that has it, as in hydra/launcher=joblib"
    if not isinstance(held, DictConfig):
        return f"{unknown}: {owner} has one value"
    known = [str(key) for key in held if key not in ("hydra", "_target_")]
    near = nearest(leaf, known) or (_elsewhere(config, leaf) if not owner else [])
    if near:
        return f"{unknown}: did you mean {' or '.join(near)}?"
    if not owner and any(separator in given.typed for separator in ("+", "/")):
        return f"{unknown}: a group of settings in --config-dir is chosen with +GROUP=NAME"
    return f"{unknown}: known are {', '.join(known) or 'none'}"


def _elsewhere(config: DictConfig, leaf: str) -> list[str]:
    """Return settings of that name in a market, an agent, or the evaluation."""
    found = []
    for owner in ("env", "agent", "evaluation"):
        node = config.get(owner)
        if isinstance(node, DictConfig):
            found += [f"{owner}.{name}" for name in nearest(leaf, list(map(str, node)))]
    return found[:3]
