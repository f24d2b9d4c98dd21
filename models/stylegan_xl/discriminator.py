"""StyleGAN-XL's discriminator: Projected GAN's, once for each of several frozen networks.

Sauer et al. 2022, section 3.2.

The networks are not part of this module: they are frozen, shared and never saved with a run.

Deviations: the class embeddings stand here once and are frozen (the published code keeps a copy in
each of the eight heads and trains them), and each has unit mean square, so that their scale is no
setting; they meet the features through a linear layer with torch's initial weights.

Legend: N samples, K classes, E width of a class embedding, T logits of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.stylegan_t.discriminator import PIXELS
from models.stylegan_t.pixel_head import PixelHead
from models.stylegan_xl.token_reassembly import TokenReassembly


class StyleGANXLDiscriminator(nn.Module):
    """One projected discriminator per network.

    Args:
        projected: network's name -> its discriminator, built for the vector of `embedding_KE` (a
            pooled vector of E numbers) where that is given, else for the data's own condition.
        reassembly: network's name -> what turns its tokens into a pyramid, for transformers.
        embedding_KE: frozen class embeddings; None = the data's condition is handed on as it is.
        pixel_head: width of a head that sees the picture itself; 0 = none. Ours.
        shape: of the condition that a pixel head gets.
    """

    embedding_KE: Tensor | None

    def __init__(
        self,
        projected: Mapping[str, ProjectedDiscriminator],
        reassembly: Mapping[str, TokenReassembly],
        embedding_KE: Tensor | None = None,
        *,
        pixel_head: int = 0,
        shape: ConditionShape | None = None,
    ) -> None:
        super().__init__()
        self.projected = nn.ModuleDict(projected)
        self.reassembly = nn.ModuleDict(reassembly)
        # Its heads scale a vector of unit length to unit mean square.
        unit_KE = None if embedding_KE is None else F.normalize(embedding_KE, dim=1)
        self.register_buffer("embedding_KE", unit_KE)
        self.vector = ConditionVector(shape or ConditionShape())
        self.pixel_head = PixelHead(pixel_head, self.vector.dim) if pixel_head else None

    def forward(
        self, maps: Mapping[str, Mapping[str, Tensor]], condition: Condition, parts: int = 1
    ) -> dict[str, Tensor]:
        """Return network's name -> logits [N, T], float32; of a pixel head under PIXELS.

        Args:
            maps: network's name -> "stage_i" (or "tap_i", of a transformer) -> [N, C, H, W]; N =
                parts * n, whole batches one after the other. For a pixel head also PIXELS ->
                PIXELS -> the picture [N, 3, H, W].
            condition: of one part (n samples); every part is judged against the same.
            parts: batches concatenated in the maps, which keep their own normalisation statistics.

        Raises:
            ValueError: the condition lacks the class that the network was built for.
        """
        condition = self._embedded(condition)
        logits = {}
        for name, discriminator in self.projected.items():
            seen = maps[name]
            if name in self.reassembly:
                seen = self.reassembly[name](seen)
            logits[name] = discriminator(seen, condition, parts)
        if self.pixel_head is not None:
            vector_NE = self.vector(condition)
            if vector_NE is not None:
                vector_NE = vector_NE.repeat(parts, 1)
            logits[PIXELS] = self.pixel_head(maps[PIXELS][PIXELS], vector_NE)
        return logits

    def _embedded(self, condition: Condition) -> Condition:
        if self.embedding_KE is None:
            return condition
        if condition.label_N is None:
            known = self.embedding_KE.shape[0]
            raise ValueError(f"the network wants a class index below {known}, got none")
        return Condition(pooled_ND=self.embedding_KE[condition.label_N])
