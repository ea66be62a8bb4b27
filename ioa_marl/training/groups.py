"""The choices in each group of settings: files of the package and of the user's folder, and plug-ins."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Glob
from omegaconf import OmegaConf

from ioa_marl import registry
from ioa_marl.foundations.errors import UserError, shown, unknown_name

NAMED = ("env", "agent")
"""Groups whose choices are names of the registry, or ``NAME/PRESET``."""


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
        return sorted(options)

    def matching(self, group: str, pattern: Glob) -> list[str]:
        """Return the choices that match a pattern; ``*`` does not match ``/``, so presets need ``NAME/*``."""

        def matches(option: str, patterns: Sequence[str]) -> bool:
            return any(p.count("/") == option.count("/") and fnmatch.fnmatchcase(option, p) for p in patterns)

        options = self.options(group)
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
    return sorted(preset for name, _, preset in options if preset and name == entry.name)


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
