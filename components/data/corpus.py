"""Write the embedded default's splits as tars, and the truth about every row beside them.

The files depend on the seed and the parameters alone, not on the number of processes that draw.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.data.captions import ATTRIBUTES, PAIR_ATTRIBUTES
from components.data.config import SynthesizeConfig
from components.data.dirt import Plan, clean_plan, empty_caption, image_file, plan_dirt
from components.data.parquet_files import write_table
from components.data.shards import file_sha256, write_json, write_tar
from components.data.synthetic import Pairs, draw, label_of, sample_pairs


def truth_schema(objects: int) -> pa.Schema:
    """Return the columns of the truth about drawings of so many objects."""
    return pa.schema(
        [
            ("key", pa.string()),
            ("split", pa.string()),
            ("swapped", pa.bool_()),
            ("dirt", pa.string()),
            ("exact_duplicate_of", pa.string()),
            ("near_duplicate_of", pa.string()),
            *((name, pa.string()) for name in (PAIR_ATTRIBUTES if objects == 2 else ATTRIBUTES)),
            ("caption_true", pa.string()),
        ]
    )


_ROWS_AT_ONCE = 250  # drawings held in memory per process


@dataclass(frozen=True)
class _Job:
    """One shard to write: rows [start, start + len(kind)) of a split."""

    path: Path
    split: str
    start: int
    plan: Plan
    seed: int
    config: SynthesizeConfig


def split_sizes(config: SynthesizeConfig) -> dict[str, int]:
    """Return the rows of each split; all 0 when there is nothing to do."""
    sizes = {
        "train": config.pairs,
        "encoders": config.encoders_pairs,
        "judge": config.judge_pairs,
        "validation": config.validation_pairs,
        "test": config.test_pairs,
    }
    return sizes if config.pairs else dict.fromkeys(sizes, 0)


def write_corpus(config: SynthesizeConfig, seed: int, raw: Path, truth: Path) -> dict[str, Any]:
    """Write raw/<split>/shard-*.tar, raw/manifest.json, the truth; return the manifest."""
    jobs: list[_Job] = []
    tables = []
    for split, count in split_sizes(config).items():
        (raw / split).mkdir(parents=True, exist_ok=True)
        for stale in (raw / split).glob("shard-*"):
            stale.unlink()
        pairs = sample_pairs(seed, split, range(count), config.objects)
        plan = plan_dirt(config, seed, pairs.attributes) if split == "train" else clean_plan(count)
        tables.append(_truth(split, pairs, plan, config.objects))
        jobs += _jobs(config, seed, raw / split, plan)
    truth.mkdir(parents=True, exist_ok=True)
    write_table(truth / "truth.parquet", pa.concat_tables(tables))
    manifest: dict[str, Any] = {"seed": seed, "splits": {s: [] for s in split_sizes(config)}}
    for job, entry in zip(jobs, _run(jobs, config.workers), strict=True):
        manifest["splits"][job.split].append(entry)
    write_json(raw / "manifest.json", manifest)
    return manifest


def key_of(split: str, row: int) -> str:
    """Return the key of a row."""
    return f"{split}_{row:06d}"


def _jobs(config: SynthesizeConfig, seed: int, folder: Path, plan: Plan) -> list[_Job]:
    jobs = []
    for number, start in enumerate(range(0, len(plan.kind), config.shard_pairs)):
        part = slice(start, start + config.shard_pairs)
        piece = Plan(plan.kind[part], plan.image_of[part], plan.caption_of[part])
        path = folder / f"shard-{number:05d}.tar"
        jobs.append(_Job(path, folder.name, start, piece, seed, config))
    return jobs


def _run(jobs: list[_Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_write_shard, jobs)
        return
    # Spawned, not forked: the parent may hold threads of Arrow or of a tracker.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_write_shard, jobs)


def _write_shard(job: _Job) -> dict[str, Any]:
    write_tar(job.path, _samples(job))
    return {"file": job.path.name, "rows": len(job.plan.kind), "sha256": file_sha256(job.path)}


def _samples(job: _Job) -> Iterator[tuple[str, dict[str, bytes]]]:
    plan, config = job.plan, job.config
    for at in range(0, len(plan.kind), _ROWS_AT_ONCE):
        part = slice(at, at + _ROWS_AT_ONCE)
        shown, told = (
            sample_pairs(job.seed, job.split, rows[part].tolist(), config.objects)
            for rows in (plan.image_of, plan.caption_of)
        )
        pixels = draw(shown.attributes, shown.generators, config.resolution_px)
        for i, kind in enumerate(plan.kind[part]):
            row = job.start + at + i
            # Drawn from the image's own numbers: an exact copy takes the same format.
            png = bool(shown.generators[i].random() < config.png_fraction)
            file_kind = "" if kind == "exact_duplicate" else kind
            extension, data = image_file(pixels[i], file_kind, png, job.seed, row)
            text = empty_caption(row) if kind == "empty_caption" else told.captions[i]
            key = key_of(job.split, row)
            facts = _facts(key, job.split, shown.values(i))
            yield key, {extension: data, "txt": text.encode(), "json": facts}


def _facts(key: str, split: str, values: dict[str, str]) -> bytes:
    """Return a sample's .json: in `train` nothing that could help to clean it."""
    facts: dict[str, Any] = {"id": key}
    if split != "train":
        facts |= values | {"label": label_of(values["shape"], values["colour"])}
    return json.dumps(facts, sort_keys=True).encode()


def _truth(split: str, pairs: Pairs, plan: Plan, objects: int) -> pa.Table:
    def origin(row: int, kind: str) -> str:
        return key_of(split, int(plan.image_of[row])) if plan.kind[row] == kind else ""

    rows = [
        {
            "key": key_of(split, row),
            "split": split,
            "swapped": kind == "swapped",
            "dirt": kind,
            "exact_duplicate_of": origin(row, "exact_duplicate"),
            "near_duplicate_of": origin(row, "near_duplicate"),
            **pairs.values(int(plan.image_of[row])),
            "caption_true": pairs.captions[int(plan.image_of[row])],
        }
        for row, kind in enumerate(plan.kind)
    ]
    return pa.Table.from_pylist(rows, schema=truth_schema(objects))


def estimate_bytes(config: SynthesizeConfig) -> int:
    """Return about how much disk the splits take."""
    # 0.9 bytes per pixel is the mean at 64 px; a tar adds about five blocks per sample.
    per_sample = 0.9 * config.resolution_px**2 + 5 * 512
    return int(sum(split_sizes(config).values()) * per_sample)
