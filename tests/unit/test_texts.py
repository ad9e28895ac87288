"""Texts from files and variables arrive without what cannot be seen in them, or are refused with it shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskserver.config.keys import read_secret
from taskserver.config.references import ReferenceInvalid, resolve
from taskserver.embedded import Home
from taskserver.errors import ConfigError

MARK = b"\xef\xbb\xbf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n", MARK + b"s3cret\r\n", b"s3cret\n\n"])
def test_marks_and_line_ends_are_dropped_from_files(folder: Path, content: bytes) -> None:
    (folder / "it").write_bytes(content)
    assert resolve("${file:it}", folder) == "s3cret"
    assert read_secret("file:it", "it") == b"s3cret"


@pytest.mark.parametrize("value", ["s3cret", "s3cret\n", "s3cret\r", "\ufeffs3cret\r\n"])
def test_marks_and_line_ends_are_dropped_from_variables(
    folder: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IT", value)
    assert resolve("${IT}", folder) == "s3cret"
    assert read_secret("env:IT", "it") == b"s3cret"
    monkeypatch.setenv("TASKSERVER_HOME", value)
    assert Home.locate().root == folder / "s3cret"


def test_nothing_but_a_line_end_is_as_good_as_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IT", "\r")
    assert resolve("${IT:-other}", folder) == "other"
    with pytest.raises(ReferenceInvalid, match="IT is not set"):
        resolve("${IT}", folder)
    with pytest.raises(ConfigError, match="IT is not set"):
        read_secret("env:IT", "it")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("s3cret".encode("utf-16"), "file it is UTF-16 text: save it as UTF-8"),
        (b"s3\0cret", r"file it contains '\\x00', which cannot be seen: remove it"),
        (b"s3\rcret", r"file it contains '\\r', which cannot be seen"),
        (b"s3" + MARK + b"cret", r"file it contains '\\ufeff', which cannot be seen"),
        (b"s3cret\xff", "file it is not UTF-8 text"),
        (b"s3cret" * 20_000, "file it is larger than 64 KiB"),
    ],
)
def test_what_cannot_be_seen_is_named_and_the_text_is_not(folder: Path, content: bytes, sentence: str) -> None:
    (folder / "it").write_bytes(content)
    with pytest.raises(ReferenceInvalid, match=sentence) as caught:
        resolve("${file:it}", folder)
    assert "s3" not in str(caught.value)


def test_lines_and_letters_of_every_language_arrive_as_they_are(folder: Path) -> None:
    text = "-----BEGIN-----\r\n\tA\n می‌خواهم \N{NO-BREAK SPACE}ü"
    (folder / "it").write_bytes(f"{text}\n".encode())
    assert resolve("${file:it}", folder) == text


def test_a_key_in_utf_16_is_refused_and_one_of_any_bytes_is_not(folder: Path) -> None:
    (folder / "it").write_bytes("0123456789abcdef".encode("utf-16"))
    with pytest.raises(ConfigError, match="the key: file it is UTF-16 text: save it as UTF-8"):
        read_secret("file:it", "the key")
    (folder / "it").write_bytes(raw := bytes(range(1, 65)) + b"\xff\xfe\0")
    assert read_secret("file:it", "the key") == raw
