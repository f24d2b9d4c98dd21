"""Classifier guidance: how unlike its class an image is, as a frozen classifier sees it.

Sauer et al. 2022, section 3.3.

Legend: N samples, K classes of the data.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class ClassGuide(nn.Module):
    """A frozen classifier that speaks of the data's classes.

    Args:
        classifier: image in [-1, 1] -> {"logits": ...}.
        logit_K: which of its logits stands for each class.
    """

    logit_K: Tensor

    def __init__(self, classifier: Any, logit_K: Tensor) -> None:
        super().__init__()
        self.classifier: Any = classifier
        self.register_buffer("logit_K", logit_K)

    def forward(self, image_NCHW: Tensor, label_N: Tensor) -> Tensor:
        """Return the cross entropy [N] of images in [-1, 1], resized bilinearly, and classes."""
        size = (self.classifier.image_size, self.classifier.image_size)
        if image_NCHW.shape[-2:] != size:
            image_NCHW = F.interpolate(image_NCHW, size, mode="bilinear", align_corners=False)
        logits_NK = self.classifier(image_NCHW)["logits"][:, self.logit_K]
        return F.cross_entropy(logits_NK.float(), label_N, reduction="none")
