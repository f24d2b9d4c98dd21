import pytest
import torch

from models.layers.local_batch_norm import LocalBatchNorm


def reference(x_NLC, groups, weight, bias):
    """Normalise each group of samples on its own, in float64."""
    parts = []
    for part in x_NLC.double().chunk(groups):
        mean = part.mean(dim=(0, 1))
        variance = (part - mean).square().mean(dim=(0, 1))
        parts.append((part - mean) / (variance + 1e-5).sqrt() * weight.double() + bias.double())
    return torch.cat(parts)


@pytest.mark.parametrize(("n", "groups"), [(1, 1), (6, 1), (8, 1), (12, 2), (16, 2), (24, 3)])
def test_normalises_groups_of_at_most_eight(n, groups):
    torch.manual_seed(0)
    norm = LocalBatchNorm(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(n, 7, 5) * 3 + torch.arange(n)[:, None, None]
    expected = reference(x, groups, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x).double(), expected, atol=1e-5, rtol=1e-4)
    norm.eval()
    torch.testing.assert_close(norm(x).double(), expected, atol=1e-5, rtol=1e-4)


def test_concatenated_batches_do_not_mix():
    norm = LocalBatchNorm(3)
    a, b = torch.randn(12, 4, 3), torch.randn(12, 4, 3) + 9
    together = norm(torch.cat([a, b]), parts=2)
    torch.testing.assert_close(together, torch.cat([norm(a), norm(b)]))
    # 24 samples of one batch would make three groups of eight, the middle one mixed.
    assert not torch.allclose(together, norm(torch.cat([a, b])), atol=0.1)


@pytest.mark.parametrize("n", [9, 17])
def test_says_what_fits(n):
    with pytest.raises(ValueError, match=f"micro-batch of {n}.*multiple"):
        LocalBatchNorm(3)(torch.randn(n, 4, 3))


def test_statistics_are_float32_on_bfloat16_features():
    x = torch.randn(8, 64, 3) + 100  # bfloat16 resolves 0.5 here
    y = LocalBatchNorm(3)(x.bfloat16())
    assert y.dtype == torch.bfloat16
    expected = LocalBatchNorm(3)(x.bfloat16().float())
    torch.testing.assert_close(y.float(), expected, atol=0.02, rtol=0.02)
