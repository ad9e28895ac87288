"""A small HTTP server for metrics and health checks, which runs in threads of its own.

So it answers even when the event loop is blocked, which is what ``/healthz`` reports. Anyone who can reach the port may
be hostile: only GET and HEAD are allowed, connections are limited in number and time, and request bodies are not read.
A new connection is never refused, because it may be a health check: when there are too many, the oldest one is closed.
"""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from taskserver.errors import ConfigError
from taskserver.forks import close_in_child

CONNECTIONS = 16
"""Maximum number of simultaneous connections; another one takes the place of the oldest."""
IDLE_SECONDS = 3.0
"""Maximum time until a connection has sent its request."""
REQUEST_SECONDS = 10.0
"""Maximum duration of one connection."""
TICK_SECONDS = 0.25

log = logging.getLogger("taskserver.metrics")


class Response(NamedTuple):
    """An HTTP response.

    Attributes:
        status: The HTTP status.
        body: The body.
        kind: The content type.
    """

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[Mapping[str, str]], Response]
"""Answers a request with these headers; called from any thread."""


def metrics_page(registry: CollectorRegistry) -> Page:
    """A page with a registry's metrics, in the OpenMetrics format if the client accepts it."""

    def page(headers: Mapping[str, str]) -> Response:
        encode, kind = choose_encoder(headers.get("Accept", ""))
        return Response(200, encode(registry), kind)

    return page


def health_page(problem: Callable[[], str]) -> Page:
    """A page with ``ok``, or with the problem and status 503."""

    def page(_: Mapping[str, str]) -> Response:
        text = problem()
        return Response(503, f"{text}\n".encode()) if text else Response(200, b"ok\n")

    return page


class PageServer:
    """Serves pages by their path.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free port.
        pages: The pages; more can be added while it serves.
        tick: Called a few times a second.
        option: The option that chooses the port, for the error.

    Attributes:
        host: As given.
        port: Port on which it listens.
        pages: Its pages.

    Raises:
        ConfigError: if it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Page],
        tick: Callable[[], object] = lambda: None,
        option: str = "--metrics-port",
    ) -> None:
        self.host = host
        self.pages = dict(pages)
        self._server = _listen(host, port, self.pages, tick, option)
        self.port: int = self._server.server_address[1]
        close_in_child(self._server.socket)
        self._thread = threading.Thread(target=self._serve, name="taskserver metrics", daemon=True)

    @property
    def url(self) -> str:
        """Its URL on this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving; harmless when repeated, or never started."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=TICK_SECONDS)


def _listen(host: str, port: int, pages: Mapping[str, Page], tick: Callable[[], object], option: str) -> _Server:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, address, pages, tick)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"could not serve metrics on port {port} of {host}: {reason.lower()}; choose another {option}, "
            "or 0 for any free port"
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(self, family: int, address: Any, pages: Mapping[str, Page], tick: Callable[[], object]) -> None:
        self.address_family = family
        self.pages = pages
        self._tick = tick
        self._open: dict[Any, float] = {}  # until when, the oldest connection first
        self._lock = threading.Lock()
        super().__init__(address, _PageHandler)

    def server_bind(self) -> None:
        """As in the standard library, but without a DNS lookup, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            oldest = next(iter(self._open)) if len(self._open) >= CONNECTIONS else None
            self._open.pop(oldest, None)
            self._open[request] = time.monotonic() + IDLE_SECONDS
        if oldest is not None:
            _hang_up(oldest)
        return True

    def request_read(self, request: Any) -> None:
        """A connection has sent its request: it gets time for the answer."""
        with self._lock:
            if request in self._open:
                self._open[request] += REQUEST_SECONDS - IDLE_SECONDS

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that take too long: a socket's own timeout starts again with every byte."""
        self._tick()
        now = time.monotonic()
        with self._lock:
            overdue = [request for request, until in self._open.items() if now > until]
        for request in overdue:
            _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request to the metrics port was interrupted", exc_info=True)


def _hang_up(request: Any) -> None:
    """End a connection; the thread that serves it notices and closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _PageHandler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS
    server_version = "taskserver"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    server: _Server

    def do_GET(self) -> None:
        self.server.request_read(self.connection)
        path = self.path.partition("?")[0]
        page = self.server.pages.get(path)
        if page is not None:
            self._answer(_call(page, dict(self.headers)))
        elif path == "/":
            self._answer(Response(200, "".join(f"{each}\n" for each in self.server.pages).encode()))
        else:
            self._answer(Response(404, f"not found; there are: {', '.join(self.server.pages)}\n".encode()))

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, response: Response) -> None:
        body = response.body
        zipped = "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1024
        if zipped:
            body = gzip.compress(body, 1)
        self.send_response(response.status)
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer 405 to all methods but GET and HEAD."""
        if code == 501:
            code, message = 405, "Method Not Allowed"
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are not logged: they are frequent, and their text is untrusted."""


def _call(page: Page, headers: Mapping[str, str]) -> Response:
    try:
        return page(headers)
    except Exception:
        log.exception("could not serve a page of the metrics port")
        return Response(500, b"internal error: see the log\n")
