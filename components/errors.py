"""The errors that a user can meet, each with the exit code of the command.

Every message is one line: what was given, what was wanted, what to do. `pipeline` prints
`error: <what> (<where>): <what to do>` and exits; a traceback appears only with --debug.
"""


class GanlineError(Exception):
    """An error the user can act on.

    Args:
        what: what was found and what was wanted.
        where: the file, stage or parameter it was found in.
        todo: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, where: str, todo: str) -> None:
        super().__init__(what, where, todo)
        self.what, self.where, self.todo = what, where, todo

    def __str__(self) -> str:
        return f"{self.what} ({self.where}): {self.todo}"


class ConfigError(GanlineError):
    """A parameter or a command-line argument is wrong."""

    exit_code = 2


class DataError(GanlineError):
    """Input data is missing, unreadable or not enough."""

    exit_code = 3


class NonFiniteError(GanlineError):
    """Training met NaN or infinity and stopped before the weights were touched."""

    exit_code = 4


class StorageError(GanlineError):
    """A checkpoint, an artifact or a file is missing, broken or cannot be written."""

    exit_code = 5


class ResourceError(GanlineError):
    """Memory or disk is not enough."""

    exit_code = 6


class Interrupted(GanlineError):
    """The run was stopped by a signal; the same command continues it."""

    exit_code = 7
