"""``make mutants``: makes the mutants of some rooms, tests each, and lists those that no test notices.

It works on a copy of the checkout in ``.mutants``. What was found is kept there: a second run tests only what changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).parent.parent.parent
COPY = ROOT / ".mutants"
PROGRAMS = Path(sys.executable).parent
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

TESTS = ["worker", "fleet", "unit", "fundamentals", "admin", "acceptance"]
SLOW = [
    "test_container",
    "test_demo",
    "test_examples",
    "test_docker_files",
    "test_foreign_files",
    "test_benchmark_report",
    "test_tune",
]
"""Test files that say nothing more of these rooms, or start too many programs to run for each mutant."""

SAMPLE = ["worker/outcome.py"]
SAMPLE_TESTS = ["worker/test_outcome.py"]
"""How an attempt ends: a pure rule with a table of its cases. Its mutants take a minute or two: each build has it."""

CONFIG = """
[tool.mutmut]
source_paths = ["taskserver"]
only_mutate = {only}
# What is logged is read by people; a test of each letter would be a second copy of it.
do_not_mutate_patterns = ['\\blog\\.\\w+\\(']
also_copy = ["README.md", "ARCHITECTURE.md", "Makefile", "docs", "examples", "benchmarks", "docker", "constraints.txt"]
pytest_add_cli_args = ["-p", "tests.mutants.plugin", "-p", "no:cacheprovider", "--timeout", "0"]
pytest_add_cli_args_test_selection = {tests}
type_check_command = ["mypy", "--output", "json", "--no-warn-unused-ignores", "taskserver"]
use_git_change_detection = false
timeout_multiplier = 20.0
timeout_constant = 10.0
"""

NOTICED = {1, 3, 24, -24, 152, 36, 37, 255, -11, -9}
"""Exit codes of mutmut: a test failed, did not end, or crashed, or the type checker refused the mutant."""


class Survivor(NamedTuple):
    """A mutant that no test notices."""

    name: str
    function: str
    removed: str
    added: str


@click.command()
@click.option(
    "--room",
    "rooms",
    multiple=True,
    default=["worker", "fleet", "client"],
    show_default=True,
    help="Folders to mutate.",
)
@click.option("--sample", is_flag=True, help="Only the rule of how attempts end, and its own tests.")
@click.option("--processes", default=os.cpu_count(), show_default=True, help="Mutants tested at the same time.")
@click.option("--report", "only_report", is_flag=True, help="Show what was found before, and test nothing.")
@click.argument("names", nargs=-1)
def main(rooms: tuple[str, ...], sample: bool, processes: int, only_report: bool, names: tuple[str, ...]) -> None:
    """Change each condition, number and call once, and see whether a test fails. NAMES are patterns of mutants."""
    files = SAMPLE if sample else [f"{room}/*" for room in rooms]
    tests = SAMPLE_TESTS if sample else list(chosen_tests())
    if not only_report:
        copy_checkout()
        write_config([f"taskserver/{file}" for file in files], [f"tests/{test}" for test in tests])
        mutmut("run", "--max-children", str(processes), *names)
    unexplained = report()
    sys.exit(1 if unexplained else 0)


def chosen_tests() -> Iterator[str]:
    for folder in TESTS:
        for file in sorted((ROOT / "tests" / folder).glob("test_*.py")):
            if file.stem not in SLOW:
                yield f"{folder}/{file.name}"


def copy_checkout() -> None:
    """The files that git knows or would add, beside what earlier runs found."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for top in {name.split("/")[0] for name in listed.stdout.split("\0") if "/" in name}:
        shutil.rmtree(COPY / top, ignore_errors=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def write_config(only: list[str], tests: list[str]) -> None:
    with (COPY / "pyproject.toml").open("a") as file:
        file.write(CONFIG.format(only=json.dumps(only), tests=json.dumps(tests)))


def mutmut(*args: str) -> None:
    """Run mutmut in the copy; its progress goes to the terminal."""
    environment = {
        **os.environ,
        "MUTANTS_HITS": str(COPY / "hits"),
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",  # mutmut knows the type checker by its bare name
        "PYTHONPATH": str(Path(__file__).parent / "site"),
    }
    if code := subprocess.run([PROGRAMS / "mutmut", *args], cwd=COPY, env=environment).returncode:
        sys.exit(code)


def report() -> list[Survivor]:
    """Print how many mutants were noticed, by room, and each survivor that is not known to be equivalent."""
    known = {
        (entry["function"], entry["removed"], entry["added"])
        for entry in tomllib.loads(EQUIVALENT.read_text("utf-8"))["mutant"]
    }
    counts: dict[str, Counter[str]] = {}
    unexplained = []
    for path in sorted((COPY / "mutants" / "taskserver").rglob("*.meta")):
        room = path.relative_to(COPY / "mutants" / "taskserver").parts[0]
        count = counts.setdefault(room, Counter())
        for name, code in json.loads(path.read_text("utf-8"))["exit_code_by_key"].items():
            if code is None:
                continue
            count["tested"] += 1
            if code in NOTICED:
                count["noticed"] += 1
            elif (survivor := look_at(name))[1:] in known:
                count["equivalent"] += 1
            else:
                unexplained.append(survivor)
    for survivor in unexplained:
        print(f"\n{survivor.name}\n  - {survivor.removed}\n  + {survivor.added}")
    print()
    for room, count in counts.items():
        if count["tested"]:
            share = (count["noticed"] + count["equivalent"]) / count["tested"]
            print(
                f"{room:8} {count['tested']:6,} mutants  {count['noticed']:6,} noticed  "
                f"{count['equivalent']:5,} equivalent  {share:7.1%}"
            )
    return unexplained


def look_at(name: str) -> Survivor:
    """What the mutant changed: mutmut shows it as a diff."""
    shown = subprocess.run(
        [PROGRAMS / "mutmut", "show", name], cwd=COPY, check=True, capture_output=True, text=True
    ).stdout
    removed, added = (
        " ".join(
            line[1:].strip() for line in shown.splitlines() if line.startswith(sign) and not line.startswith(sign * 3)
        )
        for sign in "-+"
    )
    return Survivor(name, name.rpartition("__mutmut_")[0], removed, added)


if __name__ == "__main__":
    main()
