"""Keep one private Ray for as long as the command that it was started for.

    python -m pipeline.cluster.keeper FOLDER KEY CPUS

Ray's own processes are its children and end with it, also after SIGKILL. It ends when the command
is gone, or when one of them is: the next stage then starts another. SIGTERM reaches neither it nor
what it starts, for it is not them that are to stop: the stage hears it, saves, and ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

from pipeline.cluster.guardian import POLL_S, Guardian, announced
from pipeline.cluster.ray_door import private_ray
from pipeline.cluster.shared_ray import Card

# Without one of these there is no Ray; it starts its helpers anew by itself.
NEEDED = ("gcs_server", "raylet")


def main(argv: list[str] | None = None) -> int:
    """Start Ray, write its card, and wait for the end of the announced command."""
    folder, key, cpus = sys.argv[1:] if argv is None else argv
    command = announced()
    assert command is not None, "shared_ray.py announces it"
    # A process that is started inherits what is blocked, through every exec.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with private_ray(int(cpus)) as address:
        children = psutil.Process().children(recursive=True)
        daemons = [Guardian.of(child) for child in children if child.name() in NEEDED]
        helpers = [Guardian.of(child) for child in children if child.name() not in NEEDED]
        processes = [str(one) for one in (Guardian.of_this_process(), *daemons)]
        named = [str(one) for one in helpers]
        Card(address=address, key=key, processes=processes, helpers=named).write(Path(folder))
        while all(one.alive() for one in (command, *daemons)):
            time.sleep(POLL_S)
        # Not by Ray's own way out, which waits a second for each to obey SIGTERM. The kernel ends
        # all that Ray started with this process.
        for one in helpers:
            one.kill()
        if not command.alive():
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
