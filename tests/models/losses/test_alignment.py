import math

import torch

from models.losses.alignment import spherical_distance_squared


def test_is_the_squared_angle():
    angles = torch.tensor([0.3, 1.0, 2.0, 3.0])
    a = torch.tensor([[2.0, 0.0]]).expand(4, -1)
    b = torch.stack([angles.cos(), angles.sin()], dim=1) * 5
    torch.testing.assert_close(
        spherical_distance_squared(a, b), angles.square(), atol=1e-4, rtol=1e-4
    )


def test_gradient_is_finite_at_and_near_both_ends():
    for sign, limit in ((1, 0.0), (-1, math.pi**2)):
        for tilt in (0.0, 1e-8, 1e-4, 1e-3, 1e-2):
            a = torch.tensor([[1.0, 0.0]], requires_grad=True)
            b = torch.tensor([[sign * math.cos(tilt), math.sin(tilt)]])
            value = spherical_distance_squared(a, b)
            value.sum().backward()
            assert torch.isfinite(a.grad).all()
            assert abs(value.item() - limit) < 0.08
    # Close to the target the slope must still be there: d(angle^2) = 2 angle.
    a = torch.tensor([[1.0, 0.0]], requires_grad=True)
    b = torch.tensor([[math.cos(0.01), math.sin(0.01)]])
    spherical_distance_squared(a, b).sum().backward()
    assert abs(a.grad[0, 1].item() + 0.02) < 1e-3
