"""``ioa-marl train``: compose and check all jobs before the first one starts or anything is written."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import OverrideType, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from ioa_marl.foundations import output
from ioa_marl.foundations.errors import UserError, UserErrors, nearest, one_line, shown
from ioa_marl.training import workers
from ioa_marl.training.config import ROOT_KEYS, RunSpec
from ioa_marl.training.groups import Groups, conf_folder
from ioa_marl.training.job import FAILURES, PROGRESS, job
from ioa_marl.training.launch import guarded
from ioa_marl.training.options import Options, parse_options
from ioa_marl.training.overrides import Setting, deletes, read
from ioa_marl.training.sweep import Plan, Planner, composed
from ioa_marl.training.unknown_keys import hint_of, missing

_CONFIG = "config"


def train(arguments: Sequence[str]) -> int:
    """Run ``ioa-marl train`` with Hydra overrides; returns the exit status.

    Raises
    ------
    UserError
        If any of the jobs cannot be run; in that case nothing has been written.
    """
    options = parse_options(arguments)
    with output.without_messages(options.quiet), configuration(options.config_dir) as hydra:
        plan = make_plan(hydra, options)
        for note in plan.notes:
            print(f"ioa-marl: {one_line(note)}", file=sys.stderr)  # noqa: T201 - what the command says
        if options.cfg is None:
            return launch(hydra, plan, options.quiet)
        if len(plan.jobs) > 1:
            raise UserError(f"--cfg {options.cfg} shows one job, and these are {len(plan.jobs)}: use one value of each")
        hydra.show_cfg(_CONFIG, [*plan.hydra, *plan.jobs[0]], options.cfg, None)
        return 0


def specification(arguments: Sequence[str]) -> RunSpec:
    """Check Hydra overrides and return the run that they describe, without running it.

    Raises
    ------
    UserError
        If any of the jobs cannot be run.
    """
    for argument in arguments:
        setting = read(argument, multirun=False)
        if setting.swept:
            raise UserError(f"{shown(argument)} is not allowed: use one value")
    with configuration(None) as hydra:
        return make_plan(hydra, Options(settings=tuple(arguments))).specs[0]


def planned(arguments: Sequence[str]) -> Plan:
    """Check the arguments of ``ioa-marl train`` and return the plan that they describe, without running it.

    Raises
    ------
    UserError
        If any of the jobs cannot be run.
    """
    options = parse_options(arguments)
    with configuration(options.config_dir) as hydra:
        return make_plan(hydra, options)


class ReadOnce(CachingConfigRepository):
    """Hydra's repository of files, with a cache so that each file is read once for all jobs of a sweep."""

    def __init__(self, delegate: IConfigRepository) -> None:
        self.delegate, self.cache = delegate, {}  # shared: a copy would miss what plug-ins register later

    def __deepcopy__(self, memo: Any) -> ReadOnce:
        """Return itself: Hydra makes a copy for every composition and discards it, and the cache with it."""
        return self

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy of the cached file, because Hydra modifies it."""
        return copy.deepcopy(super().load_config(config_path))


@contextmanager
def configuration(own: Path | None) -> Iterator[Hydra]:
    """Provide Hydra with the package's configuration files and those of the user's folder ``own``."""
    if own is not None:
        _check_folder(own)
    before = get_gh_backup()
    version.setbase("1.3")
    search_path = create_automatic_config_search_path(None, None, "pkg://ioa_marl.conf")
    if own is not None:
        search_path.prepend("command-line", f"file://{own.absolute()}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        hydra = Hydra.create_main_hydra2("ioa_marl", search_path)
        loader: Any = hydra.config_loader
        loader.repository = ReadOnce(loader.repository)
        yield hydra
    finally:
        restore_gh_from_backup(before)


def _check_folder(own: Path) -> None:
    """Refuse a folder with files that Hydra would ignore or confuse with the package's."""
    if not own.is_dir():
        raise UserError(f"--config-dir {shown(own)} is not a folder")
    for key in ROOT_KEYS:
        if (own / key).is_dir() and not Groups().exists(key):
            raise UserError(
                f"--config-dir {shown(own)} has a folder {key}, which would hide the setting of that name: "
                "keep configuration files in a folder of their own"
            )
    ours = conf_folder()
    for group in ("", "env", "agent", "evaluation"):
        for file in (own / group).glob("**/*.yaml" if group else "*.yaml"):
            name = file.relative_to(own)
            if (ours / name).exists():
                raise UserError(f"--config-dir {shown(own)} has {name}, as the package has: give it another name")


def make_plan(hydra: Hydra, options: Options) -> Plan:
    """Check all options and settings, and return the jobs that are to be run.

    Raises
    ------
    UserError
        With all mistakes, in one line.
    """
    groups = Groups(options.config_dir)
    errors = UserErrors()
    settings = [setting for text in options.settings for setting in errors.tried(partial(read, text, options.multirun))]
    errors.throw()
    hydra_settings = [setting for setting in settings if setting.is_hydra]
    for setting in hydra_settings:
        with errors.collected():
            _check_hydra(setting, hydra)
    errors.throw()
    _check_hydra_keys(hydra, hydra_settings, errors)
    own_settings = [_added(setting, groups) for setting in settings if not setting.is_hydra]
    texts = [setting.text(setting.override) for setting in hydra_settings]
    multirun, own_settings = _with_file(hydra, groups, options.multirun, own_settings, texts)
    plan = Planner(hydra, groups, multirun, texts).plan(own_settings)
    settled = bool(texts) or any(
        setting.name not in ROOT_KEYS and groups.exists(setting.group) for setting in own_settings
    )
    return _check_launcher(hydra, plan) if settled else plan


def _added(setting: Setting, groups: Groups) -> Setting:
    """Return a choice from one of the user's groups in Hydra's form: with a + before its name."""
    if setting.override.type == OverrideType.CHANGE and setting.name not in ROOT_KEYS and groups.exists(setting.group):
        return dataclasses.replace(setting, override=dataclasses.replace(setting.override, type=OverrideType.ADD))
    return setting


def _check_hydra(setting: Setting, hydra: Hydra) -> None:
    """Refuse settings of Hydra itself that would have no effect or an unexpected one."""
    if setting.swept:
        raise UserError(f"{shown(setting.typed)} is not allowed: settings of Hydra itself have one value")
    if setting.group in ("hydra/launcher", "hydra/sweeper"):
        choice, known = setting.override.value(), hydra.config_loader.get_group_options(setting.group)
        known = known if setting.group == "hydra/launcher" else ["basic"]
        if choice not in known:
            near = nearest(str(choice), known)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(known)}"
            raise UserError(f"{shown(setting.typed)} is not allowed: {hint}")
    if setting.name in ("hydra", "hydra.searchpath"):
        raise UserError(f"{shown(setting.typed)} is not allowed: use --config-dir for configuration files of your own")


def _check_hydra_keys(hydra: Hydra, settings: Sequence[Setting], errors: UserErrors) -> None:
    """Refuse settings of Hydra itself and of its launcher that do not exist."""
    dotted = [
        setting for setting in settings if "/" not in setting.group and setting.override.type == OverrideType.CHANGE
    ]
    if not dotted:
        return
    base = composed(
        hydra, [setting.text(setting.override) for setting in settings if "/" in setting.group], RunMode.MULTIRUN
    )
    for setting in dotted:
        place = missing(base, setting.name)
        if place is not None:
            errors.messages.append(hint_of(setting, base, *place))
    errors.throw()


def _with_file(
    hydra: Hydra, groups: Groups, multirun: bool, own: list[Setting], texts: Sequence[str]
) -> tuple[bool, list[Setting]]:
    """Add the sweep in ``hydra.sweeper.params`` of the user's files; settings of the command line take precedence."""
    files = [
        setting
        for setting in own
        if groups.exists(setting.group)
        and setting.name not in ROOT_KEYS
        and not setting.swept
        and "@" not in setting.key
    ]
    if not files and not texts:
        return multirun, own
    for setting in files:
        if not deletes(setting):
            groups.check(setting.group, setting.override.value(), setting.name)
    master = composed(hydra, [*texts, *(setting.text(setting.override) for setting in files)], RunMode.MULTIRUN)
    params = master.hydra.sweeper.get("params") or {}
    wanted = multirun or master.hydra.mode == RunMode.MULTIRUN
    from_file = [read(f"{key}={value}", multirun=True) for key, value in params.items()]
    if from_file and not wanted:
        names = ", ".join(setting.name for setting in from_file)
        raise UserError(f"a file has a sweep over {names}: add -m to run it")
    typed = {setting.name for setting in own}
    return wanted, [*(setting for setting in from_file if setting.name not in typed), *own]


def _check_launcher(hydra: Hydra, plan: Plan) -> Plan:
    """Compose Hydra's own settings, and refuse a launcher that cannot be created or would not be used."""
    mode = RunMode.MULTIRUN if plan.multirun else RunMode.RUN
    config = composed(hydra, [*plan.hydra, *plan.jobs[0]], mode)
    launcher = str(config.hydra.runtime.choices["hydra/launcher"])
    if not plan.multirun:
        if launcher != "basic":
            raise UserError(f"hydra/launcher={launcher} runs the jobs of a sweep: add -m")
        return plan
    size = config.hydra.sweeper.get("max_batch_size")
    if size is not None and size < 1:
        raise UserError(f"hydra.sweeper.max_batch_size={size} is not allowed: use 1 or more")
    try:
        _launcher(hydra, config, HydraContext(hydra.config_loader, Callbacks(config)))
    except Exception as error:  # launchers of other packages may raise any type
        reason = one_line(error.__cause__ or error)
        raise UserError(f"hydra/launcher={launcher} cannot be used with these settings: {reason}") from error
    return dataclasses.replace(plan, launcher=launcher)


def _launcher(hydra: Hydra, config: DictConfig, context: HydraContext) -> Launcher:
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)


def launch(hydra: Hydra, plan: Plan, quiet: bool) -> int:
    """Run the jobs of a plan; returns the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        record = Path(scratch) / "failures"
        os.environ[FAILURES] = str(record)
        os.environ[PROGRESS] = "off" if quiet else "lines" if plan.launcher != "basic" else "bar"
        if plan.launcher != "basic":
            workers.prepare()
        try:
            with guarded(Path(scratch)):
                if plan.multirun:
                    _launch_jobs(hydra, plan, scratch)
                else:
                    hydra.run(_CONFIG, job, [*plan.hydra, *plan.jobs[0]])
        finally:
            os.environ.pop(FAILURES, None)
            os.environ.pop(PROGRESS, None)
        failures = record.read_text().split() if record.exists() else []
    if not failures:
        return 0
    return 2 if set(failures) == {"user"} else 1


def _launch_jobs(hydra: Hydra, plan: Plan, scratch: str) -> None:
    """Hand every job to the launcher, each with all of its settings.

    Hydra's own sweeper is not used. It first composes the settings that are not swept; a swept group is then empty, and
    a fixed setting in that group is refused.
    """
    texts = [*plan.hydra, "hydra.mode=MULTIRUN"]
    if not any(text.startswith("hydra.sweep.dir=") for text in plan.hydra):
        texts.append(f"hydra.sweep.dir={QuotedString(text=scratch, quote=Quote.double).with_quotes()}")
    config = composed(hydra, [*texts, *plan.jobs[0]], RunMode.MULTIRUN)
    callbacks = Callbacks(config)
    callbacks.on_multirun_start(config=config, config_name=_CONFIG)
    launcher = _launcher(hydra, config, HydraContext(hydra.config_loader, callbacks))
    size = config.hydra.sweeper.get("max_batch_size") or len(plan.jobs)
    for first in range(0, len(plan.jobs), size):
        for done in launcher.launch(plan.jobs[first : first + size], initial_job_idx=first):
            _ = done.return_value  # raises what the job raised
    callbacks.on_multirun_end(config=config, config_name=_CONFIG)
