#!/opt/taskserver/bin/python
"""Check the health of what runs in this container: healthcheck [PATH].

It asks every port on which a process of this container serves health, however the port was set: by flag, file or
variable. PATH is /healthz by default. The exit code is 0 if all are healthy, else 1.
If nothing serves health, there is nothing to check: the exit code is 0, and a message says so. It is 1 if a PATH is
given or TASKSERVER_METRICS_PORT is set, since then health is expected, and the process has not started yet.
"""

import http.client
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

ANSWER_SECONDS = 4.0
"""The worker answers from a thread of its own, even while tools block."""
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENING = "0A"
"""The state of a socket in /proc/net/tcp."""


class Answer(NamedTuple):
    """What a port has answered, or that it has not."""

    healthy: bool
    text: str


def everybody() -> Iterator[int]:
    """The ids of all processes of this container."""
    return map(int, filter(str.isdecimal, os.listdir("/proc")))


def addresses(processes: Iterable[int]) -> set[tuple[str, int]]:
    """Host and port of every TCP socket on which these processes listen."""
    theirs = {name for process in processes for name in _open_files(process)}
    return {address for table in TABLES for address, name in _listening(table) if name in theirs}


def _listening(table: str) -> Iterator[tuple[tuple[str, int], str]]:
    """The address of every listening socket, and the name under which processes have it open."""
    with suppress(OSError), open(table) as file:
        for _, local, _, state, *rest in map(str.split, file):
            if state == LISTENING:
                host, _, port = local.partition(":")
                yield (_readable(host), int(port, 16)), f"socket:[{rest[5]}]"


def _open_files(process: int) -> Iterator[str]:
    folder = f"/proc/{process}/fd"
    with suppress(OSError):  # the process has ended, or is somebody else's
        for name in os.listdir(folder):
            with suppress(OSError):
                yield os.readlink(f"{folder}/{name}")


def _readable(spelled: str) -> str:
    """An address of /proc/net: words of four bytes in the machine's order. For all addresses, that of this machine."""
    words = bytes.fromhex(spelled)
    if sys.byteorder == "little":
        words = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    host = socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def ask(address: tuple[str, int], path: str) -> Answer | None:
    """Ask one port; None if it is not one of taskserver: tools may listen on ports too."""
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        if not reply.getheader("Server", "").startswith("taskserver"):
            return None
        return Answer(reply.status == 200, reply.read(200).decode(errors="replace").strip())
    except http.client.HTTPException:
        return None
    except OSError as error:
        return Answer(False, f"no answer from port {address[1]}: {error}")
    finally:
        connection.close()


def check(path: str, expected: bool, processes: Iterable[int]) -> tuple[int, str]:
    """The exit code and a message.

    Args:
        path: The page to ask for.
        expected: Whether it is an error if nothing serves health.
        processes: The processes whose ports are asked.
    """
    known = sorted(addresses(processes))
    with ThreadPoolExecutor() as pool:
        answers = [answer for answer in pool.map(lambda address: ask(address, path), known) if answer is not None]
    if not answers:
        return int(expected), "not checked: nothing serves health here; --metrics-port of the worker makes it do so"
    worst = min(answers, key=lambda answer: answer.healthy)
    return int(not worst.healthy), worst.text


def main() -> int:
    """Check, print the message and return the exit code."""
    expected = len(sys.argv) > 1 or bool(os.environ.get("TASKSERVER_METRICS_PORT", "").strip())
    code, message = check(sys.argv[1] if len(sys.argv) > 1 else "/healthz", expected, everybody())
    print(message)
    return code


if __name__ == "__main__":
    sys.exit(main())
