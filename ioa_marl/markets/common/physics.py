"""Radio, latency and energy of edge computing, as scalar Numba functions that several markets share.

The equations of `shannon_rate`, `transfer_time` and `processing_time` are those of Section 3 of "Diffusion-based
auction mechanism for efficient resource management in 6G-enabled vehicular metaverses". Its powers in dBm and gains in
dB are converted before use. The equations of `transmission_energy`, `computing_time`, `computing_energy` and
`mobility_factor` are those of Section IV of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic
AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel

_TEN_LOG = math.log(10.0) / 10.0
"""Natural logarithm of the power ratio of 1 dB."""


@kernel
def db_to_ratio(level: float) -> float:
    """Return the power ratio of a level [dB]."""
    return math.exp(level * _TEN_LOG)


@kernel
def dbm_to_watt(level: float) -> float:
    """Return the power [W] of a level [dBm]."""
    return 1e-3 * math.exp(level * _TEN_LOG)


@kernel
def shannon_rate(bandwidth: float, gain: float, power: float, noise: float) -> float:
    """Return the rate of a link by Eqs. 1 and 2, B log₂(1 + g p/σ²).

    Parameters
    ----------
    bandwidth : float
        Bandwidth B [Hz, or a multiple of it].
    gain : float
        Channel power gain g, as a ratio.
    power, noise : float
        Transmit power p and noise power σ² [W].

    Returns
    -------
    float
        Rate R [bit/s for a bandwidth in Hz, Gbit/s for one in GHz].
    """
    return bandwidth * math.log1p(gain * power / noise) / math.log(2.0)


@kernel
def transfer_time(size: float, rate: float) -> float:
    """Return the time D/R to send a task of size D, by Eqs. 3 and 5 [s].

    Parameters
    ----------
    size : float
        Size D of the task [Gbit].
    rate : float
        Rate R of the link [Gbit/s].
    """
    return size / rate


@kernel
def processing_time(size: float, gpu_per_bit: float, gpu_speed: float, cpu_speed: float) -> float:
    """Return the time D e_p/f_g + D/f_c to process a task on a GPU and a CPU, by Eq. 4 [s].

    Parameters
    ----------
    size : float
        Size D of the task [Gbit].
    gpu_per_bit : float
        GPU work e_p per bit of the task.
    gpu_speed, cpu_speed : float
        Speeds f_g and f_c [Gbit/s].
    """
    return size * gpu_per_bit / gpu_speed + size / cpu_speed


@kernel
def transmission_energy(
    share_term: float, total_term: float, first_coefficient: float, second_coefficient: float
) -> float:
    """Return the energy of sending a share of a workload to one receiver and the rest to another one.

    Eqs. 1-3 reduce to E = c_i (2^B − 1) + c_j (2^B̄ − 2^B), where B̄ = W/(w_B t_up) is the spectral efficiency of the
    whole workload [bit/s/Hz] and B = share · B̄.

    Parameters
    ----------
    share_term, total_term : float
        2^B − 1 and 2^B̄ − 1, computed as expm1(B ln 2) and expm1(B̄ ln 2).
    first_coefficient, second_coefficient : float
        Coefficients c_i and c_j, t_up n_B/g of the two receivers [J], or with the energy price ζ t_up n_B/g [units].

    Returns
    -------
    float
        Energy [J], or its cost [units] if the coefficients are costs.
    """
    return first_coefficient * share_term + second_coefficient * (total_term - share_term)


@kernel
def computing_time(load: float, cycles: float, speed: float) -> float:
    """Return the time W λ/μ to compute a load, by Eqs. 6-8 [s].

    Parameters
    ----------
    load : float
        Load W [Mbit].
    cycles : float
        Computing per load λ [cycles/Mbit].
    speed : float
        Processing speed μ [cycles/s].
    """
    return load * cycles / speed


@kernel
def computing_energy(load: float, cycles: float, speed: float, coefficient: float) -> float:
    """Return the energy σ μ² λ W to compute a load, by Eqs. 9-11 [J].

    Parameters
    ----------
    coefficient : float
        Power coefficient σ [W·s³/cycles³].
    load, cycles, speed
        See `computing_time`.
    """
    return coefficient * speed**2 * cycles * load


@kernel
def mobility_factor(idle: float, relative_speed: float, weight: float, offset: float) -> float:
    """Return the mobility factor of Eq. 15, by which the price of a mobile agent is multiplied.

    Parameters
    ----------
    idle : float
        Idle share D_i/D̄ of the mobile agent's resources.
    relative_speed : float
        Relative speed |v_n − v_i|/(v̄ − v̲).
    weight, offset : float
        Coefficients φ ρ̄/ρ and φ ϕ/(D̄ ρ (v̄ − v̲)), from the adjustment factors φ and ϕ and the densities ρ and ρ̄.
    """
    return weight * idle * relative_speed + offset
