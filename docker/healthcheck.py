#!/opt/taskserver/bin/python
"""Ask the worker in this container how it is: healthcheck [PATH [PORT]].

PATH is /healthz unless given, PORT that of TASKSERVER_METRICS_PORT. The exit code is 0 if it is well, 1 if it is not.
Where no port is known there is nobody to be asked: then the process that runs is all that is known of it, and that
is told.
"""

import os
import sys
import urllib.error
import urllib.request

ANSWER_SECONDS = 4.0
"""The worker answers from a thread, whatever its tools do."""


def check(path: str = "/healthz", port: str = "") -> tuple[int, str]:
    """The exit code, and the sentence that goes with it."""
    port = port or os.environ.get("TASKSERVER_METRICS_PORT", "")
    if port in ("", "0"):
        return 0, "not asked: set TASKSERVER_METRICS_PORT, and health is served there"
    url = f"http://127.0.0.1:{port}{path}"
    try:
        # Without proxies: the variables that name them are meant for other machines.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=ANSWER_SECONDS) as answer:
            return 0, answer.read(200).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        with error:
            return 1, error.read(200).decode(errors="replace").strip()
    except (OSError, ValueError) as error:
        return 1, f"{url} does not answer: {getattr(error, 'reason', error)}"


def main() -> int:
    """Ask, print and return the exit code."""
    code, said = check(*sys.argv[1:3])
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(main())
