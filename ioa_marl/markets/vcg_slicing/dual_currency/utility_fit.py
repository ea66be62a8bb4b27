"""Fit the utility functions β(1 − exp(−ξ·s)) of many providers to their reported utilities.

Each fit is a nonlinear least-squares problem with four unknowns. All providers are solved at once by Levenberg and
Marquardt's method (Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963) in ln β and
ln ξ, which keeps both positive. A weak prior, centered in the ranges from which providers are drawn, decides what the
reports do not determine, if there are few of them or all are of the same slice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNKNOWNS = 4
"""Number of unknowns: ln β, ln ξ_1, ln ξ_2, ln ξ_3."""
PULL = 1e-6
"""Weight of the prior relative to one report, whose error is over the root mean square of the reported utilities."""
LARGEST_MOVE = 1.0
"""Largest change of an unknown in one iteration."""


def prior_center(worth: tuple[float, float], rate: tuple[float, float]) -> Floats:
    """Return the unknowns, shape (4,), of the middle of the ranges of β [utility] and ξ [per whole resource]."""
    return np.log([sum(worth) / 2, *[max(sum(rate) / 2, 1e-9)] * 3])


def fitted_types(unknowns: Floats) -> tuple[Floats, Floats]:
    """Return β [utility], shape (…), and ξ [per whole resource], shape (…, 3), of unknowns of shape (…, 4)."""
    values = np.exp(unknowns)
    return values[..., 0], values[..., 1:]


def fit(
    unknowns: Floats, damping: Floats, shares: Floats, reported: Floats, known: NDArray[np.bool_], center: Floats,
    iterations: int = 1,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Improve fits by some iterations.

    Parameters
    ----------
    unknowns : ndarray, shape (problems, 4)
        Initial unknowns.
    damping : ndarray, shape (problems,)
        Marquardt's λ; it decreases after an iteration that reduced the error, and increases after one that was
        rejected.
    shares : ndarray, shape (problems, reports, 3)
        Slices s.
    reported : ndarray, shape (problems, reports)
        Reported utilities.
    known : ndarray of bool, shape (problems, reports)
        Which reports exist.
    center : ndarray, shape (4,)
        Center of the prior.
    iterations : int, default 1
        Number of iterations.

    Returns
    -------
    unknowns : ndarray, shape (problems, 4)
    damping : ndarray, shape (problems,)
    """
    x, strength = unknowns.copy(), damping.copy()
    # The scale makes the reports of the order 1, however small utilities are compared with β.
    known_count = np.maximum(known.sum(axis=1), 1)
    scale = np.maximum(np.sqrt((reported**2 * known).sum(axis=1) / known_count), 1e-300)[:, None]
    residual, slope = _linearised(x, shares, reported, known, scale)
    error = _error(residual, x, center)
    diagonal = np.arange(UNKNOWNS)
    for _ in range(iterations):
        normal = slope.swapaxes(-1, -2) @ slope
        right = -(slope.swapaxes(-1, -2) @ residual[..., None])[..., 0] - PULL * (x - center)
        normal[:, diagonal, diagonal] += PULL
        normal[:, diagonal, diagonal] *= 1.0 + strength[:, None]
        step = np.clip(np.linalg.solve(normal, right[..., None])[..., 0], -LARGEST_MOVE, LARGEST_MOVE)
        tried = x + step
        new_residual, new_slope = _linearised(tried, shares, reported, known, scale)
        new_error = _error(new_residual, tried, center)
        better = new_error <= error
        strength = np.clip(np.where(better, strength * 0.2, strength * 5.0), 1e-12, 1e12)
        x = np.where(better[:, None], tried, x)
        residual = np.where(better[:, None], new_residual, residual)
        slope = np.where(better[:, None, None], new_slope, slope)
        error = np.where(better, new_error, error)
    return x, strength


def _linearised(
    x: Floats, shares: Floats, reported: Floats, known: NDArray[np.bool_], scale: Floats
) -> tuple[Floats, Floats]:
    """Return the errors of utility over ``scale``, (problems, reports), and their slopes, (problems, reports, 4)."""
    worth, rate = fitted_types(x)
    benefit = shares * rate[:, None, :]
    left = np.exp(-benefit.sum(axis=-1))
    weight = worth[:, None] / scale * known
    slope = np.concatenate([(1.0 - left)[..., None], left[..., None] * benefit], axis=-1) * weight[..., None]
    return slope[..., 0] - reported / scale * known, slope


def _error(residual: Floats, x: Floats, center: Floats) -> Floats:
    """Return the sum of squares with the prior, shape (problems,)."""
    return np.asarray((residual**2).sum(axis=-1) + PULL * ((x - center) ** 2).sum(axis=-1))
