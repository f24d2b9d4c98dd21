"""The end of every command: an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from components.errors import ConfigError, say_error, stop_on_signal


def guarded(action: Callable[[], object], debug: bool = False) -> int:
    """Call `action`; print an error as one line on stderr and return its exit code."""
    try:
        with stop_on_signal():
            action()
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, argparse.ArgumentTypeError):
            error = ConfigError(str(error), "command line", "see --help")
        return say_error(error, debug)
