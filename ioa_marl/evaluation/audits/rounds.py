"""Play of evaluation episodes that an audit watches round by round, and figures that are means over markets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays
from ioa_marl.envs.phased import PhasedGame
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.audits.results import Finding, Gain, Kind
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.evaluation.playing import episode_groups, evaluation_config, evaluation_steps
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.stackelberg.params import LEADERS


class RoundWatch(Protocol):
    """What looks at every round of a batch of markets, of which ``mask``, bool (batch,), play the round."""

    def before(self, mask: NDArray[np.bool_]) -> None:
        """Look at the markets before the last phase of the round, in which it is settled."""

    def after(self, mask: NDArray[np.bool_]) -> None:
        """Look at the markets after that phase. The conditions of the next round may have been drawn by then."""


ROUNDING = 1e-9
"""Sums of money up to this are rounding [units]."""
W = TypeVar("W", bound=RoundWatch)


class _Watched(PhasedGame, Generic[W]):
    """A market whose rounds are watched; `play_rounds` derives it from the market that is audited."""

    watch: W

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        last = phase == len(self.phases) - 1
        if last:
            self.watch.before(mask)
        super().play_phase(phase, mask, actions, rewards, terminated)  # type: ignore[safe-super]  # the market's own
        if last:
            self.watch.after(mask)


def play_rounds(subject: Subject, episodes: int, make_watch: Callable[[Any], W]) -> list[W]:
    """Play evaluation episodes with fresh agents, and let every round be watched.

    Parameters
    ----------
    subject : Subject
        The policies and the market, a `PhasedGame`.
    episodes : int
        Number of evaluation episodes.
    make_watch : callable
        Takes the game of a group of markets that are played together and returns what watches its rounds.

    Returns
    -------
    list
        The watches, one for each group, in the order of the episodes.
    """
    game_class = type(subject.game_class.__name__, (_Watched, subject.game_class), {})
    config, roles = evaluation_config(subject.config), subject.controlled_roles
    agents, watches = subject.make_agents(), []
    for first, count in episode_groups(subject.game_class, config, roles, episodes, subject.first_episode):
        game = VectorGame(game_class, config, [EVALUATION_SEED], count, roles, first, [subject.instance])
        watched: Any = game.game
        watched.full_metrics = False  # the audit computes what it needs
        watched.watch = make_watch(watched)
        watches.append(watched.watch)
        for _ in evaluation_steps(game, agents):
            pass
    return watches


def mean_of_markets(values: NDArray[np.float64]) -> tuple[float, float | None]:
    """Return the mean over the markets in which a figure is defined, and its standard error.

    Parameters
    ----------
    values : ndarray of float64, shape (markets,)
        The figure of each market; NaN where it is not defined.

    Returns
    -------
    mean : float
        NaN if the figure is defined nowhere.
    standard_error : float or None
        None if it is defined in fewer than two markets.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), None
    error = float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else None
    return float(defined.mean()), error


def ratio_of_sums(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> tuple[float, float | None]:
    """Return Σ numerators / Σ denominators over markets, float64 (markets,) each, and its standard error.

    The standard error is that of the linearised ratio; see W. G. Cochran, "Sampling Techniques" (1977), Section 2.11.
    The ratio is NaN if the sum of the denominators is not positive.
    """
    total, markets = float(denominators.sum()), len(denominators)
    if not total > 0.0:
        return float("nan"), None
    ratio = float(numerators.sum()) / total
    if markets < 2:
        return ratio, None
    spread = float((numerators - ratio * denominators).std(ddof=1))
    return ratio, spread * float(np.sqrt(markets)) / total


def mean_finding(
    name: str, values: NDArray[np.float64], unit: str, kind: Kind, meaning: str, column: str | None = None
) -> Finding:
    """Return a figure that is a mean over markets, float64 (markets,); see `mean_of_markets`."""
    value, error = mean_of_markets(values)
    return Finding(name, value, unit, kind, meaning, error, column)


def joined(watches: Sequence[Any], name: str) -> NDArray[Any]:
    """Return an array of several watches, shape (markets of the watch, …) each, as one (markets, …)."""
    return np.concatenate([getattr(watch, name) for watch in watches])


def per_round(watches: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Return a sum over the rounds of each market, (markets, …), per round; watches have their number as ``rounds``."""
    total, rounds = joined(watches, name), joined(watches, "rounds")
    return np.asarray(total / rounds.reshape(-1, *[1] * (total.ndim - 1)))


def price_gains(watches: Sequence[Any], config: Any) -> Iterator[Gain]:
    """Yield what each leader gains by its best price.

    Parameters
    ----------
    watches : sequence of RoundWatch
        They have sums over rounds, float64 (markets, 2, leaders): ``gain`` [units], ``best_price`` and ``price``
        [units/Mbit].
    config : dataclass
        Settings of the market, with the numbers of mobile and of fixed agents.
    """
    gains, best, posted = (per_round(watches, name) for name in ("gain", "best_price", "price"))
    for side, role in enumerate(LEADERS):
        for leader in range(getattr(config, role)):
            value, error = mean_of_markets(gains[:, side, leader])
            how = f"posted {posted[:, side, leader].mean():.2f}, best {best[:, side, leader].mean():.2f} in the mean"
            yield Gain(f"{role}_{leader}", "price", value, error, how if value > 0.0 else "")


def without_rounding(money: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums of money [units], shape (markets,), with 0 in place of what is rounding."""
    return np.where(np.abs(money) > ROUNDING, money, 0.0)
