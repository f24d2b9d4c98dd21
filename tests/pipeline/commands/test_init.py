"""`ganline init`: whatever the pictures are, the file passes the check; each line has a comment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.commands.init import main
from pipeline.params.sections import load_params
from tests.components.data.makers import sample_members, write_plain_tar
from tests.pipeline.commands.test_data import odd_table


def picture(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def captioned(folder: Path, count: int = 12) -> None:
    rows = ["file,caption"]
    for number in range(count):
        picture(folder / f"{number}.png", 80)
        rows.append(f"{number}.png,a picture {number}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")


def of_classes(folder: Path) -> None:
    for number in range(12):
        picture(folder / ("cat", "dog")[number % 2] / f"{number}.png", 40)


def alone(folder: Path) -> None:
    for number in range(12):
        picture(folder / f"{number}.png", 20 if number == 0 else 70)


CASES = {
    "text": (captioned, 64, "captions: 100% have one"),
    "label": (of_classes, 32, "2 classes, no captions"),
    "none": (alone, 64, "neither captions nor classes"),
}


@pytest.mark.parametrize("condition", CASES)
def test_the_file_passes_and_says_what_will_happen(condition, tmp_path, monkeypatch, capsys):
    make, size, says = CASES[condition]
    make(tmp_path / "my pictures")
    monkeypatch.chdir(tmp_path)
    assert main(["my pictures"]) == 0
    said = capsys.readouterr().out
    assert "12 pictures in my pictures (image_folder)" in said and says in said
    assert "12 pictures are very few" in said and "12 minutes" in said
    assert ("to draw by words" in said) == (condition == "none")
    assert ("1 is smaller than 32 px" in said) == (condition == "none")
    params = load_params(Path("params.yaml"))
    assert params.source.condition == condition and params.source.path == "my pictures"
    assert params.filter.resolution_px == size and ("64" in params.superres) == (size == 64)
    lines = Path("params.yaml").read_text().splitlines()
    assert all("#" in line for line in lines if line)
    values = yaml.safe_load(Path("params.yaml").read_text())
    assert values["encoders"]["clip"]["source"] == ("train" if condition == "text" else "none")


def test_a_file_of_the_users_stays(tmp_path, monkeypatch, capsys):
    captioned(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("mine")
    assert main(["data"]) == 2
    assert "there is a file already (params.yaml)" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == "mine"
    assert main(["data", "--force"]) == 0
    assert Path("params.yaml.before").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("params*")) == [
        "params.yaml",
        "params.yaml.before",
    ]


def test_nothing_to_learn_from_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no pictures")
    monkeypatch.chdir(tmp_path)
    assert main(["data"]) == 3 and main(["nowhere"]) == 3
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
    assert not Path("params.yaml").exists()


def test_what_is_no_folder_or_not_usable_is_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("pictures.zip").write_bytes(b"PK")
    for name in ("latin", "unnamed"):
        captioned(tmp_path / name)
    table = "file,caption\n" + "".join(f"{n}.png,caf\xe9\n" for n in range(12))
    (tmp_path / "latin" / "captions.csv").write_bytes(table.encode("latin-1"))
    (tmp_path / "unnamed" / "captions.csv").write_text(table.replace(".png", ""))
    for given, code, words in (
        ("pictures.zip", 3, "a file, not a folder (pictures.zip): unpack it if packed"),
        ("https://host/x.zip", 3, "no such kind of place (https://host/x.zip)"),
        ("s3://bucket/x", 2, "init looks at folders of this machine"),
        ("latin", 3, "none of 12 samples can be used: 12 caption.encoding (latin): set source.enc"),
        ("unnamed", 3, "write the whole name of each picture into the table"),
    ):
        assert main([given]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not Path("params.yaml").exists()


def test_a_table_that_is_not_read_is_named(tmp_path, monkeypatch, capsys):
    captioned(tmp_path / "labelled")
    (tmp_path / "labelled" / "captions.csv").rename(tmp_path / "labelled" / "labels.csv")
    monkeypatch.chdir(tmp_path)
    assert main(["labelled"]) == 0
    assert "not read: labels.csv; name the table" in capsys.readouterr().out


def test_settings_of_the_source_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = odd_table(tmp_path / "odd")
    assert main(["odd", *settings]) == 0
    params = load_params(tmp_path / "params.yaml")
    source = params.sources[0]
    assert (source.condition, source.captions_file, source.file_column) == (
        "text",
        "list.csv",
        "name",
    )
    assert source.caption_column == "words" and source.heldout_fraction == 0.3
    assert "minutes on 2 CPU cores" in capsys.readouterr().out


def test_more_pictures_than_are_looked_at_are_counted(tmp_path, monkeypatch, capsys):
    """A sample is the same number of each folder, so it can be less than is looked at most."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("components.data.survey.SAMPLED", 20)
    for name, count in (("cat", 30), ("dog", 4)):
        (tmp_path / "two" / name).mkdir(parents=True)
        for number in range(count):
            picture(tmp_path / "two" / name / f"{number}.png", 64)
    assert main(["two"]) == 0
    said = capsys.readouterr().out
    assert (
        said.startswith("34 pictures in two (image_folder); at least 1 class,")
        and "very few" in said
    )
    members = [one for i in range(40) for one in sample_members(f"k{i}", i, "a dog")]
    write_plain_tar(tmp_path / "tars/a.tar", members)
    assert main(["tars", "--force"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("at least 20 pictures in tars (webdataset)") and "few" not in said


def test_no_file_or_folder_of_the_users_is_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    captioned(tmp_path / "mine")
    assert main(["mine", "--out", "mine", "--force"]) == 2
    assert "mine is a folder (--out)" in capsys.readouterr().err and (tmp_path / "mine").is_dir()

    assert main(["mine", "--out", "new/folder/params.yaml"]) == 0
    out = tmp_path / "new/folder/params.yaml"
    for edit in ("first", "second"):
        out.write_text(out.read_text() + f"# {edit}\n")
        assert main(["mine", "--out", str(out), "--force"]) == 0
        assert f"the file that was there: {out}.before" in capsys.readouterr().out
    assert out.with_name("params.yaml.before").read_text().endswith("# first\n")
    assert out.with_name("params.yaml.before1").read_text().endswith("# second\n")
    assert main(["mine", "--out", str(out), "--force"]) == 0  # the same again: no further copy
    assert len(list(out.parent.iterdir())) == 3


def test_a_condition_that_is_asked_for_is_had_or_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_classes(tmp_path / "mine")
    assert main(["mine", "--set", "source.condition=text"]) == 2
    assert "no captions were found in mine" in capsys.readouterr().err
    settings = odd_table(tmp_path / "odd")
    assert main(["odd", *settings, "--set", "source.condition=none"]) == 0
    assert "not read" not in capsys.readouterr().out
    assert load_params(Path("params.yaml")).sources[0].condition == "none"
