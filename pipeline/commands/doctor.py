"""`ganline doctor`: check whether this machine is ready, and say what to do if it is not."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from components.artifacts.frozen_nets import present_roles
from components.code_version import git_commit
from components.errors import GanlineError, printable
from models.families import families, installed
from pipeline.cluster.temp_folder import ray_folder
from pipeline.commands.ui import port_is_free
from pipeline.exit_codes import Parser
from pipeline.graph import read_graph
from pipeline.places import runs_folder

PACKAGES = [
    "torch",
    "torchvision",
    "ray",
    "mlflow",
    "dvc",
    "open_clip_torch",
    "timm",
    "pyarrow",
    "pydantic",
    "optuna",
]
GIB = 2**30
DISK_GIB, MEMORY_GIB = 10.0, 8.0
PORTS = {5055: "make ui", 8265: "Ray's dashboard"}


@dataclass(frozen=True)
class Finding:
    """One line of the report. state: ok, note (works, but know it) or fail (will not work)."""

    state: str
    subject: str
    text: str


def examine(params: Path) -> list[Finding]:
    """Look at everything; nothing is changed and nothing heavy is imported."""
    findings: list[Finding] = []
    machine = (_python, _packages, _families, _gpus, _machine)
    for part in (*machine, _params, _encoders, _repository, _ports):
        findings += part(params)
    return findings


def _python(params: Path) -> Iterable[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "fail", "python", f"{version} at {sys.executable}")


def _packages(params: Path) -> Iterable[Finding]:
    for name in PACKAGES:
        try:
            yield Finding("ok", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fail", name, "not installed: run `make setup`")


def _families(params: Path) -> Iterable[Finding]:
    found = installed()
    yield Finding("ok", "families", ", ".join(families()))
    for name, why in found.broken.items():
        yield Finding("fail", f"family {name}", f"{why}: mend or uninstall that package")


def _gpus(params: Path) -> Iterable[Finding]:
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except Exception:
        yield Finding("note", "gpu", "none found: everything runs on the CPU")
        return
    driver = pynvml.nvmlSystemGetDriverVersion()
    for index in range(count):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        name = pynvml.nvmlDeviceGetName(device)
        text = (
            f"{name}, {memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB free, driver {driver}"
        )
        yield Finding("ok", f"gpu {index}", text)


def _machine(params: Path) -> Iterable[Finding]:
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 0
    yield Finding("ok", "cores", str(cores or os.cpu_count()))
    free = psutil.virtual_memory().available / GIB
    todo = "" if free >= MEMORY_GIB else f": the demo wants {MEMORY_GIB:g} GiB"
    yield Finding("note" if todo else "ok", "memory", f"{free:.1f} GiB free{todo}")
    runs = runs_folder()
    place = next(folder for folder in (runs, *runs.parents) if folder.exists())
    free = shutil.disk_usage(place).free / GIB
    todo = "" if free >= DISK_GIB else f": less than {DISK_GIB:g} GiB, free some"
    yield Finding("note" if todo else "ok", "disk", f"{free:.1f} GiB free at {place}{todo}")
    if not os.access(place, os.W_OK):
        yield Finding("fail", "disk", f"{place} is not writable: set GANLINE_RUNS_DIR")
    try:
        yield Finding("ok", "Ray's folder", ray_folder())
    except GanlineError as error:
        yield Finding("fail", "Ray's folder", str(error))


def _params(params: Path) -> Iterable[Finding]:
    from pipeline.params.inputs import missing_inputs
    from pipeline.params.sections import load_params

    try:
        missing = missing_inputs(load_params(params))
        yield Finding("ok", "params", f"{params} is valid")
        for key, path in missing.items():
            yield Finding("fail", "inputs", f"{key}: {path} is not there")
    except GanlineError as error:
        for line in getattr(error, "lines", [str(error)]):
            yield Finding("fail", "params", line)


def _encoders(params: Path) -> Iterable[Finding]:
    try:
        nodes = read_graph(params)
    except GanlineError as error:
        yield Finding("fail", "graph", str(error))
        return
    for folder in (out for node in nodes if node.stage == "encoders" for out in node.outs):
        present = present_roles(folder)
        if present:
            yield Finding("ok", "encoders", f"{', '.join(present)} in {folder}")
        else:
            yield Finding(
                "note", "encoders", f"none in {folder} yet: the encoders stage makes them"
            )


def _repository(params: Path) -> Iterable[Finding]:
    commit = git_commit()
    if not commit:
        yield Finding("note", "git", "no commit here: artifacts cannot name the code they are from")
    elif commit.endswith("-dirty"):
        yield Finding("note", "git", f"{commit[:12]} with changes that are not committed")
    else:
        yield Finding("ok", "git", commit[:12])
    command = [sys.executable, "-m", "dvc", "status", "-q"]
    try:
        code = subprocess.run(command, capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        code = -1
    states = {
        0: ("ok", "every stage is up to date"),
        1: ("note", "some stages have to run: `make demo` or `dvc repro`"),
    }
    state, text = states.get(code, ("fail", "no DVC repository here: run `dvc init`"))
    yield Finding(state, "dvc", text)


def _ports(params: Path) -> Iterable[Finding]:
    for port, use in PORTS.items():
        free = port_is_free(port)
        text = f"{port} is {'free' if free else 'taken'} ({use})"
        yield Finding("ok" if free else "note", "port", text)


def main(argv: list[str] | None = None) -> int:
    """Run `ganline doctor`; 1 when something will not work."""
    parser = Parser(
        prog="ganline doctor",
        description=__doc__,
        epilog="examples:\n"
        "  ganline doctor\n"
        "  ganline doctor --params presets/shapes_long.yaml\n"
        "  RAY_ADDRESS=auto ganline doctor\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    findings = examine(parser.parse_args(argv).params)
    for finding in findings:
        print(printable(f"{finding.state:<5} {finding.subject:<16} {finding.text}"))
    return 1 if any(finding.state == "fail" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
