"""An environment for each system: a venv with pinned packages, or a folder of npm's, under ``.bench/envs``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.systems import System

ROOT = Path(__file__).parents[2]
BENCH = ROOT / ".bench"
LIMIT = 600
"""Seconds for one installation."""


class Environment(NamedTuple):
    """Where a system is installed.

    Attributes:
        folder: Its environment.
        version: What is installed there; empty if ``problem`` says why it is not.
        runtime: Python or Node with its version.
    """

    folder: Path
    version: str
    runtime: str
    problem: str = ""

    def command(self, system: System, role: str) -> list[str]:
        """How the system's adapter is started."""
        if system.node:
            return ["node", str(Path(__file__).parent / "adapters" / system.adapter), role]
        return [str(self.folder / "bin" / "python"), "-m", system.adapter, role]


def find_python() -> str:
    """CPython 3.13, on which all are compared; else the newest that there is, at least 3.11."""
    own = Path.home() / ".pyenv" / "versions"
    for minor in (13, 14, 12, 11):
        name = f"python3.{minor}"
        found = [str(path) for path in sorted(own.glob(f"3.{minor}.*/bin/{name}"))]
        for python in (shutil.which(name), *reversed(found)):
            if python and subprocess.run([python, "--version"], capture_output=True).returncode == 0:  # no idle shim
                return python
    return sys.executable


def prepare(system: System, python: str) -> Environment:
    """Install a system, unless it is there already; what went wrong is in the answer, never raised."""
    name = "taskserver" if not system.packages else system.name
    folder = BENCH / "envs" / name
    try:
        runtime = _run(["node", "--version"] if system.node else [python, "--version"])
        wanted = _fingerprint(system, runtime)
        mark = folder / "installed.txt"
        if not mark.exists() or mark.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _install_node(system, folder) if system.node else _install_python(system, folder, python)
            mark.write_text(wanted)
        return Environment(folder, _version(system, folder), f"Node {runtime}" if system.node else runtime)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        return Environment(folder, "", "", problem=f"cannot be installed: {reason.splitlines()[-1][:200]}")


def _fingerprint(system: System, runtime: str) -> str:
    """What the environment holds: other packages, or another Python, make it anew."""
    ours = [(ROOT / name).read_text() for name in ("pyproject.toml", "constraints.txt")] if not system.packages else []
    return hashlib.sha256("\n".join([runtime, *system.packages, *ours]).encode()).hexdigest()


def _install_python(system: System, folder: Path, python: str) -> None:
    _run([python, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *(system.packages or ("-c", str(ROOT / "constraints.txt"), "-e", str(ROOT)))])


def _install_node(system: System, folder: Path) -> None:
    folder.mkdir(parents=True)
    npm = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--no-package-lock"]
    _run([*npm, *system.packages])


def _version(system: System, folder: Path) -> str:
    if not system.packages:
        return _run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    if system.node:
        package = folder / "node_modules" / system.name / "package.json"
        return str(json.loads(package.read_text())["version"])
    return system.packages[0].partition("==")[2]


def _run(command: list[str]) -> str:
    environment = {**os.environ, "PIP_NO_INPUT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT, env=environment)
    return done.stdout.strip()
