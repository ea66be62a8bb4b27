"""Hydra under the command: compose and check everything first, then run; nothing is written before that."""

from __future__ import annotations

import argparse
import difflib
import itertools
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ioa_marl import registry
from ioa_marl.errors import UserError, unknown_name
from ioa_marl.training.config import ROOT_KEYS, RunSpec, resolve
from ioa_marl.training.job import FAILURES, PROGRESS, job

CHECKED_COMBINATIONS = 20
"""Sweeps of up to so many jobs are checked job by job, which takes a tenth of a second each."""
_REFUSED_FLAGS = ("config_path", "config_name", "config_dir", "package", "resolve", "shell_completion")


def train(arguments: Sequence[str]) -> int:
    """Run ``ioa-marl train`` with Hydra overrides; returns the exit status.

    Raises
    ------
    UserError
        If anything that was asked for cannot be run; nothing has been written then.
    """
    quiet = "--quiet" in arguments
    rewritten = [_rewrite(a) for a in arguments if a != "--quiet"]
    args = _parse(rewritten)
    overrides = _overrides(args.overrides)
    _register_plugins(overrides)
    _check(overrides, args.multirun)
    with tempfile.TemporaryDirectory() as scratch:
        record = Path(scratch) / "failures"
        os.environ[FAILURES] = str(record)
        several = args.multirun and not _one_after_another(overrides)
        os.environ[PROGRESS] = "off" if quiet else "lines" if several else "bar"
        # Hydra always writes the sweep's overrides somewhere; they are in every run's config.yaml already.
        args.overrides.append(f"hydra.sweep.dir={scratch}")
        try:
            _run_hydra(
                args=args, args_parser=get_args_parser(), task_function=job,
                config_path="pkg://ioa_marl.conf", config_name="config",
            )  # fmt: skip
        finally:
            os.environ.pop(FAILURES, None)
            os.environ.pop(PROGRESS, None)
        failures = record.read_text().split() if record.exists() else []
    if not failures:
        return 0
    return 2 if set(failures) == {"user"} else 1


def specification(arguments: Sequence[str]) -> RunSpec:
    """Return what Hydra overrides describe, checked; nothing is run.

    Raises
    ------
    UserError
        If anything that was asked for cannot be run.
    """
    overrides = _overrides([_rewrite(argument) for argument in arguments])
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line} is not allowed: use one value")
    _register_plugins(overrides)
    return _check(overrides, multirun=False)[0]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    known = {flag for action in parser._actions for flag in action.option_strings}
    for argument in arguments:
        if argument.startswith("-") and argument.partition("=")[0] not in known:
            raise UserError(f"unknown option {argument}: options are -m, --quiet and --cfg job; settings are key=value")
    args: argparse.Namespace = parser.parse_intermixed_args(list(arguments))
    for flag in _REFUSED_FLAGS:
        if getattr(args, flag, None):
            raise UserError(f"--{flag.replace('_', '-')} is not an option of train")
    return args


def _rewrite(argument: str) -> str:
    """``roles.buyer.agent=sac`` chooses a whole agent configuration for that role; folders of runs hold ``=``."""
    key, equals, value = argument.partition("=")
    parts = key.split(".")
    if parts[-2:] == ["agent", "path"] and "=" in value and not set("'\"") & set(value):
        return f'{key}="{value}"'
    if equals and len(parts) == 3 and parts[0] == "roles" and parts[2] == "agent":
        return f"+agent@{key}={value}"
    return argument


def _overrides(texts: Sequence[str]) -> list[Override]:
    try:
        parsed: list[Override] = OverridesParser.create().parse_overrides(list(texts))
    except HydraException as error:
        raise UserError(_line(error)) from error
    return parsed


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise UserError(f"{override.input_line} is not allowed: sweep over a list or a range of values")
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]


def _options(group: str) -> set[str]:
    """Return every choice of a config group, presets as ``name/preset``."""
    folder = Path(str(_conf_folder())) / group
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}


def presets(entry: registry.Entry) -> list[str]:
    """Return what may follow the name of a market or agent, as in ``env=NAME/PRESET``.

    A market's first preset, which its name alone stands for, is left out, and so is what is there to be refused.
    """
    if entry.kind == "environment":
        game_class = registry.load_env(entry.name)
        return [preset for preset in list(game_class.presets)[1:] if preset not in game_class.infeasible]
    if entry.source != "ioa_marl":
        return []
    return sorted(
        preset for name, _, preset in (o.partition("/") for o in _options("agent")) if preset and name == entry.name
    )


def _conf_folder() -> Path:
    import ioa_marl.conf

    return Path(ioa_marl.conf.__path__[0])


def _register_plugins(overrides: Sequence[Override]) -> None:
    """Make the settings of agents and markets of other packages known to Hydra, when they are asked for."""
    for override in overrides:
        group = override.key_or_group
        if group not in ("env", "agent") or override.is_delete():
            continue
        for name in _values(override):
            kind = "environment" if group == "env" else "agent"
            first, _, preset = name.partition("/")
            names = registry.env_names() if group == "env" else registry.agent_names()
            if first not in names:
                raise unknown_name(kind, first, names)
            if registry.entry("environment" if group == "env" else "agent", first).source == "ioa_marl":
                options = _options(group)
                if name not in options:
                    near = sorted(option for option in options if option.partition("/")[0] == first)
                    raise UserError(f"{group}={name} is not allowed: use {', '.join(near)}")
            else:
                _store_plugin(group, first, preset)


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


def _check(overrides: Sequence[Override], multirun: bool) -> list[RunSpec]:
    """Compose and resolve every combination of a small sweep, or every value once: errors come before the first job."""
    for override in overrides:
        if override.is_sweep_override() and not multirun:
            raise UserError(f"{override.input_line} is a sweep: add -m to run every value")
        if override.key_or_group == "env.preset":
            value = override.get_value_element_as_str()
            raise UserError(f"env.preset={value} is not allowed: choose a preset with env=NAME/{value}")
    base = [_with(override, _values(override)[0]) for override in overrides]
    every = [[_with(override, value) for value in _values(override)] for override in overrides]
    tried = [base]
    if math.prod(map(len, every)) <= CHECKED_COMBINATIONS:
        tried = [list(combination) for combination in itertools.product(*every)]
    else:
        for i, texts in enumerate(every):
            tried += [[*base[:i], text, *base[i + 1 :]] for text in texts[1:]]
    with initialize_config_module("ioa_marl.conf", version_base="1.3"):
        return [resolve(_composed(texts)) for texts in tried]


def _with(override: Override, value: str) -> str:
    if override.is_delete():
        return str(override.input_line)
    return f"{override.get_key_element()}={value}"


def _composed(texts: list[str]) -> dict[str, Any]:
    try:
        config = compose("config", overrides=texts, return_hydra_config=True)
        # Only hydra's own nodes hold interpolations that need a running job.
        values = {key: OmegaConf.to_container(config[key], resolve=True)
                  if OmegaConf.is_config(config[key]) else config[key]
                  for key in config if key != "hydra"}  # fmt: skip
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(_line(error), texts)) from error
    return {str(key): value for key, value in values.items()}


def _explain(message: str, texts: Sequence[str]) -> str:
    """Name the nearest keys where Hydra says only that a key does not exist."""
    for i, text in enumerate(texts):
        key = text.lstrip("+~").partition("=")[0]
        parent, _, leaf = key.rpartition(".")
        if f"'{key}'" not in message or parent.partition(".")[0] == "hydra":
            continue
        known: Any = ROOT_KEYS
        if parent:
            try:
                config = compose("config", overrides=[*texts[:i], *texts[i + 1 :]])
            except (HydraException, OmegaConfBaseException):
                return message  # another one is wrong as well: Hydra's words have to do
            known = OmegaConf.select(config, parent)
        near = difflib.get_close_matches(leaf, [str(name) for name in known or ()], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(map(str, known or ()))}"
        return f"unknown key {key}: {hint}"
    return message


def _one_after_another(overrides: Sequence[Override]) -> bool:
    return not any(o.key_or_group == "hydra/launcher" and "basic" not in _values(o)[0] for o in overrides)
