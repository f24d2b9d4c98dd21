"""Scorers as columns: their values by hand, their files, and what the table then holds."""

import itertools
import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from components.data.config import ColumnRule, FilterConfig, ScoreConfig, SourceConfig
from components.data.decode import Decoded
from components.data.origins import Origin
from components.data.records import Record
from components.data.score_parts import score_source
from components.data.scorers import ALWAYS, REPEATS, SCORERS, columns_for_rules
from components.data.scorers.base import ColumnScorer, Setting, scorer_class
from components.data.scorers.clip import ClipSimilarity
from components.data.scorers.heads import read_head
from components.data.scoring import SCORE_SCHEMA, score_schema
from components.errors import ConfigError, StorageError
from tests.components.data.makers import (
    FlatNet,
    decided,
    encoded,
    picture,
    read_back,
    score_table,
    write_plain_tar,
)

BUNDLED = Path(__file__).resolve().parents[3] / "bundled" / "encoders"


def value_of(name, pixels=None, **record):
    pixels = np.zeros((8, 8, 3), np.uint8) if pixels is None else pixels
    sample = Record("k", "a.tar", 0, b"x", **({"caption": "one"} | record))
    return scorer_class(name)(Setting()).of_sample(
        sample, Decoded(Image.fromarray(pixels), "PNG", "RGB")
    )


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_writes_the_columns_it_is_named_with(name):
    kind = scorer_class(name)
    assert issubclass(kind, ColumnScorer) and set(SCORERS[name].columns) <= set(kind.columns)
    assert kind.cost in ("cheap", "pixels", "net") and kind.device in ("cpu", "net")
    numbers = [c for c, t in kind.columns.items() if pa.types.is_floating(t) or t == pa.int32()]
    assert numbers == list(SCORERS[name].columns)
    module = import_module(kind.__module__)
    assert module.__doc__ and (name in SCORERS) and not set(kind.columns) & set(ALWAYS)


def test_the_default_table_is_as_it_was():
    assert score_schema(ScoreConfig()) == SCORE_SCHEMA
    more = score_schema(ScoreConfig(scorers=("clip", "phash", "entropy", "embedding")))
    assert more.names == [*SCORE_SCHEMA.names, "entropy", "clip_embedding"]
    known = [*ALWAYS, REPEATS, "clip_similarity", "entropy"]
    assert columns_for_rules(("clip", "entropy")) == known


def test_sharpness_and_entropy_by_hand():
    flat = np.full((40, 60, 3), 77, np.uint8)
    checks = np.indices((40, 60)).sum(0) % 2 * np.uint8(255)
    checks = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    assert value_of("sharpness", flat) == {"sharpness": 0.0} == value_of("sharpness", flat[:2])
    # The Laplacian is +4 * 255 and -4 * 255 in turn.
    assert value_of("sharpness", checks)["sharpness"] == pytest.approx((4 * 255) ** 2, rel=1e-6)
    assert value_of("entropy", flat) == {"entropy": 0.0}
    assert value_of("entropy", checks)["entropy"] == pytest.approx(1.0)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    assert value_of("entropy", np.repeat(ramp, 4, 0))["entropy"] == pytest.approx(8.0)
    sharp, soft = picture(64), np.asarray(picture(64)).repeat(10, 0).repeat(10, 1)
    assert value_of("sharpness", sharp)["sharpness"] > value_of("sharpness", soft)["sharpness"]


@pytest.mark.parametrize(
    ("captions", "words", "distinct", "letters"),
    [
        (("A red red circle",), 4, 0.75, 1.0),
        (("IMG_0001.jpg",), 1, 1.0, 6 / 12),
        (("one two", "a a a a"), 2, 0.25, 1.0),
        (("12 34",), 2, 1.0, 0.0),
        (("",), 0, 0.0, 0.0),
    ],
)
def test_facts_of_captions_are_those_of_the_worst(captions, words, distinct, letters):
    found = value_of("caption", caption=captions[0], captions=captions)
    want = {"caption_words": words, "caption_distinct": distinct, "caption_letters": letters}
    assert found == pytest.approx(want)


def layers(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        found[f"layers.{2 * number}.weight"] = rng.normal(size=(narrow, wide)).astype(np.float32)
        found[f"layers.{2 * number}.bias"] = rng.normal(size=narrow).astype(np.float32)
    return found


def test_heads_are_read_in_all_three_forms(tmp_path):
    rows = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    linear = {name.split(".")[-1]: value for name, value in layers(8, 1).items()}
    want = rows @ linear["weight"][0] + linear["bias"][0]
    torch.save({n: torch.from_numpy(v) for n, v in linear.items()}, tmp_path / "linear.pth")
    assert np.allclose(read_head(tmp_path / "linear.pth")(rows), want, atol=1e-5)

    deep = layers(8, 6, 4, 1)
    values = rows
    for number in (0, 2, 4):
        values = values @ deep[f"layers.{number}.weight"].T + deep[f"layers.{number}.bias"]
    torch.save({n: torch.from_numpy(v) for n, v in deep.items()}, tmp_path / "deep.pth")
    assert np.allclose(read_head(tmp_path / "deep.pth")(rows), values[:, 0], atol=1e-4)

    save_file(
        layers(8, 6, 1), tmp_path / "a.safetensors", {"activation": "relu", "output": "sigmoid"}
    )
    one, two = layers(8, 6, 1)["layers.0.weight"], layers(8, 6, 1)["layers.2.weight"]
    inner = np.maximum(rows @ one.T + layers(8, 6, 1)["layers.0.bias"], 0)
    want = 1 / (1 + np.exp(-(inner @ two[0] + layers(8, 6, 1)["layers.2.bias"][0])))
    assert np.allclose(read_head(tmp_path / "a.safetensors")(rows), want, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "told", "says"),
    [
        ({"other": np.zeros(3, np.float32)}, {}, "a tensor 'other'"),
        (layers(8, 2), {}, "2 outputs"),
        ({"layers.0.weight": np.zeros((1, 8), np.float32)}, {}, "fitting weight and bias"),
        (layers(8, 6) | {k.replace("0", "2"): v for k, v in layers(5, 1).items()}, {}, "fit each"),
        (layers(8, 1), {"output": "softmax"}, "output 'softmax'"),
        (None, {}, "no head on an embedding"),
    ],
)
def test_what_is_no_head_is_one_line(tmp_path, tensors, told, says):
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"junk") if tensors is None else save_file(tensors, path, told)
    with pytest.raises(StorageError, match=re.escape(says)) as caught:
        read_head(path)
    assert "head.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    class Bad:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"weight": Bad()}, tmp_path / "head.pth")
    with pytest.raises(StorageError, match="no head on an embedding"):
        read_head(tmp_path / "head.pth")
    with pytest.raises(StorageError, match="no such file"):
        read_head(tmp_path / "gone.pth")


class EmbeddingNet(FlatNet):
    embedding_dim = 8

    def embed(self, images):
        rows = np.stack([np.resize(image.mean((0, 1)), 8) for image in images])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def cosines(self, embedding_ND, captions):
        return embedding_ND[:, 0]

    def lengths(self, captions):
        return [len(text) for text in captions]


def test_chosen_columns_are_in_the_table_and_those_left_out_are_empty(tmp_path):
    members = [("a.png", encoded(picture())), ("a.txt", b"a b"), ("b.png", b"no"), ("b.txt", b"b")]
    write_plain_tar(tmp_path / "src/a.tar", members)
    save_file(layers(8, 1), tmp_path / "head.safetensors")
    scorers = ("clip", "entropy", "caption", "tokens", "embedding", "aesthetic")
    config = ScoreConfig(scorers=scorers, heads={"aesthetic": str(tmp_path / "head.safetensors")})
    places = tmp_path, config, tmp_path / "work", tmp_path / "scores"
    origins = [Origin(SourceConfig(path=""), tmp_path / "src")]
    score_source(origins, *places, net=EmbeddingNet())
    table = read_back(tmp_path / "scores", "scores")
    assert table.schema == score_schema(config)
    good, bad = table.to_pylist()
    embedding = EmbeddingNet().embed([picture()])
    head = read_head(tmp_path / "head.safetensors")
    assert good["aesthetic"] == pytest.approx(float(head(embedding)[0]), abs=1e-5)
    assert np.allclose(good["clip_embedding"], embedding[0], atol=1e-3)
    assert good["clip_similarity"] == pytest.approx(float(embedding[0, 0]), abs=1e-6)
    assert good["caption_tokens"] == 3 and bad["caption_tokens"] is None
    assert good["caption_words"] == 2 and good["phash"] is None and good["entropy"] > 0
    assert all(bad[name] is None for name in ("entropy", "aesthetic", "clip_embedding", "phash"))
    json.dumps(good["aesthetic"])


def test_a_caption_is_as_surely_of_a_language_as_its_least_sure_text():
    def sure(language, *texts):
        asked = scorer_class("language")(Setting(language=language))
        sample = Record("k", "a.tar", 0, b"x", caption=texts[0], captions=texts)
        image = Decoded(Image.new("RGB", (8, 8)), "PNG", "RGB")
        return asked.of_sample(sample, image)["caption_language"]

    english = "a small red bird sits on the branch of an old tree"
    german = "ein kleiner roter Vogel sitzt auf dem Ast eines alten Baumes"
    assert sure("en", english) > 0.9 > 0.1 > sure("en", german)
    assert sure("de", german) > 0.9
    assert sure("en", english, german) == sure("en", german)
    with pytest.raises(ConfigError, match=r"no language 'klingon' \(score.language\): give one of"):
        sure("klingon", english)


def test_tokens_are_counted_as_clip_counts_them():
    class Clip:
        def lengths(self, captions):
            return [2 + len(text.split()) for text in captions]

    kind = scorer_class("tokens")
    found = kind(Setting()).of_captions([("a b",), ("a", "a b c d")], Clip())
    assert found == {"caption_tokens": [4, 6]}


def test_a_head_of_another_clip_is_refused(tmp_path):
    save_file(layers(5, 1), tmp_path / "head.safetensors")
    with pytest.raises(ConfigError, match="takes embeddings of 5 numbers, this CLIP gives 8"):
        scorer_class("nsfw")(Setting(8, tmp_path / "head.safetensors"))
    with pytest.raises(ConfigError, match=r"no file of weights \(score.heads.watermark\)"):
        scorer_class("watermark")(Setting(8))


def test_rules_on_columns_reject_under_their_names(tmp_path):
    widths = [40, 50, 60, 70, 80, 90]
    rows = [{"width": width, "num_bytes": 100 - width} for width in widths]
    rules = (
        ColumnRule(column="width", min=50, max=80),
        ColumnRule(column="num_bytes", keep_fraction=0.5),
    )
    found = decided(tmp_path, score_table(rows), FilterConfig(rules=rules)).texts().tolist()
    assert found == ["filter.width", "", "", *2 * ["filter.num_bytes"], "filter.width"]


def test_a_column_that_is_not_a_number_is_not_kept(tmp_path):
    rows = [{"clip_similarity": 0.4}, {"num_bytes": None}, {"num_bytes": 3}]
    rules = (ColumnRule(column="num_bytes", min=0),)
    found = decided(tmp_path, score_table(rows), FilterConfig(rules=rules)).texts().tolist()
    assert found == ["", "filter.num_bytes", ""]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 200])
def test_images_in_pieces_have_the_embeddings_of_all_at_once(count):
    clip = ClipSimilarity(BUNDLED / "clip")
    rng = np.random.default_rng(count)
    images = list(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    seen = []
    clip.net.network.visual.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    found = clip.embed(images)
    assert sum(seen) == count and max(seen) < 128
    with torch.inference_mode():
        image_NCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(clip.device)
        wanted = clip.net(image_NCHW.float() / 127.5 - 1)["pooled"].cpu().numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
