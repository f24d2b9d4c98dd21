"""Load Projected GAN's published state dicts: FastGAN, projection, discriminators."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.interop.names import Rule, load_translated
from models.projected_gan.discriminator import ProjectedDiscriminator, ScaleDiscriminator
from models.projected_gan.fastgan import EXCITATIONS, FastGANGenerator
from models.projected_gan.feature_projection import ScaleMixing

# The authors build every block up to 256 px, whatever the resolution.
ALWAYS_BUILT = 256


def _spectral(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of one spectrally normalised layer; groups of `theirs` stay usable."""
    return (
        Rule(theirs + r"\.weight_orig", f"{ours}.weight"),
        Rule(theirs + r"\.weight_u", f"{ours}.u"),
        Rule(theirs + r"\.weight_v", f"{ours}.v"),
        Rule(theirs + r"\.bias", f"{ours}.bias"),
    )


def _norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of one batch norm."""
    names = ("weight", "bias", "running_mean", "running_var")
    return (
        Rule(theirs + r"\.num_batches_tracked", None),
        *(Rule(rf"{theirs}\.{name}", f"{ours}.{name}") for name in names),
    )


def _conditional_norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of one class-conditional batch norm."""
    return (
        *_spectral(rf"{theirs}\.gain", f"{ours}.gain"),
        *_spectral(rf"{theirs}\.bias", f"{ours}.shift"),
        Rule(rf"{theirs}\.stored_mean", f"{ours}.norm.running_mean"),
        Rule(rf"{theirs}\.stored_var", f"{ours}.norm.running_var"),
    )


def _up_block(size: int, *, lite: bool, conditional: bool) -> tuple[Rule, ...]:
    """Return the rules of one up block, whose layers the authors number or, conditional, name."""
    theirs, ours = f"feat_{size}", f"blocks.{size}"
    if conditional:
        rules: list[Rule] = [Rule(rf"{theirs}\.noise\.weight", f"{ours}.noise.0.strength")]
        for stage in (0,) if lite else (0, 1):
            name = "" if lite else str(stage + 1)
            rules += _spectral(rf"{theirs}\.conv{name}", f"{ours}.stages.{stage}.conv")
            rules += _conditional_norm(rf"{theirs}\.bn{name}", f"{ours}.stages.{stage}.norm")
        return tuple(rules)
    # Numbers within their sequence: doubling 0, then convolution, (noise,) norm, gate, (again).
    places = ((1, None, 2),) if lite else ((1, 2, 3), (5, 6, 7))
    rules = []
    for stage, (conv, noise, norm) in enumerate(places):
        rules += _spectral(rf"{theirs}\.{conv}", f"{ours}.stages.{stage}.conv")
        rules += _norm(rf"{theirs}\.{norm}", f"{ours}.stages.{stage}.norm")
        if noise is not None:
            rules.append(Rule(rf"{theirs}\.{noise}\.weight", f"{ours}.noise.{stage}.strength"))
    return tuple(rules)


def fastgan_rules(resolution: int, *, lite: bool, conditional: bool) -> tuple[Rule, ...]:
    """Return the rules of a FastGAN synthesis network."""
    rules = [
        *_spectral(r"init\.init\.0", "first.conv"),
        *_norm(r"init\.init\.1", "first.norm"),
        *_spectral(r"to_big", "to_rgb"),
        Rule(r"embed\.weight", "condition.table"),
        # Their noise is drawn anew for every image; ours is stored, and keeps its own values.
        Rule(r"(blocks\.\d+\.noise\.\d+\.noise_const)", r"\1"),
    ]
    size = 8
    while size <= max(resolution, ALWAYS_BUILT):
        if size > resolution:
            rules.append(Rule(rf"(feat|se)_{size}\..*", None))
        else:
            rules += _up_block(size, lite=lite, conditional=conditional)
            if size in EXCITATIONS:
                rules += _spectral(rf"se_{size}\.main\.1", f"excitations.{size}.squeeze")
                rules += _spectral(rf"se_{size}\.main\.3", f"excitations.{size}.excite")
        size *= 2
    return tuple(rules)


SCALE_RULES = (
    # A block of the authors is a sequence; a separable convolution is one entry of it.
    *_spectral(r"main\.(\d+)\.main\.0\.depthwise", r"blocks.\1.depthwise"),
    *_spectral(r"main\.(\d+)\.main\.0(?:\.pointwise)?", r"blocks.\1.conv"),
    *_norm(r"main\.(\d+)\.main\.1", r"blocks.\1.norm"),
    *_spectral(r"main\.\d+", "classify"),
    *_spectral(r"cls", "classify"),
    Rule(r"embed\.weight", "condition.table"),
    Rule(r"embed_proj\.0\.(weight|bias)", r"project.\1"),
)
MIXING_RULES = (Rule(r"out_conv\.(weight|bias)", r"conv.\1"),)


def _in_heads(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules for every head; its index is a group too, so the others move up."""
    deeper = []
    for rule in rules:
        name = None if rule.name is None else r"heads.\1." + rule.name.replace(r"\1", r"\2")
        deeper.append(Rule(r"discriminator\.mini_discs\.(\d+)\." + rule.pattern, name))
    return tuple(deeper)


DISCRIMINATOR_RULES = (
    Rule(r"feature_network\.pretrained\..*", None),
    Rule(
        r"feature_network\.scratch\.layer(\d)_ccm\.(weight|bias)",
        r"projection.channel_mixing.\1.\2",
    ),
    Rule(
        r"feature_network\.scratch\.layer(\d)_csm\.out_conv\.(weight|bias)",
        r"projection.scale_mixing.\1.conv.\2",
    ),
    *_in_heads(SCALE_RULES),
)


def load_synthesis(module: FastGANGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' `synthesis` tensors; the stored noise, which they have not, stays ours."""
    own = {name: t for name, t in module.state_dict().items() if name.endswith(".noise_const")}
    lite = all(len(block.stages) == 1 for block in module.each_block())
    conditional = module.condition.dim > 0
    rules = fastgan_rules(module.resolution, lite=lite, conditional=conditional)
    load_translated(module, {**theirs, **own}, rules, "a FastGAN generator")


def load_generator(module: FastGANGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' whole FastGAN generator; its mapping has no tensors."""
    load_synthesis(module, {name.removeprefix("synthesis."): t for name, t in theirs.items()})


def load_scale_mixing(module: ScaleMixing, theirs: Mapping[str, Tensor]) -> None:
    """Load one block of the mixing across scales."""
    load_translated(module, theirs, MIXING_RULES, "a block of the mixing across scales")


def load_scale_discriminator(module: ScaleDiscriminator, theirs: Mapping[str, Tensor]) -> None:
    """Load the discriminator of one scale."""
    load_translated(module, theirs, SCALE_RULES, "the discriminator of one scale")


def load_discriminator(module: ProjectedDiscriminator, theirs: Mapping[str, Tensor]) -> None:
    """Load projection and all scales; the frozen network in the same checkpoint is dropped."""
    load_translated(module, theirs, DISCRIMINATOR_RULES, "Projected GAN's discriminator")
