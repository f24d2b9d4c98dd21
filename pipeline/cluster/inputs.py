"""Bring the inputs of a stage to where the workers of a cluster see them.

That is a folder that all machines share, below GANLINE_RUNS_DIR, or the store that `cluster.store`
names: there each machine fetches what it needs.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from components.artifacts.family import recipe_from
from components.data.far_files import place_of
from components.data.far_folders import INPUTS, SHARDS, below, is_sent, send_folder
from components.data.pictures import picture_files, pictures_hash
from components.data.shard_store import FILE, send_shards
from components.data.shards import write_json
from components.durable_files import MANIFEST, file_hash
from components.errors import ConfigError
from components.training.job import TrainingJob
from pipeline.cluster.launch import ray_address
from pipeline.fingerprint import data_content_hash, digest
from pipeline.places import runs_folder


def share_input(folder: Path, content: str, store: str = "") -> str:
    """Return where workers find an input: itself, or for a cluster its copy that they all see.

    Args:
        folder: the input.
        content: hash of it; a copy that is there already is used again.
        store: address of a store that takes it; "" = the shared folder.

    Raises:
        StorageError: the store does not take it.
    """
    if not ray_address():
        return str(folder.absolute())
    name = f"{folder.name}-{content[:12]}"
    if store:
        place = below(store, INPUTS)
        if not is_sent(place_of(place), name):
            send_folder(folder, place_of(place), name)
        return below(place, name)
    target = runs_folder() / INPUTS / name
    if not target.exists():
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(folder, temporary, copy_function=_link_or_copy)
        try:
            temporary.rename(target)
        except OSError:  # Another launcher was first.
            shutil.rmtree(temporary, ignore_errors=True)
    return str(target)


def share_folder(folder: Path, store: str = "") -> str:
    """Return where workers find a folder that a stage wrote, as `share_input`.

    Cards and manifests hold the hashes of the large files beside them. The shards of a training set
    go to a store as `filter.store` sends them, so that a worker streams what it needs; where they
    lie in one already, only the list of them goes.
    """
    if not ray_address():
        return str(folder.absolute())
    if (folder / MANIFEST).is_file():
        return _share_training_set(folder, store)
    facts = [
        (str(path.relative_to(folder)), path.stat().st_size)
        if path.suffix != ".json"
        else (str(path.relative_to(folder)), path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return share_input(folder, digest(facts), store)


def _share_training_set(folder: Path, store: str) -> str:
    content = data_content_hash(folder)
    if not store:
        return share_input(folder, content)
    if (folder / FILE).is_file():  # a set that was moved is sent anew
        return share_input(folder, digest([content, file_hash(folder / FILE)]), store)
    name = f"{folder.name}-{content[:12]}"
    if not is_sent(place_of(below(store, INPUTS)), name):
        told = send_shards(folder, below(store, SHARDS))
        with tempfile.TemporaryDirectory() as here:
            listed = Path(here) / folder.name
            listed.mkdir()
            shutil.copyfile(folder / MANIFEST, listed / MANIFEST)
            write_json(listed / FILE, told)
            return share_input(listed, content, store)
    return below(store, INPUTS, name)


def share_job(job: TrainingJob, store: str = "") -> TrainingJob:
    """Return a training with its inputs where all workers see them.

    Args:
        job: with paths of this machine.
        store: address of a store, "" = the shared folder.

    Raises:
        ConfigError: a folder of pictures lies where a store cannot have it.
        StorageError: the store does not take them.
    """
    folders = {name: getattr(job, name) for name in ("encoders_dir", "data_dir", "start_dir")}
    places = {name: share_folder(Path(path), store) for name, path in folders.items() if path}
    if job.pictures_dir and store and ray_address():
        places["pictures_dir"] = _share_pictures(job, store)
    return dataclasses.replace(job, **places)  # type: ignore[arg-type]


def _share_pictures(job: TrainingJob, store: str) -> str:
    names = list(getattr(recipe_from(job.recipe), "picture_folders", ()))
    with tempfile.TemporaryDirectory() as here:
        for name in names:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                todo = "with cluster.store, give a path inside the working folder"
                raise ConfigError(f"pictures in {name}", f"{job.stage}, recipe", todo)
            target = Path(here) / "pictures" / name
            target.mkdir(parents=True, exist_ok=True)
            for path in picture_files(Path(job.pictures_dir) / name):
                shutil.copyfile(path, target / path.name)
        hashes = [[name, pictures_hash(Path(job.pictures_dir) / name)] for name in names]
        return share_input(Path(here) / "pictures", digest(hashes), store)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)
