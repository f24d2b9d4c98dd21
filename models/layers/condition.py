"""Turn a Condition into the one vector that a network is conditioned on.

Legend: N samples, D width of the vector, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape


class ConditionVector(nn.Module):
    """Text embedding if the data has one, else the class, else nothing.

    A class becomes a one-hot vector, or a learned embedding of `label_dim`; both have unit length,
    as the text embedding has.

    Args:
        shape: widths that the data dictates.
        label_dim: width of the learned class embedding; 0 means one-hot. Ignored when there is
            text.

    Attributes:
        dim: D; 0 for an unconditional network.
    """

    def __init__(self, shape: ConditionShape, label_dim: int = 0) -> None:
        super().__init__()
        self.kind = "pooled" if shape.pooled_dim else "label" if shape.num_labels else "none"
        self.num_labels = shape.num_labels
        self.dim = shape.pooled_dim
        self.table: nn.Parameter | None = None
        if self.kind == "label":
            self.dim = label_dim or shape.num_labels
            if label_dim:
                self.table = nn.Parameter(torch.randn(shape.num_labels, label_dim))

    def forward(self, condition: Condition) -> Tensor | None:
        """Return [N, D] of unit length, or None for an unconditional network.

        Raises:
            ValueError: the condition lacks the field that the network was built for.
        """
        if self.kind == "none":
            return None
        if self.kind == "pooled":
            if condition.pooled_ND is None or condition.pooled_ND.shape[1] != self.dim:
                given = None if condition.pooled_ND is None else tuple(condition.pooled_ND.shape)
                raise ValueError(f"the network wants a text embedding [N, {self.dim}], got {given}")
            return condition.pooled_ND.float()
        if condition.label_N is None:
            raise ValueError(f"the network wants a class index below {self.num_labels}, got none")
        if self.table is None:
            return F.one_hot(condition.label_N, self.num_labels).float()
        return F.normalize(self.table[condition.label_N], dim=1)


class ConditionEmbedding(nn.Module):
    """The class or the text as a vector whose entries have mean square 1, as a noise vector's.

    A class is a row of a learned table that starts standard normal; a text embedding is scaled by
    sqrt(D). `ConditionVector` gives unit length instead: too faint where nothing normalises after.

    Args:
        shape: widths that the data dictates; text goes before classes.
        label_dim: width of the table.

    Attributes:
        dim: D; 0 for an unconditional network.
    """

    def __init__(self, shape: ConditionShape, label_dim: int) -> None:
        super().__init__()
        self.vector = ConditionVector(shape)  # for text: its checks
        self.dim = self.vector.dim
        self.table: nn.Parameter | None = None
        if self.vector.kind == "label":
            self.dim = label_dim
            self.table = nn.Parameter(torch.randn(shape.num_labels, label_dim))

    def forward(self, condition: Condition) -> Tensor | None:
        """Return [N, D], or None for an unconditional network.

        Raises:
            ValueError: the condition lacks the field that the network was built for.
        """
        if self.table is None:
            vector = self.vector(condition)
            return None if vector is None else vector * self.dim**0.5
        if condition.label_N is None:
            raise ValueError(
                f"the network wants a class index below {self.vector.num_labels}, got none"
            )
        return self.table[condition.label_N]
