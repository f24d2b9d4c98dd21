"""StyleGAN-XL's recipe: which networks its fields choose, and what each phase trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.stylegan_xl.fields import NETWORKS, StyleGANXLFields

if TYPE_CHECKING:
    from torch import nn

    from models.interfaces import ConditionShape, Networks, OptimizerSettings, Phase, Site


@dataclass(frozen=True, kw_only=True)
class StyleGANXL(StyleGANXLFields):
    """Fields are the family's hyper-parameters; defaults are the published -t configuration."""

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh generator, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built, or that the heads do not end at.
        """
        from models.stylegan_xl.build import generator_of

        return generator_of(self, resolution, shape)

    def build(self, site: Site) -> Networks:
        """Return generator, discriminator and frozen nets, warm-started from `site.start`.

        A start of lower resolution grows: its critical layers are cut, the head is fresh and trains
        alone. The discriminator goes on where its tensors fit, and is made anew where they do not
        (another size of the features).

        Raises:
            ValueError: the start does not fit, or classes are asked for where there are none.
        """
        from models.interfaces import Networks
        from models.layers.running_mean import RunningMean
        from models.projected_gan.sentences import sentences_of
        from models.stylegan_xl import build as parts

        embedding = parts.embedding_of(self, site)
        generator: Any = self.generator(site.resolution, site.shape)
        if embedding is not None and self.generator_network == "stylegan_xl":
            generator.set_embedding(embedding)
        frozen = {role: site.encoder(role) for role in NETWORKS}
        discriminator = parts.discriminator_of(self, frozen, site, embedding)
        parts.start_from(self, site, generator, discriminator)
        if self.guides(site.resolution):
            frozen["guide"] = parts.guide_of(self, site)
        if self.sentence:
            clip: Any = site.encoder("clip")
            names = site.label_names
            frozen |= {
                "clip": clip,
                "sentences": sentences_of(clip, self.sentence, self.z_dim, names),
            }
        trained = {"generator": generator, "discriminator": discriminator}
        if self.path_length_weight > 0 and not self.heads:
            trained["path_length"] = RunningMean(1, self.path_length_beta)
        return Networks(trained=trained, frozen=frozen)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return G's phase, its path length's, then D's (the published order)."""
        from models.interfaces import Phase
        from models.layers.spectral_norm import advance_power_iteration
        from models.losses.seen_fakes import SeenFakes
        from models.stylegan_xl import losses

        seen = SeenFakes() if self.reuse_fakes else None
        generator: Any = networks.trained["generator"]
        discriminator = networks.trained["discriminator"]

        # Both phases judge with the heads, whose weights moved since the last one.
        def begin(nimg: int) -> None:
            advance_power_iteration(discriminator)

        adam = self._adam(self.generator_learning_rate, self.generator_lazy)
        train = Phase(
            name="generator",
            parameters=lambda nimg: generator.trainable(),
            loss=lambda batch, nimg, rng: losses.generator_loss(
                self, networks, batch, nimg, rng, seen
            ),
            optimizer=adam,
            begin=begin,
        )
        phases = [train]
        if "path_length" in networks.trained:
            phases.append(
                Phase(
                    name="path_length",
                    parameters=lambda nimg: self._in_path_length(generator, nimg),
                    loss=lambda batch, nimg, rng: losses.path_length_loss(
                        self, networks, batch, rng
                    ),
                    optimizer=adam,
                    every=self.path_length_every,
                    steps_of="generator",
                )
            )
        phases.append(
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(discriminator.parameters()),
                loss=lambda batch, nimg, rng: losses.discriminator_loss(
                    self, networks, batch, nimg, rng, seen
                ),
                optimizer=self._adam(self.discriminator_learning_rate, self.discriminator_lazy),
                begin=begin,
            )
        )
        return phases

    def _in_path_length(self, generator: Any, nimg: int) -> list[nn.Parameter]:
        """Return what the path length depends on: all but the bias of the image; nothing before
        its time.
        """
        if nimg < self.path_length_start_kimg * 1000:
            return []
        bias = generator.synthesis.layers[-1].bias
        return [p for p in generator.trainable() if p is not bias]

    def _adam(self, learning_rate: float, lazy: int) -> OptimizerSettings:
        """Return Adam for a network with a regulariser on every `lazy`-th iteration (Karras et al.
        2020, appendix B): so many more steps are taken, each of them smaller.
        """
        from models.interfaces import OptimizerSettings

        part = lazy / (lazy + 1) if lazy else 1.0
        return OptimizerSettings(
            learning_rate=learning_rate * part, beta1=self.beta1**part, beta2=self.beta2**part
        )
