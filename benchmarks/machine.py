"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "timm", "numpy")


def describe(device: str) -> dict[str, str]:
    """Return processor, cores, threads, accelerator and library versions."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((x.split(": ", 1)[1] for x in lines if x.startswith("model name")), cpu)
    facts = {"device": device, "cpu": cpu, "cores": str(os.cpu_count())}
    facts |= {"threads": str(torch.get_num_threads()), "python": platform.python_version()}
    if device.startswith("cuda"):
        facts["device"] = torch.cuda.get_device_name()
    return facts | {name: version(name) for name in _LIBRARIES}
