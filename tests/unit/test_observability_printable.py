"""JSON for programs: always valid, and what JSON does not have is marked, not lost."""

import json
import math
from typing import Any

import pytest

from taskserver.observability.printable import json_text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [math.nan, math.inf, -math.inf, 1.5]}, {"a": ["NaN", "Infinity", "-Infinity", 1.5]}),
        ({1: "a", "1": "b"}, {"1 (int)": "a", "1": "b"}),
        ({"1": "b", 1: "a", 1.5: "c"}, {"1": "b", "1 (int)": "a", "1.5": "c"}),
        ({None: 1, True: 2, "null": 3}, {"null (NoneType)": 1, "true": 2, "null": 3}),
        ({b"1": "a", "MQ==": "b"}, {"MQ== (bytes)": "a", "MQ==": "b"}),
        ([{1: {2: math.nan}}], [{"1": {"2": "NaN"}}]),
    ],
)
def test_json_says_everything(value: Any, said: Any) -> None:
    assert json.loads(json_text(value)) == said


def test_many_levels_of_such_keys_cost_no_more_than_others() -> None:
    deep: Any = math.nan
    for _ in range(60):
        deep = {1: deep, "1": 0}
    assert json_text(deep, 0).count("NaN") == 1
