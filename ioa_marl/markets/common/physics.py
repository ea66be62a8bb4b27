"""Radio, latency and energy of edge computing, as scalar Numba functions that several markets share.

Radio equations are those of Section 3 of "Diffusion-based auction mechanism for efficient resource management in
6G-enabled vehicular metaverses". Powers and gains that are tabulated in dBm and dB are converted before use.
Equations of offloading (`transmission_energy`, `computing_time`, `computing_energy`, `mobility_factor`) are those of
Section IV of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task Offloading in Internet
of Agents".
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel

_TEN_LOG = math.log(10.0) / 10.0


@kernel
def db_to_ratio(level: float) -> float:
    """Return the power ratio of a level in dB."""
    return math.exp(level * _TEN_LOG)


@kernel
def dbm_to_watt(level: float) -> float:
    """Return the power [W] of a level in dBm."""
    return 1e-3 * math.exp(level * _TEN_LOG)


@kernel
def shannon_rate(bandwidth: float, gain: float, power: float, noise: float) -> float:
    """Eqs. 1 and 2, the rate of a link: bits per second for a bandwidth in Hz, Gbit/s for one in GHz.

    Parameters
    ----------
    bandwidth : float
        Bandwidth B [Hz, or a multiple].
    gain : float
        Channel power gain g, a ratio.
    power, noise : float
        Transmit power p and noise power σ² [W].
    """
    return bandwidth * math.log1p(gain * power / noise) / math.log(2.0)


@kernel
def transfer_time(size: float, rate: float) -> float:
    """Eqs. 3 and 5, the time [s] to send ``size`` [Gbit] at ``rate`` [Gbit/s]."""
    return size / rate


@kernel
def processing_time(size: float, gpu_per_bit: float, gpu_speed: float, cpu_speed: float) -> float:
    """Eq. 4, the time [s] to process ``size`` [Gbit] on a GPU, of which a bit takes ``gpu_per_bit``, and a CPU.

    Speeds are in Gbit/s.
    """
    return size * gpu_per_bit / gpu_speed + size / cpu_speed


@kernel
def transmission_energy(sent: float, whole: float, first: float, second: float) -> float:
    """Eqs. 1-3 reduced: the energy, or its cost, of sending a share to one receiver and the rest over it to another.

    E = c_i (2^B − 1) + c_j (2^B̄ − 2^B), where B̄ = W/(w_B t_up) is the spectral efficiency of the whole workload
    [bit/s/Hz] and B = share · B̄.

    Parameters
    ----------
    sent, whole : float
        2^B − 1 and 2^B̄ − 1, as expm1(B ln 2) and expm1(B̄ ln 2).
    first, second : float
        t_up n_B/g of the first and the second receiver [J], or a multiple, as ζ t_up n_B/g [units].
    """
    return first * sent + second * (whole - sent)


@kernel
def computing_time(load: float, cycles: float, speed: float) -> float:
    """Eqs. 6-8, the time W λ/μ [s] to compute ``load`` [Mbit] of ``cycles`` [cycles/Mbit] at ``speed`` [cycles/s]."""
    return load * cycles / speed


@kernel
def computing_energy(load: float, cycles: float, speed: float, coefficient: float) -> float:
    """Eqs. 9-11, the energy σ μ² λ W [J] of computing; ``coefficient`` is σ [W·s³/cycles³], see `computing_time`."""
    return coefficient * speed**2 * cycles * load


@kernel
def mobility_factor(idle: float, relative_speed: float, weight: float, offset: float) -> float:
    """Eq. 15 as a factor of the price: how much a mobile agent's capacity is worth to a wireless agent.

    Parameters
    ----------
    idle : float
        Idle share D_i/D̄ of the mobile agent's resources.
    relative_speed : float
        |v_n − v_i|/(v̄ − v̲).
    weight, offset : float
        φ ρ̄/ρ and φ ϕ/(D̄ ρ (v̄ − v̲)): the adjustment factors with the densities.
    """
    return weight * idle * relative_speed + offset
