"""Learned Fourier features as the input of a synthesis network (Karras et al. 2021, section 3.1).

Legend: N samples, C channels (= frequencies), H W pixels, D width of w.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.equalized import EqualizedLinear
from models.layers.precision import full_precision


class FourierInput(nn.Module):
    """A fixed set of plane waves, rotated and shifted by w, mixed by a learned matrix.

    Args:
        w_dim: D.
        channels: C, also the number of frequencies.
        size: H = W.
        sampling_rate: samples per unit square.
        bandwidth: the frequencies are uniform over a disc of this radius (cycles per unit).
        fades: frequencies that w pushes beyond the band fade out.

    Buffers: frequencies [C, 2], phases [C], transform [3, 3] (an additional user rotation or shift,
        identity).
    """

    style_kind: ClassVar[str] = "input"
    frequencies: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(
        self,
        w_dim: int,
        channels: int,
        *,
        size: int,
        sampling_rate: float,
        bandwidth: float,
        fades: bool = True,
    ) -> None:
        super().__init__()
        self.fades = fades
        self.size, self.sampling_rate, self.bandwidth = size, sampling_rate, bandwidth
        gauss = torch.randn(channels, 2)
        radius = gauss.square().sum(dim=1, keepdim=True).sqrt()
        # exp(-r^2 / 4) is the square root of a uniform number: uniform over the disc's area.
        frequencies = gauss / radius * (-radius.square() / 4).exp() * bandwidth
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = EqualizedLinear(w_dim, 4, weight_init=0.0, bias_init=[1.0, 0.0, 0.0, 0.0])

    @property
    def style(self) -> nn.Module:
        """What makes rotation and shift of w, four numbers (style_space.py)."""
        return self.affine

    def forward(self, w_ND: Tensor) -> Tensor:
        """Map w [N, D] to features [N, C, H, W], float32, channels last in memory."""
        with full_precision(w_ND):
            matrix_N33 = self._transforms(self.affine(w_ND))
            phases_NC = self.phases + (self.frequencies @ matrix_N33[:, :2, 2:]).squeeze(2)
            frequencies_NC2 = self.frequencies @ matrix_N33[:, :2, :2]
            # Frequencies that the transform pushed beyond the band fade out before they alias.
            over = (frequencies_NC2.norm(dim=2) - self.bandwidth) / (
                self.sampling_rate / 2 - self.bandwidth
            )
            amplitude_NC = (1 - over).clamp(0, 1)
            grid_P2 = self._grid(w_ND.device)
            angle_NPC = grid_P2 @ frequencies_NC2.transpose(1, 2) + phases_NC[:, None, :]
            waves_NPC = (angle_NPC * (2 * math.pi)).sin()
            if self.fades:
                waves_NPC = waves_NPC * amplitude_NC[:, None, :]
            x_NPC = waves_NPC @ (self.weight / math.sqrt(self.weight.shape[1])).t()
        return x_NPC.unflatten(1, (self.size, self.size)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def start_shifted(self, entries: int, deviation: float) -> None:
        """Let the first entries of w shift the waves from the start, along two orthogonal
        directions.

        Args:
            entries: at least two, of mean square 1 in w.
            deviation: standard deviation of the shift in x and in y, in units of the side.

        Raises:
            ValueError: fewer than two entries.
        """
        if entries < 2:
            raise ValueError(f"a shift in x and y needs 2 entries of w, got {entries}")
        directions = torch.linalg.qr(torch.randn(entries, 2)).Q.t()
        self.affine.weight[2:, :entries] = directions * (deviation / self.affine.weight_gain)

    def _transforms(self, t_N4: Tensor) -> Tensor:
        """Return rotation times translation times the user's transform, [N, 3, 3]."""
        t_N4 = t_N4 / t_N4[:, :2].norm(dim=1, keepdim=True)
        cos, sin, shift_x, shift_y = t_N4.unbind(dim=1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rotate = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1)
        shift = torch.stack([one, zero, -shift_x, zero, one, -shift_y, zero, zero, one], dim=1)
        return rotate.unflatten(1, (3, 3)) @ shift.unflatten(1, (3, 3)) @ self.transform

    def _grid(self, device: torch.device) -> Tensor:
        """Return the pixel centres [H * W, 2] as (x, y), in units of the sampling rate."""
        half = 0.5 * self.size / self.sampling_rate
        theta = torch.tensor([[[half, 0.0, 0.0], [0.0, half, 0.0]]], device=device)
        return F.affine_grid(theta, [1, 1, self.size, self.size], align_corners=False).view(-1, 2)
