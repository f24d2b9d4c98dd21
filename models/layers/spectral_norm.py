"""Layers with spectral normalisation (Miyato et al. 2018): weight / sigma, sigma = u^T W v.

The power iteration is a call of its own, `advance`, made once per optimizer step, and `forward`
changes nothing. If forward advanced u and v (as torch's wrapper does), sigma would depend on how
many micro-batches a step is cut into and on which rank saw how many of them; this way a step is a
function of the samples alone.

Legend: N samples, L tokens, H W pixels, I/O channels in/out, k kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.precision import full_precision

FIRST_ITERATIONS = 15  # of a fresh weight, so that sigma is right from the first step


class SpectralWeight(nn.Module):
    """A weight and its leading singular vectors u and v; base of the layers below.

    Args:
        weight: initial value; as a matrix W it has one row per output.
        bias: initial value, or None.
        output_axis: axis of the outputs in `weight`.
        eps: floor of the norms in the power iteration.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        output_axis: int = 0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.eps, self.output_axis = eps, output_axis
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        rows, columns = self.matrix().shape
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0, eps=eps))
        self.register_buffer("v", torch.zeros(columns))
        if not weight.is_meta:
            self.advance(iterations=FIRST_ITERATIONS)

    def matrix(self) -> Tensor:
        """Return W [O, everything else]."""
        return self.weight.transpose(0, self.output_axis).flatten(1)

    @torch.no_grad()
    def advance(self, iterations: int = 1) -> None:
        """Improve u and v in place."""
        matrix = self.matrix()
        for _ in range(iterations):
            self.v.copy_(F.normalize(matrix.t() @ self.u, dim=0, eps=self.eps))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=self.eps))

    def normalised(self) -> Tensor:
        """Return weight / sigma, in the weight's shape."""
        with full_precision(self.weight):
            # Clones: autograd keeps them for the backward pass, and `advance` may come before it.
            sigma = torch.dot(self.u.clone(), self.matrix() @ self.v.clone())
            return self.weight / sigma


def _uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Draw within 1 / sqrt(fan in): torch's default of linear layers and convolutions."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound)


class SpectralConv1d(SpectralWeight):
    """Circular convolution along the tokens.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: odd k.
        eps: floor of the norms in the power iteration.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, eps: float = 1e-12
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        fan_in = in_channels * kernel_size
        weight = _uniform((out_channels, in_channels, kernel_size), fan_in)
        super().__init__(weight, _uniform((out_channels,), fan_in), eps=eps)
        self.padding = kernel_size // 2

    def forward(self, x_NLI: Tensor) -> Tensor:
        """Map [N, L, I] to [N, L, O]."""
        weight = self.normalised()
        if self.padding == 0:
            return F.linear(x_NLI, weight[:, :, 0], self.bias)
        p = self.padding
        length = x_NLI.shape[1]
        if p > length:
            raise ValueError(f"circular padding of {p} needs at least {p} tokens, got {length}")
        x = torch.cat([x_NLI[:, -p:], x_NLI, x_NLI[:, :p]], dim=1)
        # [N, I, 1, L] seen from [N, L, I] is channels last already: no copy, and the fast kernels.
        y = F.conv2d(x.transpose(1, 2).unsqueeze(2), weight.unsqueeze(2), self.bias)
        return y.squeeze(2).transpose(1, 2)


class SpectralConv2d(SpectralWeight):
    """Convolution of images, zeros outside.

    Args:
        in_channels, out_channels: I, O.
        kernel_size: k.
        stride, padding: in pixels.
        groups: I for a depthwise convolution.
        bias: whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        fan_in = in_channels // groups * kernel_size**2
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        super().__init__(_uniform(shape, fan_in), _uniform(shape[:1], fan_in) if bias else None)
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x_NIHW: Tensor) -> Tensor:
        """Map [N, I, H, W] to [N, O, H', W']."""
        return F.conv2d(
            x_NIHW,
            self.normalised(),
            self.bias,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


class SpectralConvTranspose2d(SpectralWeight):
    """Transposed convolution of stride 1 without padding: one pixel becomes k x k.

    Args:
        in_channels, out_channels: I, O.
        kernel_size: k.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        # torch counts the fan-in of a transposed convolution on its outputs; so did the authors.
        shape = (in_channels, out_channels, kernel_size, kernel_size)
        super().__init__(_uniform(shape, out_channels * kernel_size**2), output_axis=1)

    def forward(self, x_NIHW: Tensor) -> Tensor:
        """Map [N, I, H, W] to [N, O, H + k - 1, W + k - 1]."""
        return F.conv_transpose2d(x_NIHW, self.normalised())


class SpectralLinear(SpectralWeight):
    """Linear layer with bias.

    Args:
        in_features, out_features: I, O.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        weight = _uniform((out_features, in_features), in_features)
        super().__init__(weight, _uniform((out_features,), in_features))

    def forward(self, x_NI: Tensor) -> Tensor:
        """Map [N, I] to [N, O]."""
        return F.linear(x_NI, self.normalised(), self.bias)


def advance_power_iteration(module: nn.Module) -> None:
    """Advance every spectral norm inside `module` by one iteration."""
    for child in module.modules():
        if isinstance(child, SpectralWeight):
            child.advance()
