"""The environment of a command: repository, folder of runs, commit, quiet variables."""

import os
from pathlib import Path

# Nothing calls home by default (shared switches of Ray, MLflow, DVC and the model hub). A value
# that the user set wins.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


def set_quiet_environment(*, may_download: bool = False) -> None:
    """Switch off telemetry and hub access before anything heavy is imported.

    Args:
        may_download: leave the model hub reachable; only fetching pretrained weights needs it.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not may_download:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def repository() -> Path:
    """Return the folder with dvc.yaml: the working directory, for DVC runs every stage there.

    A queued experiment works in a copy below `.dvc/tmp/exps`; what must outlive it belongs to the
    original.
    """
    here = Path.cwd()
    parts = here.parts
    for index in range(len(parts) - 2):
        if parts[index : index + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:index])
    return here


def bundled_folder() -> Path:
    """Return the folder of the nets and the model that come with the project.

    It lies beside the running code, whatever the working directory.
    """
    return Path(__file__).resolve().parent.parent / "bundled"


def runs_folder() -> Path:
    """Return the absolute folder of everything resumable, and tell it to child processes."""
    given = os.environ.get("GANLINE_RUNS_DIR")
    folder = Path(given).absolute() if given else repository() / "runs"
    os.environ["GANLINE_RUNS_DIR"] = str(folder)
    return folder
