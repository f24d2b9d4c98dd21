"""COCO's files: what is read, how pictures are prepared, and what is left out and counted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import DataError
from components.evaluation.coco import open_coco, shrink
from components.sampling import to_uint8
from tests.components.evaluation.coco_files import noise, picture_file, write_coco

NAMES = [f"COCO_val2014_{number:012d}.jpg" for number in range(6)]
FILES = {name: picture_file(noise(seed)) for seed, name in enumerate(NAMES)}
CAPTIONS = {name: [f"{name[-5]} caption {k}.\n" for k in range(5)] for name in NAMES}


def test_every_listed_picture_is_used_or_counted_with_its_reason(tmp_path: Path) -> None:
    grey = Image.fromarray(noise(7)).convert("L")
    buffer = io.BytesIO()
    grey.save(buffer, "JPEG")
    files = {
        **{name: FILES[name] for name in NAMES[:3]},
        "grey.jpg": buffer.getvalue(),
        "missing.jpg": None,
        "cut.jpg": FILES[NAMES[3]][:400],
        "page.jpg": b"<html>404</html>",
        "nothing.jpg": b"",
        "silent.jpg": FILES[NAMES[4]],
        "blank.jpg": FILES[NAMES[5]],
        "../outside.jpg": None,
    }
    captions = {name: ["a caption"] for name in files} | {"silent.jpg": [], "blank.jpg": [" \n"]}
    annotations, folder = write_coco(tmp_path, files, captions)
    content = json.loads(annotations.read_text())
    content["images"] += [content["images"][0], {"id": "x"}, "neither"]
    content["annotations"] += [{"image_id": [1], "caption": "x"}, None, {"caption": 3}]
    annotations.write_text(json.dumps(content))
    pictures = open_coco(annotations, folder, seed=0)
    assert [p.file for p in pictures.pictures] == [*NAMES[:3], "grey.jpg"]
    assert pictures.listed == 14
    assert pictures.left_out == {
        "image.format": 1,
        "image.truncated": 2,
        "sample.bad_json": 2,
        "sample.duplicate_key": 1,
        "sample.missing_caption": 2,
        "sample.missing_image": 1,
        "shard.unsafe_member": 1,
    }
    assert pictures.atom(3, 1).image_NCHW.shape == (1, 3, 256, 256)


def test_pictures_are_prepared_as_the_paper_does(tmp_path: Path) -> None:
    pixels = noise(1, 300, 420)
    files = {"a.png": picture_file(pixels, "PNG"), "b.png": picture_file(noise(2), "PNG")}
    annotations, folder = write_coco(tmp_path, files, {key: ["a caption"] for key in files})
    pictures = open_coco(annotations, folder, seed=0)
    square = Image.fromarray(pixels[:, 60:360])
    at_256 = square.resize((256, 256), Image.Resampling.LANCZOS)
    at_64 = at_256.resize((64, 64), Image.Resampling.LANCZOS)
    for side, wanted in ((256, at_256), (64, at_64)):
        batch = pictures.at(side).atom(0, 3)
        found = to_uint8(batch.image_NCHW)
        assert np.array_equal(found[0], np.asarray(wanted))
        assert np.array_equal(found[0], found[2]), "it goes round"
    assert batch.keys == ("a.png", "b.png", "a.png")
    # Straight from the file to 64 px is another picture.
    straight = square.resize((64, 64), Image.Resampling.LANCZOS)
    assert not np.array_equal(np.asarray(straight), np.asarray(at_64))
    # A generated image comes down the same way, and one of the right size stays as it is.
    large = np.asarray(square.resize((512, 512)))
    by_256 = Image.fromarray(large).resize((256, 256), Image.Resampling.LANCZOS)
    wanted = np.asarray(by_256.resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(shrink(large, 64), wanted)
    assert np.array_equal(shrink(found[0], 64), found[0])


def test_a_caption_depends_on_seed_and_picture_alone(tmp_path: Path) -> None:
    annotations, folder = write_coco(tmp_path / "all", FILES, CAPTIONS)
    drawn = {p.file: p.caption for p in open_coco(annotations, folder, seed=0).pictures}
    assert all(caption + "\n" in CAPTIONS[name] for name, caption in drawn.items())
    assert len({caption[2:] for caption in drawn.values()}) > 1, "not always the first"
    other = {p.file: p.caption for p in open_coco(annotations, folder, seed=1).pictures}
    assert other != drawn
    (folder / NAMES[0]).unlink()
    fewer = {p.file: p.caption for p in open_coco(annotations, folder, seed=0).pictures}
    assert fewer == {name: drawn[name] for name in NAMES[1:]}


def test_prompts_come_again_only_when_there_are_too_few(tmp_path: Path) -> None:
    pictures = open_coco(*write_coco(tmp_path, FILES, CAPTIONS), seed=0)
    captions = [picture.caption for picture in pictures.pictures]
    prompts = pictures.prompts(15, seed=3)
    assert sorted(prompts[:6]) == sorted(captions) == sorted(prompts[6:12])
    assert prompts[:6] != captions, "in random order"
    assert prompts == pictures.prompts(15, seed=3)
    assert prompts != pictures.prompts(15, seed=4)


def test_the_hash_is_that_of_the_pictures(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = open_coco(*write_coco(tmp_path, FILES, CAPTIONS), seed=0, cache=cache)
    (remembered,) = cache.iterdir()
    written = remembered.stat().st_mtime_ns
    other = {name: [f"another caption of {name}"] for name in NAMES}
    again = open_coco(*write_coco(tmp_path, FILES, other), seed=5, cache=cache)
    assert again.content_hash == first.content_hash, "captions and seed are not pixels"
    assert [p.stat().st_mtime_ns for p in cache.iterdir()] == [written], "not looked at again"
    changed = FILES | {NAMES[2]: FILES[NAMES[2]][:300]}
    third = open_coco(*write_coco(tmp_path, changed, CAPTIONS), seed=0, cache=cache)
    assert third.left_out == {"image.truncated": 1}
    assert third.content_hash != first.content_hash
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "no object of lists"),
        ('{"images": []}', "no list annotations"),
        ('{"images": 3}', "no list images and annotations"),
        ('{"images": [], "annotations": []}', "0 of 0 pictures can be used"),
    ],
)
def test_what_is_no_caption_file_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    annotations, folder = write_coco(tmp_path, FILES, CAPTIONS)
    annotations.write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        open_coco(annotations, folder, seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        open_coco(annotations, tmp_path / "nowhere", seed=0)


def test_files_of_another_set_are_named_by_reason(tmp_path: Path) -> None:
    annotations, folder = write_coco(tmp_path, dict.fromkeys(NAMES), CAPTIONS)
    with pytest.raises(DataError, match=r"0 of 6 pictures .*sample\.missing_image 6"):
        open_coco(annotations, folder, seed=0)
