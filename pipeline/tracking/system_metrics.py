"""Measure this machine while a stage runs, under the names of MLflow's system metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil

SYSTEM_PREFIX = "system/"
GIB = 2**30


class SystemMetrics(threading.Thread):
    """Report processor, memory and GPU use every few seconds until stopped.

    Args:
        report: takes the readings and a step.
        every_s: seconds between readings.
        started_s: when the run began (epoch seconds); the step is the whole seconds since then.
    """

    def __init__(
        self, report: Callable[[dict[str, float], int], None], every_s: float, started_s: float
    ) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self._report, self._every_s, self._started_s = report, every_s, started_s
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Read and report until `stop`."""
        psutil.cpu_percent()  # the first call only starts the count
        while not self._stop_now.wait(self._every_s):
            self._report(read_system(), int(time.time() - self._started_s))

    def stop(self) -> None:
        """End the thread at its next wake-up, which is now."""
        self._stop_now.set()


def read_system() -> dict[str, float]:
    """Return one reading: percentages, and sizes in GiB."""
    memory = psutil.virtual_memory()
    readings = {
        f"{SYSTEM_PREFIX}cpu_utilization_percentage": psutil.cpu_percent(),
        f"{SYSTEM_PREFIX}system_memory_usage_percentage": memory.percent,
        f"{SYSTEM_PREFIX}system_memory_usage_gib": (memory.total - memory.available) / GIB,
        f"{SYSTEM_PREFIX}process_memory_gib": psutil.Process().memory_info().rss / GIB,
    }
    return readings | _read_gpus()


def _read_gpus() -> dict[str, float]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no library: a machine without GPUs
        return {}
    readings = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        use = pynvml.nvmlDeviceGetUtilizationRates(device)
        readings[f"{SYSTEM_PREFIX}gpu_{index}_utilization_percentage"] = float(use.gpu)
        readings[f"{SYSTEM_PREFIX}gpu_{index}_memory_usage_gib"] = memory.used / GIB
    return readings
