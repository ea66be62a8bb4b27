"""Energy, latency and mobility of offloading, from first principles."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.markets.common.physics import computing_energy, computing_time, mobility_factor, transmission_energy


@settings(deadline=None)  # the first call compiles
@given(
    share=st.floats(0.01, 0.99), load=st.floats(1.0, 20.0), bandwidth=st.floats(2.0, 20.0), time=st.floats(0.1, 2.0),
    gains=st.tuples(st.floats(1e-3, 10.0), st.floats(1e-3, 10.0)), noise=st.floats(1e-3, 1.0),
)  # fmt: skip
def test_transmission_energy_is_that_of_powers_at_which_both_rates_are_just_met(
    share, load, bandwidth, time, gains, noise
):
    # Shannon's rates, the second link with the first one's signal as interference, solved for the powers.
    first_rate, second_rate = share * load / time, (1 - share) * load / time
    first_power = noise / gains[0] * (2 ** (first_rate / bandwidth) - 1)
    interference = noise + first_power * gains[0]
    second_power = interference / gains[1] * (2 ** (second_rate / bandwidth) - 1)
    expected = time * (first_power + second_power)
    exponent = load / (bandwidth * time) * math.log(2)
    sent, whole = math.expm1(exponent * share), math.expm1(exponent)
    scale = time * noise
    assert transmission_energy(sent, whole, scale / gains[0], scale / gains[1]) == pytest.approx(expected, rel=1e-9)


def test_transmission_energy_of_tiny_exponents_keeps_its_digits():
    # 2^B − 1 without expm1 would have lost all of them.
    exponent = 1e-18
    energy = transmission_energy(math.expm1(exponent * 0.5), math.expm1(exponent), 3.0, 5.0)
    assert energy == pytest.approx(exponent * (0.5 * 3.0 + 0.5 * 5.0))


def test_computing_takes_cycles_over_speed_and_energy_with_the_cube_of_speed_times_time():
    assert computing_time(10.0, 1e4, 1e6) == pytest.approx(0.1)
    power = 1.5e-19 * (2e6) ** 3
    assert computing_energy(10.0, 1e4, 2e6, 1.5e-19) == pytest.approx(power * computing_time(10.0, 1e4, 2e6))


def test_mobility_factor_is_equation_15():
    phi, idle, most_idle, density, most_density, apart, speed_range, shift = 0.8, 3.0, 5.0, 2.0, 7.0, 4.0, 20.0, 6.0
    printed = phi * (idle * most_density * apart + shift) / (most_idle * density * speed_range)
    weight, offset = phi * most_density / density, phi * shift / (most_idle * density * speed_range)
    assert mobility_factor(idle / most_idle, apart / speed_range, weight, offset) == pytest.approx(printed)
