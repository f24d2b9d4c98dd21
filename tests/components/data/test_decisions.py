"""Decisions on disk are those of the plain definition, whatever the order and the threads."""

from contextlib import contextmanager
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from components.data import decisions, near_search, score_files
from components.data.config import ColumnRule, FilterConfig
from components.data.decisions import CopyRules, Rule, decide
from components.data.score_files import ScoreFiles, open_engine, open_scores
from components.data.scoring import SCORE_SCHEMA
from components.errors import ResourceError
from tests.components.data.makers import decided, hash_of, score_table, write_score_files

CONFIG = FilterConfig(
    min_caption_chars=4, clip_keep_fraction=0.9, near_duplicate_bits=6, near_duplicate_levels=3.0
)


def messy_table(rows=400, seed=0):
    """Return scores with everything that rules look at, several captions of some images."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(rows):
        row = {"shard": f"{number // 90}.tar", "offset": number % 90 * 512}
        row |= {"caption_chars": int(rng.integers(2, 30)), "width": int(rng.integers(20, 200))}
        row |= {"clip_similarity": float(np.float32(rng.integers(40) / 40))}
        row |= {"sha256": f"{number:064x}", "phash": hash_of(number % 97)}
        row |= {"thumbnail": rng.integers(0, 256, 192, dtype=np.uint8).tobytes()}
        if number > 50 and rng.random() < 0.4:
            other = found[rng.integers(len(found))]
            row |= {name: other[name] for name in ("phash", "thumbnail")}
            if rng.random() < 0.5:
                row["sha256"] = other["sha256"]
            elif rng.random() < 0.7:
                moved = np.frombuffer(other["thumbnail"], np.uint8).astype(int)
                moved = np.clip(moved + rng.integers(-2, 3, 192), 0, 255)
                row |= {"thumbnail": moved.astype(np.uint8).tobytes(), "phash": row["phash"] ^ 5}
        if rng.random() < 0.05:
            row |= {"reason": "image.truncated", "clip_similarity": None, "sha256": None}
        if rng.random() < 0.03:
            row["clip_similarity"] = float("nan")
        found.append(row)
        if rng.random() < 0.2:
            found.append(row | {"caption_chars": int(rng.integers(2, 30))})
    return score_table(found)


def plainly(table, config):
    """Decide row by row, as the rules are told in the documentation."""
    rows = table.to_pylist()
    reasons = [row["reason"] or "" for row in rows]

    def reject(reason, good):
        for number, row in enumerate(rows):
            if not reasons[number] and not good(row):
                reasons[number] = reason

    size = lambda row: sorted((row["width"], row["height"]))  # noqa: E731
    reject("filter.too_small", lambda row: size(row)[0] >= config.min_side_px)
    reject("filter.aspect", lambda row: size(row)[1] <= config.max_aspect * size(row)[0])
    reject("filter.caption_short", lambda row: row["caption_chars"] >= config.min_caption_chars)
    reject("filter.score_nan", lambda row: np.isfinite(row["clip_similarity"]))
    left = sorted(r["clip_similarity"] for r, why in zip(rows, reasons, strict=True) if not why)
    least = left[-round(config.clip_keep_fraction * len(left))]
    reject("filter.clip_similarity", lambda row: row["clip_similarity"] >= least)
    for kind, is_copy in (("exact", same_file), ("near", looks_alike)):
        firsts = []
        for number, row in enumerate(rows):
            if reasons[number]:
                continue
            place = (row["shard"], row["offset"])
            if any(is_copy(row, other, config) for other in firsts if place_of(other) != place):
                reasons[number] = f"filter.{kind}_duplicate"
            else:
                firsts.append(row)
    return reasons


def place_of(row):
    return (row["shard"], row["offset"])


def same_file(row, other, config):
    return row["sha256"] == other["sha256"]


def looks_alike(row, other, config):
    bits = ((row["phash"] ^ other["phash"]) & (2**64 - 1)).bit_count()
    gap = np.frombuffer(row["thumbnail"], np.uint8).astype(int)
    gap = np.abs(gap - np.frombuffer(other["thumbnail"], np.uint8)).max()
    return bits <= config.near_duplicate_bits and gap <= config.near_duplicate_levels


@pytest.mark.parametrize("seed", range(3))
def test_decisions_are_those_of_the_plain_definition(tmp_path, seed):
    table = messy_table(seed=seed)
    found = decided(tmp_path, table, CONFIG)
    assert found.texts().tolist() == plainly(table, CONFIG)
    rejected = found.rejected()
    assert len(rejected) == 8 and sum(rejected.values()) + found.kept_N.sum() == len(table)
    assert rejected["filter.exact_duplicate"] > 20 and rejected["filter.near_duplicate"] > 20


@pytest.mark.row("B18")
def test_neither_order_nor_threads_nor_pieces_change_a_decision(tmp_path, monkeypatch):
    table = messy_table(seed=5)
    want = decided(tmp_path / "0", table, CONFIG).texts().tolist()
    rng = np.random.default_rng(1)
    for number, threads in enumerate((1, 2, 7), 1):
        monkeypatch.setattr(score_files, "ROWS_AT_ONCE", 37 * threads)
        monkeypatch.setattr(decisions, "ROWS_AT_ONCE", 41 * threads)
        monkeypatch.setattr(decisions, "pairs_in_stream", in_pieces_of(20 * threads))
        monkeypatch.setattr(decisions, "open_engine", with_threads(threads))
        shuffled = table.take(rng.permutation(len(table)))
        assert decided(tmp_path / str(number), shuffled, CONFIG).texts().tolist() == want


def in_pieces_of(rows):
    def search(images, bits, levels, work):
        return near_search.pairs_in_stream(images, bits, levels, work, rows)

    return search


def with_threads(count):
    @contextmanager
    def opened(work, num_rows):
        with open_engine(work, num_rows) as engine:
            engine.execute(f"SET threads={count}")
            yield engine

    return opened


def test_scores_that_are_sorted_are_read_where_they_lie(tmp_path):
    table = messy_table(120)
    folder = write_score_files(tmp_path / "scores", table)
    scores = open_scores(folder, SCORE_SCHEMA, tmp_path / "work")
    assert {path.parent for path in scores.files} == {folder} and not (tmp_path / "work").exists()
    turned = write_score_files(tmp_path / "turned", table.take(np.arange(len(table))[::-1]))
    scores = open_scores(turned, SCORE_SCHEMA, tmp_path / "work")
    rows = pa.Table.from_batches([batch for _, batch in scores.batches(SCORE_SCHEMA.names)])
    want = table.sort_by([(name, "ascending") for name in ("shard", "offset", "key")])
    name = "clip_similarity"  # of which some are NaN
    assert rows.drop_columns(name).equals(want.drop_columns(name))
    one, other = (np.array(t[name].to_pylist(), float) for t in (rows, want))
    assert np.array_equal(one, other, equal_nan=True) and rows.schema.equals(SCORE_SCHEMA)


def test_a_part_of_the_rows_is_read_from_where_it_begins(tmp_path):
    folder = write_score_files(tmp_path, score_table([{}] * 230))
    scores = open_scores(folder, SCORE_SCHEMA, tmp_path / "work")
    read = [(at, len(batch)) for at, batch in scores.batches(["key"], 120)]
    assert read[0] == (100, 50) and sum(rows for _, rows in read) == 130


def test_no_rows_are_no_decisions(tmp_path):
    found = decided(tmp_path, score_table([]), replace(CONFIG, clip_keep_fraction=0.5))
    assert found.rejected() == {} and len(found.kept_N) == 0


def test_a_folder_with_any_name_is_read(tmp_path):
    folder = tmp_path / "a [b] *?' {c}"
    assert decided(folder, score_table([{}, {"width": 3}]), CONFIG).codes_N.tolist() == [0, 1]


def test_an_engine_without_room_is_one_line(tmp_path, monkeypatch):
    def no_room(config):
        raise duckdb.OutOfMemoryException("could not allocate block\nmore")

    monkeypatch.setattr(duckdb, "connect", no_room)
    with pytest.raises(ResourceError, match=r"could not allocate block .*GANLINE_RUNS_DIR") as why:
        decide(ScoreFiles((), 0), [Rule("a", "true", ())], CopyRules(), tmp_path)
    assert why.value.exit_code == 6 and "\n" not in str(why.value)


def test_copies_in_meaning_are_rejected_after_all_others(tmp_path):
    rng = np.random.default_rng(0)
    table = score_table([{"shard": "a.tar", "offset": row // 2 * 512} for row in range(40)])
    own = rng.normal(size=(20, 16)).astype(np.float16)
    own[7], own[15] = own[2], own[2] * np.float16(3)  # the same direction
    shown = [None if row == 39 else own[row // 2] for row in range(40)]
    table = table.append_column("clip_embedding", pa.array(shown, pa.list_(pa.float16())))
    write_score_files(tmp_path / "scores", table)
    scores = open_scores(tmp_path / "scores", table.schema, tmp_path / "work")
    found = decide(scores, [], CopyRules(exact=False, semantic_cosine=0.99), tmp_path / "work")
    # Both rows of an image go, and only the later images.
    assert np.flatnonzero(found.codes_N).tolist() == [14, 15, 30, 31]
    assert found.rejected() == {"filter.semantic_duplicate": 4}
    assert not decide(scores, [], CopyRules(exact=False), tmp_path / "work").codes_N.any()


def test_captions_that_come_often_are_rejected_by_a_rule(tmp_path):
    texts = ["image for sale"] * 5 + ["a cat"] * 2 + ["a dog", "", ""]
    rows = [{"shard": "a.tar", "offset": i * 512, "caption": t} for i, t in enumerate(texts)]
    rows[1]["reason"] = "image.broken"
    config = FilterConfig(
        rules=(ColumnRule(column="caption_repeats", max=2),), near_duplicate_bits=-1
    )
    found = decided(tmp_path, score_table(rows), config)
    assert found.rejected() == {"filter.caption_repeats": 4, "image.broken": 1}
    assert np.flatnonzero(found.codes_N).tolist() == [0, 1, 2, 3, 4]


def test_the_engine_fits_its_memory_whatever_the_machine(tmp_path):
    """Rows without end: at 100 million it once had too little memory, on many cores sooner."""
    with open_engine(tmp_path, 100_000_000) as engine:
        row = engine.execute("SELECT current_setting('memory_limit')").fetchone()
        assert row is not None and row[0].endswith("GiB") and 2.0 < float(row[0].split()[0]) < 4.0
    with open_engine(tmp_path, 1_000) as engine:
        row = engine.execute(
            "SELECT current_setting('memory_limit'), current_setting('threads')"
        ).fetchone()
        assert row is not None and row[0] == "512.0 MiB" and int(row[1]) <= 4
