"""Names of environments and agents with their classes, which are imported only when they are needed.

A package of your own adds names in one of three ways: the decorators below, `register_env` and `register_agent`
with an import string, or an entry point in the group ``ioa_marl.envs`` or ``ioa_marl.agents``::

    [project.entry-points."ioa_marl.agents"]
    my_agent = "my_package.agents:MyAgent"
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ioa_marl.foundations.errors import ParameterError, UserError, one_line, unknown_name

if TYPE_CHECKING:
    from ioa_marl.agents.base import Agent
    from ioa_marl.envs.core import Game

Kind = Literal["environment", "agent"]
"""What a name stands for."""
T = TypeVar("T")
OWN = "ioa_marl"
"""Source of the entries of this package."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Allowed names, which users type and which become names of folders."""


class RegistrationError(ValueError):
    """A name cannot be registered."""


@dataclass
class Entry:
    """One name with its source and its class."""

    kind: Kind
    """Whether it is an environment or an agent."""
    name: str
    """The registered name."""
    target: str | type[Any]
    """Class, or import string ``module:attribute``."""
    source: str
    """Package that registered it."""
    error: str | None = None
    """Why the entry cannot be used, if that is known."""
    loaded: type[Any] | None = field(default=None, repr=False)
    """The class, once it has been imported and checked."""

    def load(self) -> type[Any]:
        """Import the class and check it.

        Raises
        ------
        UserError
            If it cannot be used; the message names the plug-in.
        """
        if self.loaded is None and self.error is None:
            from ioa_marl.foundations.contracts import (  # imported here because it is slow
                BrokenContractError,
                check_contract,
            )

            try:
                loaded = _import(self.target) if isinstance(self.target, str) else self.target
                if self.source != OWN:
                    check_contract(self.kind, self.name, loaded)
                self.loaded = loaded
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plug-in may raise any type, and even call sys.exit
                own = isinstance(error, (BrokenContractError, UserError, ParameterError))
                self.error = one_line(error if own else f"{type(error).__name__}: {error}", 200)
        if self.loaded is None:
            raise UserError(f"{self.kind} {self.name!r} of {self.source} cannot be loaded: {self.error}")
        return self.loaded


def _import(target: str) -> Any:
    module, _, attributes = target.partition("[")[0].partition(":")
    loaded: Any = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        loaded = getattr(loaded, attribute)
    return loaded


@dataclass(frozen=True)
class Market:
    """Registration of a market of this package."""

    target: str
    """Import string of its `Game` class; ``ioa_marl.envs.NAME_v0`` has its entry points."""
    gymnasium: bool = False
    """Whether a single agent learns by default, so that the market is registered with Gymnasium as well."""


MARKETS = {
    "double_dutch": Market("ioa_marl.envs.double_dutch:DoubleDutchGame", gymnasium=True),
    "second_bid": Market("ioa_marl.envs.second_bid:SecondBidGame", gymnasium=True),
    "stackelberg": Market("ioa_marl.envs.stackelberg:StackelbergGame"),
    "two_tier": Market("ioa_marl.envs.two_tier:TwoTierGame"),
    "vcg_slicing": Market("ioa_marl.envs.vcg_slicing:VCGSlicingGame"),
}
"""The markets of this package; a new market needs its own files and one line here."""
AGENTS = {
    "diffusion_sac": "ioa_marl.agents.learners.diffusion_sac:DiffusionSACAgent",
    "diffusion_sac_ref": "ioa_marl.agents.learners.diffusion_sac_ref:DiffusionSACRefAgent",
    "greedy": "ioa_marl.agents.baselines.greedy:GreedyAgent",
    "independent_ac": "ioa_marl.agents.learners.independent_ac:IndependentACAgent",
    "loaded": "ioa_marl.agents.baselines.loaded:LoadedAgent",
    "maddpg": "ioa_marl.agents.learners.maddpg:MADDPGAgent",
    "mappo": "ioa_marl.agents.learners.mappo:MAPPOAgent",
    "mean_field_ac": "ioa_marl.agents.learners.mean_field_ac:MeanFieldACAgent",
    "ppo": "ioa_marl.agents.learners.ppo:PPOAgent",
    "random": "ioa_marl.agents.baselines.random:RandomAgent",
    "sac": "ioa_marl.agents.learners.sac:SACAgent",
}
"""The one list of this package's agents that have a class of their own."""
ESTIMATORS: dict[str, str | Callable[..., Any]] = {
    "value_of_information": "ioa_marl.agents.networks.value_of_information:ValueNetworks",
}
"""Estimators that a market trains on its own records: factories or import strings, by the name that the market uses.

A market knows only the name; the class behind it is imported on first use.
"""
SCRIPTED = "ioa_marl.agents.baselines.scripted:ScriptedAgent"
"""The agent for every other file in ``conf/agent``: it plays the market's scripted policy of that name."""

PER_AGENT = "per agent"
"""Name in descriptions of runs of the agent that plays the agents of a role by different agents. It is made of others
by ``roles.ROLE.agents.0=NAME``, is not listed, and cannot be taken, since names have no spaces."""


def _built_in(kind: Kind) -> dict[str, str]:
    """Return the import strings of this package's environments or agents, by name."""
    if kind == "environment":
        return {name: market.target for name, market in MARKETS.items()}
    files = resources.files("ioa_marl.conf").joinpath("agent").iterdir()
    names = (file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    return {**dict.fromkeys(names, SCRIPTED), **AGENTS}


_GROUPS: dict[Kind, str] = {"environment": "ioa_marl.envs", "agent": "ioa_marl.agents"}

_entries: dict[Kind, dict[str, Entry]] = {"environment": {}, "agent": {}}
_refused: list[Entry] = []
_discovered: set[Kind] = set()


def _discover(kind: Kind) -> dict[str, Entry]:
    """Add the entry points of installed packages once, without importing the packages."""
    if kind not in _discovered:
        _discovered.add(kind)
        _entries[kind].update({name: Entry(kind, name, target, OWN) for name, target in _built_in(kind).items()})
        for point in _points(kind):
            source = _distribution(point)
            entry = Entry(kind, point.name, point.value, source)
            existing = _entries[kind].get(point.name)
            if not NAME.fullmatch(point.name):
                entry.error = "the name has to be of letters, digits, _, - and dots"
                _refused.append(entry)
            elif existing is None:
                _entries[kind][point.name] = entry
            elif (existing.target, existing.source) != (entry.target, entry.source):
                entry.error = f"the name is taken by {existing.source}"
                _refused.append(entry)
    return _entries[kind]


def _points(kind: Kind) -> Sequence[EntryPoint]:
    """Return the entry points of a kind; a package with unreadable entry points does not affect the others."""
    try:
        return tuple(entry_points(group=_GROUPS[kind]))
    except Exception:  # metadata of any package
        by_package: dict[str, list[EntryPoint]] = {}
        for package in distributions():
            name = str(package.metadata["Name"])
            if name in by_package:  # the first one on the path is the one that is imported
                continue
            by_package[name] = []
            try:
                by_package[name] += package.entry_points.select(group=_GROUPS[kind])
            except Exception as error:
                error_line = one_line(f"its entry points cannot be read: {type(error).__name__}: {error}", 200)
                _refused.append(Entry(kind, name, "", f"{name} {package.version}", error_line))
        return [point for points in by_package.values() for point in points]


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _register(kind: Kind, name: str, target: str | type[Any]) -> None:
    existing = _discover(kind).get(name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RegistrationError(f"{kind} {name!r} cannot be registered: use letters, digits, _, - and dots")
    if existing is not None:
        raise RegistrationError(f"{kind} {name!r} is already registered by {existing.source}")
    source = target.partition(":")[0] if isinstance(target, str) else target.__module__
    _entries[kind][name] = Entry(kind, name, target, source)


def register_env(name: str, target: str | None = None) -> Callable[[type[T]], type[T]]:
    """Register an environment: as a class decorator, or at once with an import string ``module:Class``.

    Raises
    ------
    RegistrationError
        If the name is taken.
    """
    return _registrar("environment", name, target)


def register_agent(name: str, target: str | None = None) -> Callable[[type[T]], type[T]]:
    """Register an agent: as a class decorator, or at once with an import string ``module:Class``.

    Raises
    ------
    RegistrationError
        If the name is taken.
    """
    return _registrar("agent", name, target)


def _registrar(kind: Kind, name: str, target: str | None) -> Callable[[type[T]], type[T]]:
    if target is not None:
        _register(kind, name, target)

    def decorate(cls: type[T]) -> type[T]:
        if target is None:
            _register(kind, name, cls)
        return cls

    return decorate


def env_names() -> list[str]:
    """Return the names of all environments."""
    return sorted(_discover("environment"))


def agent_names() -> list[str]:
    """Return the names of all agents."""
    return sorted(_discover("agent"))


def load_env(name: str) -> type[Game]:
    """Return the `Game` class of an environment."""
    entries = _discover("environment")
    if name not in entries:
        raise unknown_name("environment", name, entries)
    return entries[name].load()


def load_agent(name: str) -> type[Agent]:
    """Return the `Agent` class behind a name."""
    if name == PER_AGENT:
        composed: type[Agent] = _import("ioa_marl.agents.common.per_agent:PerAgent")
        return composed
    entries = _discover("agent")
    if name not in entries:
        raise unknown_name("agent", name, entries)
    return entries[name].load()


def load_estimator(name: str) -> Callable[..., Any]:
    """Return what makes the estimator that a market asks for by this name; see `ESTIMATORS`.

    Raises
    ------
    UserError
        If it cannot be imported.
    """
    target = ESTIMATORS[name]
    if not isinstance(target, str):
        return target
    try:
        made: Callable[..., Any] = _import(target)
    except ImportError as error:
        raise UserError(f"its estimator, {target}, cannot be imported: {one_line(error, 200)}") from error
    return made


def entry(kind: Kind, name: str) -> Entry:
    """Return the registry entry of a name."""
    entries = _discover(kind)
    if name not in entries:
        raise unknown_name(kind, name, entries)
    return entries[name]


def listing(kind: Kind) -> list[Entry]:
    """Return all entries after trying to load them; an entry that cannot be used has its ``error`` set."""
    entries = sorted(_discover(kind).values(), key=lambda e: e.name)
    for candidate in entries:
        try:
            candidate.load()
        except UserError:
            continue
    return entries + [e for e in _refused if e.kind == kind]
