"""The rows that a sample sheet shows: captions in their order, or a class each."""

from collections import Counter

import numpy as np
import pytest

from components.data.batches import BatchSource
from components.data.config import FilterConfig, SourceConfig
from components.data.labels import Labels
from components.data.shard_tables import Sample
from components.data.training_set import write_training_set
from components.training.site import rows_shown
from tests.components.data.makers import HashedText, encoded

CLASSES = ("bag", "hat", "shoe", "tie")


def held_out(folder, text_encoder):
    """Write 20 images of each class, one class after the other, as class folders are stored."""
    white = encoded(np.full((16, 16, 3), 255, np.uint8))
    rows = [Sample(f"k{i}", white, CLASSES[i // 20], "", CLASSES[i // 20]) for i in range(80)]
    config, source = FilterConfig(resolution_px=16), SourceConfig(path="")
    splits = {"train": rows, "heldout": rows}
    write_training_set(splits, folder, config, source, Labels.of(CLASSES), text_encoder, {})
    return BatchSource(folder, "heldout", 16, seed=1)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_a_sheet_of_classes_shows_each_as_often(tmp_path, count):
    shown = rows_shown(held_out(tmp_path, None), count)
    assert Counter(shown.captions) == dict.fromkeys(CLASSES, count // 4)
    assert [CLASSES[i] for i in shown.condition.label_N.tolist()] == list(shown.captions)


def test_a_sheet_of_captions_shows_the_first(tmp_path):
    shown = rows_shown(held_out(tmp_path, HashedText()), 4)
    assert shown.captions == ("bag",) * 4 and shown.size == 4
