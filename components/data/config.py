"""Parameters of the data stages: source, synthesize, score, filter.

Plain dataclasses without numpy, torch or pyarrow, so that params.yaml is checked before anything
heavy loads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from models.fields import Between

Fraction = Annotated[float, Between(0.0, 1.0)]
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where the image-text pairs come from and how a sample is read.

    Attributes:
        kind: "webdataset" (a folder of .tar shards, members KEY.png|jpg|webp|gif|avif, KEY.txt,
            KEY.json), "image_folder" (a file tree, with a table of captions, a text file beside
            each image, or class folders), "parquet" (files with a column of images), or "auto":
            look, and take what is there; a doubt is an error.
        condition: what a model learns to draw from: "text" (the caption), "label" (the class) or
            "none". Without text no caption is needed and CLIP is not asked.
        path: the folder, or where it is in a store: s3://, gs://, abfs://, hdfs://; keys and
            endpoint come from the environment.
        name: what it is called among several sources; "" = the last part of the path.
        weight: its share of the training images, in proportion to the weights of the others; the
            rows that are too many for it are left out. 0 for all sources = all rows are kept.
        heldout_path: a folder of the same kind whose readable samples become the held-out split; ""
            splits `path` by group instead.
        heldout_fraction: share of the groups that is held out when heldout_path is "".
        captions: what becomes of several captions of one image: "first", "random" (another one in
            each epoch, by seed, epoch and key) or "each" (a sample for each).
        captions_file: image_folder: table inside `path` (.csv, .tsv, .jsonl, COCO's .json), or
            "*.txt" for a text file beside each image; "" looks for one of them.
        separator: image_folder: what stands between the columns of the table; "auto" reads it from
            the header.
        encoding: image_folder: of the table, by Python's name ("utf-8", "latin-1", "cp1252");
            "auto" tells UTF-16 from UTF-8.
        file_column: image_folder: column with the image's path relative to `path`. parquet: column
            of the image: its bytes, {bytes, path}, or a path.
        caption_column: column of the table (or, where a sample has no .txt, key of its .json) with
            the caption, or a list of several, each with a caption of its own ([name, keywords]);
            `captions` says what becomes of them.
        group_column: column or .json key; rows of one group never stand on both sides of the split.
            "" = each row is its own group.
        label_column: column or .json key with the class, or a list of several whose values together
            are the class ([colour, shape]: "red circle"); "" = no classes or, where condition is
            "label", the name of the image's folder (image_folder) or the member KEY.cls
            (webdataset).
        label_kind: "name" (a class is what it is called, "7" and "07" too), or "index" (whole
            numbers that stand for themselves, gaps included).
        class_folders: image_folder: a class is named after its folder ("name") or after the folder
            and all above it ("path"); "auto" is "name" and refuses two folders of one name.
        image_member: webdataset: ending of the member with the image, such as "input.jpg"; "" = the
            first that says it is an image.
        caption_member: webdataset: ending of the member with the caption.
        background_rgb: what transparent pixels are laid on, "#rrggbb".
        grey_range: largest value of images with 16 bits of grey: 65535, or 4095 where a camera of
            12 bits wrote them.
    """

    kind: Literal["auto", "webdataset", "image_folder", "parquet"] = "auto"
    condition: Literal["text", "label", "none"] = "text"
    path: str
    name: str = ""
    weight: Annotated[float, Between(0.0, None)] = 0.0
    heldout_path: str = ""
    heldout_fraction: Fraction = 0.05
    captions: Literal["first", "random", "each"] = "first"
    captions_file: str = ""
    separator: Literal["auto", "tab", "comma", "semicolon", "bar"] = "auto"
    encoding: str = "auto"
    file_column: str = "file"
    caption_column: str | tuple[str, ...] = "caption"
    group_column: str = ""
    label_column: str | tuple[str, ...] = ""
    label_kind: Literal["name", "index"] = "name"
    class_folders: Literal["auto", "name", "path"] = "auto"
    image_member: str = ""
    caption_member: str = "txt"
    background_rgb: str = "#ffffff"
    grey_range: Annotated[int, Between(255, 65_535)] = 65_535

    @property
    def caption_columns(self) -> tuple[str, ...]:
        """The columns that hold captions."""
        columns = self.caption_column
        return (columns,) if isinstance(columns, str) else tuple(columns)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that make up the class; empty where there are none."""
        columns = self.label_column
        return tuple(filter(None, (columns,) if isinstance(columns, str) else columns))

    def label_of(self, value: Callable[[str], str]) -> str:
        """Return the class by the value of each column; "" when one of them is missing."""
        values = [value(column) for column in self.label_columns]
        return " ".join(values) if all(values) else ""


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """The embedded default's data: clean splits of captioned shapes and one dirty corpus.

    Attributes:
        pairs: samples of the dirty `train` split, copies included; 0 = nothing is drawn, empty
            files are written.
        encoders_pairs, judge_pairs, validation_pairs, test_pairs: samples of the clean splits.
        objects: in each drawing: 1, or 2 of other shapes and colours, one left of or above the
            other ("a red ring left of a small blue square on a white background").
        resolution_px: side of the drawings.
        shard_pairs: samples per tar.
        png_fraction: share stored as PNG; the rest is JPEG (quality 95, full chroma).
        swapped_fraction: share of `train` whose caption tells of another image.
        exact_duplicate_fraction, near_duplicate_fraction: share that copies an earlier sample, byte
            for byte, or re-encoded, resized by a few pixels or brighter by 1 or 2 levels.
        truncated_fraction: share whose image file is cut.
        tiny_fraction: share shrunk to 4 to 12 px.
        extreme_aspect_fraction: share stretched to 8 to 10 times its height.
        cmyk_fraction, deep_fraction, palette_fraction: share stored as CMYK JPEG, 16-bit PNG,
            palette PNG; all of these are readable and good.
        empty_caption_fraction: share with an empty or blank caption.
        workers: processes that draw; the files do not depend on it.
    """

    pairs: Annotated[int, Between(0, None)] = 20_000
    encoders_pairs: Annotated[int, Between(0, None)] = 6_000
    judge_pairs: Annotated[int, Between(0, None)] = 6_000
    validation_pairs: Annotated[int, Between(0, None)] = 1_000
    test_pairs: Annotated[int, Between(0, None)] = 2_000
    objects: Literal[1, 2] = 1
    resolution_px: Annotated[int, Between(16, 1024)] = 64
    shard_pairs: Annotated[int, Between(1, None)] = 1_000
    png_fraction: Fraction = 0.25
    swapped_fraction: Fraction = 0.15
    exact_duplicate_fraction: Fraction = 0.03
    near_duplicate_fraction: Fraction = 0.03
    truncated_fraction: Fraction = 0.01
    tiny_fraction: Fraction = 0.005
    extreme_aspect_fraction: Fraction = 0.005
    cmyk_fraction: Fraction = 0.005
    deep_fraction: Fraction = 0.005
    palette_fraction: Fraction = 0.005
    empty_caption_fraction: Fraction = 0.005
    workers: Annotated[int, Between(1, None)] = 2


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How every sample of the source is scored.

    Attributes:
        revision: raise it to score again although neither source nor encoders changed.
        backend: "local" (a loop in this process) or "ray" (an actor pool, sized by the
            cluster section); the rows are the same.
        batch: samples per call of the scorer.
        scorers: which columns are written: "clip" (similarity of image and caption), "phash"
            (fingerprints for near copies), "sharpness", "entropy", "caption" (facts about its
            words), "tokens" (its length for CLIP), "language" (how surely it is of `language`),
            "embedding" (CLIP's, float16), and heads on that embedding: "aesthetic", "nsfw",
            "watermark".
        language: which one the scorer "language" asks for, as en, de, zh (ISO 639).
        heads: name of a head -> its file of weights, a safetensors file or LAION's .pth.
    """

    revision: Annotated[int, Between(1, None)] = 1
    backend: Literal["local", "ray"] = "local"
    batch: Annotated[int, Between(1, None)] = 256
    scorers: tuple[str, ...] = ("clip", "phash")
    language: str = "en"
    heads: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ColumnRule:
    """What one column of the scores must be; at least one of min, max, keep_fraction is given.

    Attributes:
        column: its name.
        min, max: a row is kept if its value lies between them, both included.
        keep_fraction: keep this share of the rows that reach the rule, the largest values first.
    """

    column: str
    min: float | None = None
    max: float | None = None
    keep_fraction: Fraction = 1.0


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which scored samples are kept, and the form in which they are stored.

    Rules run in the order of components/data/filtering.py; a sample is counted under the first it
    breaks.

    Attributes:
        resolution_px: side of the stored square images: the largest resolution of the chain.
        format: how images are stored: "png" (without loss), "jpeg" (full chroma) or "webp"; those
            two are about a tenth of it.
        quality: of jpeg and webp, 100 = best.
        min_side_px: shorter side of the input image.
        max_aspect: longer side divided by shorter side.
        min_caption_chars, max_caption_chars: length of the stripped caption.
        clip_similarity_min: cosine of image and caption; -1 keeps all. Not used when
            clip_keep_fraction < 1.
        clip_keep_fraction: keep this share of the samples that reach the rule, the most similar
            first; 1 = use clip_similarity_min.
        rules: rules on columns of the scores, each {column, min, max, keep_fraction}; they are
            asked after the similarity and before the duplicates, and count under filter.COLUMN.
        exact_duplicates: reject a byte-equal image file seen before.
        near_duplicate_bits: reject an image whose perceptual hash differs from that of a kept one
            in at most so many of 64 bits, if their thumbnails agree as well; -1 = off.
        near_duplicate_levels: largest difference of any cell of two 8 x 8 colour thumbnails, in
            levels of 255, to count as the same.
        semantic_duplicate_cosine: reject an image whose CLIP embedding has at least this cosine
            with that of an earlier one that is kept, within clusters; 1 = off. It takes
            "embedding" in score.scorers.
        shard_rows: rows per Parquet shard.
        backend: where shards are made: "local" (a loop in this process) or "ray" (an actor pool,
            sized by the cluster section); they are the same to the byte. Held-out images of a
            source of their own are always made here.
        store: folder or URI where the shards are kept, for a cluster without a shared file system;
            the folder of the training set then holds the manifest and a list of hashes alone. "" =
            beside the manifest.
        max_reject_fraction: end with exit 3 when more than this share is rejected.
    """

    resolution_px: Annotated[int, Between(8, 2048)] = 64
    format: Literal["png", "jpeg", "webp"] = "png"
    quality: Annotated[int, Between(1, 100)] = 95
    min_side_px: Annotated[int, Between(1, None)] = 32
    max_aspect: Annotated[float, Between(1.0, None)] = 3.0
    min_caption_chars: Annotated[int, Between(1, None)] = 3
    max_caption_chars: Annotated[int, Between(1, None)] = 1_000
    clip_similarity_min: Annotated[float, Between(-1.0, 1.0)] = -1.0
    clip_keep_fraction: Fraction = 1.0
    rules: tuple[ColumnRule, ...] = ()
    exact_duplicates: bool = True
    near_duplicate_bits: Annotated[int, Between(-1, 16)] = 8
    near_duplicate_levels: Annotated[float, Between(0.0, 255.0)] = 4.0
    semantic_duplicate_cosine: Annotated[float, Between(0.0, 1.0)] = 1.0
    shard_rows: Annotated[int, Between(1, None)] = 4_096
    backend: Literal["local", "ray"] = "local"
    store: str = ""
    max_reject_fraction: Fraction = 0.5


NAME = r"[A-Za-z0-9_.-]+"  # of a source among several


def name_of(source: SourceConfig) -> str:
    """Return the name of a source: as set, else the last part of its path."""
    last = re.split(r"[/\\]", source.path.partition("?")[0].rstrip("/\\"))[-1]
    return source.name or re.sub(r"[^A-Za-z0-9_.-]", "_", last) or "source"


def parse_colour(text: str) -> Colour:
    """Read "#rrggbb".

    Raises:
        ValueError: the text has another form.
    """
    digits = text.removeprefix("#")
    if len(digits) == 8 or text.lower() in ("none", "transparent", "alpha", "rgba"):
        what = "images are RGB: transparent pixels are laid on a colour"
        raise ValueError(f'{what} such as "#ffffff"; got {text!r}')
    if len(digits) != 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f'a colour must look like "#ffffff"; got {text!r}')
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue
