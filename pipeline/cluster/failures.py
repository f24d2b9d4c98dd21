"""Send errors between processes or machines as JSON, with their exit codes, and name Ray's.

They come out the same on the other side.
"""

from __future__ import annotations

from components import errors
from components.errors import GanlineError, ResourceError

# Name -> class, of every error a user can meet.
_CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, GanlineError)
}

# Ray's own, of an actor whose process has ended.
ACTOR_ERRORS = ("ActorDiedError", "ActorUnavailableError", "RayActorError")


def failure_to_dict(error: GanlineError) -> dict[str, str]:
    """Return the error as JSON-ready text."""
    name = type(error).__name__
    return {"error": name, "what": error.what, "where": error.where, "todo": error.todo}


def failure_from_dict(failure: dict[str, str]) -> GanlineError:
    """Return the error that `failure_to_dict` wrote; of an unknown class, a plain GanlineError."""
    known = _CLASSES.get(failure["error"], GanlineError)
    return known(failure["what"], failure["where"], failure["todo"])


def unreachable(address: str, error: Exception) -> ResourceError:
    """Return what to tell the user when Ray does not answer at an address."""
    what = f"no Ray cluster takes it: {str(error).strip().splitlines()[0]}"
    return ResourceError(
        what, f"RAY_ADDRESS={address}", "start it, or unset RAY_ADDRESS to run here"
    )


def lost(address: str, what: str) -> ResourceError:
    """Return what to tell the user when a cluster that has answered does so no more."""
    todo = "start the cluster again; the same command continues from the last saved state"
    return ResourceError(f"the Ray cluster is lost: {what}", f"RAY_ADDRESS={address}", todo)


def workers_failed(stage: str, most: int, error: Exception) -> ResourceError:
    """Return what to tell the user when workers died more often than `max_failures` allows."""
    what = f"the training workers failed: {str(error).strip().splitlines()[-1]}"
    todo = "read /tmp/ray/session_latest/logs on the node; the same command continues"
    return ResourceError(what, f"stage {stage}, max_failures {most}", todo)


def actors_died(tries: int, error: Exception) -> ResourceError:
    """Return what to tell the user when a batch of rows ended each actor that looked at it."""
    what = f"{tries} processes in a row ended over the same rows: {_first_line(error)}"
    todo = "look for a crash or too little memory in /tmp/ray/session_latest/logs on the node"
    return ResourceError(what, "rows on Ray", f"{todo}; the same command keeps what is done")


def not_joined(address: str, error: Exception) -> ResourceError:
    """Return what to tell the user when Ray does not answer, or does not start here ("local")."""
    if address != "local":
        return unreachable(address, error)
    what = " ".join(str(error).split())[:160] or type(error).__name__
    todo = "the machine may be busy or short of memory: run the same command again when it is not"
    return ResourceError(f"Ray did not start: {what}", "a private Ray on this machine", todo)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).strip().split("\n")[0].split())[:160]
