"""StyleGAN-NADA's hyper-parameters, and what follows from them before any network is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from models.fields import AddedLater, Between


@dataclass(frozen=True, kw_only=True)
class StyleGANNADAFields:
    """The fields of the recipe, `models.stylegan_nada.recipe.StyleGANNADA`."""

    name: ClassVar[str] = "stylegan_nada"
    needs_data: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    tunable: ClassVar[dict[str, tuple[float, float]]] = {"learning_rate": (2e-4, 8e-3)}

    parent: dict[str, Any] = field(default_factory=dict)
    """Family and fields of the network that is adapted. The stage fills it in from the start."""
    source: str = ""
    """What the images show now, without an article; unused with source_pictures."""
    sources: Annotated[tuple[str, ...], AddedLater(())] = ()
    """In place of `source`, where images differ in it: what stands in the templates' hole. Each
    image goes from the sentence that CLIP finds nearest to the same with `target`, so whole
    sentences are wanted; with global_weight also to that sentence. With target_pictures the target
    is the one of them that CLIP reads in the pictures. Ours."""
    target: str = ""
    """What they are to show; '' with target_pictures."""
    source_pictures: str = ""
    """Folder of pictures in place of `source`; '' with target_pictures: the original's images."""
    target_pictures: str = ""
    """Folder of pictures in place of `target`; three are enough. Paper: section 4.3."""
    templates: tuple[str, ...] = ()
    """Sentences with {} for a text; () = the 79 of ImageNet. Code: these. "[small|large]" in one
    makes two of it. Ours."""
    prompts: tuple[str, ...] = ()
    """What a text-to-image model is asked for meanwhile; () = `source`. Unused with data."""
    clips: tuple[str, ...] = ("clip",)
    """Roles of the CLIPs that guide. Code: ViT-B/32, with ViT-B/16 for shapes and pictures."""
    clip_weights: tuple[float, ...] = (1.0,)
    """Weight of each. Code: 1.0."""
    resize: Literal["net", "bicubic", "published"] = "net"
    """How an image is resized for CLIP (models/editing/clip_view.py). Code: published."""
    directional_weight: Annotated[float, Between(0.0, None)] = 1.0
    """Of the loss that the paper trains with. Code: 1.0."""
    global_weight: Annotated[float, Between(0.0, None)] = 0.0
    """Of the distance to the target alone, which tends to collapse. Code: 0.0."""
    angle_weight: Annotated[float, Between(0.0, None)] = 0.0
    """Of the angle between images and that between texts. Code: 0.0."""
    selected_layers: Annotated[int, Between(0, None)] = 0
    """Convolutions that train in a step, the most relevant ones; 0 = all. Code: two thirds."""
    selection_steps: Annotated[int, Between(1, 100)] = 1
    """Steps on codes that rank the layers. Code: 1."""
    selection_batch: Annotated[int, Between(1, 1024)] = 8
    """Codes that rank them. Code: 8."""
    selection_rate: Annotated[float, Between(0.0, None)] = 0.01
    """Learning rate of these steps. Code: 0.01."""
    layer_map: Literal["derived", "published"] = "derived"
    """Which layer an entry of ws stands for: as the generator is built, or the published list."""
    train_affine: bool = False
    """Train the affine layers of the styles too. Paper: no; code: yes, of the first network."""
    mixing: Annotated[float, Between(0.0, 1.0)] = 0.0
    """Share of codes mixed of two. Code: 0.0; 0.9 for shapes."""
    learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.0016
    """Adam. Code: 0.002 * 4 / 5."""
    beta1: Annotated[float, Between(0.0, 0.999)] = 0.0
    """Adam. Code: 0."""
    beta2: Annotated[float, Between(0.0, 0.99999)] = 0.992
    """Adam. Code: 0.99 ** (4 / 5)."""
    watch_role: str = ""
    """A net that does not guide, by which diversity and gain are watched; '' = the first CLIP."""
    watch_every_kimg: Annotated[float, Between(0.0, None)] = 0.1
    """How often they are; 0 = never. Ours."""
    watch_images: Annotated[int, Between(2, 10_000)] = 64
    """Of how many images. Ours."""
    stop_below_diversity: Annotated[float, Between(0.0, 1.0)] = 0.0
    """Stop when the images differ by less than this share of the original's, and keep the last
    state that was above; 0 = never. Ours."""

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The CLIPs that guide, the one that embeds prompts, and the net that watches."""
        watching = (self.watch_role,) if self.watch_role else ()
        return tuple(dict.fromkeys((*self.clips, "clip", *watching)))

    @property
    def picture_folders(self) -> tuple[str, ...]:
        """The folders of pictures that `build` will ask for."""
        return tuple(x for x in (self.source_pictures, self.target_pictures) if x)

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return what cannot be done whatever the start is."""
        wrong = {}
        if len(self.clips) != len(self.clip_weights) or not self.clips:
            got = f"got {len(self.clip_weights)} for {len(self.clips)} clips"
            wrong["clip_weights"] = f"{got}; allowed: one for each, at least one"
        if not self.target and not self.target_pictures:
            wrong["target"] = "got nothing; allowed: a text, or target_pictures"
        if self.target and self.target_pictures:
            wrong["target"] = "got a text and target_pictures; allowed: one of them"
        if self.target and not self.source and not self.sources:
            wrong["source"] = "got nothing; allowed: a text, or sources, for target is a text"
        if self.sources and (self.source or self.source_pictures):
            wrong["sources"] = "got texts; allowed: () with a source, or with source_pictures"
        if self.sources and self.angle_weight:
            wrong["angle_weight"] = "got a weight; allowed: 0, for sources are several texts"
        if self.source_pictures and not self.target_pictures:
            wrong["source_pictures"] = "got a folder; allowed: '', for target is a text"
        if self.angle_weight and self.target_pictures:
            wrong["angle_weight"] = "got a weight; allowed: 0, for the target is no text"
        if any("{}" not in template for template in self.templates):
            wrong["templates"] = "got one without {}; allowed: sentences with {} for the text"
        if not self.directional_weight + self.global_weight + self.angle_weight:
            wrong["directional_weight"] = "got 0 for all three losses; allowed: one above 0"
        if self.stop_below_diversity and not self.watch_every_kimg:
            wrong["stop_below_diversity"] = "got a share; allowed: 0, for watch_every_kimg is 0"
        return wrong


# Sizes at which a test trains the family in seconds.
SMALL = {
    "parent": {
        "name": "projected_gan",
        "generator_network": "stylegan2",
        "z_dim": 8,
        "w_dim": 8,
        "num_mapping_layers": 2,
        "channel_base": 64,
        "channel_max": 8,
    },
    "source": "a photo",
    "target": "a pencil sketch",
    "templates": ("{}", "the {}"),
    "selected_layers": 2,
    "selection_batch": 2,
    "watch_images": 4,
    "watch_every_kimg": 0.0,
}
