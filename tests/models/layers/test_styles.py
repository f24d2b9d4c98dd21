import torch

from models.layers.equalized import EqualizedLinear, normalize_second_moment
from models.layers.styles import SecondOrderStyle


def test_second_order_style_is_the_product_plus_the_third_part():
    torch.manual_seed(0)
    style = SecondOrderStyle(6, 4)
    w = torch.randn(3, 6)
    weight = style.projection.weight.double() / 6**0.5
    parts = w.double() @ weight.t() + style.projection.bias.double()
    expected = parts[:, :4] * parts[:, 4:8] + parts[:, 8:]
    torch.testing.assert_close(style(w).double(), expected, atol=1e-6, rtol=1e-6)


def test_fresh_style_has_mean_two_not_one():
    torch.manual_seed(0)
    w = torch.cat([torch.randn(64, 64), torch.nn.functional.normalize(torch.randn(64, 768))], 1)
    values = SecondOrderStyle(832, 512)(w)
    assert abs(values.mean().item() - 2) < 0.1


def test_equalized_linear_multiplies_rate_into_weight_and_bias():
    torch.manual_seed(0)
    layer = EqualizedLinear(8, 3, lr_multiplier=0.01, bias_init=0.5, leaky=True)
    assert 50 < layer.weight.std() < 200
    assert torch.allclose(layer.bias, torch.tensor(50.0))
    x = torch.randn(4, 8)
    y = x.double() @ (layer.weight.double() * 0.01 / 8**0.5).t() + 0.5
    expected = torch.where(y > 0, y, 0.2 * y) * 2**0.5
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-6, rtol=1e-6)


def test_linear_stays_float32_under_autocast():
    layer = EqualizedLinear(8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 8).bfloat16()).dtype == torch.float32


def test_normalize_second_moment_gives_unit_mean_square():
    x = normalize_second_moment(torch.randn(5, 64) * 7)
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(5))
