"""Parameters of the evaluate stage: what it measures, and with how many images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from components.pretraining.config import PretrainedConfig
from models.fields import Between

NO_NET = PretrainedConfig()
PAPERS_SCORER = PretrainedConfig(name="ViT-g-14", tag="laion2b_s12b_b42k")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Section `evaluate` of params.yaml."""

    model: str = "px64"
    """Name of the artifact that is measured: `artifacts/<model>`."""

    feature_role: str = "judge"
    """Encoder whose features the distances use; without a judge: inception, classifier or dino."""

    inception_file: str = ""
    """torch-fidelity's weights (pt_inception-2015-12-05-6726825d.pth), for `inception` above."""

    clip_scorer: PretrainedConfig = NO_NET
    """Published CLIP of the CLIP score, the paper's: name ViT-g-14, tag laion2b_s12b_b42k; without
    a name the encoders' scorer, or else the CLIP that also guides, which the card then says."""

    num_prompts: Annotated[int, Between(1, None)] = 1000
    """Held-out prompts to judge; when there are fewer, they come again with other seeds."""

    num_fake: Annotated[int, Between(2, None)] = 1000
    """Generated images for the distances."""

    num_real: Annotated[int, Between(2, None)] = 10_000
    """Most held-out images for the distances; fewer rows mean all of them."""

    num_curve: Annotated[int, Between(2, None)] = 500
    """Generated images for each point of the truncation curve."""

    truncations: tuple[Annotated[float, Between(0.0, 1.0)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Values of psi on the truncation curve."""

    variety_prompts: Annotated[int, Between(1, None)] = 32
    """Held-out prompts whose images are compared from seed to seed."""

    variety_seeds: Annotated[int, Between(2, None)] = 8
    """Seeds of each of these prompts."""

    memorised_images: Annotated[int, Between(1, None)] = 8000
    """Training images among which the nearest to each sample is sought; fewer rows mean all."""

    batch: Annotated[int, Between(1, None)] = 50
    """Images per forward pass; the results do not depend on it."""

    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """First noise seed; image i is made with seed + i."""

    backend: Literal["local", "ray"] = "local"
    """Where samples are drawn and images are looked at: "local" (in this process) or "ray" (an
    actor pool, sized by the cluster section); the numbers are the same."""

    neighbours: Annotated[int, Between(1, None)] = 3
    """k of precision, recall, density and coverage."""

    kernel_subset_size: Annotated[int, Between(2, None)] = 500
    """Images on each side of one estimate of the kernel distance."""

    kernel_subsets: Annotated[int, Between(1, None)] = 20
    """Estimates of the kernel distance that are averaged."""

    sheet_prompts: Annotated[int, Between(1, 64)] = 8
    """Rows of the sample sheet."""

    sheet_seeds: Annotated[int, Between(1, 16)] = 6
    """Columns of the sample sheet."""


@dataclass(frozen=True, kw_only=True)
class CocoConfig:
    """Zero-shot COCO by the protocol of Sauer et al. (2023): the file that `ganline benchmark_coco`
    reads.
    """

    annotations: str
    """captions_val2014.json of COCO 2014."""

    images: str
    """Folder of its pictures, val2014."""

    inception_file: str = ""
    """torch-fidelity's weights (pt_inception-2015-12-05-6726825d.pth); "" measures no FID."""

    clip_scorer: PretrainedConfig = PAPERS_SCORER
    """Published CLIP of the CLIP score; without a name the encoders' scorer, else their clip."""

    resolutions_px: tuple[Annotated[int, Between(8, 256)], ...] = (64, 256)
    """Sides at which the FID is taken; those above the model's are left out."""

    num_fake: Annotated[int, Between(2, None)] = 30_000
    """Generated images, each from the caption of another picture while there are enough."""

    truncation: Annotated[float, Between(0.0, 1.0)] = 1.0
    """psi."""

    batch: Annotated[int, Between(1, None)] = 50
    """Images per forward pass; the results do not depend on it."""

    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Chooses captions and their order; image i is made with seed + i."""
