"""synthesize -> score -> filter as commands, on a small corpus with every kind of dirt."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from components.data import scoring, shard_tables
from components.data.batches import BatchSource
from components.data.captions import ATTRIBUTES
from components.data.config import SourceConfig
from components.data.decode import Decoded, decode
from components.data.sources import parts, read_part
from pipeline.stages import filter as filter_stage
from pipeline.stages import score, synthesize
from pipeline.stages.filter_examples import SIDE_PX, UNREADABLE
from tests.components.data.makers import HashedText, TruthNet, encoded, picture
from tests.pipeline.params.test_params import valid
from tests.pipeline.tiny_world import write_encoders

SIZES = {"pairs": 500, "encoders_pairs": 4, "judge_pairs": 4, "validation_pairs": 4}
DIRT = ["truncated", "tiny", "extreme_aspect", "cmyk", "deep", "palette", "empty_caption"]


def write_params(folder: Path, **changes) -> Path:
    values = valid()
    values["tracking"]["enabled"] = False
    values["synthesize"] |= SIZES | {"test_pairs": 6, "shard_pairs": 200, "workers": 1}
    values["synthesize"] |= {f"{kind}_fraction": 0.02 for kind in DIRT}
    values["source"] |= {"path": "raw/train", "heldout_path": ""}
    values["filter"] |= {"clip_similarity_min": 0.99, "shard_rows": 150}
    for section, fields in changes.items():
        values[section] |= fields
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(stage, folder, *arguments):
    return stage.main([*arguments, "--params", str(folder / "params.yaml")])


def run_filter(folder, *more):
    places = {"scores": "scores", "encoders": "encoders", "out": "train"}
    places |= {"decisions": "decisions.parquet", "report": "filter.json", "plots": "plots"}
    arguments = [x for name, place in places.items() for x in (f"--{name}", str(folder / place))]
    return run(filter_stage, folder, "--source", str(folder / "raw/train"), *arguments, *more)


@pytest.fixture(scope="module")
def patched():
    """Put stand-ins where CLIP would be loaded; the truth about each picture is filled in later."""
    truth: dict[bytes, dict[str, str]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "ClipSimilarity", lambda folder: TruthNet(truth))
        patch.setattr(shard_tables, "ClipText", lambda folder: HashedText())
        yield truth, patch


@pytest.fixture(scope="module")
def scored(tmp_path_factory, patched):
    """A folder in which synthesize and score have run."""
    truth, patch = patched
    folder = tmp_path_factory.mktemp("stages")
    patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
    (folder / "encoders/clip").mkdir(parents=True)
    (folder / "encoders/clip/card.json").write_text('{"sha256": "of clip"}')
    write_params(folder)
    raw = folder / "raw"
    assert run(synthesize, folder, "--raw", str(raw), "--truth", str(folder / "truth")) == 0
    told = {row["key"]: row for row in truth_of(folder)}
    source = SourceConfig(path="")
    for part in parts(source, raw / "train"):
        for record in read_part(source, raw / "train", part):
            if isinstance(found := decode(record.image), Decoded):
                true = {name: told[record.key][name] for name in ATTRIBUTES}
                truth[found.pixels_HWC.tobytes()] = true
    assert run_score(folder) == 0
    return folder


def run_score(folder, out="scores", *more):
    arguments = ["--source", str(folder / "raw/train"), "--encoders", str(folder / "encoders")]
    return run(score, folder, *arguments, "--out", str(folder / out), *more)


def truth_of(folder):
    return pq.read_table(folder / "truth/truth.parquet").to_pylist()


@pytest.fixture()
def filtered(scored):
    write_params(scored)
    assert run_filter(scored) == 0
    return scored


@pytest.mark.row("B1")
def test_every_kind_of_dirt_is_rejected_for_its_own_reason(filtered):
    decisions = {r["key"]: r for r in pq.read_table(filtered / "decisions.parquet").to_pylist()}
    want = {
        "truncated": "image.truncated",
        "tiny": "filter.too_small",
        "extreme_aspect": "filter.aspect",
        "empty_caption": "caption.empty",
        "swapped": "filter.clip_similarity",
        "exact_duplicate": "filter.exact_duplicate",
    }
    found = {kind: Counter() for kind in ("", "near_duplicate", *DIRT, *want)}
    for row in truth_of(filtered):
        if row["split"] == "train":
            found[row["dirt"]][decisions[row["key"]]["reason"]] += 1
    for kind, reason in want.items():
        assert set(found[kind]) == {reason}, kind
    for kind in ("", "cmyk", "deep", "palette"):
        assert set(found[kind]) == {""}, kind
    assert found["near_duplicate"]["filter.near_duplicate"] >= 13  # of 15


@pytest.mark.row("B1")
def test_the_counts_add_up_everywhere(filtered):
    report = json.loads((filtered / "filter.json").read_text())
    decisions = pq.read_table(filtered / "decisions.parquet").to_pylist()
    manifest = json.loads((filtered / "train/manifest.json").read_text())
    assert report["in"] == 500 == len(decisions)
    assert report["in"] == report["kept"] + report["heldout"] + sum(report["rejected"].values())
    reasons = Counter(row["reason"] for row in decisions if not row["kept"])
    assert reasons == report["rejected"] and "" not in reasons
    sides = Counter(row["split"] for row in decisions if row["kept"])
    assert sides == {"train": report["kept"], "heldout": report["heldout"]}
    rows = {split: facts["rows"] for split, facts in manifest["splits"].items()}
    assert rows == dict(sides) and manifest["clip_sha256"] == "of clip"
    for side in ("train", "heldout"):
        source = BatchSource(filtered / "train", side, 64, 0)
        want = [row["key"] for row in decisions if row["split"] == side]
        assert list(source.first(1000).keys) == want


def test_charts_show_every_sample(filtered):
    report = json.loads((filtered / "filter.json").read_text())
    lines = (filtered / "plots/similarity.csv").read_text().splitlines()
    assert lines[0] == "clip_similarity,kept,rejected"
    counts = np.array([[int(x) for x in line.split(",")[1:]] for line in lines[1:]]).sum(0)
    unreadable = sum(n for r, n in report["rejected"].items() if not r.startswith("filter."))
    assert counts.sum() == 500 - unreadable
    assert counts[0] == report["kept"] + report["heldout"]
    lines = (filtered / "plots/reasons.csv").read_text().splitlines()[1:]
    assert {r: int(n) for r, n in (x.split(",") for x in lines)} == report["rejected"]
    for name in ("similarity.png", "reasons.png"):
        assert Image.open(filtered / "plots" / name).size[0] == 700


@pytest.mark.row("B18")
def test_a_sheet_shows_what_was_rejected_for_each_reason(filtered):
    """Reasons down, five samples across: swapped captions are readable pictures, cut ones grey."""
    report = json.loads((filtered / "filter.json").read_text())["rejected"]
    sheet = np.asarray(Image.open(filtered / "plots/rejected.png")).astype(int)
    assert sheet.shape[0] > sum(count > 0 for count in report.values()) * SIDE_PX
    grey = (sheet == UNREADABLE).all(axis=2).sum()
    assert grey >= SIDE_PX**2 * min(5, report["image.truncated"])  # nothing to show of those
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1_000  # and pictures of the others


def test_running_again_gives_the_same_bytes(filtered):
    def content():
        places = ["scores", "train", "plots", "filter.json", "decisions.parquet"]
        files = [p for x in places for p in sorted([filtered / x, *(filtered / x).rglob("*")])]
        return {str(p): p.read_bytes() for p in files if p.is_file()}

    first = content()
    assert run_score(filtered) == 0 and run_filter(filtered) == 0
    assert content() == first


def test_heldout_source_and_labels(scored):
    write_params(scored, source={"label_column": "label"})
    assert run_filter(scored, "--heldout", str(scored / "raw/test")) == 0
    report = json.loads((scored / "filter.json").read_text())
    assert report["heldout"] == 0
    assert report["heldout_source"] == {"in": 6, "kept": 6, "rejected": {}}
    manifest = json.loads((scored / "train/manifest.json").read_text())
    assert manifest["splits"]["heldout"]["rows"] == 6
    assert manifest["num_labels"] == 0  # the training rows have none


@pytest.mark.row("B21")
def test_nothing_left_ends_with_the_reasons(scored, capsys):
    write_params(scored, filter={"clip_similarity_min": 1.0, "min_side_px": 2000})
    assert run_filter(scored) == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: nothing is left of 500 samples: filter.too_small")
    assert json.loads((scored / "filter.json").read_text())["kept"] == 0


@pytest.mark.row("B21")
def test_too_much_rejected_ends_with_the_reasons(scored, capsys):
    write_params(scored, filter={"max_reject_fraction": 0.2})
    assert run_filter(scored) == 3
    assert "more than max_reject_fraction 0.2" in capsys.readouterr().err


def test_dry_run_says_what_would_be_kept(scored, capsys):
    write_params(scored, filter={"clip_keep_fraction": 0.9})
    before = sorted(scored.rglob("*"))
    assert run_filter(scored, "--dry-run") == 0
    plan = yaml.safe_load(capsys.readouterr().out)["plan"]
    assert plan["in"] == 500 == plan["kept"] + plan["heldout"] + sum(plan["rejected"].values())
    assert sorted(scored.rglob("*")) == before


def test_nothing_to_synthesize_keeps_the_graph(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    write_params(tmp_path, synthesize={"pairs": 0})
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    assert run(synthesize, tmp_path, "--raw", str(raw), "--truth", str(truth)) == 0
    assert "nothing drawn" in capsys.readouterr().err
    assert pq.read_table(truth / "truth.parquet").num_rows == 0
    assert (raw / "train").is_dir() and (raw / "manifest.json").is_file()


def test_image_folder_goes_through(tmp_path, patched, monkeypatch):
    """Images with alpha and a table, split by a group column; alpha shows the colour set."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    folder = tmp_path / "raw/train"
    folder.mkdir(parents=True)
    lines = ["file\tpoints\tcaption"]
    for i in range(40):
        alpha = np.full((64, 64, 1), 255, np.uint8)
        alpha[:10] = 0
        pixels = np.concatenate([picture(64, seed=i), alpha], -1)
        (folder / f"{i:02d}.png").write_bytes(encoded(pixels))
        lines.append(f"{i:02d}.png\tg{i // 2}\tnumber {i}")
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "encoders/clip").mkdir(parents=True)
    (tmp_path / "encoders/clip/card.json").write_text('{"sha256": "x"}')
    fields = {"kind": "image_folder", "group_column": "points", "background_rgb": "#203040"}
    fields["heldout_fraction"] = 0.3
    keep_all = {"clip_similarity_min": -1.0}
    write_params(tmp_path, source=fields, filter=keep_all)
    assert run_score(tmp_path) == 0 and run_filter(tmp_path) == 0
    decisions = pq.read_table(tmp_path / "decisions.parquet").to_pylist()
    sides = {row["key"]: row["split"] for row in decisions}
    assert set(sides.values()) == {"train", "heldout"}
    assert all(sides[f"{i:02d}.png"] == sides[f"{i + 1:02d}.png"] for i in range(0, 40, 2))
    images = BatchSource(tmp_path / "train", "train", 64, 0).first(1000).image_NCHW
    colour = np.array([0x20, 0x30, 0x40]) / 127.5 - 1
    assert np.abs(images[:, :, :10].numpy() - colour[None, :, None, None]).max() < 1e-6


@pytest.mark.slow
def test_both_backends_give_the_same_rows(tmp_path, monkeypatch):
    """A real (random) CLIP: scored in a loop and by a pool of Ray actors."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(scoring, "ClipSimilarity", real_similarity)
    write_encoders(tmp_path / "encoders")
    write_params(tmp_path, synthesize={"pairs": 120, "shard_pairs": 50}, score={"batch": 32})
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    assert run(synthesize, tmp_path, "--raw", str(raw), "--truth", str(truth)) == 0
    assert run_score(tmp_path, "local") == 0
    assert run_score(tmp_path, "ray", "--set", "score.backend=ray") == 0
    local, ray = (pq.read_table(tmp_path / x / "scores-00000.parquet") for x in ("local", "ray"))
    assert local.num_rows == 120
    one, two = (np.array(t["clip_similarity"].to_pylist(), float) for t in (local, ray))
    assert np.nanmax(np.abs(one - two)) < 1e-5 and (np.isnan(one) == np.isnan(two)).all()
    assert np.nanstd(one) > 0
    name = "clip_similarity"
    assert local.drop_columns(name).equals(ray.drop_columns(name))


real_similarity = scoring.ClipSimilarity
