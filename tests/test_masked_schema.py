"""What a SCHEMA becomes under rules, and which rules and schemas do not go together."""

from __future__ import annotations

from typing import Any

import pytest
from mask_rules import lines, masked, rule, stage, users

from target_meltano import masking
from target_meltano.errors import MaskingError
from target_meltano.samples import INT, STR, record, schema

TIMESTAMP = {"type": ["string", "null"], "format": "date-time"}


def property_of(method: str, properties: dict[str, Any], path: str = "x", **more: Any) -> Any:
    message = schema("users", **properties)
    message["schema"].update(more)
    (found,) = masked(stage(rule(path, method=method)), message)
    return found["schema"]


@pytest.mark.parametrize(
    ("method", "found", "wanted"),
    [
        ("hash", {"type": "integer", "enum": [1], "default": 1}, {"type": ["null", "string"]}),
        ("redact", {"type": "array", "items": INT}, {"type": ["null", "string"]}),
        ("keep-first:1", {"type": "string", "format": "date"}, {"type": ["null", "string"]}),
        ("nullify", {"type": "integer", "minimum": 5, "examples": [6]}, {"type": ["null", "integer"], "minimum": 5}),
        ("nullify", {"$ref": "#/definitions/n"}, {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/1"}]}),
        ("mask", {"type": ["number", "null"], "minimum": 5}, {"type": ["null", "number"]}),
        ("mask", {"anyOf": [{"$ref": "#/definitions/n"}, {"type": "string"}]}, {"type": ["null", "integer", "string"]}),
        ("truncate-date:year", {**TIMESTAMP, "pattern": "x"}, {"type": ["null", "string"], "format": "date-time"}),
        ("mask", {}, {}),
    ],
    ids=str,
)
def test_a_schema_has_the_types_of_masked_values(method: str, found: Any, wanted: Any) -> None:
    assert property_of(method, {"x": found}, definitions={"n": INT})["properties"]["x"] == wanted


def test_a_dropped_column_leaves_the_schema() -> None:
    found = property_of("drop", {"id": INT, "x": STR}, required=["id", "x"])
    assert (list(found["properties"]), found["required"]) == (["id"], ["id"])


def test_rules_are_followed_through_references_and_alternatives_and_no_other_column_changes() -> None:
    person = {"type": "object", "properties": {"zip": INT}, "examples": [{"zip": 12345}]}
    properties = {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/p"}]}, "b": {"$ref": "#/definitions/p"}}
    found = property_of("hash", properties, "a.zip", definitions={"p": person})
    hashed = {"type": "object", "properties": {"zip": {"type": ["null", "string"]}}}
    assert found["properties"] == {"a": {"anyOf": [{"type": "null"}, hashed]}, "b": {"$ref": "#/definitions/1"}}
    assert found["definitions"] == {"1": {"type": "object", "properties": {"zip": INT}}}  # without what shows a value


def test_a_repeated_schema_stays_equal() -> None:
    at = stage(rule("x"))
    first, second = lines(at, users(x=STR), users(x=STR))
    assert first == second


@pytest.mark.parametrize(
    ("rules", "message", "fault"),
    [
        ([rule("emial")], users(email=STR), r"no column emial \(did you mean email\?\)"),
        ([rule("addr__zip")], users(addr={"type": "object", "properties": {"zip": STR}}), r"did you mean addr\.zip"),
        ([rule("a.x")], users(a={"type": "object", "properties": {"b": STR}}), "no column a.x"),
        ([rule("a.x")], users(a=INT), "no column a.x"),
        ([rule("a")], users(a={"type": ["array", "null"]}), "is an array, which hash does not take"),
        ([rule("a", method="truncate-date:day")], users(a=INT), "is integer, and truncate-date wants a string"),
        ([rule("id", method="drop")], users(), "is a key, and drop would make different keys equal; hash it"),
        ([rule("id", method="redact")], users(), "is a key"),
        ([rule("x")], {**users(x=STR), "bookmark_properties": ["x"]}, "its bookmark 'x' is masked"),
        ([rule("x")], {**users(x=STR), "masked": "0" * 16}, "masked before, by other rules or with another key"),
        ([rule("x")], schema("user", id=INT), "stream 'user' has no rule, but there is one for 'users'"),
        ([rule("x")], schema("public-users", id=INT), "stream 'public-users' has no rule"),
    ],
)
def test_rules_and_schema_that_do_not_go_together_are_an_error(rules: list[Any], message: Any, fault: str) -> None:
    with pytest.raises(MaskingError, match=f"line 1: pii: .*{fault}"):
        masked(stage(*rules), message)


def test_an_optional_rule_may_match_nothing() -> None:
    at = stage(rule("email", optional=True), {**rule("x", optional=True), "stream": "others"})
    masked(at, users())
    masking.finish(at)


def test_plain_names_the_streams_that_may_pass() -> None:
    at = stage(rule("x"), plain=["user*", "orders"])
    masked(at, schema("user_groups"), schema("orders"))
    with pytest.raises(MaskingError, match="stream 'order' has no rule and is not in plain"):
        masked(at, schema("order"))


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "stream 'users' did not come"),
        ([schema("people", id=INT), record("people", id=1)], "stream 'users' did not come"),
        ([users(a={"type": "object"}), record("users", a={"y": 1})], "stream 'users': no record has a.x"),
    ],
)
def test_a_rule_that_matched_nothing_is_an_error_at_the_end(messages: list[Any], fault: str) -> None:
    at = stage(rule("a.x"))
    masked(at, *messages)
    with pytest.raises(MaskingError, match=fault):
        masking.finish(at)


@pytest.mark.parametrize("a", [{"x": 1}, {"x": None}, '{"x": 1}'], ids=str)
def test_a_rule_for_what_the_schema_does_not_describe_matches_what_is_there(a: Any) -> None:
    at = stage(rule("a.x"))
    masked(at, users(a={}), record("users", a=a))
    masking.finish(at)
