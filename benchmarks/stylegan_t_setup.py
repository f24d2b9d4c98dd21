"""Networks, data and switches of the StyleGAN-T benchmark: full size, random weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from components.training.config import TrainConfig
from components.training.state import TrainState
from components.training.switches import compile_networks, lay_out
from models.features import ClipNet, VitNet
from models.inference import fast_form
from models.interfaces import Batch, Condition, ConditionShape, Site
from models.stylegan_t.recipe import StyleGANT

# Widths and depth of the published presets; tiny is for a look at the tool itself.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"channel_base": 1024, "channel_max": 32, "num_res_blocks": 1, "group_norm_groups": 8},
    "lite": {"channel_base": 32768, "channel_max": 512, "num_res_blocks": 2},
    "full": {"channel_base": 65536, "channel_max": 2048, "num_res_blocks": 3},
}
_CLIP_MEAN, _CLIP_STD = [0.4815, 0.4578, 0.4082], [0.2686, 0.2613, 0.2758]
_VIT_MEAN, _VIT_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run a part; the first of a part is what the others are compared with."""

    name: str
    plain: bool = False
    channels_last: bool = True
    precision: str = "fp32"
    compiled: bool = False
    checkpointed: bool = False
    cached: bool = False


@dataclass(kw_only=True)
class Setup:
    """Networks at full size with random weights, and one fixed batch."""

    preset: str
    resolution: int
    batch: int
    guidance: str
    device: str
    _states: dict[tuple[bool, bool, bool], TrainState] = field(default_factory=dict)
    _fast: dict[str, nn.Module] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return what was asked for."""
        names = ("preset", "resolution", "batch", "guidance", "device")
        return {name: getattr(self, name) for name in names}

    def recipe(self, guided: bool = False) -> StyleGANT:
        """Return the family with the preset's fields."""
        weight = 1.6 if guided else 0.0
        return StyleGANT(**PRESETS[self.preset], clip_weight=weight, blur_init_sigma_px=0.0)

    @cached_property
    def clip(self) -> ClipNet:
        """The guiding CLIP, weights random."""
        import open_clip

        config = open_clip.get_model_config(self.guidance)
        names = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
        architecture = {name: config.get(name, False) for name in names}
        architecture["tokenizer"] = {"kind": "open_clip", "context_length": 77}
        size = config["vision_cfg"]["image_size"]
        return ClipNet.build(architecture, image_size_px=size, mean=_CLIP_MEAN, std=_CLIP_STD)

    @cached_property
    def dino(self) -> VitNet:
        """DINO's ViT-S/16, weights random."""
        arguments: dict[str, Any] = {"num_classes": 0}
        if self.preset == "tiny":
            arguments |= {"depth": 4, "embed_dim": 48, "num_heads": 2}
        name = "vit_small_patch16_224.dino"
        architecture = {"name": name, "arguments": arguments, "hooks": None}
        return VitNet.build(architecture, image_size_px=224, mean=_VIT_MEAN, std=_VIT_STD)

    @cached_property
    def shape(self) -> ConditionShape:
        """Width of the text embedding: the guiding net's, ViT-L/14's unless guidance is timed."""
        return ConditionShape(
            pooled_dim=768 if self.guidance == "none" else self.clip.embedding_dim
        )

    def data(self, n: int) -> Batch:
        """Return n random images with random unit text embeddings."""
        rng = torch.Generator().manual_seed(0)
        text = torch.randn(n, self.shape.pooled_dim, generator=rng)
        image = torch.rand(n, 3, self.resolution, self.resolution, generator=rng) * 2 - 1
        condition = Condition(pooled_ND=nn.functional.normalize(text, dim=1))
        return Batch(size=n, image_NCHW=image, condition=condition).to(self.device)

    def state(self, mode: Mode, guided: bool = False) -> TrainState:
        """Return networks and optimizers in the mode's memory order, built once for each."""
        key = (mode.channels_last, guided, mode.compiled)
        if key not in self._states:
            # Guided or not are never timed together; the full preset takes 20 GiB each.
            self._states = {k: state for k, state in self._states.items() if k[1] == guided}
            torch.manual_seed(0)
            recipe = self.recipe(guided)
            encoders: dict[str, Any] = {"dino": self.dino}
            if guided:
                encoders["clip"] = self.clip
            site = Site(resolution=self.resolution, shape=self.shape, encoder=encoders.__getitem__)
            networks = recipe.build(site)
            lay_out(networks, self.config(mode), torch.device(self.device))
            self._states[key] = TrainState.build(networks, recipe.phases(networks))
            if mode.compiled:
                compile_networks(networks)
        return self._states[key]

    def fast(self, mode: Mode) -> nn.Module:
        """Return a copy of the generator in its fast form, made once for each precision."""
        if mode.precision not in self._fast:
            generator = copy.deepcopy(self.state(mode).networks.trained["generator"])
            precision: Any = "bfloat16" if mode.precision == "bf16" else "float32"
            fast_form(generator.eval(), precision=precision)
            self._fast[mode.precision] = generator
        return self._fast[mode.precision]

    def config(self, mode: Mode) -> TrainConfig:
        """Return the loop's switches of a mode."""
        return TrainConfig(
            resolution_px=self.resolution,
            total_kimg=1.0,
            batch=self.batch,
            micro_batch=self.batch,
            ema_half_life_kimg=10.0,
            precision="bf16" if mode.precision == "bf16" else "fp32",
            channels_last=mode.channels_last,
            compile=mode.compiled,
            checkpoint_activations=mode.checkpointed,
        )
