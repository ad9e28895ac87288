"""The ledger: one file of JSON lines that every process of a soak appends to.

A line is one ``write`` to a file opened for appending, so the lines of processes do not mix, and a process that is
killed leaves what it had said. Times are seconds since 1970 by this machine's clock.

=============  ===========================================  =====================================================
``what``       said by                                      facts
=============  ===========================================  =====================================================
``ack``        a producer: the broker has this job          ``job, token, kind, may`` (ends that were asked for)
``unknown``    a producer: the submit raised                ``token, error``, ``job`` where a key names it
``cancel``     a producer, before it asks                   ``job``
``result``     a producer that awaited the job              ``job, end``
``begin``      a tool                                       ``job, run, kind, attempt, fence, pid``
``end``        a tool that got that far                     ``job, run, how``
``heard``      a producer that followed the job's output   ``job, texts``
``seen``       the watcher: the job had ended               ``job, end`` (as stored, with its time), ``ended``
``fault``      the driver, when a fault begins              ``name, target`` and what else there is to tell
``over``       the driver, when a fault is over             ``name``
``cut``        the driver: data since then may be lost      ``kept_until``
``ready``      the driver: a worker takes jobs              ``name, pid, lease``
``died``       the driver: a process ended by itself        ``name, pid, code``
``phase``      the driver                                   ``fsync`` (the server's setting from now on)
=============  ===========================================  =====================================================
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Ledger:
    """Where one process writes."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, what: str, **facts: Any) -> None:
        """Append a line; once this returns, it survives this process."""
        line = json.dumps({"at": time.time(), "what": what, **facts}, separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> Iterator[Line]:
    """The lines, in the order in which they were written.

    A process that is killed while it writes may leave the first part of a line: of one that crosses a page of the
    file's cache. What it was about to note did not happen.
    """
    with path.open() as file:
        for text in file:
            if text.endswith("\n"):
                try:
                    yield json.loads(text)
                except ValueError:
                    _, start, rest = text.rpartition('{"at":')
                    yield json.loads(start + rest)
