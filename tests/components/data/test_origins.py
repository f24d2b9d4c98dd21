"""Several sources as one: no row is taken for another's, and shares are kept without repeating."""

import numpy as np
import pytest

from components.data.config import ScoreConfig, SourceConfig, name_of
from components.data.decisions import Decisions
from components.data.origins import (
    Origin,
    OriginImages,
    origin_of,
    origins_of,
    parts_of,
    records_of,
)
from components.data.score_files import ScoreFiles
from components.data.score_parts import score_source
from components.data.shares import counts_for, report_of_sources, sources_of_rows, with_shares
from tests.components.data.makers import (
    FlatNet,
    encoded,
    picture,
    read_back,
    sample_members,
    write_plain_tar,
)


@pytest.fixture()
def origins(tmp_path):
    """A folder of tars and a folder of images, both with a sample `k0`."""
    write_plain_tar(
        tmp_path / "in tars/a.tar", [m for i in range(3) for m in sample_members(f"k{i}", i)]
    )
    (tmp_path / "loose").mkdir()
    for number in range(4):
        (tmp_path / "loose" / f"k{number}.png").write_bytes(encoded(picture(seed=50 + number)))
        (tmp_path / "loose" / f"k{number}.txt").write_text(f"one {number}\ntwo {number}")
    sources = [
        SourceConfig(path=str(tmp_path / "loose"), captions="each", grey_range=4095),
        SourceConfig(path=f"{tmp_path / 'in tars'}/", captions="each"),
    ]
    return origins_of(sources)


def test_rows_are_of_their_source_and_can_be_read_again(origins, tmp_path):
    assert [origin.name for origin in origins] == ["loose", "in_tars"]
    rows = [record for part in parts_of(origins) for record in records_of(origins, part)]
    keys = [row.key for row in rows]
    assert keys[:3] == [
        "in_tars/k0",
        "in_tars/k1",
        "in_tars/k2",
    ]  # by name, however they are listed
    assert keys[3:5] == ["loose/k0.png", "loose/k0.png#2"] and len(set(keys)) == len(keys) == 11
    assert rows[4].group == "loose/k0.png"  # of its image: never on the other side of the split
    with OriginImages(origins) as reader:
        for row in rows:
            assert reader.read(row.shard, row.offset, len(row.image)) == row.image
    assert [origin_of(one.plain()) for one in origins] != [] and all(
        origin_of(one.plain()).name == one.name for one in origins
    )


def test_scores_tell_the_source_and_do_not_depend_on_the_order_of_the_list(origins, tmp_path):
    found = []
    for number, order in enumerate([origins, origins[::-1]]):
        out = tmp_path / f"scores{number}"
        score_source(order, tmp_path, ScoreConfig(), tmp_path / f"w{number}", out, net=FlatNet())
        found.append(read_back(out, "scores"))
    assert found[0].equals(found[1]) and len(found[0]) == 11
    scores = ScoreFiles.of(sorted((tmp_path / "scores0").glob("*.parquet")))
    assert sources_of_rows(scores, origins).tolist() == [1] * 3 + [0] * 8


def test_a_source_alone_has_no_name(tmp_path):
    write_plain_tar(tmp_path / "a.tar", sample_members("k", 1))
    (alone,) = origins_of([SourceConfig(path=str(tmp_path), name="mine")])
    (row,) = (r for part in parts_of([alone]) for r in records_of([alone], part))
    assert (alone.name, row.key, row.shard) == ("", "k", "a.tar")


@pytest.mark.parametrize(
    ("path", "name", "want"),
    [
        ("/data/a b", "", "a_b"),
        ("s3://bucket/x/laion-2b/?region=eu", "", "laion-2b"),
        ("..", "", ".."),
        ("x", "y", "y"),
    ],
)
def test_names(path, name, want):
    assert name_of(SourceConfig(path=path, name=name)) == want


@pytest.mark.parametrize(
    ("weights", "there", "want"),
    [
        ([1, 1], [10, 30], [10, 10]),
        ([1, 3], [10, 30], [10, 30]),
        ([2, 1], [10, 30], [10, 5]),
        ([0.5, 0.25], [100, 100], [100, 50]),
        ([1, 1], [0, 30], [0, 0]),
    ],
)
def test_shares_repeat_nothing_and_take_one_source_whole(weights, there, want):
    assert counts_for(weights, there) == want


def test_what_is_too_much_is_chosen_by_key_and_counted():
    source = np.array([0] * 10 + [1] * 30)
    keys = [f"k{number}" for number in range(40)]
    codes = np.zeros(40, dtype=np.uint8)
    codes[[3, 20]] = 1
    before = Decisions(("", "filter.aspect"), codes)
    kept = [key for key, code in zip(keys, codes, strict=True) if not code]
    after = with_shares(before, source, [1.0, 2.0], kept, seed=5)
    assert after.rejected() == {"filter.aspect": 2, "filter.weight": 11}
    counts = report_of_sources(after, np.zeros(40, bool), source, ["a", "b"])
    assert counts["a"] == {"in": 10, "kept": 9, "heldout": 0, "rejected": {"filter.aspect": 1}}
    assert counts["b"]["kept"] == 18 and sum(counts["b"]["rejected"].values()) == 12
    # The rows that are kept are those of the smallest numbers: more rows of "b" move few of them.
    chosen = {keys[row] for row in np.flatnonzero(after.kept_N)}
    more = Decisions(before.reasons, np.append(codes, np.zeros(5, np.uint8)))
    again = with_shares(
        more, np.append(source, [1] * 5), [1.0, 2.0], kept + [f"x{i}" for i in range(5)], seed=5
    )
    left = {key for key in chosen if not again.kept_N[keys.index(key)]}
    assert again.kept_N.sum() == 27 and len(left) <= 5
    assert not (with_shares(before, source, [1.0, 2.0], kept, 6).codes_N == after.codes_N).all()
    assert with_shares(before, source, [0.0, 0.0], kept, 5) is before


def test_a_row_of_an_unknown_source_is_an_error(origins):
    from components.errors import DataError

    with OriginImages(origins) as reader, pytest.raises(DataError, match="a row of the source 'x'"):
        reader.read("x:a.tar", 0, 1)
    assert isinstance(origins[0], Origin)
