"""Parameters of a training stage: the run's sizes and switches.

No torch here, so that params load instantly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from models.fields import AddedLater, Between

# Fields that say how a run is measured; they change what it leaves only where the best weights are
# kept.
LOOKING = ("look_every_kimg", "collapse")  # change nothing where a sign is only told
MEASURING = ("measure_every_kimg", "measure_role", "measure_images", "keep_weights")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and in which pieces to train; what to train is the recipe's.

    `batch` samples make one optimizer step of every due phase. They are split into batch /
    micro_batch micro-batches, the atoms that ranks share out: the result does not depend on the
    number of ranks.
    """

    resolution_px: Annotated[int, Between(4, 4096)]
    """Side of the square images that are trained on."""
    total_kimg: Annotated[float, Between(0.0, None)]
    """Goal: thousands of images to see (rounded up to whole batches)."""
    batch: Annotated[int, Between(1, None)]
    """Images per optimizer step over all ranks; a hyper-parameter."""
    micro_batch: Literal["auto"] | Annotated[int, Between(1, None)]
    """Images per forward pass, the unit of local batch norm; a hyper-parameter, not only a memory
    setting. auto = the largest that fits into memory: the run begins with all of a worker's images
    at once, and takes half of it from its last state on whenever memory runs out. What it found
    stands in its run folder and is kept; another machine may find another size, and train another
    model.
    """
    ema_half_life_kimg: Annotated[float, Between(0.0, None)]
    """Half-life of the averaged weights (papers: batch * 10 / 32 at batches of 32 and more)."""
    ema_ramp: Annotated[float, Between(0.0, 1.0)] = 0.05
    """Half-life is at most this fraction of the images seen, so that early weights are forgotten; 0
    = no ramp.
    """
    decay_kimg: Annotated[float, Between(0.0, None), AddedLater(0.0)] = 0.0
    """The learning rates fall linearly to zero within this many thousand images before the end; 0 =
    they stay (papers)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the forward passes under autocast; weights and optimizer stay fp32."""
    channels_last: bool = True
    """Keep images and convolution weights in NHWC memory order (needed for fast bf16)."""
    compile: bool = False
    """torch.compile the networks: worth it on a GPU, about 4 % and minutes of waiting on a CPU."""
    cuda_graphs: bool = False
    """With `compile` on a GPU: replay recorded kernels instead of launching them one by one; worth
    it for small networks and batches. No effect otherwise.
    """
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    report_every_kimg: Annotated[float, Between(0.0, None)] = 4.0
    """One line of losses and speed per this many thousand images."""
    sample_every_kimg: Annotated[float, Between(0.0, None)] = 50.0
    """One grid of the fixed prompts per this many thousand images; 0 = none."""
    measure_every_kimg: Annotated[float, Between(0.0, None)] = 0.0
    """One Frechet distance of the averaged model from held-out images per this many thousand
    images, and one at the end; 0 = never.
    """
    measure_role: Literal["classifier", "clip", "dino", "guide"] = "dino"
    """Frozen net whose features that distance compares; best one that the discriminator does not
    read. The judge is not asked: it would no longer be independent.
    """
    measure_images: Annotated[int, Between(2, None)] = 2000
    """Images generated for a measurement, and at most as many held-out ones; rank 0 draws them
    while the others wait.
    """
    keep_weights: Literal["last", "best"] = "last"
    """Weights that the stage leaves, and the next one goes on from: the last, or those of the
    lowest distance measured.
    """
    look_every_kimg: Annotated[float, Between(0.0, None), AddedLater(4.0)] = 4.0
    """One look at 32 small pictures of the averaged model per this many thousand images, and one at
    the end, for signs that it has collapsed; 0 = never.
    """
    collapse: Annotated[Literal["off", "warn", "stop", "rollback"], AddedLater("warn")] = "warn"
    """What a sign of collapse does: a warning; the stage ends and leaves the weights of the best
    measurement or the last healthy look; or the run goes back to its last state and on with the
    data in another order, max_rollbacks times.
    """
    save_every_kimg: Annotated[float, Between(0.0, None)] = 50.0
    """One resumable state per this many thousand images; 0 = only at the end and on a signal."""
    keep_states: Annotated[int, Between(1, 100)] = 2
    """States kept on disk; the older ones are the fall-back when the newest is damaged."""
    max_nonfinite_skips: Annotated[int, Between(0, 1000)] = 3
    """Steps in a row of one phase that NaN or infinity may cancel before the run goes back to its
    last state, or stops.
    """
    max_rollbacks: Annotated[int, Between(0, 100), AddedLater(2)] = 2
    """Times that a run may go back to its last state and go on with the data in another order; then
    it stops.
    """

    @property
    def atom_size(self) -> int:
        """Images per forward pass, where they are settled (`fitting.settled`)."""
        assert self.micro_batch != "auto"
        return self.micro_batch


@dataclass(frozen=True, kw_only=True)
class StageConfig(TrainConfig):
    """One training stage (train_base, `superres.<px>`, text_encoder): where it starts, the family
    and its fields, the run.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    """`name` and fields of the family; after the base only what differs from the stage before."""
    start: str = ""
    """Artifact to start from (base, px64, ...); '' = from nothing."""
    revision: Annotated[int, Between(1, None)] = 1
    """Raise by hand when changed code must train this stage anew (code is no dependency of a long
    stage).
    """

    @property
    def train(self) -> TrainConfig:
        """Sizes and switches of the run, apart from what to train."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})
