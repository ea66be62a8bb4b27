"""Radio, latency and energy of edge computing, as scalar Numba functions that several markets share.

Radio equations are those of Section 3 of "Diffusion-based auction mechanism for efficient resource management in
6G-enabled vehicular metaverses". Powers and gains that are tabulated in dBm and dB are converted before use.
"""

from __future__ import annotations

import math

from ioa_marl.markets._numba import kernel

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
