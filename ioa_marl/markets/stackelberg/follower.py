"""How one wireless agent answers two prices: its latency, utility and exact best share, as scalar kernels.

A wireless agent sends the share o of its workload to its mobile agent (price p_i) and the rest to its fixed agent
(price p_j), which passes the share α of that on to an aerial agent. Its utility is

    U(o) = K ln(A − τ(o)) − o W m p_i − (1 − o) W p_j − c_i (e^{b o} − 1) − c_j (e^b − e^{b o}),

with K = κ ln(1 + t_n/ε), A = 1 + ε − t_up, computing latency τ(o), b = B̄ ln 2 and c = ζ t_up n_B/g. The prices
enter only through y = W (m p_i − p_j): at the best share the rest of the derivative, G(o), equals y. τ is a maximum of
three lines, so G is smooth on at most three segments and jumps down at the kinks between them. `shape_follower` finds
segments, kinks and the values of G at their ends, which do not depend on prices; `best_share` then needs a comparison
where the answer is an end or a kink, and a few safeguarded Newton steps where it is inside a segment.

Source: Eqs. 3, 6-8, 13 and 21-32 of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI
Task Offloading in Internet of Agents". Of Eqs. 21-32 only the method is used: σ there is ε, the energy part of the
second derivatives lacks the factor W ln 2/(w_B t_up), and the first terms of P₂ and P₃ have the wrong sign.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.common.physics import transmission_energy
from ioa_marl.markets.stackelberg.records import Curve, Segment, Traits

Array = NDArray[Any]

MAX, MA, FA, AA = range(4)
LATENCY_CASES = ("max", "ma", "fa", "aa")
"""Which branch of the latency binds: the longest one, or a fixed one (the paper's cases 1, 2 and 3)."""

SEGMENTS = 3
"""Pieces of G: from small shares to large ones, where the fixed, the aerial and the mobile branch is the longest."""
NEWTON_STEPS = 60
SHARE_TOLERANCE = 1e-13
CELLS = 24
"""Cells per segment in which the search looks for stationary points of a utility that is not concave."""


@kernel
def _marginal(base: float, slope: float, qoe: float, bend: float, growth: float, share: float) -> float:
    """G at a share: −K τ'/(A − τ) − b e^{b o} (c_i − c_j); ``growth`` is e^{b o}, ``bend`` is b (c_i − c_j)."""
    # Rounding may make the difference negative at the last feasible share.
    return -qoe * slope / max(base - slope * share, 0.0) - bend * growth


@kernel
def latency(case: int, share: float, mobile: float, fixed: float, aerial: float, relay: float, passed: bool) -> float:
    """Return the computing and relay latency τ [s] beyond t_up, Eqs. 6-8.

    Parameters
    ----------
    case : int
        Index into `LATENCY_CASES`.
    share : float
        Share o of the mobile agent.
    mobile, fixed, aerial : float
        Computing times W λ_i/μ_i, W (1 − α) λ_j/μ_j and W α λ_k/μ_k of a whole workload [s].
    relay : float
        t_k_up, from the fixed to the aerial agent [s].
    passed : bool
        Whether the fixed agent passes a part on (α > 0); if not, the aerial branch does not exist.
    """
    own = share * mobile
    rest = (1.0 - share) * fixed
    far = relay + (1.0 - share) * aerial if passed else 0.0
    if case == MA:
        return own
    if case == FA:
        return rest
    if case == AA:
        return far
    return max(own, max(rest, far))


@kernel
def shape_follower(
    b: int,
    n: int,
    case: int,
    traits: Array,
    mobile: float,
    fixed: float,
    aerial: float,
    relay: float,
    passed: bool,
    curve: Array,
    segments: Array,
) -> None:
    """Write the curve G of wireless agent ``n`` of market ``b``, from which its answer to any prices follows.

    The times and ``case`` are those of `latency`.
    ``traits`` are `Traits` and ``curve`` is `Curve`, both (batch, wireless), ``segments`` are `Segment`
    (batch, wireless, SEGMENTS). An empty segment has infinite G at both ends, so that no price falls into it.
    """
    t: Traits = traits[b, n]
    c: Curve = curve[b, n]
    slack, qoe, exponent = t.slack, t.qoe_weight, t.exponent
    bend = exponent * (t.mobile_energy - t.fixed_energy)
    fixed_on = case in (FA, MAX)
    aerial_on = passed and case in (AA, MAX)
    mobile_on = case in (MA, MAX)

    # The feasible shares are those with 1 + ε − t > 0.
    low, high = 0.0, 1.0
    if fixed_on and fixed > slack:
        low = max(low, 1.0 - slack / fixed)
    if aerial_on and relay + aerial > slack:
        low = max(low, 1.0 - (slack - relay) / aerial if aerial > 0.0 else 2.0)
    if mobile_on and mobile > slack:
        high = min(high, slack / mobile)
    if slack <= 0.0 or (aerial_on and relay >= slack):
        low = 2.0
    c.lowest_share, c.highest_share = low, high
    c.bend, c.full_energy = bend, math.expm1(exponent)

    # The fixed branch is the longest for shares below ``down``, the mobile one above ``up``, the aerial one between.
    up, down = high, high
    if case == MAX:
        if mobile > 0.0:
            up = fixed / (mobile + fixed)
            if aerial_on:
                up = max(up, (relay + aerial) / (mobile + aerial))
        if aerial_on:
            down = 1.0 - relay / (fixed - aerial) if fixed > aerial else low
    elif case == MA:
        up = low
    elif case == AA and passed:
        down = low
    up = min(max(up, low), high)
    down = min(max(down, low), up)

    left = low
    shortest = slack
    for r in range(SEGMENTS):
        right, base, slope = down, slack - fixed, -fixed
        if r == 1:
            right, base, slope = up, slack - relay - aerial, -aerial
        elif r == 2:
            right, base, slope = high, slack, mobile
        if case == AA and not passed:
            base, slope = slack, 0.0  # the only branch that counts does not exist
        segment: Segment = segments[b, n, r]
        segment.end, segment.base, segment.slope = right, base, slope
        segment.left_marginal, segment.right_marginal = math.inf, math.inf
        if right > left:
            shortest = min(shortest, min(base - slope * left, base - slope * right))
            segment.left_marginal = _marginal(base, slope, qoe, bend, math.exp(exponent * left), left)
            segment.right_marginal = _marginal(base, slope, qoe, bend, math.exp(exponent * right), right)
        left = right
    # Up to this payment the agent buys at any share, so that the usual case of `best_share` needs no logarithm.
    most_energy = max(t.mobile_energy, t.fixed_energy) * c.full_energy
    c.sure_payment = qoe * math.log(shortest) - most_energy if shortest > 0.0 else -math.inf


@kernel
def gross_utility(b: int, n: int, traits: Array, curve: Array, segments: Array, share: float) -> tuple[float, float]:
    """Return QoE K ln(1 + ε − t) and energy cost ζ E [units] at a share: Eq. 13 without payments.

    QoE is −∞ where t ≥ 1 + ε. Arrays are those of `shape_follower`.
    """
    t: Traits = traits[b, n]
    c: Curve = curve[b, n]
    r = 0
    while r < SEGMENTS - 1 and share > segments[b, n, r].end:
        r += 1
    # Empty segments are skipped.
    while r < SEGMENTS - 1 and segments[b, n, r].right_marginal == math.inf:
        r += 1
    left = segments[b, n, r].base - segments[b, n, r].slope * share
    inside = c.lowest_share <= share <= c.highest_share
    qoe = t.qoe_weight * math.log(left) if inside and left > 0.0 else -math.inf
    sent = math.expm1(t.exponent * share)
    energy = transmission_energy(sent, c.full_energy, t.mobile_energy, t.fixed_energy)
    return qoe, energy


@kernel
def net_utility(
    b: int, n: int, traits: Array, curve: Array, segments: Array, share: float, mobile: float, fixed: float
) -> float:
    """Return U_n (Eq. 13) [units] at a share and at the unit prices paid; prices and arrays as in `best_share`."""
    qoe, energy = gross_utility(b, n, traits, curve, segments, share)
    return float(qoe - energy - traits[b, n].load * (share * mobile + (1.0 - share) * fixed))


@kernel
def _root(
    low: float, high: float, start: float, base: float, slope: float, qoe: float, bend: float, b: float, y: float
) -> float:
    """Return the share in (low, high) at which G falls through y, by Newton's method that stays in the bracket."""
    share = start
    for _ in range(NEWTON_STEPS):
        growth = math.exp(b * share)
        inverse = 1.0 / max(base - slope * share, 1e-300)
        first = -qoe * slope * inverse
        excess = first - bend * growth - y
        if excess > 0.0:
            low = share
        else:
            high = share
        change = excess / (slope * inverse * first - bend * b * growth)
        new = share - change
        if not low <= new <= high:
            new = 0.5 * (low + high)
        if abs(new - share) <= SHARE_TOLERANCE:
            return new
        share = new
    return share


@kernel
def _concave_share(b: int, n: int, traits: Array, curve: Array, segments: Array, y: float) -> float:
    """Return the best share where U is concave: the share at which G falls through y, else a kink or an end."""
    t: Traits = traits[b, n]
    c: Curve = curve[b, n]
    left = c.lowest_share
    for r in range(SEGMENTS):
        segment: Segment = segments[b, n, r]
        g_left, g_right, right = segment.left_marginal, segment.right_marginal, segment.end
        if g_left < math.inf or g_right < math.inf:
            if y >= g_left:
                break  # the end of the interval, or the kink between two segments
            if y > g_right:
                start = left + (right - left) * (g_left - y) / (g_left - g_right)
                if not left < start < right:
                    start = 0.5 * (left + right)
                share = _root(left, right, start, segment.base, segment.slope, t.qoe_weight, c.bend, t.exponent, y)
                return float(share)
        left = right
    return float(left)


@kernel
def _searched_share(b: int, n: int, traits: Array, curve: Array, segments: Array, y: float) -> float:
    """Return the best share where U need not be concave.

    Candidates are the ends, the kinks, and in each cell in which G falls through y the share at which it does.
    """
    t: Traits = traits[b, n]
    c: Curve = curve[b, n]
    best, best_value = c.lowest_share, -math.inf
    left = c.lowest_share
    for r in range(SEGMENTS):
        segment: Segment = segments[b, n, r]
        right, base, slope = segment.end, segment.base, segment.slope
        if right > left:
            before = math.inf
            for cell in range(CELLS + 1):
                share = left + (right - left) * cell / CELLS if cell < CELLS else right
                growth = math.exp(t.exponent * share)
                after = _marginal(base, slope, t.qoe_weight, c.bend, growth, share)
                candidate = share if cell == 0 or cell == CELLS else -1.0
                if cell > 0 and before > y >= after:
                    low, high = share - (right - left) / CELLS, share
                    while high - low > SHARE_TOLERANCE:
                        middle = 0.5 * (low + high)
                        growth = math.exp(t.exponent * middle)
                        g = _marginal(base, slope, t.qoe_weight, c.bend, growth, middle)
                        if not low < middle < high:
                            break
                        if g > y:
                            low = middle
                        else:
                            high = middle
                    candidate = 0.5 * (low + high)
                before = after
                if candidate >= 0.0:
                    # Only differences of utility count, so y, the price of a whole share, replaces both prices.
                    qoe, energy = gross_utility(b, n, traits, curve, segments, candidate)
                    value = qoe - energy - y * candidate
                    if value > best_value:
                        best, best_value = candidate, value
        left = right
    return float(best)


@kernel
def best_share(
    b: int, n: int, traits: Array, curve: Array, segments: Array, mobile: float, fixed: float
) -> tuple[float, bool]:
    """Return the exact best share at the prices that the wireless agent pays, and whether it buys at all (U_n ≥ 0).

    Parameters
    ----------
    b, n : int
        Market and wireless agent.
    traits, curve, segments : ndarray
        See `shape_follower`.
    mobile, fixed : float
        Unit prices [units/Mbit]; the mobile one includes the mobility factor where the wireless agent pays it.

    Returns
    -------
    share : float
        In [0, 1].
    buys : bool
    """
    load = traits[b, n].load
    c: Curve = curve[b, n]
    if not (c.lowest_share < c.highest_share and load > 0.0):
        return 0.0, False
    y = load * (mobile - fixed)
    concave = c.bend >= 0.0
    share = (
        _concave_share(b, n, traits, curve, segments, y)
        if concave
        else _searched_share(b, n, traits, curve, segments, y)
    )
    if load * max(mobile, fixed) <= c.sure_payment:
        return share, True
    return share, net_utility(b, n, traits, curve, segments, share, mobile, fixed) >= 0.0
