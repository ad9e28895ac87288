"""What the documents name exists: files, pages, states, transitions and rights."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskserver import Inspector
from taskserver.domain.job import TRANSITIONS, State
from taskserver.store.broker.access import ROLES
from taskserver.version import DISTRIBUTION

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
DOCUMENTS = [*ROOT.glob("*.md"), *PAGES.glob("*.md")]
WORKED_EXAMPLE = "CONTRIBUTING.md: taskserver/store/lua/park.lua"
"""The file that a reader of CONTRIBUTING writes."""


def links(document: Path) -> Iterator[str]:
    """Links to files, and files of the repository in code font."""
    text = document.read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name = link.partition("#")[0]
        if name and "://" not in link:
            yield str((document.parent / name).resolve().relative_to(ROOT))
    yield from re.findall(r"`((?:tests|taskserver|docs|examples|benchmarks)/[\w./]+\.\w+)`", text)


def test_files_that_documents_name_exist() -> None:
    missing = {f"{document.name}: {name}" for document in DOCUMENTS for name in links(document) if not exists(name)}
    assert missing <= {WORKED_EXAMPLE}


def exists(name: str) -> bool:
    return (ROOT / name).exists()


def test_whatever_says_how_to_install_it_says_the_right_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    folders = ("taskserver", "docs", "docker", "examples", "benchmarks", ".ci")
    files = [*ROOT.glob("*.*"), ROOT / "Makefile", *(path for name in folders for path in (ROOT / name).rglob("*"))]
    wrong = {
        f"{path.name}: {line.strip()}"
        for path in files
        if path.is_file() and path.suffix not in (".pyc", ".png")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\bpip3?\b.*\binstall\b.*[\s'\"]taskserver(?![\w./-])", line.partition(" #")[0])
    }
    assert wrong == set()
    assert f"$ pip install {DISTRIBUTION}" in (ROOT / "README.md").read_text("utf-8")


def test_the_navigation_has_every_page_once() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
    assert sorted(pages(navigation)) == sorted(path.name for path in PAGES.glob("*.md"))


def pages(entries: list[dict[str, Any]]) -> Iterator[str]:
    for target in (target for entry in entries for target in entry.values()):
        yield from [target] if isinstance(target, str) else pages(target)


def test_the_drawing_shows_every_state_and_every_transition_of_a_single_job() -> None:
    drawn = set(re.findall(r"[a-z]+", (PAGES / "assets" / "states.svg").read_text("utf-8")))
    assert {str(state) for state in State} <= drawn
    assert {name for name in TRANSITIONS if name not in ("purge", "repair_jobs")} <= drawn  # many jobs at once; repairs


def test_architecture_names_every_service() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    folder = ROOT / "taskserver" / "worker"
    services = [path for path in folder.rglob("*.py") if re.search(r"\((?:Loop)?Service\):", path.read_text("utf-8"))]
    assert [path.name for path in services if f"`{path.name}`" not in text and path.name != "service.py"] == []


def test_the_page_lists_the_rights_of_each_role() -> None:
    text = (PAGES / "security.md").read_text("utf-8").replace("\\|", "|")
    listed = {
        row[0]: set(re.findall(r"`([^`]+)`", row[2]))
        for row in (re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| "))
        if len(row) == 3
    }
    for role in ROLES.values():
        assert listed["all"] | listed[f"`{role.name}`"] == set(role.commands), role.name


def test_the_page_lists_every_method_of_the_inspector() -> None:
    text = (PAGES / "inspector.md").read_text("utf-8")
    listed = [
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)\(", line.split(" | ")[0])
    ]
    assert sorted(listed) == sorted(
        {name for name in dir(Inspector) if not name.startswith("_")} - {"connect", "close"}
    )
