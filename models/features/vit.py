"""A frozen vision transformer that gives the tokens of several layers (taps).

The taps feed StyleGAN-T's discriminator.

Legend: N samples, C channels (the transformer's width), L patch tokens, P prefix tokens (CLS
first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from models.features.frozen import FrozenNet


def even_hooks(depth: int, count: int = 4) -> list[int]:
    """Return `count` block indices, evenly spaced and ending at the last block (2, 5, 8, 11 for
    depth 12).
    """
    if depth < count:
        raise ValueError(f"a transformer of {depth} blocks cannot be tapped {count} times")
    return [(step + 1) * depth // count - 1 for step in range(count)]


def read_out(tokens_NLC: Tensor, num_prefix: int) -> Tensor:
    """Return patch tokens with the CLS token added to each, as [N, C, L]; prefix tokens are
    dropped.
    """
    patches = tokens_NLC[:, num_prefix:]
    if num_prefix:
        patches = patches + tokens_NLC[:, :1]
    return patches.transpose(1, 2)


def vit_tokens(vit: Any, image_NCHW: Tensor, hooks: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Run the blocks of any timm VisionTransformer one by one.

    No hooks are registered and nothing is kept on a module: the graph is plain and compiles.

    Args:
        vit: a timm VisionTransformer.
        image_NCHW: normalised input at the transformer's size.
        hooks: block indices.

    Returns:
        the tokens [N, P + L, C] after each hooked block, then those of the patch embedding
        (position embedding added, before the first block); and the tokens after the last block, all
        without the final norm.
    """
    # "pos_drop" of the original is the last thing `_pos_embed` does, hence what it returns.
    embedded = vit._pos_embed(vit.patch_embed(image_NCHW))
    x = vit.norm_pre(vit.patch_drop(embedded))
    after = {}
    for index, block in enumerate(vit.blocks):
        x = block(x)
        if index in hooks:
            after[index] = x
    return [*(after[index] for index in hooks), embedded], x


def vit_taps(
    vit: Any, image_NCHW: Tensor, hooks: Sequence[int], hook_patch: bool = True
) -> list[Tensor]:
    """Return the taps [N, C, L] of a timm VisionTransformer: one per hook, then the patch
    embedding's.

    Args:
        vit: a timm VisionTransformer.
        image_NCHW: normalised input at the transformer's size.
        hooks: block indices, from 0.
        hook_patch: whether the patch embedding is the last tap.
    """
    tokens, _ = vit_tokens(vit, image_NCHW, hooks)
    taps = [read_out(x, vit.num_prefix_tokens) for x in tokens]
    return taps if hook_patch else taps[:-1]


class VitNet(FrozenNet):
    """Taps "tap_0" ... of a frozen timm ViT, "pooled" (its own pooling, after the norm), "logits"
    if it has a head.
    """

    kind: ClassVar[str] = "vit"

    def __init__(self, network: Any, architecture: dict[str, Any], **preprocessing: Any) -> None:
        super().__init__(network, architecture, **preprocessing)
        depth = len(network.blocks)
        self.hooks: list[int] = list(architecture.get("hooks") or even_hooks(depth))
        if not all(0 <= hook < depth for hook in self.hooks):
            raise ValueError(f"hooks {self.hooks}: wanted block indices from 0 to {depth - 1}")
        self.num_taps = len(self.hooks) + 1
        self.tap_dim: int = network.embed_dim

    @classmethod
    def build(cls, architecture: dict[str, Any], **preprocessing: Any) -> VitNet:
        """Return the net with fresh weights.

        Args:
            architecture: name (of timm) or None, arguments (of timm.create_model, or of
                VisionTransformer when there is no name), hooks (block indices or None for four
                evenly spaced).
            preprocessing: image_size_px, mean, std.
        """
        import timm
        from timm.models.vision_transformer import VisionTransformer

        arguments = architecture["arguments"]
        if architecture["name"] is None:
            network: Any = VisionTransformer(**arguments)
        else:
            network = timm.create_model(architecture["name"], pretrained=False, **arguments)
        if not isinstance(network, VisionTransformer):
            raise ValueError(f"{architecture['name']} is no plain vision transformer of timm")
        return cls(network, architecture, **preprocessing)

    @property
    def map_side(self) -> int:
        """Side of the square grid of patches."""
        return int(self.network.patch_embed.grid_size[0])

    def patch_maps(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the patches alone as maps "tap_i" [N, C, side, side], one per hook.

        StyleGAN-XL's reading: images in [-1, 1] are resized bilinearly, prefix tokens are dropped
        and added to nothing.
        """
        size, side = (self.image_size, self.image_size), self.map_side
        if image_NCHW.shape[-2:] != size:
            image_NCHW = F.interpolate(image_NCHW, size, mode="bilinear", align_corners=False)
        tokens, _ = vit_tokens(self.network, self.preprocess.normalise(image_NCHW), self.hooks)
        patches = [x[:, self.network.num_prefix_tokens :].transpose(1, 2) for x in tokens[:-1]]
        return {f"tap_{i}": x.unflatten(2, (side, side)) for i, x in enumerate(patches)}

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        tokens, last = vit_tokens(self.network, self.preprocess(image_NCHW), self.hooks)
        prefix = self.network.num_prefix_tokens
        features = {f"tap_{index}": read_out(x, prefix) for index, x in enumerate(tokens)}
        normed = self.network.norm(last)
        features["pooled"] = self.network.forward_head(normed, pre_logits=True)
        if self.network.num_classes > 0:
            features["logits"] = self.network.forward_head(normed)
        return features
