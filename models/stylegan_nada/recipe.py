"""StyleGAN-NADA as a recipe: one phase that trains a copy of the start.

In the order of house recipes: fields (fields.py), networks, the stream, the phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.stylegan_nada.fields import StyleGANNADAFields

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.interfaces import Batch, ConditionShape, Losses, Networks, Phase, Recipe, Site


@dataclass(frozen=True, kw_only=True)
class StyleGANNADA(StyleGANNADAFields):
    """Fields are the family's hyper-parameters; defaults are the published settings."""

    # --- Networks.

    def parent_recipe(self) -> Recipe:
        """Return the recipe of the network that is adapted.

        Raises:
            ValueError: there is none, or it is not known.
        """
        from models.families import recipes

        fields = dict(self.parent)
        name = fields.pop("name", None)
        if name not in recipes():
            raise ValueError(f"no parent of a known family (got {name!r}): set `start`")
        return recipes()[name](**{key: _frozen(value) for key, value in fields.items()})

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh generator of the parent's family; errors as its own."""
        return self.parent_recipe().generator(resolution, shape)

    def build(self, site: Site) -> Networks:
        """Return the generator that trains, and the frozen original, both as the start is.

        Raises:
            ValueError: there is no start, its size is another, or it has no layers to choose from.
        """
        from models.interfaces import Networks, Watching
        from models.stylegan_nada.adaptation import Adaptation, Ends

        if site.start is None:
            raise ValueError("adaptation needs an artifact to start from: set `start`")
        for field, what in self.misfits("none").items():
            raise ValueError(f"{field}: {what}")
        before = site.start.card["resolution_px"]
        if before != site.resolution:
            raise ValueError(
                f"the start has {before} px and this stage {site.resolution} px: set resolution_px"
            )
        model, original = (self._filled(site) for _ in range(2))
        stream = self.stream(site)
        ends = Ends(self._pictures(site), lambda count: stream.atom(0, count).condition)
        frozen = {"original": original, "ends": ends}
        frozen |= {role: site.encoder(role) for role in self.encoder_roles}
        networks = Networks(trained={"generator": model}, frozen=frozen)
        adaptation = Adaptation(self, networks)
        adaptation.check()
        if not self.watch_every_kimg:
            return networks
        watching = Watching(
            every_kimg=self.watch_every_kimg,
            measure=adaptation.watch(),
            stop_below={"diversity": self.stop_below_diversity},
        )
        return replace(networks, watching=watching)

    def _filled(self, site: Site) -> nn.Module:
        """Return the start's model, with its own text encoder if it has one."""
        from models.text_to_image import AlignedGenerator
        from models.warm_start import copy_by_name

        assert site.start is not None
        generator: Any = self.generator(site.resolution, site.shape)
        copy_by_name(generator, site.start.generator, what="the generator")
        for part in generator.modules():
            if hasattr(part, "tracks"):  # running means of w: the mapping does not train
                part.tracks = False
        own = site.start.text_encoder
        if own is None:
            return generator  # type: ignore[no-any-return]
        clip: Any = site.encoder("clip")
        text_encoder = clip.text_part()
        copy_by_name(text_encoder.network, own, what="the text encoder")
        return AlignedGenerator(text_encoder, generator)

    def _pictures(self, site: Site) -> dict[str, list[torch.Tensor]]:
        """Return "source" and "target" -> pictures, as far as there are some."""
        folders = {"source": self.source_pictures, "target": self.target_pictures}
        return {end: site.pictures(folder) for end, folder in folders.items() if folder}

    # --- Conditions, where no data gives them.

    def stream(self, site: Site) -> Any:
        """Return an endless stream of what the original can be asked for."""
        from models.stylegan_nada.adaptation import Asked

        prompts = self.prompts or self.sources or ((self.source,) if self.source else ("",))
        return Asked(site, prompts)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the one phase; which layers train may change from step to step."""
        from models.interfaces import OptimizerSettings, Phase
        from models.stylegan_nada.adaptation import Adaptation

        adaptation = Adaptation(self, networks)

        def loss(batch: Batch, nimg: int, rng: torch.Generator) -> Losses:
            return adaptation.loss(batch, rng)

        return [
            Phase(
                name="generator",
                parameters=adaptation.parameters,
                loss=loss,
                optimizer=OptimizerSettings(
                    learning_rate=self.learning_rate, beta1=self.beta1, beta2=self.beta2
                ),
            )
        ]


def _frozen(value: Any) -> Any:
    """Turn JSON's lists into the tuples that a frozen dataclass holds."""
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
