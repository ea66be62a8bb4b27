"""What the bank of the slicing market has others estimate: protocols, and what it asks of the slices' agent.

The bank learns from bills what a change of the allocation leads to (`VoIEstimator`), and asks the critic of the
slices' agent what the others could have without a provider (`EstimatesExternality`, `ExternalityEstimator`).
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
"""Name under which the registry has the class of the bank's `VoIEstimator`."""


class VoIEstimator(Protocol):
    """An estimator that learns from bills what utility a change leads to: f_i(o, a) of Eqs. 29 and 35.

    It keeps a function of its own for every provider of every market. Its class takes the number of markets and that
    of providers.
    """

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything that it is, leading axis batch, for saving and for writing in place."""

    def open(self, rows: NDArray[np.intp], keys: NDArray[np.uint64]) -> None:
        """Start anew in the markets ``rows``; ``keys`` (rows, 3) are seed, stream and episode."""

    def learn(
        self,
        rows: NDArray[np.intp],
        before: Floats,
        change: Floats,
        utility: Floats,
        valid: NDArray[np.bool_],
        steps: int,
    ) -> None:
        """Make some steps of regression on all bills of the markets ``rows``.

        Parameters
        ----------
        rows : ndarray, shape (rows,)
            Markets.
        before, change : ndarray, shape (rows, bills, providers, 3)
            Shares before the change [equal shares], and the relative change.
        utility : ndarray, shape (rows, bills, providers)
            Reported utility over the largest that is possible.
        valid : ndarray of bool, shape (rows, bills)
            Which bills there are.
        steps : int
            Steps.
        """

    def estimate(self, rows: NDArray[np.intp], before: Floats, change: Floats) -> Floats:
        """Return utilities, in the unit of `learn`, of one change in each market, (rows, providers)."""


class ExternalityEstimator(Protocol):
    """A function that estimates what the others could have without each provider, from changes of an allocation."""

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
            Observations of the agents of each role that acts, when the slices' agents acted and afterwards, shape
            (batch, agents, features).
        hold : ndarray of int64, shape (3,)
            The action of a slice that changes nothing.
        largest : ndarray, shape (batch,)
            Largest welfare that is on a bill, over Σβ: an upper bound.
        largest_of_others : ndarray, shape (batch, providers)
            Largest welfare of the others that is on a bill, over Σβ: a lower bound.
        """


@runtime_checkable
class EstimatesExternality(Protocol):
    """An agent whose critics can tell what the others' welfare would be without an agent.

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
        """Return the largest welfare of the others without each agent of a role, (seeds, markets, agents).

        Parameters
        ----------
        role : str
            A role that the agent plays.
        now, then : (dict, dict)
            Observations of all acting roles, and actions of the roles other than ``role``, in this round and the next.
        hold : ndarray of int64, shape (heads,)
            The action that changes nothing.
        largest : ndarray, shape (seeds, markets)
            Largest welfare on record: an upper bound of the estimate.
        largest_of_others : ndarray, shape (seeds, markets, agents)
            Largest welfare of the others on record: a lower bound.
        """


CRITIC = Requirement(
    "slice",
    EstimatesExternality,
    "externality",
    "exact or estimated, or let an agent play slice whose critic can tell it (mean_field_ac)",
)
"""What ``externality="critic"`` asks of the slices' agent."""


def make_voi_estimator(batch: int, providers: int) -> VoIEstimator:
    """Return the estimator that the registry has for the bank.

    Parameters
    ----------
    batch : int
        Markets.
    providers : int
        Providers of each market.

    Raises
    ------
    ParameterError
        If it cannot be imported, naming what is missing.
    """
    try:
        estimator: VoIEstimator = registry.load_estimator(VALUE_OF_INFORMATION)(batch, providers)
    except UserError as error:
        raise ParameterError("voi", "network", f"exact: {error}") from error
    return estimator
