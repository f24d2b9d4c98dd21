"""Small sets of drawn shapes as training data."""

from pathlib import Path

from components.data.config import SourceConfig
from components.data.synthetic import draw, label_of, sample_pairs
from components.pretraining.config import EncodersConfig
from components.pretraining.images import ImageSet, image_set
from components.pretraining.training_data import TrainingData


def drawings(split: str, count: int, side_px: int = 32, objects: int = 1) -> ImageSet:
    pairs = sample_pairs(0, split, range(count), objects)
    values = [pairs.values(row) for row in range(count)]
    labels = [str(label_of(one["shape"], one["colour"])) for one in values]
    drawn = draw(pairs.attributes, pairs.generators, side_px)
    return image_set(drawn, pairs.captions, labels, "index")


def drawn_data(
    config: EncodersConfig, count: int, side_px: int = 32, seed: int = 0, objects: int = 1
):
    """Training data whose splits are already in memory."""
    nowhere = Path("nowhere")
    data = TrainingData(nowhere, SourceConfig(path="nowhere"), nowhere, config, seed, nowhere)
    data.__dict__["train"] = drawings("encoders", count, side_px, objects)
    data.__dict__["judge"] = drawings("judge", count, side_px, objects)
    data.__dict__["scorer"] = data.__dict__["judge"]
    data.__dict__["test"] = drawings("test", 100, side_px, objects)
    return data
