"""The keeper: the parent of the embedded server, which starts, restarts and stops it.

Run by its path as a separate program, with the keeper lock as standard input and the log as standard error::

    python -I -S keeper.py SOCKET KEEPER_LOCK USERS_LOCK DATA_LOCK STAY SERVER [ARGUMENT ...]

It imports only the standard library, so that it starts fast. The locks and the understudy are explained in
:mod:`taskserver.embedded`.

Three threads wait for one thing each: a signal, the end of the last user, the end of the server. They put events in a
queue, and the main thread handles one at a time.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from queue import SimpleQueue
from threading import Lock, Thread

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SECONDS = 5.0
"""How long a server may take to stop before it is killed; its data is safe in both cases."""
CRASHES_ALLOWED = 5
STEADY_SECONDS = 60.0
"""After a server has run this long, crashes are counted from zero again."""

# Ends when it reads a line from the keeper; when it reads the end of the pipe, it becomes the keeper of lock $0.
_UNDERSTUDY = 'read -r _ || exec "$@" <>"$0"'


class KeeperEvent(Enum):
    """What the keeper waits for."""

    STOP_REQUESTED = auto()
    NO_USERS = auto()
    SERVER_ENDED = auto()


def shut_down(socket_path: str, seconds: float) -> bool:
    """Shut down the server at ``socket_path``, and wait at most ``seconds``; return whether there was one."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(seconds)
        try:
            link.connect(socket_path)
        except OSError:
            return False
        with suppress(OSError):
            link.sendall(b"SHUTDOWN\r\n")
            while link.recv(1024):  # the server answers nothing, and closes the connection last of all
                pass
    return True


class Server:
    """The server process."""

    def __init__(self, socket_path: str, data_lock: str, command: list[str]) -> None:
        self._socket = socket_path
        self._data_lock = data_lock
        self._command = command
        self._pid = 0
        self._reaping = Lock()
        self._waiter: Thread | None = None
        self.exit_code = 0
        self.started_at = 0.0

    def start(self, on_end: Callable[[], None]) -> None:
        """Start the server, which inherits the data lock; a thread calls ``on_end`` when it has ended."""
        lock = self._own_data()
        inherit = [(os.POSIX_SPAWN_DUP2, lock, 0)]
        self._pid = os.posix_spawn(self._command[0], self._command, os.environ, file_actions=inherit, setsigmask=())
        os.close(lock)
        self.started_at = time.monotonic()
        self._waiter = Thread(target=self._wait, args=(on_end,), daemon=True)
        self._waiter.start()

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server and wait for it; unless ``first`` is SIGKILL, it writes its data to disk before."""
        if self._waiter is None:
            return
        for number in (first, signal.SIGKILL):
            with self._reaping:
                if not self._pid:
                    return
                os.kill(self._pid, number)
            self._waiter.join(STOP_SECONDS)

    def _own_data(self) -> int:
        """Take the data lock, after shutting down the server of an earlier keeper if that still has it."""
        lock = _open_lock(self._data_lock)
        deadline = time.monotonic() + STOP_SECONDS
        while not _own(lock):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server at {self._socket} did not stop: kill it")
            if not shut_down(self._socket, 1.0):
                time.sleep(0.02)
        return lock

    def _wait(self, on_end: Callable[[], None]) -> None:
        """Reap the server once it has ended, but never while ``stop`` signals it: afterwards its pid may be reused."""
        pid = self._pid
        while self._pid:
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            else:  # macOS before Python 3.13
                time.sleep(0.1)
            with self._reaping:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._pid, self.exit_code = 0, os.waitstatus_to_exitcode(status)
        on_end()


class Understudy:
    """The shell that becomes the keeper when this one is killed; it waits inside the ``with`` block."""

    def __init__(self, keeper_lock: str) -> None:
        self._keeper_lock = keeper_lock
        self._pipe = -1
        self._pid = 0

    def __enter__(self) -> None:
        reading, self._pipe = os.pipe()
        keeper = [sys.executable, "-I", "-S", *sys.argv]
        command = ["sh", "-c", _UNDERSTUDY, self._keeper_lock, *keeper]
        inherit = [(os.POSIX_SPAWN_DUP2, reading, 0)]
        self._pid = os.posix_spawn("/bin/sh", command, os.environ, file_actions=inherit, setsigmask=())
        os.close(reading)

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # it was killed before
            os.write(self._pipe, b"dismissed\n")
        os.waitpid(self._pid, 0)


class Keeper:
    """Keeps one server running while it has users or the marker file exists."""

    def __init__(self, server: Server, users_lock: str, keeper_lock: str, stay: str) -> None:
        self._server = server
        self._users = _open_lock(users_lock)
        self._keeper_lock = keeper_lock
        self._stay = stay
        self._events: SimpleQueue[KeeperEvent] = SimpleQueue()
        self._crashes = 0

    def run(self) -> int:
        """Keep the server running until it is not needed or cannot continue, and return the exit code."""
        for watch in (self._await_signal, self._await_no_users):
            Thread(target=watch, daemon=True).start()
        self._start_server()
        while True:
            event = self._events.get()
            if event is KeeperEvent.SERVER_ENDED:
                if not self._may_restart():
                    return min(abs(self._server.exit_code), 1)
                self._start_server()
            elif event is KeeperEvent.NO_USERS and os.path.exists(self._stay):
                fcntl.flock(self._users, fcntl.LOCK_UN)  # and never taken again: only a stop ends it now
            else:
                _log(f"stopping the server: {event.name.lower().replace('_', ' ')}")
                self._server.stop(signal.SIGTERM if self._has_folder() else signal.SIGKILL)
                return 0

    def _start_server(self) -> None:
        self._server.start(lambda: self._events.put(KeeperEvent.SERVER_ENDED))

    def _may_restart(self) -> bool:
        """Whether to restart the server, after a short wait: only if it crashed, and not too often."""
        code = self._server.exit_code
        if code >= 0:
            return False  # 0: stopped on request; more: it gave up, and its last log line says why
        if time.monotonic() - self._server.started_at > STEADY_SECONDS:
            self._crashes = 0
        self._crashes += 1
        if self._crashes > CRASHES_ALLOWED:
            _log(f"the server crashed {self._crashes} times in a row, the last time by signal {-code}")
            return False
        _log(f"the server was killed by signal {-code}; restarting it")
        time.sleep(0.05 * 2**self._crashes)
        return True

    def _has_folder(self) -> bool:
        """Whether the home is still the one in which this keeper was started.

        A server that stops regularly removes the socket by its path. If the folder was deleted meanwhile, that may be
        the socket of a new server, and there is no data left to write to disk.
        """
        try:
            return os.path.samestat(os.stat(self._keeper_lock), os.fstat(0))
        except OSError:
            return False

    def _await_signal(self) -> None:
        signal.sigwait(STOP_SIGNALS)
        self._events.put(KeeperEvent.STOP_REQUESTED)

    def _await_no_users(self) -> None:
        fcntl.flock(self._users, fcntl.LOCK_EX)
        self._events.put(KeeperEvent.NO_USERS)


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _own(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _log(text: str) -> None:
    sys.stderr.write(f"keeper {os.getpid()}: {text}\n")
    sys.stderr.flush()


def main() -> int:
    """Detach from the starting process, and keep the server that the arguments describe."""
    socket_path, keeper_lock, users_lock, data_lock, stay, *command = sys.argv[1:]
    if not _own(0):
        return 0  # another keeper was faster
    if os.fork():
        os._exit(0)  # the starting process continues, and has no child to wait for
    os.setsid()  # Ctrl-C in the starting process's terminal is not meant for this
    # Blocked in every thread, so that only sigwait() sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    os.ftruncate(0, 0)
    os.write(0, b"%d" % os.getpid())
    server = Server(socket_path, data_lock, command)
    with Understudy(keeper_lock):
        try:
            return Keeper(server, users_lock, keeper_lock, stay).run()
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
