"""Each Lua script opens with what it is for, and with the row of the table that it carries out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskserver.domain.job import TRANSITIONS
from taskserver.store.scripts import PRELUDE, script
from tests.architecture.headers import edges, header
from tests.architecture.package import LUA, scripts

FLAGS = {"#!lua", "#!lua flags=allow-oom", "#!lua flags=no-writes"}

every_script = pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)


def line_of(path: Path, start: str) -> int:
    return next((n for n, line in enumerate(header(path)) if re.match(rf"-- {start}\b", line)), -1)


@every_script
def test_it_opens_with_its_flags_and_its_purpose(path: Path) -> None:
    assert path.read_text("utf-8").splitlines()[0] in FLAGS
    assert re.match(rf"-- {path.stem}: \w+", header(path)[0])


@every_script
def test_it_tells_its_keys_arguments_and_answer_in_order(path: Path) -> None:
    found = [line_of(path, word) for word in ("Transition", "KEYS", "ARGV", "Returns")]
    assert -1 not in found
    assert found == sorted(found)


@every_script
def test_its_transition_is_the_row_of_the_table(path: Path) -> None:
    announced = edges(path)
    if not announced:
        assert path.stem not in TRANSITIONS
        return
    row = TRANSITIONS[path.stem]
    assert {source for source, _ in announced if source} == row.sources
    assert {target for _, target in announced} == row.targets


def test_every_row_of_the_table_has_its_script() -> None:
    assert set(TRANSITIONS) <= {path.stem for path in scripts()}


def test_each_file_of_the_prelude_opens_with_what_it_is_for() -> None:
    parts = [path.read_text("utf-8") for path in (LUA / "prelude").glob("*.lua")]
    assert all(re.match(r"-- prelude, \w+: ", part) for part in parts)


@every_script
def test_a_script_has_what_it_needs_of_the_prelude_and_nothing_else(path: Path) -> None:
    needed, _, body = script(path.stem).text.partition(f"-- {path.stem}: ")
    flags, *statements = re.split(r"^(?=local )", needed, flags=re.MULTILINE)
    assert flags.strip() in FLAGS
    kept = {name for statement in statements for name in names_of(statement)}
    prelude = "\n".join((LUA / "prelude" / f"{part}.lua").read_text("utf-8") for part in PRELUDE)
    known = {
        name for statement in re.split(r"^(?=local )", prelude, flags=re.MULTILINE) for name in names_of(statement)
    }
    code = re.sub(r"--.*", "", f"-- {body}")
    for number, statement in reversed(list(enumerate(statements))):
        after = code + "".join(statements[number + 1 :])
        assert words(after) & names_of(statement), f"nothing uses {statement.splitlines()[0]}"
        earlier = {name for other in statements[: number + 1] for name in names_of(other)}
        assert words(statement) & known <= earlier, f"{statement.splitlines()[0]}: it uses what stands behind it"
    assert words(code) & known <= kept


def names_of(statement: str) -> set[str]:
    found = re.match(r"local (?:function )?(\w+(?:, \w+)*)", statement)
    return set(found[1].split(", ")) if found else set()


def words(lua: str) -> set[str]:
    return set(re.findall(r"(?<![\w.'])[A-Za-z_]\w*(?!')", lua))


@every_script
def test_what_adds_work_is_refused_when_memory_is_out_and_what_ends_it_is_not(path: Path) -> None:
    adds_work = path.stem in ("submit", "requeue")
    reads_only = path.stem in ("outcomes", "find_stranded", "messages", "statuses", "events")
    expected = "#!lua" if adds_work else "#!lua flags=no-writes" if reads_only else "#!lua flags=allow-oom"
    assert path.read_text("utf-8").splitlines()[0] == expected


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_no_list_of_any_length_is_unpacked(path: Path) -> None:
    """Lua's stack has room for 8,000 values. Lists go to commands by ``in_parts``; ``fields`` are a script's own."""
    unpacked = re.findall(r"(?<!cmsgpack\.)\bunpack\(\w+[,)]", path.read_text("utf-8"))
    assert [call for call in unpacked if not call.endswith(",") and call != "unpack(fields)"] == []


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_lines_and_files_are_short(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 130
