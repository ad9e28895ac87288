"""How long a program and a command take to start, beside an interpreter that does nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

STARTS = 10
COMMAND = "from taskserver.cli.main import run; run"
PROGRAMS = {
    "start: python -c pass": "pass",
    "start: import taskserver": "import taskserver",
    "start: from taskserver import tool": "from taskserver import tool",
    "start: from taskserver import Client": "from taskserver import Client",
    "start: taskserver --help": f"{COMMAND}(['--help'])",
    "start: a TAB after taskserver job": f"{COMMAND}([])",
}
_TAB = {"_TASKSERVER_COMPLETE": "bash_complete", "COMP_WORDS": "taskserver job ", "COMP_CWORD": "2"}


async def start_time(name: str) -> float:
    """Processor time that the program takes from its start to its end, in milliseconds; the least of a few.

    On an idle machine that is how long one waits for it, and on a busy one it does not change.
    """
    env = {**os.environ, **(_TAB if "TAB" in name else {})}
    return min([await asyncio.to_thread(_run, PROGRAMS[name], env) for _ in range(STARTS)])


def _run(program: str, env: dict[str, str]) -> float:
    process = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (used.ru_utime + used.ru_stime) * 1e3
