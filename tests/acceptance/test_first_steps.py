"""What newcomers do first works as it is written: install it, run the first program, follow the first page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.walking import ROOT, section, walk
from tests.patience import PATIENCE

SECTIONS = {
    "README.md": ("## A first program", "## What it does"),
    "docs/index.md": ("## A first program", "## How fast"),
}
Enter = Callable[[Path], dict[str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def enter(folder: Path) -> Iterator[Enter]:
    """An environment of variables in which the commands of a virtual environment are found, and nothing of ours."""
    entered: list[dict[str, str]] = []

    def enter(commands: Path) -> dict[str, str]:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("TASKSERVER_", "PYTHON"))}
        entered.append({**inherited, "PATH": os.pathsep.join((str(commands), os.environ["PATH"]))})
        return entered[-1]

    yield enter
    for env in entered:
        subprocess.run(["taskserver", "broker", "stop", "--force"], cwd=folder, env=env, capture_output=True)


@pytest.mark.parametrize("page", SECTIONS)
def test_the_first_program_runs_in_an_empty_folder(page: str, folder: Path, enter: Enter) -> None:
    done = walk(section(page, *SECTIONS[page]), folder, enter(Path(sys.executable).parent))
    assert done.code == 0, done
    assert "# first.py import asyncio from taskserver import Client" in done.out


def test_the_page_for_beginners_works_from_its_first_line_to_its_own_broker(folder: Path, enter: Enter) -> None:
    (folder / "first.py").touch()  # the README's program may be there already
    text = section("docs/getting-started.md", "# Getting started", "## 5. Use your own broker")
    done = walk(text, folder, enter(Path(sys.executable).parent))
    assert done.code == 0, done
    assert done.out.startswith("66\n"), done
    assert "\n[ 33%] 12 words so far\n" in done.out
    assert "\n43 words\n13\n" in done.out
    assert "state      succeeded" in done.out


def test_the_built_packages_are_whole_and_the_first_program_runs_with_them(
    tmp_path: Path, folder: Path, enter: Enter
) -> None:
    pip = pip_of(tmp_path / "build")
    if why := pip("install", *tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]):
        pytest.skip(f"building needs hatchling, which cannot be installed here: {why}")
    build = [tmp_path / "build" / "bin" / "python", "-m", "hatchling", "build", "-d", tmp_path / "dist"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE)
    (source,) = (tmp_path / "dist").glob("agent_taskserver-*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("agent_taskserver-*.whl")
    assert not pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "again"), str(source))
    (again,) = (tmp_path / "again").glob("*.whl")
    assert contents(again) == contents(wheel)
    assert tracked() <= contents(wheel) & contents(source)
    links = re.findall(r"\]\(([^)]+)\)", page_on_an_index(wheel))
    assert links
    assert [link for link in links if not link.startswith("https://")] == []

    assert not pip_of(tmp_path / "empty")("install", "-c", str(ROOT / "constraints.txt"), str(again))
    env = enter(tmp_path / "empty" / "bin")
    done = walk(section("README.md", *SECTIONS["README.md"]), folder, env)
    assert done.code == 0, done
    assert "# first.py import asyncio from taskserver import Client" in done.out
    shown = "import importlib.metadata as m, taskserver as t; print(m.version('agent-taskserver') == t.__version__)"
    assert subprocess.check_output(["python", "-c", shown], cwd=folder, env=env, text=True) == "True\n"


def page_on_an_index(wheel: Path) -> str:
    """What package indexes show."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return opened.read(name).decode()


def pip_of(environment: Path) -> Callable[..., str]:
    """The pip of a new virtual environment: it returns the last thing that pip has to complain of."""
    venv.create(environment, with_pip=True, symlinks=True)

    def pip(*args: str) -> str:
        command = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""

    return pip


def contents(package: Path) -> set[str]:
    """The package's files in a wheel or a source distribution."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return {name for name in wheel.namelist() if name.startswith("taskserver/")}
    with tarfile.open(package) as source:
        return {name.partition("/")[2] for name in source.getnames() if "/taskserver/" in name}


def tracked() -> set[str]:
    """The package's files in the checkout."""
    folder = ROOT / "taskserver"
    return {str(path.relative_to(ROOT)) for path in folder.rglob("*.*") if path.suffix in (".py", ".lua", ".typed")}
