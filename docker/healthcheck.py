#!/opt/taskserver/bin/python
"""Check the health of the worker in this container: healthcheck [PATH [PORT]].

PATH is /healthz by default, PORT that of TASKSERVER_METRICS_PORT. The exit code is 0 if the worker is healthy, else 1.
Without a port there is nothing to check: the exit code is 0, and a message says so.
"""

import os
import sys
import urllib.error
import urllib.request

ANSWER_SECONDS = 4.0
"""The worker answers from a thread of its own, even while tools block."""


def check(path: str = "/healthz", port: str = "") -> tuple[int, str]:
    """The exit code and a message."""
    port = (port or os.environ.get("TASKSERVER_METRICS_PORT", "")).strip()
    if port in ("", "0"):
        return 0, "not checked: set TASKSERVER_METRICS_PORT to serve health"
    if not port.isdecimal():  # Kubernetes sets this variable for a Service called taskserver-metrics
        return 1, f"TASKSERVER_METRICS_PORT is {port!r}, not the number of a port"
    url = f"http://127.0.0.1:{port}{path}"
    try:
        # Without proxies: their variables are meant for other machines.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=ANSWER_SECONDS) as answer:
            return 0, answer.read(200).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        with error:
            return 1, error.read(200).decode(errors="replace").strip()
    except (OSError, ValueError) as error:
        return 1, f"no answer from {url}: {getattr(error, 'reason', error)}"


def main() -> int:
    """Check, print the message and return the exit code."""
    code, message = check(*sys.argv[1:3])
    print(message)
    return code


if __name__ == "__main__":
    sys.exit(main())
