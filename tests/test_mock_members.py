"""Members of mock objects that their schema allows without naming them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_mock import assert_valid, values

TEXT = {"type": "string"}
COUNT = {"type": "integer"}


@pytest.mark.parametrize(
    ("words", "members"),
    [
        ({"patternProperties": {"^customfield_[0-9]+$": {}}}, 2),
        ({"patternProperties": {".+": {}}}, 2),
        ({"patternProperties": {"^S_$": TEXT}}, 1),
        ({"patternProperties": {"^n_[a-z]{4}$": COUNT, "^t_[a-z]{4}$": TEXT}}, 4),
        ({"patternProperties": {".+": {}, "^t_": COUNT}}, 2),
        ({"patternProperties": {"^[a-r][a-z]+$": COUNT}, "additionalProperties": TEXT}, 2),
        ({"patternProperties": {"^[0-9]{3}$": COUNT}, "additionalProperties": TEXT}, 3),
        ({"patternProperties": {"^f_[0-9]+$": {"type": "object", "patternProperties": {"^g_[0-9]+$": COUNT}}}}, 2),
        ({"additionalProperties": TEXT}, 1),
        ({"additionalProperties": True}, 0),
        ({"additionalProperties": {}}, 0),
        ({"patternProperties": {"^f_": TEXT}, "maxProperties": 1}, 0),
        ({"patternProperties": {"^f_": TEXT}, "propertyNames": {"maxLength": 7}}, 0),
        ({"patternProperties": {"^f_": False}}, 0),
        ({"patternProperties": {"^f(?=_)": TEXT}}, 0),
    ],
    ids=json.dumps,
)
def test_an_object_has_members_by_pattern_beside_the_named_ones(words: dict[str, Any], members: int) -> None:
    schema = {"type": "object", "properties": {"summary": TEXT}, **words}
    found = values(schema, rows=20)
    assert_valid(schema, found)
    assert {len(one) - 1 for one in found} == {members}
    assert {tuple(one) for one in found} == {tuple(found[0])}, "the names are those of the column, not of a row"
