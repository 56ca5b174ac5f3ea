"""Mock data for any JSON Schema: records that fit it, or one line that says why there are none; in bounded time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_meltano.deep import deeply
from target_meltano.elt import mock
from target_meltano.elt.mock import Stream
from target_meltano.elt.mock_check import MockError
from target_meltano.elt.mock_values import Values

COMMAND = [sys.executable, "-c", "from target_meltano.elt import main; main()", "mock"]
MOST_SECONDS = 10.0  # for some records of any schema, on a machine that others use, too

COUNTS = st.sampled_from([0, 1, 2, 5, 64, 1000, 10**9, 10**30])
NUMBERS = st.sampled_from([0, 1, -1, 3, 0.1, 0.25, 1e-9, -2.5, 1e-300, 1e300, 1.7e308, 10**30, -(10**30)])
PATTERNS = st.sampled_from(["^a{3}$", "^[a-z]{100000000}$", "^(([a-z]{999}){999}){999}$", "((((((((((x*)*)*)*)*)*)*)*)*)*)", "^(a+)+$", "(?=x)y", "[0-9]+|b", "^$", "^S_"])
FORMATS = st.sampled_from(["date", "date-time", "time", "email", "uuid", "uri", "singer.decimal", "none"])
LEAVES = st.one_of(
    st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": COUNTS, "maxLength": COUNTS, "pattern": PATTERNS, "format": FORMATS}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number", ["null", "integer"]])},
        optional={"minimum": NUMBERS, "maximum": NUMBERS, "exclusiveMinimum": NUMBERS, "multipleOf": NUMBERS.filter(lambda n: n > 0)},
    ),
    st.fixed_dictionaries({}, optional={"enum": st.lists(st.none() | st.integers(0, 3) | st.just("a"), min_size=1, unique=True), "const": st.sampled_from([None, 1, "a", {}])}),
    st.sampled_from([{}, True, {"type": "boolean"}, {"type": "null"}, {"not": {}}, {"type": ["null", "string"]}]),
    st.sampled_from(["#", "#/definitions/a", "#definitions/b", "#/definitions/none", "http://127.0.0.1:9/x.json", "other.json#/a"]).map(lambda to: {"$ref": to}),
)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    properties = st.dictionaries(st.sampled_from(["a", "b", "id", "email", "items", "%s", "é"]), inner, max_size=3)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["object", ["null", "object"]])},
            optional={
                "properties": properties,
                "required": st.lists(st.sampled_from(["a", "b", "z"]), unique=True, min_size=1),
                "additionalProperties": inner,
                "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
                "minProperties": COUNTS,
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array")}, optional={"items": inner | several, "minItems": COUNTS, "maxItems": COUNTS, "uniqueItems": st.booleans()}
        ),
        st.sampled_from(["anyOf", "oneOf", "allOf"]).flatmap(lambda word: several.map(lambda parts: {word: parts})),
    )


SCHEMAS = st.recursive(LEAVES, wider, max_leaves=12)


def records(schema: Any, rows: int = 5) -> list[Any]:
    """Return records that are checked by jsonschema.

    Raises:
        MockError: none can be made.
    """
    stream = Stream("s", schema, ("id",) if "id" in schema["properties"] else ())
    for one in mock.compiled([stream], rows, "0", 0.1, None):
        mock.check(one)
    lines = [json.loads(line) for line in mock.written(mock.compiled([stream], rows, "0", 0.1, None))]
    return [line["record"] for line in lines if line["type"] == "RECORD"]


@settings(max_examples=200, deadline=None)
@given(
    properties=st.dictionaries(st.sampled_from(["id", "a", "b", "customer_id"]), SCHEMAS, min_size=1, max_size=3),
    definitions=st.fixed_dictionaries({"a": SCHEMAS, "b": SCHEMAS}),
)
def test_any_schema_gives_records_that_fit_or_one_line(properties: Any, definitions: Any) -> None:
    """`check` raises for a record that does not fit, and what is written later is made the same way."""
    schema = {"type": "object", "properties": properties, "definitions": definitions}
    started = time.monotonic()
    try:
        deeply(records, schema)
    except MockError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).startswith("stream 's': ")
    assert time.monotonic() - started < MOST_SECONDS


def doubling(levels: int, word: str) -> dict[str, Any]:
    """Return definitions each of which has the next one twice."""
    made: dict[str, Any] = {f"n{n}": {word: [{"$ref": f"#/definitions/n{n + 1}"}] * 2} for n in range(levels)}
    return {**made, f"n{levels}": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "string", "minLength": 10**9}, "a: with it a record has more than 1,000,000 characters"),
        ({"type": "array", "minItems": 10**9}, "a.[]: with it a record has more than 1,000,000 characters"),
        ({"type": "array", "minItems": 999, "items": {"type": "array", "minItems": 999}}, "a.[].[]: with it a record has more than"),
        ({"type": "array", "items": [{"type": "integer"}] * 60_000}, "with it a record has more than 1,000,000 characters"),
        ({"type": "string", "pattern": "^[a-z]{100000000}$"}, "a: pattern '^[a-z]{100000000}$' wants more than 100,000 characters"),
        ({"type": "string", "pattern": "^((a{999}){999}){999}$"}, "wants more than 100,000 characters"),
        ({"type": "string", "minLength": 5, "maxLength": 0}, "a: no text fits: minLength is 5, maxLength 0"),
        ({"type": "number", "minimum": 5, "maximum": 1}, "a: no number fits its bounds"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "a: $ref 'http://127.0.0.1:9/x.json' is not read"),
        ({"$ref": "other.json#/a"}, "a: $ref 'other.json#/a' is not read"),
        ({"$ref": "#/definitions/n0"}, "a: more than 10,000 schemas are for one value"),
        ({"properties": [1]}, "the schema is no JSON Schema"),
        ({"anyOf": 5}, "the schema is no JSON Schema"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_what_no_record_can_hold_is_refused_at_once(schema: Any, told: str) -> None:
    with pytest.raises(MockError) as error:
        records({"definitions": doubling(25, "allOf"), "properties": {"a": schema}})
    assert told in str(error.value)


def test_a_draft_that_is_no_text_is_told_with_its_place() -> None:
    with pytest.raises(MockError, match=r"stream 's': the schema is no JSON Schema: \$\.\$schema: 5 is not of type 'string'"):
        assert Stream("s", {"$schema": 5}, ()).validator


def test_a_wide_schema_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each of its properties: 20,000 of them took more than 40 s, now 8."""
    calls: list[Any] = []
    resolved = Values.resolved
    monkeypatch.setattr(Values, "resolved", lambda self, schema, path: (calls.append(path), resolved(self, schema, path))[1])
    wide = Stream("s", {"properties": {f"{number}_id": {"type": "integer"} for number in range(100)}}, ("0_id",))
    assert len(list(mock.compiled([wide], 1, "0", 0.0, None)[0].records(1))) == 1
    assert calls.count(()) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 10**30},
        {"type": "number", "minimum": -1.7e308, "maximum": 1.7e308},
        {"type": "number", "multipleOf": 1e-300},
        {"type": "array", "maxItems": 10**18},
        {"type": "string", "pattern": "((((((((((x*)*)*)*)*)*)*)*)*)*)"},
        {"type": "object", "patternProperties": {"^a{100000000}$": {}}},
        {"enum": [*range(10_000)]},
        {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 10}]},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_bounds_that_records_can_keep_are_kept(schema: Any) -> None:
    assert len(records({"properties": {"a": schema}})) == 5


def test_what_branches_below_references_is_made_up_to_a_bound() -> None:
    """25 levels of two members each would be 33 million values."""
    levels: dict[str, Any] = {f"n{n}": {"properties": {name: {"$ref": f"#/definitions/n{n + 1}"} for name in "ab"}} for n in range(25)}
    (record,) = records({"definitions": {**levels, "n25": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/n0"}}}, 1)
    assert 5_000 < json.dumps(record).count(":") < 50_000


def depth(value: Any, name: str) -> int:
    return 1 + depth(value[name], name) if isinstance(value, dict) and name in value else 0


def test_recursion_is_counted_from_where_it_begins() -> None:
    """Levels above it, and those of what does not contain itself, are made to their end."""
    tree: dict[str, Any] = {"type": "object", "properties": {"down": {"$ref": "#/definitions/tree"}, "leaf": {"type": "string"}}}
    found = {}
    for levels in (0, 12):
        schema: dict[str, Any] = {"$ref": "#/definitions/tree"}
        for _ in range(levels):
            schema = {"type": "object", "properties": {"level": schema}}
        (record,) = records({"definitions": {"tree": tree}, "properties": {"x": schema}}, 1)
        value = record["x"]
        assert depth(value, "level") == levels
        for _ in range(levels):
            value = value["level"]
        found[levels] = depth(value, "down")
    assert found == {0: 6, 12: 6}


def test_the_first_row_comes_before_others_are_made() -> None:
    asked: list[int] = []

    def column(count: int) -> list[str]:
        asked.append(count)
        return ["1"] * count

    rows = mock.Mock(Stream("s", {}, ()), 5000, {"a": column}).records(5000)
    assert (next(rows), asked) == ('{"a": 1}', [1])
    assert (len([*rows]), max(asked), sum(asked)) == (4999, 1000, 5000)


def test_no_address_is_asked_for_a_schema(tmp_path: Path) -> None:
    """Nor a traceback printed, by the command."""
    (tmp_path / "c.json").write_text(json.dumps({"streams": [{"stream": "s", "schema": {"$ref": "https://example.com/x.json"}}]}))
    done = subprocess.run([*COMMAND, "--catalog", str(tmp_path / "c.json")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "CRITICAL stream 's': $: $ref 'https://example.com/x.json' is not read; only those within the schema are, like #/…/…\n"
