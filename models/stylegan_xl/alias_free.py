"""Alias-free synthesis: StyleGAN3 -t and -r, and the body of StyleGAN-XL.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks".

It is StyleGAN3 -t and -r, and the body of StyleGAN-XL.

Deviations: weights and styles are not scaled to unit mean square before the demodulation, which
cancels both exactly (it guards float16; we use bfloat16), so that no sample depends on its batch.
The average of activation magnitudes stays what a checkpoint says, 1 in a fresh network: StyleGAN-XL
never updates it ("collapse otherwise").

Legend: N samples, C channels, H W pixels, D width of w, L entries of w (input and layers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.layers.equalized import EqualizedLinear
from models.layers.filtered_activation import FilteredLeakyReLU
from models.layers.fourier import FourierInput
from models.layers.lowpass import kaiser_lowpass, radial_lowpass
from models.layers.modulated_conv import demodulation, modulated_convolution
from models.stylegan_xl.alias_free_plan import LayerPlan


class AliasFreeLayer(nn.Module):
    """Modulated convolution, bias, filtered leaky ReLU.

    Args:
        w_dim: D.
        plan: the signals before and after.
        kernel: side of the convolution's kernel: 3 (-t) or 1 (-r).
        radial: downsample by radial filters, where the signal after has room for it (-r).
        filter_size: taps per unit of the factor.
        oversampling: of the activation, relative to the higher of both rates.
        clamp: bound of the activations; None = none.
    """

    style_kind: ClassVar[str] = "conv"
    magnitude: Tensor

    def __init__(
        self,
        w_dim: int,
        plan: LayerPlan,
        *,
        kernel: int = 3,
        radial: bool = False,
        filter_size: int = 6,
        oversampling: int = 2,
        clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        before, after = plan.before, plan.after
        self.plan, self.padding = plan, kernel - 1
        self.style = EqualizedLinear(w_dim, before.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude", torch.ones(()))
        high = max(before.rate, after.rate) * oversampling
        up, down = high // before.rate, high // after.rate
        make = radial_lowpass if radial and not plan.critical else kaiser_lowpass
        self.activation = FilteredLeakyReLU(
            kaiser_lowpass(
                filter_size * up if up > 1 else 1,
                cutoff=before.cutoff,
                half_width=before.half_width,
                rate=high,
            ),
            make(
                filter_size * down if down > 1 else 1,
                cutoff=after.cutoff,
                half_width=after.half_width,
                rate=high,
            ),
            up=up,
            down=down,
            size_in=before.size + kernel - 1,
            size_out=after.size,
            clamp=clamp,
        )

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return the features at the rate, size and width of the signal after."""
        style_NC = self.style(w_ND)
        scale_NC = demodulation(style_NC, self.weight) * self.magnitude.rsqrt()
        # Zeros all around, kernel - 1 wide: every product that the kernel touches is computed, and
        # the filters cut the margin.
        y = modulated_convolution(x_NCHW, self.weight, style_NC, padding=self.padding)
        bias = self.bias.to(y.dtype)[:, None, None]
        return self.activation(torch.addcmul(bias, y, scale_NC.to(y.dtype)[:, :, None, None]))


class AliasFreeToRGB(nn.Module):
    """Modulated 1x1 convolution to an image, without demodulation; cuts what margin there is."""

    style_kind: ClassVar[str] = "rgb"
    magnitude: Tensor

    def __init__(self, w_dim: int, plan: LayerPlan, *, clamp: float | None = 256.0) -> None:
        super().__init__()
        channels = plan.before.channels
        self.plan, self.clamp = plan, clamp
        self.style = EqualizedLinear(w_dim, channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(plan.after.channels, channels))
        self.bias = nn.Parameter(torch.zeros(plan.after.channels))
        self.register_buffer("magnitude", torch.ones(()))
        self.style_gain = 1 / math.sqrt(channels)

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return [N, 3, H, W] in float32."""
        style_NC = self.style(w_ND) * (self.style_gain * self.magnitude.rsqrt())
        weight_N3C = (self.weight * style_NC[:, None, :]).to(x_NCHW.dtype)
        rgb = torch.einsum("noc,nchw->nohw", weight_N3C, x_NCHW).float()
        rgb = rgb + self.bias[:, None, None]
        if self.clamp is not None:
            rgb = rgb.clamp(-self.clamp, self.clamp)
        cut = (self.plan.before.size - self.plan.after.size) // 2
        return F.pad(rgb, (-cut, -cut, -cut, -cut)) if cut else rgb


class AliasFreeSynthesis(nn.Module):
    """ws -> image: Fourier features, then the layers of a plan.

    Args:
        w_dim: D.
        plan: from `BandRules`.
        kernel, radial, filter_size, oversampling, clamp: see `AliasFreeLayer`.
        output_scale: of the image.
        input_shift: see `FourierInput.start_shifted`; 0 leaves the input where it is.
        told_dim: width of what a generator tells the layers behind w, which no mapping made.

    Attributes:
        checkpoint_activations: recompute each layer in the backward pass instead of storing it.
    """

    def __init__(
        self,
        w_dim: int,
        plan: Sequence[LayerPlan],
        *,
        kernel: int = 3,
        radial: bool = False,
        filter_size: int = 6,
        oversampling: int = 2,
        clamp: float | None = 256.0,
        output_scale: float = 0.25,
        input_shift: float = 0.0,
        told_dim: int = 0,
    ) -> None:
        super().__init__()
        first = plan[0].before
        of_mapping, w_dim = w_dim, w_dim + told_dim
        self.plan, self.output_scale, self.checkpoint_activations = tuple(plan), output_scale, False
        self.input = FourierInput(
            w_dim,
            first.channels,
            size=first.size,
            sampling_rate=first.rate,
            bandwidth=first.cutoff,
        )
        self.layers = nn.ModuleList()
        for layer in plan:
            if layer.is_rgb:
                self.layers.append(AliasFreeToRGB(w_dim, layer, clamp=clamp))
                continue
            made = AliasFreeLayer(
                w_dim,
                layer,
                kernel=kernel,
                radial=radial,
                filter_size=filter_size,
                oversampling=oversampling,
                clamp=clamp,
            )
            self.layers.append(made)
        self.num_ws = 1 + len(self.layers)
        if input_shift:
            self.input.start_shifted(of_mapping, input_shift)

    def forward(self, ws_NLD: Tensor, noise: Any = "none") -> Tensor:
        """Return images [N, 3, H, W], float32; there is no noise to add, whatever is asked for."""
        first_ND, *rest = ws_NLD.unbind(dim=1)
        x = self.input(first_ND)
        for layer, w_ND in zip(self.layers, rest, strict=True):
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(layer, x, w_ND, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, w_ND)
        return x * self.output_scale

    def noise_sizes(self) -> list[int]:
        """Return [], since no layer takes noise."""
        return []
