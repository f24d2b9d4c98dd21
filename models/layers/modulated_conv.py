"""Modulated convolution (Karras et al. 2020, section 2.2) as scale, convolution, scale.

w'[n,o,i] = w[o,i] s[n,i] is never formed: scaling the input by s and the output by d is the same
map, so no tensor of N x O x I x k x k elements is stored for the backward pass (6 bytes per weight
and image in the published code).

Legend: N samples, I/O channels in/out, k kernel side, H W pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from models.layers.precision import full_precision
from models.layers.resampling import smooth_after_transposed


def weight_energy(weight_OIkk: Tensor) -> Tensor:
    """Return sum_kk w^2 [O, I], float32: all that demodulation needs of the weights."""
    return weight_OIkk.float().square().sum(dim=(2, 3))


def demodulation(
    style_NI: Tensor, weight_OIkk: Tensor, eps: float = 1e-8, energy_OI: Tensor | None = None
) -> Tensor:
    """Return d [N, O] = rsqrt(sum_ikk (w s)^2 + eps) (Equation 3) as one matrix product.

    `energy_OI` is `weight_energy` of the same weights, where it was taken before.
    """
    with full_precision(style_NI):
        if energy_OI is None:
            energy_OI = weight_energy(weight_OIkk)
        return (style_NI.float().square() @ energy_OI.t() + eps).rsqrt()


def modulated_convolution(
    x_NIHW: Tensor,
    weight_OIkk: Tensor,
    style_NI: Tensor,
    *,
    up: bool = False,
    padding: int | None = None,
) -> Tensor:
    """Convolve with per-sample input scales; the caller multiplies by `demodulation`.

    Args:
        x_NIHW: features.
        weight_OIkk: odd k, no equalisation; k = 3 if `up`.
        style_NI: scale of each input channel.
        up: double the resolution: zero insertion, FIR [1, 3, 3, 1], true convolution (kernel not
            flipped against the stored weights, as published), with zeros outside the image for all
            three.
        padding: zeros on each side; None = as many as keep the size. Not with `up`.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] if `up`.
    """
    scaled = x_NIHW * style_NI.to(x_NIHW.dtype)[:, :, None, None]
    if up:
        wide = F.conv_transpose2d(scaled, weight_OIkk.transpose(0, 1), stride=2)
        return smooth_after_transposed(wide)
    if padding is None:
        padding = weight_OIkk.shape[-1] // 2
    return F.conv2d(scaled, weight_OIkk, padding=padding)
