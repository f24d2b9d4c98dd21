"""StyleGAN3's generator (Karras et al. 2021), configurations -t and -r."""

from __future__ import annotations

from torch import Tensor

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector
from models.layers.style_based import StyleBasedGenerator
from models.layers.style_mapping import StyleMapping
from models.stylegan_xl.alias_free import AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import BandRules


class StyleGAN3Generator(StyleBasedGenerator):
    """Mapping and alias-free synthesis; implements `models.interfaces.Generator`.

    Args:
        resolution: of the images, in pixels.
        shape: widths that the data dictates; text if there is some, else classes, else nothing.
        z_dim: width of z.
        w_dim: width of w.
        num_mapping_layers, mean_beta: of the mapping network, see `StyleMapping`.
        num_layers: convolutions of the synthesis network.
        channel_base, channel_max: see `BandRules`; -r takes twice as much.
        num_critical, margin_px: see `BandRules`.
        input_shift: see `FourierInput.start_shifted`; 0 leaves the input where it is.
        kernel, radial: 3 and False for -t; 1 and True for -r.
    """

    synthesis: AliasFreeSynthesis

    def __init__(
        self,
        *,
        resolution: int,
        shape: ConditionShape,
        z_dim: int = 512,
        w_dim: int = 512,
        num_mapping_layers: int = 2,
        mean_beta: float = 0.998,
        num_layers: int = 14,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_critical: int = 2,
        margin_px: int = 10,
        input_shift: float = 0.0,
        kernel: int = 3,
        radial: bool = False,
    ) -> None:
        condition = ConditionVector(shape)
        mapping = StyleMapping(
            z_dim,
            w_dim,
            num_layers=num_mapping_layers,
            vector_dim=condition.dim,
            mean_beta=mean_beta,
        )
        rules = BandRules(
            channel_base=channel_base,
            channel_max=channel_max,
            num_critical=num_critical,
            margin_px=margin_px,
        )
        plan = rules.stem(resolution, num_layers)
        synthesis = AliasFreeSynthesis(
            w_dim, plan, kernel=kernel, radial=radial, input_shift=input_shift
        )
        super().__init__(mapping, synthesis, z_dim=z_dim, resolution=resolution)
        self.condition = condition

    def vector(self, condition: Condition) -> Tensor | None:
        """Return the text embedding or the one-hot class."""
        return self.condition(condition)
