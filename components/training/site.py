"""Open what a recipe builds from: data, frozen nets and the start artifact, given as paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from components.artifacts.artifact import load_start
from components.artifacts.family import recipe_from
from components.artifacts.frozen_nets import CARD
from components.data.pictures import picture_files, read_picture
from components.errors import ConfigError, StorageError
from components.pictures.sheets import image_grid
from components.pretraining.class_features import class_dim, read_classes
from components.sampling import beside_bicubic, from_uint8, generate_from
from components.training.config import TrainConfig
from components.training.job import TrainingJob
from components.training.seeds import derived_seed
from models.interfaces import Batch, ClassTable, ConditionShape, Recipe, Site, Start

if TYPE_CHECKING:
    from components.training.yardstick import Yardstick

NUM_SAMPLES, COLUMNS = 16, 4
SEARCHED = 256  # rows among which a sheet finds one of each class


class NoData:
    """The stream of a recipe that needs no images: sizes only, or the conditions of a data set, or
    of the recipe itself.
    """

    def __init__(self, conditions: Any = None) -> None:
        self._conditions = conditions
        self.label_names = getattr(conditions, "label_names", ())

    def atom(self, position: int, size: int) -> Batch:
        """Return a batch without images."""
        if self._conditions is None:
            return Batch(size=size)
        return replace(self._conditions.atom(position, size), image_NCHW=None)


def build_site(job: TrainingJob, config: TrainConfig) -> tuple[Recipe, Site, Any]:
    """Open what the job names; return the recipe, its site and the stream of batches.

    Raises:
        ConfigError: the recipe is not known or lacks a start or data.
        DataError: the data cannot be read.
        StorageError: the start artifact cannot be read.
    """
    start = load_start(Path(job.start_dir)) if job.start_dir else None
    recipe = recipe_from(_recipe_of(job, start))
    shrink = getattr(recipe, "shrinks", 1)
    source = _open(job, config, "train", shrink)
    if recipe.needs_data and source is None:
        raise ConfigError(f"recipe {recipe.name} needs data", job.stage, "give data_dir")
    shape = ConditionShape()
    if source is not None:
        shape = source.shape
    elif start is not None:
        shape = ConditionShape(**start.card["shape"])
    if getattr(recipe, "reads_words", "") and shape.pooled_dim:
        shape = replace(shape, token_dim=_word_dim(Path(job.encoders_dir) / "clip"))
    if shape.num_labels:
        shape = replace(shape, class_dim=class_dim(Path(job.encoders_dir) / "classifier"))
    site = Site(
        resolution=config.resolution_px,
        shape=shape,
        encoder=_encoders(job),
        start=start,
        classes=_classes(job, source),
        label_names=_label_names(source),
        pictures=_pictures(job),
    )
    if recipe.needs_data:
        return recipe, site, source
    if source is None and start is not None and hasattr(recipe, "stream"):
        source = recipe.stream(site)
    return recipe, site, NoData(source)


def sampler(
    job: TrainingJob,
    config: TrainConfig,
    site: Site,
    batches: Any,
    folder: Path,
    beside: nn.Module | None = None,
) -> Callable[[nn.Module, int], Any]:
    """Return a function that draws the fixed prompts with fixed seeds to folder/<nimg>.png.

    The prompts are the first captions of the held-out split, or its classes in turn; seeds derive
    from the run's seed. A network `beside` is drawn too, each of its images to the left of the
    model's of the same code. Of a model that only enlarges, each row of the sheet is what it is
    given, bicubic interpolation of that, what it makes of it, and the real image.
    """
    heldout = _open(job, config, "heldout", getattr(batches, "shrink", 1))
    if heldout is None:
        shown = batches.atom(0, NUM_SAMPLES)
    else:
        shown = rows_shown(heldout, min(NUM_SAMPLES, heldout.num_rows))
    seeds = [derived_seed(job.seed, "sample", micro_batch=i) for i in range(shown.size)]

    def draw(model: nn.Module, nimg: int) -> Any:
        images, captions = generate_from(model, shown.condition, seeds), shown.captions
        if shown.condition.picture_NCHW is not None:
            images, captions = beside_bicubic(shown, images), ()
        if beside is not None:
            before = generate_from(beside, shown.condition, seeds)
            images = np.stack([before, images], axis=1).reshape(-1, *images.shape[1:])
            captions = tuple(text for text in captions for _ in range(2))
        grid = image_grid(images, COLUMNS, captions=captions or None)
        folder.mkdir(parents=True, exist_ok=True)
        grid.save(folder / f"{nimg:09d}.png")
        return grid

    return draw


def rows_shown(heldout: Any, count: int) -> Batch:
    """Return what a sheet shows: the first captions, or, for data without text, classes in turn.

    Class folders are stored one after the other, and the first rows would all be of one class.
    """
    if heldout.shape.pooled_dim or not heldout.shape.num_labels:
        first: Batch = heldout.first(count)
        return first
    mixed: Batch = heldout.atom(0, min(SEARCHED, heldout.num_rows))
    assert mixed.condition.label_N is not None
    labels = mixed.condition.label_N.tolist()
    turns = [labels[:i].count(label) for i, label in enumerate(labels)]
    rows = sorted(range(mixed.size), key=lambda i: (turns[i], labels[i]))[:count]
    captions = tuple(mixed.captions[i] for i in rows) if mixed.captions else ()
    return Batch(size=count, condition=mixed.condition[rows], captions=captions)


def yardstick(
    job: TrainingJob, config: TrainConfig, device: Any, shrink: int = 1
) -> Yardstick | None:
    """Return what measures the run, None where nothing does; `shrink` as in BatchSource.

    Raises:
        ConfigError: nothing to measure with, or best weights are to be kept that nobody measures.
    """
    if not config.measure_every_kimg:
        if config.keep_weights == "best":
            todo = "set measure_every_kimg, or keep the last weights"
            raise ConfigError("the best weights, but never measured", job.stage, todo)
        return None
    heldout = _open(job, config, "heldout", shrink)
    rows = 0 if heldout is None else heldout.num_rows
    if rows < 2:
        todo = "hold out at least 2 (source.heldout_fraction), or set it to 0"
        raise ConfigError(f"{rows} held-out images", f"{job.stage}, measure_every_kimg", todo)
    folder = Path(job.encoders_dir) / config.measure_role
    if not job.encoders_dir or not (folder / CARD).is_file():
        todo = f"set another encoders.{config.measure_role}.source than none, or another role"
        raise ConfigError(f"no encoder {folder}", f"{job.stage}, measure_role", todo)
    from components.training.yardstick import Yardstick

    return Yardstick(heldout, Path(job.encoders_dir), config, job.seed, device)


def _recipe_of(job: TrainingJob, start: Start | None) -> dict[str, Any]:
    """Return the job's recipe; without a name it is a change to the start artifact's."""
    if "name" in job.recipe:
        return job.recipe
    if start is None:
        raise ConfigError("recipe without a name", job.stage, "name a family, or a start artifact")
    parent = start.card["recipe"]
    return {"name": parent["name"], **parent["fields"], **job.recipe}


def _open(job: TrainingJob, config: TrainConfig, split: str, shrink: int = 1) -> Any:
    """Open a split of the job's data, None without data."""
    if not job.data_dir:
        return None
    from components.data.batches import BatchSource

    return BatchSource(Path(job.data_dir), split, config.resolution_px, job.seed, shrink)


def _word_dim(folder: Path) -> int:
    """Return the width of the words that a CLIP's text tower gives."""
    from models.features import read_card
    from models.features.word_reader import word_dim

    try:
        return word_dim(read_card(folder).architecture)
    except (ValueError, KeyError) as error:
        todo = "run the encoders stage, or set the recipe's words to none"
        raise StorageError(f"no words can be read: {error}", str(folder), todo) from error


def _classes(job: TrainingJob, source: Any) -> Callable[[str], ClassTable | None]:
    """Return role -> what that net knows of the data's classes, None where there are none."""

    def classes(role: str) -> ClassTable | None:
        if source is None or not source.shape.num_labels:
            return None
        return read_classes(Path(job.encoders_dir) / role, _label_names(source))

    return classes


def _label_names(source: Any) -> tuple[str, ...]:
    """Return the names of the data's classes, their numbers where they have none."""
    if source is None or not source.shape.num_labels:
        return ()
    return tuple(source.label_names or map(str, range(source.shape.num_labels)))


def _pictures(job: TrainingJob) -> Callable[[str], list[Tensor]]:
    """Return name of a folder -> its pictures, each [1, 3, H, W] in [-1, 1], by file name."""

    def pictures(name: str) -> list[Tensor]:
        folder = Path(job.pictures_dir or ".") / name
        return [from_uint8(read_picture(path)[None]) for path in picture_files(folder)]

    return pictures


def _encoders(job: TrainingJob) -> Callable[[str], nn.Module]:
    """Return role -> frozen net, each opened when first asked for."""

    @cache
    def encoder(role: str) -> nn.Module:
        from models.features import load_feature_net

        folder = Path(job.encoders_dir) / role
        if not job.encoders_dir or not (folder / CARD).is_file():
            todo = f"run the encoders stage, with another encoders.{role}.source than none"
            raise ConfigError(f"no encoder for role {role}", str(folder), todo)
        try:
            return load_feature_net(folder)
        except ValueError as error:
            raise StorageError(str(error), str(folder), "run the encoders stage again") from error

    return encoder
