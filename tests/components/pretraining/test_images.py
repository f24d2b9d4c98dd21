"""Training images read from a user's folder and from clean splits."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from components.data.config import SourceConfig
from components.data.origins import Origin
from components.data.shards import write_tar
from components.errors import DataError
from components.pretraining.config import EncodersConfig
from components.pretraining.images import hold_out, image_set, read_clean_split, read_images
from components.pretraining.training_data import TrainingData


def png(colour, size=(8, 8)):
    import io

    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Six images of a user, one of them broken, in two classes."""
    lines = ["file\tcaption\tkind"]
    for index in range(6):
        content = png((index * 40, 0, 0), (8 + index, 8)) if index != 2 else b"broken"
        (tmp_path / f"{index}.png").write_bytes(content)
        lines.append(f"{index}.png\tcat number {index}\t{'new' if index % 2 else 'old'}")
    (tmp_path / "captions.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_reads_a_folder_and_skips_what_is_broken(folder):
    config = SourceConfig(kind="image_folder", path=str(folder), label_column="kind")
    images = read_images([Origin(config, folder)], side_px=8, max_images=100)
    assert images.captions == [f"cat number {i}" for i in (0, 1, 3, 4, 5)]
    assert images.pixels_NCHW.shape == (5, 3, 8, 8)
    assert images.pixels_NCHW[:, 0, 4, 4].tolist() == [0, 40, 120, 160, 200]
    assert images.label_N.tolist() == [1, 0, 0, 1, 0]  # "new" before "old"
    assert images.attributes is None
    assert len(read_images([Origin(config, folder)], 8, max_images=3)) == 3


def test_all_captions_of_an_image_are_kept_where_one_is_drawn_from_them(folder):
    fields = {"kind": "image_folder", "path": str(folder), "caption_column": ("caption", "kind")}
    drawn = SourceConfig(**fields, captions="random")
    images = read_images([Origin(drawn, folder)], side_px=8, max_images=100)
    assert images.all_captions[1] == ("cat number 1", "new")
    first = SourceConfig(**fields)
    assert read_images([Origin(first, folder)], 8, 100).all_captions == ()


def test_an_unreadable_source_is_a_data_error(tmp_path):
    (tmp_path / "captions.tsv").write_text("file\tcaption\n0.png\tnothing\n")
    config = SourceConfig(kind="image_folder", path=str(tmp_path))
    with pytest.raises(DataError, match="0 readable images"):
        read_images([Origin(config, tmp_path)], 8, 10)


def test_a_clean_split_has_labels_and_attributes(tmp_path):
    told = ["a small red ring on a blue background", "a large blue cross on a white background"]
    write_tar(
        tmp_path / "shard-00000.tar",
        [
            (
                f"{index:03d}",
                {
                    "png": png((0, 255, 0)),
                    "txt": caption.encode(),
                    "json": json.dumps({"label": 7 + index}).encode(),
                },
            )
            for index, caption in enumerate(told)
        ],
    )
    images = read_clean_split(tmp_path, 8)
    assert images.label_N.tolist() == [7, 8]
    assert {k: v.tolist() for k, v in images.attributes.items()} == {
        "shape": [3, 4],
        "colour": [0, 2],
        "background": [2, 6],
        "size": [0, 1],
    }
    torch.testing.assert_close(
        images.images(torch.tensor([1]))[0, :, 0, 0], torch.tensor([-1.0, 1.0, -1.0])
    )


def test_without_clean_splits_the_source_is_split(folder):
    source = SourceConfig(kind="image_folder", path=str(folder))
    config = EncodersConfig(max_images=5)
    data = TrainingData(folder / "raw", source, folder, config, seed=3, bundled=folder)
    assert len(data.train) + len(data.test) == 5
    again = TrainingData(folder / "raw", source, folder, config, seed=3, bundled=folder)
    assert again.train.captions == data.train.captions
    with pytest.raises(DataError, match=r"encoders.judge.source: none"):
        _ = data.judge


def test_hold_out_parts_are_disjoint_and_complete():
    pixels = np.zeros((10, 4, 4, 3), np.uint8)
    images = image_set(pixels, [str(i) for i in range(10)], [""] * 10)
    rest, held = hold_out(images, 3, torch.Generator().manual_seed(0))
    assert (len(rest), len(held)) == (7, 3)
    assert sorted(rest.captions + held.captions) == sorted(images.captions)
    assert images.num_labels == 0
