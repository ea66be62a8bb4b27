"""Interfaces of the estimators that the bank of the slicing market uses, and its requirement of the slices' agent.

A `VoIEstimator` learns from bills to predict the utility after a change of the allocation. An `ExternalityEstimator`
estimates SW*₋ᵢ with the critic of the slices' agent, which is an `EstimatesExternality`: any actor–critic with joint
replay is one (`mean_field_ac`, `maddpg`, `independent_ac`), whatever its critic sees of the other agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ioa_marl import registry
from ioa_marl.envs.core import Arrays
from ioa_marl.envs.requirements import Requirement
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError

Floats = NDArray[np.float64]

VALUE_OF_INFORMATION = "value_of_information"
"""Name of the class of the bank's `VoIEstimator` in the registry."""


class VoIEstimator(Protocol):
    """An estimator of the utility after a change of the allocation, trained on bills: f_i(o, a) of Eqs. 29 and 35.

    It has a separate function for every provider of every market. Its class takes the number of markets and the number
    of providers.
    """

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return its complete state by name, arrays of shape (batch, …) that can be saved and written in place."""

    def open(self, rows: NDArray[np.intp], keys: NDArray[np.uint64]) -> None:
        """Reset the functions of the markets ``rows``, (rows,); ``keys``, (rows, 3), are seed, stream and episode."""

    def learn(
        self,
        rows: NDArray[np.intp],
        before: Floats,
        change: Floats,
        utility: Floats,
        valid: NDArray[np.bool_],
        steps: int,
    ) -> None:
        """Make regression steps on all bills of the markets ``rows``.

        Parameters
        ----------
        rows : ndarray of int64, shape (rows,)
            Markets.
        before, change : ndarray of float64, shape (rows, bills, providers, 3)
            Shares before the change [equal shares], and relative changes.
        utility : ndarray of float64, shape (rows, bills, providers)
            Reported utility over the largest possible one.
        valid : ndarray of bool, shape (rows, bills)
            Which bills exist.
        steps : int
            Number of steps.
        """

    def estimate(self, rows: NDArray[np.intp], before: Floats, change: Floats) -> Floats:
        """Return the utilities after one change in each market, in the unit of `learn`, shape (rows, providers).

        ``before`` and ``change`` have the shape (rows, providers, 3) and the units of `learn`.
        """


class ExternalityEstimator(Protocol):
    """A function that estimates the optimal welfare without each provider from a change of the allocation."""

    def __call__(
        self,
        before: Mapping[str, NDArray[np.float32]],
        after: Mapping[str, NDArray[np.float32]],
        *,
        hold: NDArray[np.int64],
        largest: Floats,
        largest_of_others: Floats,
    ) -> Floats:
        """Return estimates of SW*₋ᵢ over Σβ, shape (batch, providers).

        Parameters
        ----------
        before, after : mapping of str to ndarray of float32
            Observations of the controlled roles before and after the change of the shares, shape (batch, agents,
            features).
        hold : ndarray of int64, shape (3,)
            The action of a slice that changes nothing.
        largest : ndarray of float64, shape (batch,)
            Largest welfare on a bill over Σβ, an upper bound of the estimate.
        largest_of_others : ndarray of float64, shape (batch, providers)
            Largest welfare of the others on a bill over Σβ, a lower bound of the estimate.
        """


@runtime_checkable
class EstimatesExternality(Protocol):
    """An agent whose critics can estimate the welfare of the others without an agent.

    It supplies an `ExternalityEstimator` in `Agent.attach`.
    """

    def externality(
        self,
        role: str,
        now: tuple[Arrays, Arrays],
        then: tuple[Arrays, Arrays],
        *,
        hold: NDArray[np.int64],
        largest: Floats,
        largest_of_others: Floats,
    ) -> Floats:
        """Return estimates of the optimal welfare without each agent of a role, shape (seeds, markets, agents).

        Parameters
        ----------
        role : str
            A role that the agent plays.
        now, then : (dict, dict)
            Observations of all controlled roles, and actions of the roles other than ``role``, in this round and the
            next one.
        hold : ndarray of int64, shape (heads,)
            The action that changes nothing.
        largest : ndarray of float64, shape (seeds, markets)
            Largest welfare on record, an upper bound of the estimate.
        largest_of_others : ndarray of float64, shape (seeds, markets, agents)
            Largest welfare of the others on record, a lower bound of the estimate.
        """


CRITIC = Requirement(
    "slice",
    EstimatesExternality,
    "externality",
    "exact or estimated, or let an agent play slice whose critic tells it (mean_field_ac, maddpg, independent_ac)",
)
"""Requirement of the slices' agent with ``externality="critic"``."""


def make_voi_estimator(batch: int, providers: int) -> VoIEstimator:
    """Return the registry's estimator of the value of information.

    Parameters
    ----------
    batch : int
        Number of markets.
    providers : int
        Number of providers of each market.

    Raises
    ------
    ParameterError
        If it cannot be imported; the message names what is missing.
    """
    try:
        estimator: VoIEstimator = registry.load_estimator(VALUE_OF_INFORMATION)(batch, providers)
    except UserError as error:
        raise ParameterError("voi", "network", f"exact: {error}") from error
    return estimator
