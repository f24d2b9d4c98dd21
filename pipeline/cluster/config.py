"""Parameters of heavy stages: how many workers, on what, and how often a dead one is replaced.

Never part of a fingerprint and never a DVC parameter: the same training on other hardware is the
same training. The cluster itself is not named here but by the environment variable RAY_ADDRESS
(docs/running_on_a_cluster.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from models.fields import Between
from pipeline.cluster.temp_folder import NAME, ray_folder

# What a cluster never needs a copy of: data and results travel by the shared folder.
EXCLUDES = ["/data/", "/artifacts/", "/runs/", "/reports/", "/.venv/", "/.git/", "/.dvc/", "*.tar"]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The `cluster` section of params.yaml."""

    num_workers: Annotated[int, Between(1, 1024)] = 1
    """Training processes; must divide the number of micro-batches of one batch."""
    use_gpu: bool = False
    """Train on GPUs (nccl) instead of CPUs (gloo)."""
    gpus_per_worker: Annotated[float, Between(0.01, 1.0)] = 1.0
    """GPUs that each worker reserves when use_gpu is true; below 1, workers share one."""
    cpus_per_worker: Annotated[float, Between(0.1, 1024.0)] = 2.0
    """CPU cores that each worker reserves at Ray's scheduler."""
    threads_per_worker: Annotated[int, Between(1, 1024)] = 2
    """Threads of torch's CPU kernels in each training worker."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """How workers are laid over the nodes; STRICT_SPREAD = no two on one node."""
    max_failures: Annotated[int, Between(-1, 1000)] = 2
    """Dead workers a run survives by starting again from its newest state; -1 = any number."""
    start_timeout_s: Annotated[int, Between(10, 86400)] = 1800
    """Wait this long for all workers to start: a cluster may have to rent its GPU nodes first."""
    hang_timeout_s: Annotated[int, Between(30, 86400)] = 1800
    """A training worker that stays in one phase for this long is ended and replaced, on a private
    Ray; one that gives no sign of life at all, after 60 s."""
    store: str = ""
    """URI of a store (`s3://bucket/folder`), for machines that share no folder: inputs, states and
    artifacts of trainings travel through it; "" = through GANLINE_RUNS_DIR."""
    scoring_workers: Annotated[int, Between(1, 1024)] = 1
    """Actors of a data stage with the backend `ray`: encoders, score, filter, evaluate."""

    @property
    def resources_per_worker(self) -> dict[str, float]:
        """What each worker reserves, in Ray's names."""
        return {"CPU": self.cpus_per_worker} | (
            {"GPU": self.gpus_per_worker} if self.use_gpu else {}
        )


def ray_environment(address: str, config: ClusterConfig) -> dict[str, str]:
    """Return the variables that must be set before Ray is imported; the user's own values win.

    They keep Ray off the network and quiet, and make it look at its workers five times a second.
    ConfigError when a private Ray has no folder for its sockets.
    """
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(config.start_timeout_s),
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "2",
    }
    if not address:
        # A Ray that this process starts for itself needs no token; and Ray's memory monitor, which
        # looks at the whole machine, would kill our workers for what other programs use.
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}
        # Ray's own default lets every other program on the machine go first.
        environment["RAY_worker_niceness"] = "0"
        # No workers in reserve: ours have an environment of their own, so none would ever be used.
        environment |= {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}
        environment["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # Nobody takes this machine away.
        environment[NAME] = ray_folder()
    return environment


def own_options(cores: int) -> dict[str, Any]:
    """Return what `ray.init` needs to start a Ray on this machine, for workers of `cores`."""
    return {"address": "local", "num_cpus": cores, "include_dashboard": False}


def cluster_options(address: str) -> dict[str, Any]:
    """Return what `ray.init` needs to join the cluster at an address, with our code."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # A submitted job already carries the code.
        return {"address": address}
    code = {"working_dir": os.getcwd(), "excludes": EXCLUDES}
    return {"address": address, "runtime_env": code}
