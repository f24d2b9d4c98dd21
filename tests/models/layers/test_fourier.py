"""The Fourier input against plane waves summed one by one in float64."""

import math

import torch

from models.layers.fourier import FourierInput


def test_equals_rotated_shifted_plane_waves():
    torch.manual_seed(1)
    net = FourierInput(5, 6, size=4, sampling_rate=4, bandwidth=1.5)
    torch.nn.init.normal_(net.affine.weight)
    net.frequencies[0] *= 1.3  # beyond the band: must fade
    w = torch.randn(2, 5)
    ours = net(w)
    t = net.affine(w).double()
    for n in range(2):
        cos, sin, dx, dy = (t[n] / t[n, :2].norm()).tolist()
        waves = torch.zeros(6, 4, 4, dtype=torch.float64)
        for c in range(6):
            fx, fy = net.frequencies[c].double().tolist()
            # Row vector times [[cos, -sin], [sin, cos]], then the phase of a shift by -(dx, dy).
            gx, gy = fx * cos + fy * sin, -fx * sin + fy * cos
            phase = net.phases[c].double().item() - (gx * dx + gy * dy)
            amplitude = min(max(1 - (math.hypot(gx, gy) - 1.5) / (2 - 1.5), 0), 1)
            for i in range(4):
                for j in range(4):
                    # Pixel centres of a unit square around 0, times size / (2 sampling_rate) * 2.
                    x, y = ((j + 0.5) / 4 - 0.5), ((i + 0.5) / 4 - 0.5)
                    waves[c, i, j] = amplitude * math.sin(2 * math.pi * (gx * x + gy * y + phase))
        expected = torch.einsum("oc,chw->ohw", net.weight.double() / 6**0.5, waves)
        torch.testing.assert_close(ours[n].double(), expected, atol=1e-5, rtol=1e-5)


def test_frequencies_are_uniform_over_the_disc():
    torch.manual_seed(0)
    radius = FourierInput(2, 4096, size=8, sampling_rate=8, bandwidth=2).frequencies.norm(dim=1)
    assert radius.max() <= 2
    # Uniform over the area: a quarter of all within half the radius.
    assert abs((radius < 1).float().mean().item() - 0.25) < 0.03


def test_the_users_transform_moves_and_turns_the_waves():
    """The published tool writes it where nothing reads it (pitfall 11)."""
    torch.manual_seed(0)
    net = FourierInput(3, 5, size=8, sampling_rate=8, bandwidth=2)
    w = torch.randn(2, 3)
    plain = net(w)
    net.transform[0, 2] = 1 / 8  # one pixel to the left
    torch.testing.assert_close(net(w)[..., :-1], plain[..., 1:], atol=1e-5, rtol=1e-4)
    net.transform.copy_(torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(net(w), plain.rot90(dims=(2, 3)), atol=1e-5, rtol=1e-4)
