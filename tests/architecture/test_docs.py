"""What the documents name is there: files, states, transitions and rights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskserver.domain.job import TRANSITIONS, State
from taskserver.store.broker.access import ROLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    named = set(re.findall(r"`((?:tests|taskserver|docs|examples|benchmarks)/[\w./]+\.\w+)`", text))
    missing = [link for link in links if link and not (document.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    if document.name == "CONTRIBUTING.md":
        missing.remove("taskserver/store/lua/park.lua")  # the worked example
    assert missing == []


def test_the_drawing_shows_every_state_and_every_transition_of_a_single_job() -> None:
    words = set(re.findall(r"[a-z]+", (ROOT / "docs" / "assets" / "states.svg").read_text()))
    assert {str(state) for state in State} <= words
    assert {name for name in TRANSITIONS if name not in ("purge", "repair_jobs")} <= words  # many jobs at once; repairs


def test_the_drawing_of_architecture_names_every_service() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for service in ("heartbeat", "settler", "control", "scheduler", "reclaimer", "janitor", "fetcher"):
        assert f"`{service}.py`" in text


def test_the_rights_of_each_role_are_told_as_they_are_given() -> None:
    text = (ROOT / "docs" / "security.md").read_text().replace("\\|", "|")
    told = {
        row[0]: set(re.findall(r"`([^`]+)`", row[2]))
        for row in (re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| "))
        if len(row) == 3
    }
    for role in ROLES.values():
        assert told["all"] | told[f"`{role.name}`"] == set(role.commands), role.name
