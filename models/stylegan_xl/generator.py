"""StyleGAN-XL's generator: alias-free layers, a small z, class embeddings, growth by heads.

Sauer et al. 2022, "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets". The class embeddings
are pretrained.

Deviations: the class embeddings are frozen unless asked for otherwise, as the paper says and the
published code does not; growth freezes the input layer with the stem; without classes there is no
unused table. A text embedding can stand for the class.

Legend: N samples, K classes, E width of a class embedding, D width of w.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.interfaces import Condition, ConditionShape
from models.layers.style_based import StyleBasedGenerator
from models.layers.style_mapping import StyleMapping
from models.stylegan_xl.alias_free import AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import BandRules, LayerPlan, num_kept
from models.warm_start import copy_by_name


class ClassMapping(StyleMapping):
    """The mapping network with a table of class embeddings and a running mean for each class.

    Args:
        z_dim, w_dim, num_layers, lr_multiplier, mean_beta: see `StyleMapping`.
        num_classes: K; 0 = unconditional, or on a vector.
        embed_dim: E.
        vector_dim: width of the vector in place of a class; 0 = unconditional.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        *,
        num_layers: int,
        num_classes: int,
        embed_dim: int,
        vector_dim: int = 0,
        lr_multiplier: float = 0.01,
        mean_beta: float = 0.998,
    ) -> None:
        super().__init__(
            z_dim,
            w_dim,
            num_layers=num_layers,
            vector_dim=embed_dim if num_classes else vector_dim,
            embed_dim=z_dim,
            embed_leaky=True,
            lr_multiplier=lr_multiplier,
            mean_beta=mean_beta,
            num_classes=num_classes,
        )
        self.embedding: nn.Parameter | None = None
        if num_classes:
            self.embedding = nn.Parameter(torch.randn(num_classes, embed_dim))

    def forward(
        self, z_NZ: Tensor, vector_NE: Tensor | None = None, label_N: Tensor | None = None
    ) -> Tensor:
        """Return w [N, D]; with classes, the label decides and the vector is not used."""
        if self.embedding is not None:
            vector_NE = self.embedding[label_N]
        return super().forward(z_NZ, vector_NE, label_N)


class StyleGANXLGenerator(StyleBasedGenerator):
    """Mapping and alias-free synthesis; implements `models.interfaces.Generator`.

    Args:
        shape: widths that the data dictates; classes if there are some, else text, else nothing.
        stem_resolution: of the stem's images, in pixels.
        stem_layers: convolutions of the stem.
        heads: (resolution, convolutions) of each super-resolution head, in order of growth.
        z_dim: width of z.
        w_dim: width of w.
        num_mapping_layers: of the mapping network.
        embed_dim: E.
        train_embedding: train the class embeddings too.
        mean_beta: of the running mean of each class.
        channel_base, channel_max: see `BandRules`. Published: 65536 and 1024; -r twice as much.
        num_critical, margin_px: see `BandRules`.
        input_shift: see `FourierInput.start_shifted`; 0 leaves the input where it is.
        kernel, radial: 3 and False for -t; 1 and True for -r.
        told_dim: width of what a subclass tells the layers behind w.

    Attributes:
        plans: of the stem, then after each growth.
        stem_frozen: only the last head trains; set by growth.
    """

    mapping: ClassMapping
    synthesis: AliasFreeSynthesis

    def __init__(
        self,
        *,
        shape: ConditionShape,
        stem_resolution: int = 16,
        stem_layers: int = 10,
        heads: Sequence[tuple[int, int]] = (),
        z_dim: int = 64,
        w_dim: int = 512,
        num_mapping_layers: int = 2,
        embed_dim: int = 320,
        train_embedding: bool = False,
        mean_beta: float = 0.998,
        channel_base: int = 65536,
        channel_max: int = 1024,
        num_critical: int = 2,
        margin_px: int = 10,
        input_shift: float = 0.0,
        kernel: int = 3,
        radial: bool = False,
        told_dim: int = 0,
    ) -> None:
        mapping = ClassMapping(
            z_dim,
            w_dim,
            num_layers=num_mapping_layers,
            num_classes=shape.num_labels,
            embed_dim=embed_dim,
            vector_dim=shape.pooled_dim,
            mean_beta=mean_beta,
        )
        rules = BandRules(
            channel_base=channel_base,
            channel_max=channel_max,
            num_critical=num_critical,
            margin_px=margin_px,
        )
        plans = growth_plans(rules, stem_resolution, stem_layers, heads)
        synthesis = AliasFreeSynthesis(
            w_dim,
            plans[-1],
            kernel=kernel,
            radial=radial,
            input_shift=input_shift,
            told_dim=told_dim,
        )
        resolution = heads[-1][0] if heads else stem_resolution
        super().__init__(mapping, synthesis, z_dim=z_dim, resolution=resolution)
        self.shape, self.plans, self.w_dim = shape, plans, self.w_dim + told_dim
        self.train_embedding, self.stem_frozen = train_embedding, False
        # Layers before this one were there before the last growth.
        self.num_stem_layers = num_kept(plans[-2]) if heads else 0

    @property
    def embedding(self) -> nn.Parameter | None:
        """The class embeddings [K, E]; None without classes."""
        return self.mapping.embedding

    @torch.no_grad()
    def set_embedding(self, embedding_KE: Tensor) -> None:
        """Take pretrained class embeddings: the mean pooled features of each class.

        Raises:
            ValueError: another number of classes or another width.
        """
        if self.embedding is None or self.embedding.shape != embedding_KE.shape:
            own = None if self.embedding is None else list(self.embedding.shape)
            raise ValueError(
                f"class embeddings {list(embedding_KE.shape)} do not fit the generator's {own}: "
                "set embed_dim to the width of the features"
            )
        self.embedding.copy_(embedding_KE)

    def vector(self, condition: Condition) -> Tensor | None:
        """Return the text embedding where there are no classes, else None.

        Raises:
            ValueError: the condition lacks the field that the network was built for.
        """
        if self.shape.num_labels:
            if condition.label_N is None:
                raise ValueError(
                    f"the network wants a class index below {self.shape.num_labels}, got none"
                )
            return None
        if self.shape.pooled_dim and condition.pooled_ND is None:
            raise ValueError(
                f"the network wants a text embedding [N, {self.shape.pooled_dim}], got none"
            )
        return condition.pooled_ND if self.shape.pooled_dim else None

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that train: all but a frozen table, or after growth the head."""
        if self.stem_frozen:
            return list(self.synthesis.layers[self.num_stem_layers :].parameters())
        frozen = None if self.train_embedding else self.embedding
        return [p for p in self.parameters() if p is not frozen]

    def in_head(self, name: str) -> bool:
        """Say whether a tensor of the state dict belongs to the last head."""
        path = name.split(".")
        return path[:2] == ["synthesis", "layers"] and int(path[2]) >= self.num_stem_layers

    def grow_from(self, stem: Mapping[str, Tensor]) -> None:
        """Copy a network that lacks the last head, without its critical layers, and freeze that.

        Args:
            stem: its tensors by our names.

        Raises:
            ValueError: there is no head, or the tensors do not fit.
        """
        if not self.num_stem_layers:
            raise ValueError("this generator has no head to grow by: heads is empty")
        kept = {name: tensor for name, tensor in stem.items() if not self.in_head(name)}
        copy_by_name(self, kept, fresh=self.in_head, what="the stem")
        self.freeze_stem()

    def freeze_stem(self) -> None:
        """Let only the last head train; mapping, input and earlier layers stay as they are."""
        self.stem_frozen, self.mapping.mean.tracks = True, False


def growth_plans(
    rules: BandRules, stem_resolution: int, stem_layers: int, heads: Sequence[tuple[int, int]]
) -> list[list[LayerPlan]]:
    """Return the plan of the stem, then that after each growth.

    Raises:
        ValueError: a stage that cannot be built.
    """
    plans = [rules.stem(stem_resolution, stem_layers)]
    for resolution, num_layers in heads:
        plans.append(rules.grow(plans[-1], resolution, num_layers))
    return plans
