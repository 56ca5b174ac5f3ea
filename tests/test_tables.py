"""From a SCHEMA message to the table it asks for: keys, names that collide, schemas that are none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_dialect import SqliteDialect

from target_meltano import validating, wanting
from target_meltano.errors import SchemaError
from target_meltano.messages import Schema
from target_meltano.settings import make

INT = {"type": "integer"}


def wanted(schema: Any, *keys: str, **settings: Any) -> tuple[wanting.Wanted, SqliteDialect]:
    dialect = SqliteDialect(make(SqliteDialect.settings_type, schema="main", **settings))
    return wanting.wanted(Schema("s", schema, keys), dialect.settings, dialect), dialect


def properties(**found: Any) -> dict[str, Any]:
    return {"type": "object", "properties": found}


def test_a_key_is_a_property_of_the_record_itself() -> None:
    """Not the b of an a, whose path looks the same when it is written with a dot."""
    found, _ = wanted(properties(**{"a.b": INT, "a": properties(b=INT)}), "a.b")
    assert found.table.keys == ("a_b",)


def test_names_collide_whatever_their_paths_look_like() -> None:
    with pytest.raises(SchemaError, match=r"properties \"'a.'.b\" and \"a.'.b'\" would both be named 'a___b'"):
        wanted(properties(**{"a.": properties(b=INT), "a": properties(**{".b": INT})}))


def nested(depth: int) -> dict[str, Any]:
    return properties(a=nested(depth - 1)) if depth else INT


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({**properties(a=INT), "$schema": []}, "$schema is not a string"),
        ({**properties(a=INT), "$schema": 5}, "$schema is not a string"),
        (nested(501), "nested deeper than 500 levels"),
        (properties(a={"type": "x"}), "$.properties.a.type"),
    ],
    ids=["schema list", "schema number", "501 levels", "type"],
)
def test_what_is_no_schema_is_refused(schema: Any, fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        wanted(schema)
    assert fault in str(caught.value)


CENTS = {"type": "number", "multipleOf": Decimal("0.01")}
LISTS = {"$ref": "#/definitions/list"}
DEFINITIONS = {"definitions": {"list": {"type": "array", "items": LISTS}}}


@pytest.mark.parametrize(
    ("schema", "text", "fault"),
    [
        (CENTS, "1.01", None),
        (CENTS, "1e40", None),
        (CENTS, "1.001", "$.a: the value breaks 'multipleOf'"),
        (CENTS, "1e999999999", "too large a number"),
        (CENTS, "1e99999999999999999999", "exponent"),
        (INT, "1.0", None),
        (INT, "1.5", "$.a: the value breaks 'type'"),
        (LISTS, "[" * 9 + "]" * 9, None),
        (LISTS, "[" * 400 + "]" * 400, None),
    ],
    ids=["cents", "1e40", "mills", "huge", "huger", "1.0", "1.5", "lists", "deep"],
)
def test_validation_by_schema_takes_numbers_as_they_are(schema: Any, text: str, fault: str | None) -> None:
    found, dialect = wanted({**properties(a=schema), **DEFINITIONS}, validation="schema")
    validate = wanting.layout(found, found.table, dialect.settings, dialect).validate
    assert validate
    line = f'{{"record": {{"a": {text}}}}}'.encode()
    if fault is None:
        validate(line)
    else:
        with pytest.raises(ValueError, match="^.*$") as caught:
            validate(line)
        assert fault in str(caught.value)


WORDS = st.sampled_from(["null", "string", "integer", "object", "array", "text", "", 1, True, None])
PARTS = st.recursive(
    WORDS | st.integers(-1, 2) | st.floats(allow_nan=False) | st.lists(WORDS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(sorted(validating._PLAIN) + ["minimum", "$ref", "enum"]), inner, max_size=4),
    max_leaves=6,
)


@given(PARTS)
def test_a_schema_that_is_plainly_one_is_one(found: object) -> None:
    if validating._is_plain(found):
        for draft in (jsonschema.Draft4Validator, jsonschema.Draft7Validator, jsonschema.validators.validator_for({})):
            assert validating._fault(draft, found) is None


def test_usual_schemas_are_plainly_ones() -> None:
    usual = {"type": ["null", "object"], "properties": {"a": {"type": "string", "format": "date-time"}, "b": {"type": "array", "items": {}}}}
    assert validating._is_plain(usual)
    assert not validating._is_plain({**usual, "properties": {"a": {"type": "text"}}})
