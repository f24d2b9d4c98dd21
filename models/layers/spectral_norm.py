"""One-dimensional convolutions over tokens with spectral normalisation (Miyato et al. 2018).

Legend: N samples, L tokens, I/O channels in/out, k kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.precision import full_precision


class SpectralConv1d(nn.Module):
    """Circular convolution along the tokens with weight / sigma, sigma = u^T W v.

    The power iteration is a call of its own, `advance`, made once per optimizer step, and `forward`
    changes nothing. If forward advanced u and v (as torch's wrapper does), sigma would depend on
    how many micro-batches a step is cut into and on which rank saw how many of them; this way a
    step is a function of the samples alone.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: odd k.
        eps: floor of the norms in the power iteration.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.eps, self.padding = eps, kernel_size // 2
        # torch's default of a convolution: uniform within 1 / sqrt(fan in).
        bound = (in_channels * kernel_size) ** -0.5
        weight = torch.empty(out_channels, in_channels, kernel_size).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        self.register_buffer("u", F.normalize(torch.randn(out_channels), dim=0, eps=eps))
        self.register_buffer("v", torch.zeros(in_channels * kernel_size))
        self.advance(iterations=15)

    @torch.no_grad()
    def advance(self, iterations: int = 1) -> None:
        """Improve u and v, the leading singular vectors of W [O, I k], in place."""
        matrix = self.weight.flatten(1)
        for _ in range(iterations):
            self.v.copy_(F.normalize(matrix.t() @ self.u, dim=0, eps=self.eps))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=self.eps))

    def forward(self, x_NLI: Tensor) -> Tensor:
        """Map [N, L, I] to [N, L, O]."""
        with full_precision(x_NLI):
            # Clones: autograd keeps them for the backward pass, and `advance` may come before it.
            sigma = torch.dot(self.u.clone(), self.weight.flatten(1) @ self.v.clone())
            weight = self.weight / sigma
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


def advance_power_iteration(module: nn.Module) -> None:
    """Advance every spectral norm inside `module` by one iteration."""
    for child in module.modules():
        if isinstance(child, SpectralConv1d):
            child.advance()
