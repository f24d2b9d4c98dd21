"""The end of every command: an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from components.errors import ConfigError, say_error, stop_on_signal

READER_GONE = 141  # 128 + SIGPIPE, as of any program of a shell
_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """Reads a command's words; what is wrong with them is one line, without the list of options."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, naming the option that was probably meant."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        words = message.removeprefix(_UNKNOWN).split() if message.startswith(_UNKNOWN) else []
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        near = [name for one in options for name in difflib.get_close_matches(one, known, n=1)]
        hints = [*(f"did you mean {name}?" for name in near), f"{self.prog} --help lists all"]
        self.exit(say_error(ConfigError(message, self.prog, " ".join(hints))))


def guarded(action: Callable[[], object], debug: bool = False) -> int:
    """Call `action`; print an error as one line on stderr and return its exit code."""
    try:
        with stop_on_signal():
            action()
            sys.stdout.flush()
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, BrokenPipeError):  # `| head` has read what it wanted
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_GONE
        if isinstance(error, argparse.ArgumentTypeError):
            error = ConfigError(str(error), "command line", "see --help")
        return say_error(error, debug)
