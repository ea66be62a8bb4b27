"""Interior-point kernels: the division of three resources among service providers with the largest total utility.

The problem is: maximise Σ_i β_i (1 − exp(−ξ_i·s_i)) subject to Σ_i s_ik ≤ 1 for each resource k, and s ≥ 0. Legend:
``worth`` β_i, ``rate`` ξ_ik, ``share`` s_ik, ``price`` λ_k (multiplier of resource k), ``spare`` t_k = 1 − Σ_i s_ik,
``slack`` z_ik (multiplier of s_ik ≥ 0), ``marginal`` m_i, which is β_i exp(−ξ_i·s_i) in the end.

Predictor-corrector Newton steps (Mehrotra, "On the implementation of a primal-dual interior point method", 1992) solve
λ_k = m_i ξ_ik + z_ik, ln(m_i/β_i) = −ξ_i·s_i, Σ_i s_ik + t_k = 1, s_ik z_ik = μ, t_k λ_k = μ for μ → 0. With m as a
separate unknown the first condition is linear and holds throughout. A provider's block of the Newton matrix is diagonal
plus rank one, so that its elimination costs a few multiplications and leaves a 3×3 system in the prices.

The stopping rule is independent of the iteration. Any prices λ bound the optimum from above by
Σ_k λ_k + Σ_i max_{s ≥ 0} [u_i(s) − λ·s], where the best response is known in closed form: buy only the resource with
the lowest q = min_k λ_k / ξ_ik, to the amount y = [ln(β_i / q)]₊. This bound, less the utility of the feasible shares,
is the certified gap.

Common arguments of the kernels are ``worth``, float64 (batch, n) [utility], ``rate``, float64 (batch, n, 3) [per whole
resource], ``b``, the index of the market, ``count``, the number of chosen providers, and ``w``, the `Interior`.
"""

from __future__ import annotations

import math

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES, Array, Interior

MAX_ITERATIONS = 200
_BACK_OFF = 0.99
"""Part of the longest step to the boundary that is taken."""
_START = 5.0
"""Largest initial ξ·s: beyond it utilities are so flat that Newton steps are useless."""
_FAR = 0.5
"""Largest |ln m + ξ·s − ln β| at which the linearisation of the logarithm is accurate enough."""
_DEEPEST = 600.0
"""exp(−this) is still a normal number."""
_SMALLEST = 1e-300
"""Smallest value of slacks and pivots."""


@kernel
def start(worth: Array, rate: Array, b: int, count: int, w: Interior) -> None:
    """Set the initial point: at most half of the equal split for everyone, and prices above all marginal utilities."""
    for k in range(RESOURCES):
        w.wanted[k] = 0
        w.price[k] = 0.0
        w.used[k] = 0.0
        w.price_step[k] = 0.0
        w.spare_step[k] = 0.0
    for m in range(count):
        w.marginal_step[m] = 0.0
        for k in range(RESOURCES):
            w.share_step[m, k] = 0.0
            w.slack_step[m, k] = 0.0
            if rate[b, w.chosen[m], k] > 0.0:
                w.wanted[k] += 1
    for m in range(count):
        i = w.chosen[m]
        y = 0.0
        for k in range(RESOURCES):
            w.share[m, k] = 0.5 / w.wanted[k] if rate[b, i, k] > 0.0 else 0.0
            y += rate[b, i, k] * w.share[m, k]
        scale = min(1.0, _START / y) if y > 0.0 else 1.0
        w.marginal[m] = worth[b, i] * math.exp(-y * scale)
        for k in range(RESOURCES):
            w.share[m, k] *= scale
            w.used[k] += w.share[m, k]
            w.price[k] = max(w.price[k], 1.1 * w.marginal[m] * rate[b, i, k])
    for k in range(RESOURCES):
        w.spare[k] = 1.0 - w.used[k]
    for m in range(count):
        for k in range(RESOURCES):
            w.slack[m, k] = max(w.price[k] - w.marginal[m] * rate[b, w.chosen[m], k], _SMALLEST)


@kernel
def solve_prices(w: Interior) -> None:
    """Solve ``schur`` · ``price_step`` = ``right`` by Cholesky; resources without demand keep the price 0."""
    h, g = w.schur, w.right
    for k in range(RESOURCES):
        if w.wanted[k] == 0:
            h[k, k], g[k] = 1.0, 0.0
    for k in range(RESOURCES):
        for j in range(k):
            h[k, k] -= h[k, j] * h[k, j]
        # If two resources are perfect substitutes for all providers, rounding can make the pivot 0 or negative.
        h[k, k] = math.sqrt(max(h[k, k], _SMALLEST))
        for row in range(k + 1, RESOURCES):
            for j in range(k):
                h[row, k] -= h[row, j] * h[k, j]
            h[row, k] /= h[k, k]
    for k in range(RESOURCES):
        for j in range(k):
            g[k] -= h[k, j] * g[j]
        g[k] /= h[k, k]
    for back in range(RESOURCES):
        k = RESOURCES - 1 - back
        for j in range(k + 1, RESOURCES):
            g[k] -= h[j, k] * w.price_step[j]
        w.price_step[k] = g[k] / h[k, k]


@kernel
def gather(rate: Array, b: int, count: int, target: float, correct: bool, w: Interior) -> None:
    """Write the linear system of the price step, summed over the chosen providers, for the target μ ``target``.

    ``correct`` adds the second-order terms of the predictor steps, which are in the workspace.
    """
    h, g = w.schur, w.right
    for k in range(RESOURCES):
        for j in range(RESOURCES):
            h[k, j] = 0.0
        if w.wanted[k] > 0:
            t = target - w.spare_step[k] * w.price_step[k] if correct else target
            h[k, k] = w.spare[k] / w.price[k]
            g[k] = w.used[k] - 1.0 + t / w.price[k]
    for m in range(count):
        i, mu = w.chosen[m], w.marginal[m]
        known = mu - mu * w.excess[m]
        a0, a1, a2 = rate[b, i, 0], rate[b, i, 1], rate[b, i, 2]
        z0, z1, z2 = w.slack[m, 0], w.slack[m, 1], w.slack[m, 2]
        d0, d1, d2 = w.share[m, 0] / z0, w.share[m, 1] / z1, w.share[m, 2] / z2
        t0, t1, t2 = target, target, target
        if correct:
            t0 -= w.share_step[m, 0] * w.slack_step[m, 0]
            t1 -= w.share_step[m, 1] * w.slack_step[m, 1]
            t2 -= w.share_step[m, 2] * w.slack_step[m, 2]
        v0 = d0 * (known * a0 - w.price[0]) + t0 / z0 if a0 > 0.0 else 0.0
        v1 = d1 * (known * a1 - w.price[1]) + t1 / z1 if a1 > 0.0 else 0.0
        v2 = d2 * (known * a2 - w.price[2]) + t2 / z2 if a2 > 0.0 else 0.0
        p0, p1, p2 = a0 * d0, a1 * d1, a2 * d2
        q0, q1, q2 = mu * a0 * p0, mu * a1 * p1, mu * a2 * p2
        c = 1.0 / (1.0 + q0 + q1 + q2)
        # This form of the inverse avoids cancellation, because d grows without bound for positive shares.
        h[0, 0] += d0 * (1.0 + q1 + q2) * c
        h[1, 1] += d1 * (1.0 + q0 + q2) * c
        h[2, 2] += d2 * (1.0 + q0 + q1) * c
        c *= mu
        h[1, 0] -= c * p0 * p1
        h[2, 0] -= c * p0 * p2
        h[2, 1] -= c * p1 * p2
        along = c * (a0 * v0 + a1 * v1 + a2 * v2)
        g[0] += v0 - along * p0
        g[1] += v1 - along * p1
        g[2] += v2 - along * p2


@kernel
def directions(rate: Array, b: int, count: int, target: float, correct: bool, w: Interior) -> float:
    """Write the steps that follow from the price step; return the longest step that keeps all variables positive."""
    longest = 1.0
    for k in range(RESOURCES):
        if w.wanted[k] > 0:
            t = target - w.spare_step[k] * w.price_before[k] if correct else target
            w.spare_step[k] = (t - w.spare[k] * w.price_step[k]) / w.price[k] - w.spare[k]
            w.price_before[k] = w.price_step[k]
            if longest * w.spare_step[k] < -w.spare[k]:
                longest = -w.spare[k] / w.spare_step[k]
            if longest * w.price_step[k] < -w.price[k]:
                longest = -w.price[k] / w.price_step[k]
    for m in range(count):
        i, mu = w.chosen[m], w.marginal[m]
        known = mu - mu * w.excess[m]
        along, norm = 0.0, 1.0
        for k in range(RESOURCES):
            s, z, a = w.share[m, k], w.slack[m, k], rate[b, i, k]
            if a > 0.0:
                t = target - w.share_step[m, k] * w.slack_step[m, k] if correct else target
                v = (s * (known * a - w.price[k] - w.price_step[k]) + t) / z
                # The loop below completes the slack step t/s − z − (z/s)·(share step).
                w.slack_step[m, k] = t / s - z
                w.share_step[m, k] = v
                along += a * v
                norm += mu * a * a * s / z
        along *= mu / norm
        rise = w.excess[m]
        for k in range(RESOURCES):
            s, z, a = w.share[m, k], w.slack[m, k], rate[b, i, k]
            if a > 0.0:
                ds = w.share_step[m, k] - along * a * s / z
                dz = w.slack_step[m, k] - z / s * ds
                w.share_step[m, k] = ds
                w.slack_step[m, k] = dz
                rise += a * ds
                if longest * ds < -s:
                    longest = -s / ds
                if longest * dz < -z:
                    longest = -z / dz
        w.marginal_step[m] = -mu * rise
    return longest


@kernel
def complementarity(rate: Array, b: int, count: int, w: Interior, step: float) -> float:
    """Return μ, the mean of the products s·z and t·λ, after ``step`` of the steps."""
    total, pairs = 0.0, 0
    for k in range(RESOURCES):
        if w.wanted[k] > 0:
            total += (w.spare[k] + step * w.spare_step[k]) * (w.price[k] + step * w.price_step[k])
            pairs += 1
    for m in range(count):
        for k in range(RESOURCES):
            if rate[b, w.chosen[m], k] > 0.0:
                s = w.share[m, k] + step * w.share_step[m, k]
                total += s * (w.slack[m, k] + step * w.slack_step[m, k])
                pairs += 1
    return total / pairs


@kernel
def benefit_price(rate: Array, b: int, i: int, price: Array) -> float:
    """Return q_i = min_k λ_k / ξ_ik, the price of a unit of ξ·s; infinite if no resource is of use.

    ``price`` is float64 (3,) [utility per whole resource].
    """
    lowest = np.inf
    for k in range(RESOURCES):
        if rate[b, i, k] > 0.0:
            lowest = min(lowest, price[k] / rate[b, i, k])
    return lowest


@kernel
def move(worth: Array, rate: Array, b: int, count: int, step: float, w: Interior) -> float:
    """Apply ``step`` of the steps, and return the largest |excess|.

    If m is far from β exp(−ξ·s), it is set to that, or as near to it as prices allow, with the slack that follows. This
    preserves feasibility, and replaces the many Newton steps that the tangent of the logarithm would need.
    """
    for k in range(RESOURCES):
        w.used[k] = 0.0
        if w.wanted[k] > 0:
            w.price[k] += step * w.price_step[k]
            w.spare[k] += step * w.spare_step[k]
    worst = 0.0
    for m in range(count):
        i = w.chosen[m]
        y = 0.0
        for k in range(RESOURCES):
            if rate[b, i, k] > 0.0:
                w.share[m, k] += step * w.share_step[m, k]
                w.slack[m, k] += step * w.slack_step[m, k]
                w.used[k] += w.share[m, k]
                y += rate[b, i, k] * w.share[m, k]
        w.marginal[m] = max(w.marginal[m] + step * w.marginal_step[m], 0.1 * w.marginal[m])
        w.excess[m] = math.log(w.marginal[m] / worth[b, i]) + y
        if abs(w.excess[m]) > _FAR:
            nearest = worth[b, i] * math.exp(-min(y, _DEEPEST))
            w.marginal[m] = min(nearest, 0.9 * benefit_price(rate, b, i, w.price))
            w.excess[m] = math.log(w.marginal[m] / worth[b, i]) + y
            for k in range(RESOURCES):
                if rate[b, i, k] > 0.0:
                    w.slack[m, k] = w.price[k] - w.marginal[m] * rate[b, i, k]
        worst = max(worst, abs(w.excess[m]))
    return worst


@kernel
def net_benefit(worth: float, price: float) -> float:
    """Return max_y β(1 − e^−y) − q y, the gain of a provider at the price q per unit of benefit [utility]."""
    if price >= worth:
        return 0.0
    if price <= 0.0:
        return worth
    return worth - price - price * math.log(worth / price)


@kernel
def certify(worth: Array, rate: Array, b: int, count: int, w: Interior) -> float:
    """Report the utility of the shares, scaled to sum to 1, and the upper bound; return the relative gap."""
    value, bound = 0.0, 0.0
    for k in range(RESOURCES):
        bound += w.price[k]
    for m in range(count):
        i = w.chosen[m]
        y = 0.0
        for k in range(RESOURCES):
            if rate[b, i, k] > 0.0:
                y += rate[b, i, k] * w.share[m, k] / w.used[k]
        value -= worth[b, i] * math.expm1(-y)
        bound += net_benefit(worth[b, i], benefit_price(rate, b, i, w.price))
    w.report[0].value = value
    w.report[0].bound = max(bound, value)
    return float(w.report[0].bound / value - 1.0 if value > 0.0 else 0.0)


@kernel
def newton_step(rate: Array, b: int, count: int, mean: float, careful: bool, w: Interior) -> float:
    """Write the next steps from the current μ, ``mean``, and return the longest part of them that is allowed.

    The first attempt is the predictor, the second the corrector. ``careful`` limits how fast μ decreases.
    """
    target, correct, longest = 0.0, False, 1.0
    for attempt in range(2):
        gather(rate, b, count, target, correct, w)
        solve_prices(w)
        longest = directions(rate, b, count, target, correct, w)
        if attempt == 0:
            ratio = min(max(complementarity(rate, b, count, w, longest) / mean, 0.0), 1.0)
            # μ must not decrease faster than infeasibility, nor so far that s/z overflows.
            target = mean * max(ratio * ratio * ratio, 0.3 if careful else 1e-3)
            correct = longest > 0.1
    return longest


@kernel
def solve(worth: Array, rate: Array, b: int, count: int, tolerance: float, w: Interior) -> None:
    """Solve the problem of the chosen providers of market ``b`` to a relative gap of ``tolerance``."""
    start(worth, rate, b, count, w)
    pairs = w.wanted[0] + w.wanted[1] + w.wanted[2]
    step, longest, value = 0.0, 1.0, 0.0
    for iteration in range(MAX_ITERATIONS + 1):
        worst = move(worth, rate, b, count, step, w)
        w.report[0].iterations = iteration
        last = iteration == MAX_ITERATIONS or pairs == 0
        mean = complementarity(rate, b, count, w, 0.0) if pairs > 0 else 0.0
        # The certificate costs as much as half a step, so it is computed only when the tolerance may be reached.
        if last or iteration % 8 == 0 or mean * pairs <= 100.0 * tolerance * value:
            gap = certify(worth, rate, b, count, w)
            value = w.report[0].value
            if last or gap <= tolerance:
                break
        longest = newton_step(rate, b, count, mean, longest < 0.5 or worst > _FAR, w)
        step = longest if longest == 1.0 else _BACK_OFF * longest
