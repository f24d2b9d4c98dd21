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

from models.interfaces import Condition
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.stylegan_xl.token_reassembly import TokenReassembly


class StyleGANXLDiscriminator(nn.Module):
    """One projected discriminator per network.

    Args:
        projected: network's name -> its discriminator, built for the vector of `embedding_KE` (a
            pooled vector of E numbers) where that is given, else for the data's own condition.
        reassembly: network's name -> what turns its tokens into a pyramid, for transformers.
        embedding_KE: frozen class embeddings; None = the data's condition is handed on as it is.
    """

    embedding_KE: Tensor | None

    def __init__(
        self,
        projected: Mapping[str, ProjectedDiscriminator],
        reassembly: Mapping[str, TokenReassembly],
        embedding_KE: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.projected = nn.ModuleDict(projected)
        self.reassembly = nn.ModuleDict(reassembly)
        # Its heads scale a vector of unit length to unit mean square.
        unit_KE = None if embedding_KE is None else F.normalize(embedding_KE, dim=1)
        self.register_buffer("embedding_KE", unit_KE)

    def forward(
        self, maps: Mapping[str, Mapping[str, Tensor]], condition: Condition, parts: int = 1
    ) -> dict[str, Tensor]:
        """Return network's name -> logits [N, T], float32.

        Args:
            maps: network's name -> "stage_i" (or "tap_i", of a transformer) -> [N, C, H, W]; N =
                parts * n, whole batches one after the other.
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
        return logits

    def _embedded(self, condition: Condition) -> Condition:
        if self.embedding_KE is None:
            return condition
        if condition.label_N is None:
            known = self.embedding_KE.shape[0]
            raise ValueError(f"the network wants a class index below {known}, got none")
        return Condition(pooled_ND=self.embedding_KE[condition.label_N])
