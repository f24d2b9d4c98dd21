"""`ganline data check` says what is there, and its section of params.yaml reads it."""

from pathlib import Path

import yaml
from PIL import Image

from components.data.config import SourceConfig
from components.data.sources import parts, read_part
from pipeline.commands.data import main
from pipeline.params.schema import check
from tests.components.data.makers import encoded, picture, sample_members, write_plain_tar


def checked(capsys, *arguments):
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr()


def read_as(text):
    """Return the readable records of the section that was printed."""
    written = yaml.safe_load(text.partition("# for params.yaml")[2])["source"]
    config, wrong = check(SourceConfig, written)
    assert not wrong
    folder = Path(config.path)
    return [r for p in parts(config, folder) for r in read_part(config, folder, p) if not r.reason]


def test_a_folder_with_a_table(tmp_path, capsys):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    lines = ["image,text"]
    for i in range(12):
        (folder / f"{i}.png").write_bytes(encoded(picture(40 + 10 * (i % 3), seed=i)))
        lines += [f"{i}.png,a dog", f"{i}.png,dog {i}"]
    (folder / "cut.jpg").write_bytes(encoded(picture(40), "JPEG")[:300])
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "captions.csv").write_text("\n".join([*lines, "cut.jpg,cut"]))
    code, said = checked(capsys, folder, "--picture", tmp_path / "pairs.png")
    assert code == 0
    assert "read as image_folder" in said.out and "looked at 13 samples" in said.out
    assert "32 to 63" in said.out and "with a caption: 100.0%; with several: 100.0%" in said.out
    assert "12 x a dog" in said.out and "hidden entries, which are no data: 1" in said.out
    assert "would be rejected:      1 for image.truncated" in said.out
    assert {r.caption for r in read_as(said.out.rpartition("10 pairs")[0])} == {"a dog", "cut"}
    assert Image.open(tmp_path / "pairs.png").width > 5 * 128


def test_class_folders_tars_and_nothing(tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / "1.png").write_bytes(encoded(picture(20)))
    code, said = checked(capsys, tmp_path / "classes")
    assert code == 0 and {r.label for r in read_as(said.out)} == {"cat", "dog"}
    write_plain_tar(tmp_path / "tars/a.tar", sample_members("k", 1, "one\ntwo"))
    code, said = checked(capsys, tmp_path / "tars")
    assert code == 0 and "1 tar; read as webdataset, in 1 part" in said.out
    assert [r.captions for r in read_as(said.out)] == [("one", "two")]
    write_plain_tar(
        tmp_path / "pairs/a.tar",
        [
            ("k.input.jpg", encoded(picture(20), "JPEG")),
            ("k.outputs.txt", b"words"),
            ("._k.jpg", b""),
        ],
    )
    code, said = checked(capsys, tmp_path / "pairs")
    assert code == 0 and "image_member: input.jpg" in said.out
    assert [r.caption for r in read_as(said.out)] == ["words"]
    (tmp_path / "empty").mkdir()
    code, said = checked(capsys, tmp_path / "empty")
    assert code == 3 and "no .tar, no .parquet and no image in it" in said.err
    code, said = checked(capsys, tmp_path / "tars", "--kind", "zip")
    assert code == 2 and "allowed: auto, webdataset" in said.err


def odd_table(folder: Path) -> list[str]:
    """Write pictures with a table of unusual names; return the settings that read it."""
    folder.mkdir()
    lines = ["name,words,sort"]
    for i in range(12):
        (folder / f"{i}.png").write_bytes(encoded(picture(40, seed=i)))
        lines.append(f"{i}.png,dog {i % 2},{'ab'[i % 2]}")
    (folder / "list.csv").write_text("\n".join(lines))
    found = ["captions_file=list.csv", "file_column=name", "caption_column=words"]
    return [part for setting in found for part in ("--set", f"source.{setting}")]


def test_settings_are_taken_and_stand_in_the_section(tmp_path, capsys):
    settings = odd_table(tmp_path / "odd")
    code, said = checked(capsys, tmp_path / "odd", *settings)
    assert code == 0 and "with a caption: 100.0%" in said.out
    assert {r.caption for r in read_as(said.out)} == {"dog 0", "dog 1"}

    of_classes = [*settings[:4], "--set", "source.label_column=[sort, words]"]
    code, said = checked(
        capsys, tmp_path / "odd", *of_classes, "--set", "source.condition=label"
    )  # fmt: skip
    assert code == 0 and "with a class: 100.0%; 2 classes" in said.out
    assert "6 x b dog 1" in said.out and "caption:" not in said.out
    assert {r.label for r in read_as(said.out)} == {"a dog 0", "b dog 1"}

    code, said = checked(capsys, tmp_path / "odd")
    assert code == 0 and "neither captions nor classes" in said.out


def test_settings_that_are_none_are_one_line_each(tmp_path, capsys):
    odd_table(tmp_path / "odd")
    for setting, words in (
        ("train_base.batch=3", "train_base: only settings of the source are taken here"),
        ("source.colum=a", "source.colum: unknown key"),
        ("source.condition=both", 'source.condition: got "both"'),
        ("source", "write --set section.key=value"),
    ):
        code, said = checked(capsys, tmp_path / "odd", "--set", setting)
        assert code == 2 and words in said.err and "Traceback" not in said.err, said.err


def test_a_picture_that_is_there_is_not_written_over(tmp_path, capsys):
    odd_table(tmp_path / "odd")
    own = tmp_path / "odd/3.png"
    before = own.read_bytes()
    code, said = checked(capsys, tmp_path / "odd", "--picture", own)
    assert code == 2 and "exists (--picture): name another file, or add --force" in said.err
    assert own.read_bytes() == before
    (tmp_path / "pairs.png").write_bytes(b"old")
    code, said = checked(capsys, tmp_path / "odd", "--picture", tmp_path / "pairs.png", "--force")
    assert code == 0 and (tmp_path / "pairs.png").read_bytes()[:4] == b"\x89PNG"
