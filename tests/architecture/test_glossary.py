"""The glossary is true: each of its words is in the file that owns it, and words that were given up are nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
CHANGELOG = ROOT / "CHANGELOG.md"
"""It names what something was called before."""
FOLDERS = ("taskserver", "tests", "docs", "examples", "benchmarks", "docker")
KINDS = {".py", ".lua", ".md", ".yaml"}

RETIRED = {
    r"(?<![a-z])sweep(er|s|ing)?(?![a-z])": "reclaimer, reclaim",
    r"(?<![a-z])survey(or|s|ing)?(?![a-z])": "partition watcher",
    r"(?<![a-z])lookout(?![a-z])": "schema watcher",
    r"(?<![a-z])hearts?(?![a-z])": "heartbeat",
    r"(?<![a-z])queue_?work(?![a-z])": "partition",
    r"(?<![a-z])seats?(?![a-z])": "replica slot",
    r"(?<![a-z])news(?![a-z])": "notifications",
    r"(?<![a-z])(bury|buries|buried|burying)(?![a-z])": "delete, or make a dead letter",
    r"(?<![a-z])(mend(s|ed|er|ers|ing)?|asleep)(?![a-z])": "repair, stranded",
    r"(?<![a-z])portions?(?![a-z])": "fair slots, partition slots",
    r"\b(steering|forged|troubles|working|bringing|ending|listing|quitting)(\.py\b| import\b)": "the file's new name",
    r"\bgoes on\b": "continues, runs",
    r"^\s*(self\.)?(told|said|places?)\s*(:[^=]*)?=[^=]|\bfor (told|said|places?) in\b": "a noun, as a variable's name",
    r"\b(self|it)\.(told|said)\b": "a noun, as an attribute's name",
    r"\bclass (Pulse|Post|Terms|About|Seat|Spread|Interest|Kept|Portion|Turns|Line)\b": "the type's new name",
    r"\bclass (Places?|Story|Tale)\b": "a name that says what it holds",
}
"""Words that were given up, as patterns, and what to use instead."""

WIRE = {
    r"""["'`:}]sweeper["'`]""": "the name of a consumer, of a key and of fields that running fleets use",
    r"\bsweeper = ": "the same name in the tables of check_keys.lua",
    r"""`(heart|surveyor|lookout)`|service=~"heart\|""": "earlier values of a metric's label, in saved alerts",
}
"""Retired words that are values in the broker, as patterns, and the reason."""


def rows() -> list[tuple[str, str]]:
    """Each word of the glossary with its file."""
    found = re.findall(r"^\| ([a-z][a-z ]*) \| .+ \| `(\S+)` \|$", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    assert len(found) > 50
    return found


def contains(text: str, word: str) -> bool:
    """Whether ``word`` is in ``text``, also as ``twoWords``, ``TwoWords`` or ``two_words``."""
    return re.search(word.replace(" ", r"[\s_-]*"), text, re.IGNORECASE) is not None


def test_each_word_is_in_the_file_that_owns_it() -> None:
    texts = {name: path.read_text("utf-8") for _, name in rows() if (path := ROOT / name).is_file()}
    assert [f"{word}: {name}" for word, name in rows() if not contains(texts.get(name, ""), word)] == []


def test_no_word_is_explained_twice() -> None:
    words = [word for word, _ in rows()]
    assert sorted(set(words)) == sorted(words)


def lines() -> Iterator[tuple[str, str]]:
    """Every line of the folders, with its location."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    for path in sorted([*paths, *ROOT.glob("*.md")]):
        if path not in (Path(__file__), CHANGELOG):
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def test_words_that_were_given_up_are_nowhere() -> None:
    patterns = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in RETIRED.items()]
    offenders = [
        f"{location}: {found[0]!r}, use {instead}"
        for location, line in lines()
        for pattern, instead in patterns
        if (found := pattern.search(without_wire_values(line)))
    ]
    assert offenders == [], "\n" + "\n".join(offenders)


def without_wire_values(line: str) -> str:
    """The line without the retired words that are values in the broker."""
    return re.sub("|".join(WIRE), "", line)
