"""Settings that do not exist: one message for each, with suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from ioa_marl import registry
from ioa_marl.foundations.errors import nearest, shown
from ioa_marl.training.overrides import Setting


class UnknownKeys:
    """Collects the settings that do not exist, over all jobs of a sweep.

    Parameters
    ----------
    chosen : dict
        The choices of the sweep by the setting that makes them: ``{"agent": ["ppo", "sac"]}``.
    """

    def __init__(self, chosen: Mapping[str, Sequence[str | None]]) -> None:
        self._chosen = chosen
        self._hints: dict[str, str] = {}
        self._lacking: dict[str, dict[str | None, None]] = {}

    def note(self, setting: Setting, config: DictConfig, choices: Mapping[str, str | None]) -> bool:
        """Note a setting that could not be applied; return whether the reason is that it does not exist.

        Parameters
        ----------
        setting : Setting
            The setting.
        config : DictConfig
            The configuration that the setting could not be applied to.
        choices : dict
            The choices of the job by the setting that makes them.
        """
        place = missing(config, setting.name)
        if place is None:
            return False
        self._hints.setdefault(setting.name, hint_of(setting, config, *place))
        self._lacking.setdefault(setting.name, {})[choices.get(self._group(setting.name) or "")] = None
        return True

    def _group(self, name: str) -> str | None:
        """Return the setting that chooses the group to which the setting ``name`` belongs."""
        return next((group for group in self._chosen if name.startswith(f"{group}.")), None)

    def messages(self) -> Iterator[str]:
        """Yield a message for each setting; if only some of the swept choices lack it, the message names them."""
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
    """Return the longest existing prefix of a key, its node, and the missing part; None if the key exists."""
    node: Any = config
    parts = name.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, DictConfig) or part not in node:
            return ".".join(parts[:i]), node, part
        node = node[part]
    return None


def hint_of(setting: Setting, config: DictConfig, owner: str, node: Any, leaf: str) -> str:
    """Return a message about a setting that does not exist, with suggestions.

    ``owner``, ``node`` and ``leaf`` are what `missing` returns.
    """
    unknown = f"unknown key {shown(f'{owner}.{leaf}' if owner else leaf)}"
    value = setting.typed.partition("=")[2]
    if not owner and leaf in ("env", "agent"):
        names = registry.env_names() if leaf == "env" else registry.agent_names()
        return f"{leaf} is not set: choose one with {leaf}=NAME, of {', '.join(names)}"
    if owner == "roles":
        of_it = setting.name == f"roles.{leaf}"
        if setting.name.startswith(f"roles.{leaf}.agents"):
            return f"{unknown}: use roles.{leaf}.agents.0=NAME for its agent 0"
        return f"{unknown}: use roles.{leaf}.agent={shown(value) if of_it else 'NAME'}"
    if owner == "hydra.launcher":
        return f"{unknown} of this launcher: choose one that has it, as in hydra/launcher=joblib"
    if not isinstance(node, DictConfig):
        return f"{unknown}: {owner} has one value"
    known = [str(key) for key in node if key not in ("hydra", "_target_")]
    near = nearest(leaf, known) or (_elsewhere(config, leaf) if not owner else [])
    if near:
        return f"{unknown}: did you mean {' or '.join(near)}?"
    if not owner and any(separator in setting.typed for separator in ("+", "/")):
        return f"{unknown}: a group of settings in --config-dir is chosen with +GROUP=NAME"
    return f"{unknown}: known are {', '.join(known) or 'none'}"


def _elsewhere(config: DictConfig, leaf: str) -> list[str]:
    """Return settings of a similar name in the market, the agent or the evaluation."""
    matches = []
    for owner in ("env", "agent", "evaluation"):
        node = config.get(owner)
        if isinstance(node, DictConfig):
            matches += [f"{owner}.{name}" for name in nearest(leaf, list(map(str, node)))]
    return matches[:3]
