"""The log file of a process in the background: everything that it and its children print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from taskserver.errors import ConfigError
from taskserver.files import open_own


def open_log_file(path: str) -> BinaryIO:
    """Open a log file for appending; it is created if necessary.

    Raises:
        ConfigError: if it cannot be written, or is not this user's own.
    """
    try:
        if Path(path).is_char_device():  # such as /dev/null
            return open(path, "ab", buffering=0)
        return open(open_own(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), "ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"cannot write the log file {path}: {error.strerror}") from None


def redirect_output(path: str) -> None:
    """Send the standard output and error of this process and its children to a log file.

    Raises:
        ConfigError: if it cannot be written.
    """
    with open_log_file(path) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
