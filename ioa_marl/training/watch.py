"""Render one evaluation episode as an animated GIF, and in a window if there is a display."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ioa_marl.agents.base import Agent
from ioa_marl.envs.core import Arrays, Game
from ioa_marl.evaluation.playing import evaluation_config, make_agent, play_episodes
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import check_writable, write_atomically
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.training.check import one_line_about, open_checkpoint
from ioa_marl.training.compose import specification
from ioa_marl.training.config import RunSpec
from ioa_marl.training.gif import Gif

if TYPE_CHECKING:
    from ioa_marl.envs.rendering import Window

USUAL_FRAMES = 100
"""Longer episodes are thinned to at most this many frames by default."""
MAX_FRAMES = 2000
"""Largest number of frames; more are refused."""
ROUNDING = 1e-3
"""Relative difference of metrics that rounding may cause in a market that evaluates neural networks."""
LAST_FRAME = 3.0
"""How long the final state is shown [s]."""

Report = Callable[[int, int], None]
"""Called with the steps drawn and the steps of the episode."""


@dataclass(frozen=True)
class Players:
    """The market and the agents that are watched."""

    spec: RunSpec
    """The run: market, agents and settings."""
    agents: tuple[Agent, ...]
    """The agents, ready to act, in the order of ``spec.agents``."""
    first_episode: int
    """Number of the first episode: the best checkpoint was selected on the usual episodes, so it plays later ones."""
    label: str
    """Label of the players, used in file names."""


@dataclass(frozen=True)
class Watched:
    """The rendered episode."""

    path: Path
    """The GIF file."""
    size: int
    """Its size [bytes]."""
    frames: int
    """Number of frames: the initial state, every `every`-th step, and the final state."""
    every: int
    """Number of steps between two frames."""
    steps: int
    """Steps of the episode."""
    metrics: dict[str, float]
    """Metrics of the episode, equal to those of the evaluation to the bit."""
    no_window: str = ""
    """Why no window was opened although there is a display; usually empty."""


def from_checkpoint(path: Path) -> Players:
    """Return the agents of a seed's folder, or of a checkpoint file in it.

    Raises
    ------
    UserError
        If there is no checkpoint, or it was made with other versions.
    """
    torch.set_num_threads(1)
    opened = open_checkpoint(path)
    spec = opened.spec
    kind = "-best" if opened.first_episode else ""
    label = f"{spec.env_label}-{spec.agent_label}-seed_{spec.seeds[0]}{kind}"
    return Players(spec, tuple(opened.agents()), opened.first_episode, label)


def from_settings(env: str, agent: str | None = None, settings: Sequence[str] = ()) -> Players:
    """Return agents that need no training.

    Parameters
    ----------
    env : str
        Name of the market, or of a preset of it: ``double_dutch/mixed``.
    agent : str, optional
        Name of the agent that plays the default controlled roles.
    settings : sequence of str
        Settings as for training: ``env.KEY=VALUE``, ``agent.KEY=VALUE``, ``roles.ROLE.agent=NAME``, ``seeds=[3]``. The
        seed, by default 0, seeds random actions and is the number of the instance.

    Raises
    ------
    UserError
        If one of the agents has to be trained first, or cannot play.
    """
    torch.set_num_threads(1)
    for setting in settings:
        key = setting.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] not in ("env", "agent", "roles") and key != "seeds":
            raise UserError(f"{setting} is not allowed: use env.KEY=, agent.KEY=, roles.ROLE.agent= or seeds=")
    named = [f"env={env}", *([] if agent is None else [f"agent={agent}"])]
    spec = specification([*named, *settings])
    if len(spec.seeds) > 1 and any(setting.startswith("seeds=") for setting in settings):
        raise UserError(f"seeds={list(spec.seeds)} is not allowed: use one, as in seeds=[3]")
    for name in spec.learners:
        raise UserError(
            f"{name} has to be trained before it can be watched: "
            f"ioa-marl train env={env} agent={name}, then ioa-marl watch SEED_FOLDER"
        )
    probe = spec.game_class(spec.env_config, 1, spec.controlled_roles)
    agents = (make_agent(c.agent_class, c.config, probe, c.roles, 1, spec.seeds[0]) for c in spec.agents)
    return Players(spec, tuple(agents), 0, f"{spec.env_label}-{spec.agent_label}")


def watch(
    players: Players,
    out: Path | None = None,
    *,
    episode: int = 0,
    every: int | None = None,
    fps: float = 6.0,
    window: bool | None = None,
    report: Report | None = None,
) -> Watched:
    """Play one evaluation episode and write it as an animated GIF.

    The whole evaluation is played as usual. Then the actions of the one episode are replayed in a single market without
    autoreset, so that the final state can be drawn.

    Parameters
    ----------
    players : Players
        Who plays.
    out : Path, optional
        The GIF; default: a name made from the label of the players, in the current folder.
    episode : int, default 0
        Evaluation episode.
    every : int, optional
        Draw every n-th step; default: 1, and more in episodes of more than 100 steps.
    fps : float, default 6
        Frames per second, 1 to 50.
    window : bool, optional
        Whether to show the episode in a window while it is drawn; default: if there is a display.
    report : callable, optional
        Called after every step with the steps drawn and the steps of the episode.

    Raises
    ------
    UserError
        If the episode does not exist, there are too many frames, no window can be opened, or the file cannot be
        written.
    """
    episodes = players.spec.last_episodes
    if not 0 <= episode < episodes:
        raise UserError(f"episode={episode} is not allowed: use 0 to {episodes - 1}")
    if not 1.0 <= fps <= 50.0:
        raise UserError(f"fps={fps} is not allowed: use 1 to 50")
    if every is not None and every < 1:
        raise UserError(f"every={every} is not allowed: use 1 or more")
    path = Path(f"{_file_name(players.label)}-episode_{episode}.gif") if out is None else out
    check_writable(path, ".gif")
    screen, no_window = _window(players.spec.game_class.name, window)
    try:
        metrics, actions = _recorded(players, episode)
        steps = len(actions)
        thinned = _thinning(steps, every)
        gif = Gif()
        for step, frame in _replayed(players, episode, actions, metrics, thinned):
            if frame is not None:
                gif.add(frame, LAST_FRAME if step == steps else 1.0 / fps)
                _show(screen, frame, 1.0 / fps)
            if report is not None:
                report(step, steps)
    finally:
        if screen is not None:
            screen.close()
    data = gif.encode()
    write_atomically(path, data)
    return Watched(path, len(data), len(gif), thinned, steps, metrics, no_window)


class _Recorder(Agent):
    """Records the actions of an agent in one market of an evaluation, which may be played in several batches."""

    def __init__(self, agent: Agent, market: int) -> None:
        self._agent, self._market = agent, market
        self._played = self._batch = 0
        self.actions: list[Arrays] = []

    def attach(self, game: Game) -> None:
        self._played += self._batch
        self._batch = game.num_envs
        self._agent.attach(game)

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        actions = self._agent.act(observations, deterministic=deterministic)
        at = self._market - self._played
        if 0 <= at < self._batch:
            self.actions.append({role: chosen[0, at][None].copy() for role, chosen in actions.items()})
        return actions


def _recorded(players: Players, episode: int) -> tuple[dict[str, float], list[Arrays]]:
    """Evaluate; return the metrics of one episode, and its actions at each step, (1, agents, …) for each role."""
    recorders = [_Recorder(agent, episode) for agent in players.agents]
    spec = players.spec
    # As many as in the last evaluation: networks round differently in a batch of another size.
    played = play_episodes(
        spec.game_class, spec.env_config, recorders, spec.controlled_roles, 1, spec.last_episodes,
        players.first_episode, spec.seeds[:1],
    )  # fmt: skip
    metrics = {name: float(values[0, episode]) for name, values in played.items()}
    steps = int(metrics["length"])
    together = zip(*(recorder.actions[:steps] for recorder in recorders), strict=True)
    return metrics, [{role: a for part in parts for role, a in part.items()} for parts in together]


def _start(game: Game, players: Players, episode: int) -> None:
    """Put a game of one market at the start of an evaluation episode."""
    instance = {"instances": np.array(players.spec.seeds[:1], np.uint64)} if game.instanced else {}
    stream = np.array([players.first_episode + episode], np.uint64)
    game.reset(np.array([EVALUATION_SEED], np.uint64), stream, **instance)


def _replayed(
    players: Players, episode: int, actions: Sequence[Arrays], metrics: dict[str, float], every: int
) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Replay an episode; yield the number of steps done, and a frame, uint8 (height, width, 3), or None."""
    spec = players.spec
    game = spec.game_class(evaluation_config(spec.env_config), 1, spec.controlled_roles, autoreset=False)
    _start(game, players, episode)
    for agent in players.agents:  # a market may query attached agents for more than actions
        agent.attach(game)
    # Neural networks round differently for a single market than for a batch.
    tolerance = ROUNDING if game.requirements(game.config) else 0.0
    yield 0, game.render("rgb_array")
    for done, chosen in enumerate(actions, 1):
        step = game.step(chosen)
        last = done == len(actions)
        if bool(step.terminated[0] | step.truncated[0]) != last or (
            last
            and not all(np.allclose(v[0], metrics[k], tolerance, 0.0, equal_nan=True) for k, v in step.metrics.items())
        ):
            raise RuntimeError(f"{spec.game_class.name} plays episode {episode} differently alone than in a batch")
        yield done, game.render("rgb_array") if last or done % every == 0 else None


def _thinning(steps: int, every: int | None) -> int:
    if every is None:
        return max(1, math.ceil(steps / USUAL_FRAMES))
    if steps // every > MAX_FRAMES:
        raise UserError(
            f"every={every} is not allowed: the episode has {steps} steps; use {math.ceil(steps / MAX_FRAMES)} or more"
        )
    return every


def _window(title: str, requested: bool | None) -> tuple[Window | None, str]:
    """Return a window, or None and the reason why none can be opened; a window that was requested must open."""
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not (display if requested is None else requested):
        return None, ""
    from ioa_marl.envs.rendering import Window

    try:
        return Window(title), ""
    except (RuntimeError, ImportError) as error:
        if requested:
            raise UserError(f"no window can be opened (--no-window writes the GIF only): {error}") from error
        return None, f"no window can be opened: {error}"


def _show(screen: Window | None, frame: NDArray[np.uint8], seconds: float) -> None:
    if screen is not None:
        screen.show(frame)
        time.sleep(seconds)


def _file_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "_", label)


def watch_command(
    checkpoint: Path | None,
    env: str | None,
    agent: str | None,
    settings: Sequence[str],
    out: Path | None,
    *,
    episode: int,
    every: int | None,
    fps: float,
    window: bool | None,
    quiet: bool,
) -> str:
    """Run ``ioa-marl watch`` with a progress bar on a terminal; return its output."""
    if (checkpoint is None) == (env is None):
        raise UserError("say who is watched: either a seed's folder or a checkpoint, or --env NAME --agent NAME")
    if checkpoint is not None and (agent is not None or settings):
        raise UserError("--agent and --set are for --env: a checkpoint has its agents and settings")
    players = from_settings(str(env), agent, settings) if checkpoint is None else from_checkpoint(checkpoint)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task(f"{players.label}  playing", total=None)

        def report(step: int, steps: int) -> None:
            progress.update(task, description=f"{players.label}  drawing", completed=step, total=steps)

        with nullcontext() if checkpoint is None else one_line_about(checkpoint):
            watched = watch(players, out, episode=episode, every=every, fps=fps, window=window, report=report)
    return _summary(players, watched, episode)


def _summary(players: Players, watched: Watched, episode: int) -> str:
    spec = players.spec
    drawn = "every step" if watched.every == 1 else f"one step in {watched.every}"
    lines = [f"{spec.env_label}  {spec.agent_label}  evaluation episode {episode}, {watched.steps} steps"]
    lines += [f"  {name:<22} {value:.6f}" for name, value in watched.metrics.items()]
    lines.append(f"{watched.path}  {watched.frames} frames ({drawn}), {watched.size / 1e6:.2f} MB")
    return "\n".join([*lines, *([watched.no_window] if watched.no_window else [])])
