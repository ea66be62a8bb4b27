"""The choices in each group of settings: files of the package and of the user's folder, and plug-ins."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Glob
from omegaconf import OmegaConf

from ioa_marl import registry
from ioa_marl.foundations.errors import UserError, shown, unknown_name

NAMED = ("env", "agent")
"""Groups whose choices are names of the registry, or ``NAME/PRESET``."""
TUNED = "tuned"
"""Preset of an agent that stands for the settings found for the market at hand."""


def conf_folder() -> Path:
    """Return the package's folder of configuration files."""
    import ioa_marl.conf

    return Path(ioa_marl.conf.__path__[0])


class Groups:
    """The groups of settings that Hydra sees.

    Parameters
    ----------
    own : Path, optional
        The user's folder of configuration files, in addition to the package's.
    """

    def __init__(self, own: Path | None = None) -> None:
        self.folders = [conf_folder(), *([] if own is None else [own])]

    def exists(self, group: str) -> bool:
        """Whether there is such a group."""
        return any((folder / group).is_dir() for folder in self.folders)

    def options(self, group: str) -> list[str]:
        """Return every choice of a group, presets as ``name/preset``."""
        options = set(_files(self.folders, group))
        if group in NAMED:
            options |= set(registry.env_names() if group == "env" else registry.agent_names())
        if group == "agent":
            found = {name for name, _, preset in (option.partition("/") for option in options) if _market_of(preset)}
            options |= {f"{name}/{TUNED}" for name in found}
        return sorted(options)

    def tuned(self, agent: str, env: str, key: str) -> str:
        """Return the choice that ``AGENT/tuned`` stands for in a market, ``AGENT/MARKET`` or that of its preset.

        Parameters
        ----------
        agent : str
            Name of the agent.
        env : str
            Choice of the market, as ``NAME`` or ``NAME/PRESET``.
        key : str
            The setting that chooses the agent, for messages.

        Raises
        ------
        UserError
            If no settings of the agent were found for this market.
        """
        market, _, preset = env.partition("/")
        files, brought = _files(self.folders, "agent"), _brought(agent, market)
        for name in (f"{market}_{preset}", market) if preset else (market,):
            if f"{agent}/{name}" in files:
                return f"{agent}/{name}"
            if name in brought:
                _store_agent(agent, name, brought[name])
                return f"{agent}/{name}"
        own = {_market_of(option.removeprefix(f"{agent}/")) for option in files if option.startswith(f"{agent}/")}
        known = sorted((own | set(brought)) - {""})
        others = f"; there are some for {', '.join(known)}" if known else ""
        raise UserError(
            f"{key}={agent}/{TUNED} has no settings for env={env}: use {agent}, with its documented defaults{others}"
        )

    def matching(self, group: str, pattern: Glob) -> list[str]:
        """Return the choices that match a pattern; ``*`` does not match ``/``, so presets need ``NAME/*``.

        ``tuned``, which is one of the other presets, is matched by name only.
        """

        def matches(option: str, patterns: Sequence[str]) -> bool:
            return any(p.count("/") == option.count("/") and fnmatch.fnmatchcase(option, p) for p in patterns)

        named = any(p.endswith(f"/{TUNED}") for p in pattern.include)
        options = [o for o in self.options(group) if named or not o.endswith(f"/{TUNED}")]
        return [o for o in options if matches(o, pattern.include) and not matches(o, pattern.exclude)]

    def check(self, group: str, choice: Any, key: str) -> None:
        """Refuse a choice that the group does not have; register a plug-in's choice with Hydra.

        Parameters
        ----------
        group : str
            The group.
        choice : object
            The choice.
        key : str
            The setting that makes the choice, for messages.
        """
        if not isinstance(choice, str):
            raise UserError(f"{key}={shown(choice)} is not allowed: use one name, as in {key}=NAME")
        if choice in _files(self.folders, group):
            return
        if group == "agent" and choice.endswith(f"/{TUNED}"):
            name = choice.removesuffix(f"/{TUNED}")
            if name not in registry.agent_names():
                raise unknown_name("agent", name, registry.agent_names())
            return
        if group not in NAMED:
            raise unknown_name(group, choice, self.options(group))
        first, _, preset = choice.partition("/")
        names = registry.env_names() if group == "env" else registry.agent_names()
        kind: registry.Kind = "environment" if group == "env" else "agent"
        if first not in names:
            raise unknown_name(kind, first, [*names, *_files(self.folders[1:], group)])
        if registry.entry(kind, first).source == "ioa_marl":
            near = [option for option in self.options(group) if option.partition("/")[0] == first]
            raise UserError(f"{key}={shown(choice)} is not allowed: use {', '.join(near)}")
        _store_plugin(group, first, preset)


def _files(folders: Sequence[Path], group: str) -> list[str]:
    return [
        path.relative_to(folder / group).with_suffix("").as_posix()
        for folder in folders
        for path in (folder / group).rglob("*.yaml")
    ]


def presets(entry: registry.Entry) -> list[str]:
    """Return the presets of a market or agent, as in ``env=NAME/PRESET``.

    A market's first preset is left out, because the market's name alone selects it. Infeasible presets, which exist to
    be refused, are left out as well.
    """
    if entry.kind == "environment":
        game_class = registry.load_env(entry.name)
        return [preset for preset in list(game_class.presets)[1:] if preset not in game_class.infeasible]
    if entry.source != "ioa_marl":
        return []
    options = (option.partition("/") for option in _files([conf_folder()], "agent"))
    own = sorted(preset for name, _, preset in options if preset and name == entry.name)
    return [*own, TUNED] if any(map(_market_of, own)) else own


def _market_of(preset: str) -> str:
    """Return the market whose name, or whose name and preset as ``NAME_PRESET``, a preset of an agent has, or ""."""
    return next((name for name in registry.env_names() if preset == name or preset.startswith(f"{name}_")), "")


def _brought(agent: str, market: str) -> dict[str, Mapping[str, Any]]:
    """Return what the classes of an agent and of a market of other packages bring, by ``MARKET[_PRESET]``."""
    found: dict[str, Mapping[str, Any]] = {}
    if registry.entry("agent", agent).source != registry.OWN:
        found |= registry.load_agent(agent).tuned
    if registry.entry("environment", market).source != registry.OWN:
        of_market = registry.load_env(market).tuned
        found |= {market: of_market[agent]} if agent in of_market else {}
    return found


def _store_agent(agent: str, name: str, settings: Mapping[str, Any]) -> None:
    """Offer the settings of an agent for a market to Hydra as ``agent/AGENT/NAME``."""
    schema = registry.load_agent(agent).config_class
    node: dict[str, Any] = {"name": agent, **_defaults(schema()), **settings}
    ConfigStore.instance().store(group=f"agent/{agent}", name=name, node=node, provider=agent)


def _store_plugin(group: str, name: str, preset: str) -> None:
    store = ConfigStore.instance()
    if group == "agent":
        if preset:
            raise UserError(
                f"agent={name}/{preset} is not allowed: use {name}; agents of other packages have no presets"
            )
        schema = registry.load_agent(name).config_class
        node: dict[str, Any] = {"name": name, **_defaults(schema())}
        store.store(group=group, name=name, node=node, provider=name)
        return
    game_class = registry.load_env(name)
    chosen = preset or next(iter(game_class.presets))
    if chosen not in game_class.presets:
        raise UserError(f"env={name}/{preset} is not allowed: use {', '.join(game_class.presets)}")
    node = {"name": name, "preset": chosen, **_defaults(game_class.make_config(chosen))}
    if preset:
        store.store(group=f"{group}/{name}", name=preset, node=node, package=group, provider=name)
    else:
        store.store(group=group, name=name, node=node, provider=name)


def _defaults(config: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
