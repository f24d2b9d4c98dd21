"""Projected GAN's recipe: which networks its fields choose, and what each phase trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.projected_gan.fields import ProjectedGANFields

if TYPE_CHECKING:
    from torch import nn

    from models.interfaces import ConditionShape, Networks, Phase, Site, Start


@dataclass(frozen=True, kw_only=True)
class ProjectedGAN(ProjectedGANFields):
    """Fields are the family's hyper-parameters; defaults are the published "fastgan" with lite1."""

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh generator, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built.
        """
        from models.projected_gan.networks import make_generator

        return make_generator(self, resolution, shape)

    def discriminator(
        self, features: Any, resolution: int, shape: ConditionShape, classifier: Any = None
    ) -> nn.Module:
        """Return a fresh discriminator that reads `features`, the net of its first encoder role or
        None, and with `cnn_heads` also the maps of `classifier`.

        Raises:
            ValueError: the net's maps cannot be projected at this size, or a scale is too small.
        """
        from models.projected_gan.networks import make_discriminator

        return make_discriminator(self, features, resolution, shape, classifier)

    def build(self, site: Site) -> Networks:
        """Return generator, discriminator and the frozen net, if there is one; a start of the same
        size continues.

        Raises:
            ValueError: the start has another resolution, or does not fit.
        """
        from models.interfaces import Networks
        from models.projected_gan.sentences import sentences_of

        if site.start is not None and site.start.card["resolution_px"] != site.resolution:
            raise ValueError(
                f"the start has {site.start.card['resolution_px']} px and this stage "
                f"{site.resolution} px: {self.name} does not grow; train it at {site.resolution} "
                "px from nothing"
            )
        # First, so that it starts from the same weights before any discriminator.
        generator = self.generator(site.resolution, site.shape)
        frozen = {role: site.encoder(role) for role in self.encoder_roles}
        features = frozen[self.encoder_roles[0]] if self.discriminator_network != "pixels" else None
        classifier = frozen.get("classifier") if self.cnn_heads else None
        discriminator = self.discriminator(features, site.resolution, site.shape, classifier)
        if site.start is not None:
            _continue_from(site.start, generator, discriminator)
        if self.sentence:
            clip: Any = frozen["clip"]
            frozen["sentences"] = sentences_of(clip, self.sentence, self.z_dim, site.label_names)
        trained = {"generator": generator, "discriminator": discriminator}
        return Networks(trained=trained, frozen=frozen)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the generator's phase, then the discriminator's (the published order)."""
        from models.interfaces import OptimizerSettings, Phase
        from models.layers.spectral_norm import advance_power_iteration
        from models.losses.seen_fakes import SeenFakes
        from models.projected_gan.losses import discriminator_loss, generator_loss

        seen = SeenFakes() if self.reuse_fakes else None

        # Both phases use both networks, whose weights moved since the last one.
        def begin(nimg: int) -> None:
            for network in networks.trained.values():
                advance_power_iteration(network)

        def settings(learning_rate: float) -> OptimizerSettings:
            return OptimizerSettings(
                learning_rate=learning_rate, beta1=self.beta1, beta2=self.beta2
            )

        return [
            Phase(
                name="generator",
                parameters=lambda nimg: list(networks.trained["generator"].parameters()),
                loss=lambda batch, nimg, rng: generator_loss(self, networks, batch, rng, seen),
                optimizer=settings(self.generator_learning_rate),
                begin=begin,
            ),
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(networks.trained["discriminator"].parameters()),
                loss=lambda batch, nimg, rng: discriminator_loss(self, networks, batch, rng, seen),
                optimizer=settings(self.discriminator_learning_rate),
                begin=begin,
            ),
        ]


def _continue_from(start: Start, generator: nn.Module, discriminator: nn.Module) -> None:
    """Copy the start's tensors, all of them by name."""
    from models.warm_start import copy_by_name

    copy_by_name(generator, start.generator, what="the generator")
    if start.discriminator is not None:
        copy_by_name(discriminator, start.discriminator, what="the discriminator")
