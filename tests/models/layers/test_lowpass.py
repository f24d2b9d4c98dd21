"""Filter design against scipy's, which the published code calls."""

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch

from models.layers.lowpass import kaiser_lowpass, radial_lowpass

# (taps, cutoff, half width, rate): wide, narrow, and so narrow that the window is a box.
DESIGNS = [(12, 2.0, 6.0, 32), (24, 6.06, 2.28, 64), (48, 16.0, 3.7, 256), (6, 8.0, 0.5, 32)]


@pytest.mark.parametrize("design", DESIGNS)
def test_kaiser_filter_is_that_of_scipy(design):
    taps, cutoff, half_width, rate = design
    theirs = scipy.signal.firwin(taps, cutoff, width=2 * half_width, fs=rate)
    ours = kaiser_lowpass(taps, cutoff=cutoff, half_width=half_width, rate=rate)
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize("design", DESIGNS)
def test_radial_filter_is_a_windowed_jinc_of_unit_gain(design):
    taps, cutoff, half_width, rate = design
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(x[:, None], x)
    attenuation = scipy.signal.kaiser_atten(taps, 2 * half_width / (rate / 2))
    window = np.kaiser(taps, scipy.signal.kaiser_beta(attenuation))
    expected = scipy.special.j1(2 * np.pi * cutoff * r) / (np.pi * r) * np.outer(window, window)
    ours = radial_lowpass(taps, cutoff=cutoff, half_width=half_width, rate=rate)
    np.testing.assert_allclose(ours.numpy(), expected / expected.sum(), atol=1e-12)


def test_one_tap_is_the_identity_and_a_radial_filter_needs_an_even_length():
    assert kaiser_lowpass(1, cutoff=1.0, half_width=1.0, rate=8).tolist() == [1.0]
    with pytest.raises(ValueError, match="even number of taps, got 7"):
        radial_lowpass(7, cutoff=1.0, half_width=1.0, rate=8)
    with torch.device("meta"):
        assert kaiser_lowpass(4, cutoff=1.0, half_width=1.0, rate=8).device.type == "cpu"
