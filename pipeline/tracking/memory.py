"""Peak memory of a command and everything it started, Ray's daemons included.

Ray's daemons leave the process tree, so processes are known by an environment variable that they
inherit. Shared pages are counted once: Linux's proportional set size, elsewhere the resident size.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil

GIB = 2**30
_SHARE = 0.02  # of a core: what looking may take from the work that is looked at


class PeakMemory(threading.Thread):
    """Sample the memory of all processes that carry `name=value` in their environment.

    Args:
        name: environment variable.
        value: its value.
        every_s: seconds between samples; more where a sample is dear, as of large processes.
    """

    def __init__(self, name: str, value: str, every_s: float = 1.0) -> None:
        super().__init__(name="peak-memory", daemon=True)
        self._mark, self._every_s = (name, value), every_s
        self._ours: dict[tuple[int, float], bool] = {}
        self._stop_now = threading.Event()
        self.peak_gib = 0.0

    def run(self) -> None:
        """Sample until `stop`."""
        pause_s = self._every_s
        while not self._stop_now.wait(pause_s):
            began_s = time.thread_time()
            self.peak_gib = max(self.peak_gib, self.sample())
            pause_s = max(self._every_s, (time.thread_time() - began_s) / _SHARE)

    def stop(self) -> float:
        """End the thread; return the peak in GiB."""
        self._stop_now.set()
        if self.is_alive():
            self.join()
        return self.peak_gib

    def sample(self) -> float:
        """Return what the marked processes hold now, in GiB."""
        total = 0
        for process in psutil.process_iter():
            try:
                if self._is_ours(process):
                    total += memory_bytes(process)
            except (psutil.Error, OSError):
                continue  # it ended meanwhile, or belongs to someone else
        return total / GIB

    def _is_ours(self, process: psutil.Process) -> bool:
        identity = (process.pid, process.create_time())
        if identity not in self._ours:
            name, value = self._mark
            ours = process.environ().get(name) == value
            # A child shows its parent's environment until it has become the new program: look
            # again.
            if not ours:
                return False
            self._ours[identity] = True
        return True


def memory_bytes(process: psutil.Process) -> int:
    """Return a process's share of physical memory in bytes."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(process.memory_info().rss)
