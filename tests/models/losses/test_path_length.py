"""Path lengths against their closed form, with the gradient that trains on them."""

import torch

from models.losses.path_length import path_length_penalty, path_lengths

N, L, D, SIDE = 3, 2, 4, 5


def test_equals_the_closed_form_of_a_quadratic_map_with_its_gradient():
    """image = A w + (B w)^2 / 2 has the Jacobian A + diag(B w) B."""
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3 * SIDE**2, L * D, generator=rng, dtype=torch.float64)
    ws = torch.randn(N, L, D, generator=rng, dtype=torch.float64)
    direction = torch.randn(N, 3, SIDE, SIDE, generator=rng, dtype=torch.float64)

    def image_of(w, a, b):
        return (w.flatten(1) @ a.t() + (w.flatten(1) @ b.t()).square() / 2).view_as(direction)

    weights = [a.clone().requires_grad_(), b.clone().requires_grad_()]
    leaf = ws.clone().requires_grad_()
    lengths = path_lengths(image_of(leaf, *weights), leaf, direction)
    penalty = path_length_penalty(lengths, torch.tensor([0.3])).sum()
    ours = torch.autograd.grad(penalty, weights)

    theirs_a, theirs_b = (x.clone().requires_grad_() for x in (a, b))
    y = direction.flatten(1) / SIDE
    bw = ws.flatten(1) @ theirs_b.t()
    gradient = (y @ theirs_a + (y * bw) @ theirs_b).view(N, L, D)
    expected = (gradient.square().sum(dim=2).sum(dim=1) / L).sqrt()
    torch.testing.assert_close(lengths, expected)
    total = (expected - 0.3).square().sum()
    for one, two in zip(ours, torch.autograd.grad(total, (theirs_a, theirs_b)), strict=True):
        torch.testing.assert_close(one, two)


def test_equals_finite_differences_on_a_network_that_is_linear_in_pieces():
    rng = torch.Generator().manual_seed(1)
    matrix = torch.randn(3 * SIDE**2, L * D, generator=rng, dtype=torch.float64)
    ws = torch.randn(1, L, D, generator=rng, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 3, SIDE, SIDE, generator=rng, dtype=torch.float64)

    def along(w):
        image = torch.nn.functional.leaky_relu(w.flatten(1) @ matrix.t(), 0.2)
        return image.view_as(direction), (image.view_as(direction) * direction).sum() / SIDE

    squares = 0.0
    for i in range(L * D):
        shift = torch.zeros(L * D, dtype=torch.float64)
        shift[i] = 1e-6
        step = shift.view(1, L, D)
        squares += ((along(ws + step)[1] - along(ws - step)[1]) / 2e-6) ** 2
    length = path_lengths(along(ws)[0], ws, direction)
    torch.testing.assert_close(length[0], (squares / L).sqrt(), atol=1e-6, rtol=1e-6)
