"""Which names look secret, and how their values are masked in data and text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest

from taskserver.domain.secrets import (
    MASK,
    MOST,
    Redactor,
    SecretNames,
    looks_secret,
    masked,
    secret_values,
    without_passwords,
)
from tests.patience import PATIENCE

SECRET = [
    "password", "passwd", "pwd", "PASSWORD", "userPassword", "password2", "db-password", "dbPasswd", "passphrase",
    "passWord", "secret", "client_secret", "secretKey", "SECRETS", "token", "accessToken", "access_token",
    "x-auth-token", "refresh_tokens", "token2", "api_key", "apiKey", "APIKey", "APIKEY", "x-api-key", "openai_api_key",
    "api_keys", "authorization", "Authorization", "auth", "basic_auth", "auth_header", "credential", "credentials",
    "aws.credentials", "private_key", "privateKey", "session_key", "cookie", "Set-Cookie", "cookies", "jwt",
    "creds", "encryption_key", "signing_key", "access_key", "aws_secret_access_key"
]  # fmt: skip
PLAIN = [
    "max_tokens", "tokens", "token_count", "author", "authors", "authority", "authentic", "key", "keys", "keyboard",
    "idempotency_key", "sort_key", "foreign_key", "primary_key", "url", "name", "pass", "passenger", "compass",
    "secretary", "tokenizer", "api", "session", "session_id", "public_key", "user", "message", "text", "address",
    "cooking", "42"
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_other_things(name: str) -> None:
    assert not looks_secret(name)


def test_declared_names_count_however_they_are_written() -> None:
    names = SecretNames(["door_code", "ключ"])
    assert [name in names for name in ("door_code", "doorCode", "DOOR-CODE", "ключ", "password")] == [True] * 5
    assert [name in names for name in ("code", "door", 5, "another")] == [False] * 4


def test_secrets_are_masked_in_what_is_shown() -> None:
    arguments = {
        "url": "x",
        "password": "hunter2",
        "token": None,
        "login": {"user": "ada", "pin": 1234, "api_key": ["a", {"b": "c"}]},
        "list": [{"secret": "s"}, ["plain"]],
        5: b"bytes",
        6: "number",
        "6": "text",
    }
    assert masked(arguments, SecretNames(["pin"])) == {
        "url": "x",
        "password": MASK,
        "token": None,
        "login": {"user": "ada", "pin": MASK, "api_key": MASK},
        "list": [{"secret": MASK}, ["plain"]],
        "5": b"bytes",
        "6 (int)": "number",
        "6": "text",
    }
    assert arguments["password"] == "hunter2"


def test_what_is_nested_too_deeply_is_shown_up_to_the_limit() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert str(masked(deep, SecretNames())).count("[") == 65
    assert list(secret_values({"password": deep}, SecretNames())) == []


def test_values_are_found_inside_secret_fields_at_any_depth() -> None:
    data = {"password": "one", "more": [{"credentials": {"user": "two", "codes": [b"three", 4444, True, None, 5.0]}}]}
    assert list(secret_values(data, SecretNames())) == ["one", "two", "three", "4444"]


def test_passwords_in_urls_are_secret_under_any_name() -> None:
    data = {"dsn": "db://ada:p%40ss@host/app", "page": "https://host/a@b"}
    assert list(secret_values(data, SecretNames())) == ["p%40ss", "p@ss"]
    assert masked(data, SecretNames()) == {"dsn": f"db://{MASK}@host/app", "page": "https://host/a@b"}


AWKWARD = 'a"b\\c\nd é&=/ 100%'


@pytest.mark.parametrize(
    "text",
    [AWKWARD, repr(AWKWARD), json.dumps(AWKWARD), f"https://x/?p={quote(AWKWARD, safe='')}", f"{{'p': {AWKWARD!r}}}"],
)
def test_a_value_is_masked_in_text_in_any_form(text: str) -> None:
    assert text.count(MASK) == 0
    assert MASK in Redactor([AWKWARD])(f"before {text} after")
    for piece in ('a"b', "b\\c", "d é", "d%20"):
        assert piece not in Redactor([AWKWARD])(text)


def test_a_line_of_a_long_secret_is_masked_too() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\nabc\n"
    assert Redactor([key])("bad line MIIEvQIBADANBgkqhkiG here") == f"bad line {MASK} here"


def test_a_secret_that_is_part_of_another_leaves_nothing_of_it() -> None:
    assert Redactor(["hunter", "hunter2hunter2"])("hunter2hunter2 hunter") == f"{MASK} {MASK}"


def test_values_that_are_too_short_are_not_masked() -> None:
    assert Redactor(["abc", ""])("abc abcd") == "abc abcd"


def test_with_too_many_values_the_whole_text_is_hidden() -> None:
    assert Redactor(f"secret{n}" for n in range(MOST + 1))("x") == "(hidden: the job has more than 1,000 secret values)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@host:6379/0 refused", f"redis://{MASK}@host:6379/0 refused"),
        ("'postgresql+psycopg://u:p@ss@db/x'", f"'postgresql+psycopg://{MASK}@db/x'"),
        ("https://medium.com/@author and a@b.c", "https://medium.com/@author and a@b.c"),
        ("http://host/?to=a@b.c", "http://host/?to=a@b.c"),
    ],
)
def test_users_and_passwords_in_urls_are_masked(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    "parameter",
    ["api_key", "apikey", "access_token", "token", "key", "sig", "X-Amz-Signature", "X-Amz-Security-Token", "password",
     "client%5Fsecret", "subscription-key"],
)  # fmt: skip
@pytest.mark.parametrize(
    "text",
    ["GET /v1?q=1&{0}={1} HTTP/1.1", "https://h/?{0}={1}", "'https://h/x#a=b&amp;{0}={1}'", "Server=db;{0}={1};"],
)
def test_secret_parameters_of_urls_are_masked(parameter: str, text: str) -> None:
    assert without_passwords(text.format(parameter, "hunter%202")) == text.format(parameter, MASK)
    assert without_passwords(text.format(parameter, MASK)) == text.format(parameter, MASK)


@pytest.mark.parametrize("text", ["https://h/?page=2&max_tokens=5&public_key=x&author=y", "f(token=x)", "a == b?c=d"])
def test_other_parameters_are_not(text: str) -> None:
    assert without_passwords(text) == text


def test_secret_parameters_are_secret_wherever_their_values_occur() -> None:
    data = {"page": "https://host/?api_key=p%40ss&page=2"}
    assert list(secret_values(data, SecretNames())) == ["p%40ss", "p@ss"]
    assert masked(data, SecretNames()) == {"page": f"https://host/?api_key={MASK}&page=2"}


HOSTILE = """
from taskserver.domain.secrets import Redactor, SecretNames, masked, secret_values
from taskserver.tools.call import _readable

for start in ("", "x://h ", "x://", "x://h?"):
    for unit in ("a.", "a", "a@", "x://", "://", "://a", "?a=", "&key=", "&key", ";a%", "#", "aB", " - at `$"):
        text = start + unit * (1_000_000 // len(unit))
        masked({"text": text}, SecretNames())
        list(secret_values({"text": text}, SecretNames()))
        Redactor(["secret"])(text)
        _readable("argument 'x'", ValueError(text))
"""


def test_masking_a_long_hostile_text_takes_no_longer_than_any_other() -> None:
    subprocess.run([sys.executable, "-c", HOSTILE], check=True, timeout=PATIENCE)  # quadratic: many minutes
