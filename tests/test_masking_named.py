"""What is kept of a stream with rules: what its SCHEMA or a rule names, and no more; and of the SCHEMA what makes columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mask_rules import lines, masked, rule, stage, users
from on_postgres import dialect, rows

from target_meltano import SchemaError, load, masking
from target_meltano.masked_stream import MaskedSchemaError, Withheld
from target_meltano.report import Report
from target_meltano.samples import INT, NUM, STR, record, schema

ADDRESS: Any = {"type": ["object", "null"], "properties": {"zip": STR}}
LOOSE: Any = {"type": ["object", "string", "array"], "properties": {"zip": STR}}
ITEMS: Any = {"type": ["array", "null"], "items": {"type": "object", "properties": {"sku": STR}}}
EITHER: Any = {"anyOf": [{"type": "null"}, ADDRESS, {"type": "object", "properties": {"city": STR}}]}
MORE: Any = {"type": "object", "properties": {"zip": STR}, "additionalProperties": True, "patternProperties": {"": {}}}
REFUSED = "(refused)"


def kept(described: Any, value: Any) -> Any:
    """Return what is kept of *value* in a column that no rule covers."""
    at = stage(rule("email"))
    masked(at, users(email=STR, x=described))
    (line,) = lines(at, record("users", id=1, email="a", x=value))
    return REFUSED if isinstance(line, Withheld) else json.loads(line)["record"]["x"]


@pytest.mark.parametrize(
    ("described", "value", "wanted"),
    [
        (STR, '{"mail": 1}', '{"mail": 1}'),
        (STR, {"mail": 1}, {"mail": 1}),
        ({}, [{"mail": 1}], [{"mail": 1}]),
        (True, [{"mail": 1}], [{"mail": 1}]),
        ({"type": "object"}, {"mail": {"a": 1}}, {"mail": {"a": 1}}),
        ({"type": "object", "additionalProperties": ADDRESS}, {"k": {"mail": 1}}, {"k": {"mail": 1}}),
        ({"type": "array"}, [{"mail": 1}], [{"mail": 1}]),
        ({"type": "array", "items": STR}, ["a", {"mail": 1}], ["a", {"mail": 1}]),
    ],
    ids=str,
)
def test_a_column_without_named_members_keeps_its_value_whole(described: Any, value: Any, wanted: Any) -> None:
    assert kept(described, value) == wanted


@pytest.mark.parametrize(
    ("described", "value", "wanted"),
    [
        (ADDRESS, {"zip": "1", "mail": 1}, {"zip": "1"}),
        (ADDRESS, None, None),
        (ADDRESS, {"zip": {"any": 1}}, {"zip": {"any": 1}}),
        (ADDRESS, '{"zip": "1", "mail": 1}', '{"zip":"1"}'),
        (ADDRESS, json.dumps('{"zip": "1", "mail": 1}'), '"{\\"zip\\":\\"1\\"}"'),
        (ADDRESS, "a text", REFUSED),
        (ADDRESS, 5, REFUSED),
        (ADDRESS, [{"zip": "1", "mail": 1}], REFUSED),
        (ADDRESS, '[{"mail": 1}]', REFUSED),
        (MORE, {"zip": "1", "mail": 1}, {"zip": "1"}),
        (LOOSE, "a text", "a text"),
        (LOOSE, "5", "5"),
        (LOOSE, [{"zip": "1", "mail": 1}, "a text"], [{"zip": "1"}, "a text"]),
        (LOOSE, '{"zip": "1", "mail": ', REFUSED),
        (LOOSE, "{'mail': 1}", REFUSED),
        (LOOSE, '\u00a0\u200b\ufeff{"mail": 1}', REFUSED),
        (LOOSE, "a {text}", "a {text}"),
        (EITHER, {"zip": "1", "city": "2", "mail": 1}, {"zip": "1", "city": "2"}),
        (ITEMS, [{"sku": "1", "mail": 1}, None, {}], [{"sku": "1"}, None, {}]),
        (ITEMS, '[{"sku": "1", "mail": 1}]', '[{"sku":"1"}]'),
        (ITEMS, ['{"sku": "1", "mail": 1}'], ['{"sku":"1"}']),
        (ITEMS, {"sku": "1", "mail": 1}, REFUSED),
        (ITEMS, ["a text"], REFUSED),
        ({"anyOf": [ITEMS, {}]}, {"sku": "1", "mail": 1}, {"sku": "1"}),
        ({**ITEMS, "type": ["array", "object"]}, '{"sku": "1", "mail": 1}', '{"sku":"1"}'),
        ({"type": "object", "properties": {"a": ITEMS}}, {"a": [{"sku": "1", "mail": 1}]}, {"a": [{"sku": "1"}]}),
    ],
    ids=str,
)
def test_where_members_are_named_these_alone_are_kept(described: Any, value: Any, wanted: Any) -> None:
    """At each depth, in array items and in JSON that is kept as a string."""
    assert kept(described, value) == wanted


@pytest.mark.parametrize("more", [{}, {"allOf": True}, {"allOf": [{}]}], ids=str)
def test_a_reference_that_leads_nowhere_is_an_error_that_does_not_show_it(more: Any) -> None:
    with pytest.raises(MaskedSchemaError, match=r"^line 1: stream 'users': a \$ref leads nowhere in the schema$"):
        kept({"$ref": "#/definitions/Ada", **more}, 1)


def test_a_schema_that_refers_to_itself_names_members_at_each_depth() -> None:
    at = stage(rule("email"))
    message = users(email=STR, children={"type": "array", "items": {"$ref": "#"}})
    sent = {"id": 1, "mail": 1, "children": [{"id": 2, "mail": 1, "children": [{"id": 3, "mail": 1}]}]}
    found = masked(at, message, record("users", **sent))[1]["record"]
    assert found == {"id": 1, "children": [{"id": 2, "children": [{"id": 3}]}]}


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("_sdc_deleted_at", "2024-01-01T00:00:00Z", True),
        ("_sdc_deleted_at", "0000-00-00 00:00:00", True),
        ("_sdc_deleted_at", None, True),
        ("_sdc_deleted_at", "ada@x.org", False),
        ("_sdc_deleted_at", {"a": 1}, False),
        ("_sdc_deleted_at", 4917012345678, False),
        ("_sdc_lsn", 123, True),
        ("_sdc_lsn", "16/B374D848", True),
        ("_sdc_lsn", "Ada", False),
        ("_sdc_sequence", 1.0, True),
        ("_sdc_sequence", "Ada", False),
        ("_sdc_table_version", ["Ada"], False),
        ("_sdc_extracted_at", "yesterday", False),
    ],
)
def test_fields_of_log_based_taps_have_their_form(name: str, value: Any, is_kept: bool) -> None:
    """Else it is not known what they are, and a record without its time of deletion would be another one."""
    at = stage(rule("email"))
    _, found = lines(at, users(email=STR), record("users", id=1, **{name: value}))
    if is_kept:
        assert json.loads(found)["record"] == {"id": 1, name: value}
        return
    assert isinstance(found, Withheld)
    assert str(found.error(2, 2)).startswith(f"line 2: stream 'users': $.{name}: it cannot be kept: ")
    assert "Ada" not in str(found.error(2, 2))


def test_a_field_of_log_based_taps_that_the_schema_names_is_a_column_as_any_other() -> None:
    at = stage(rule("email"))
    assert masked(at, users(email=STR, _sdc_lsn=STR), record("users", _sdc_lsn="Ada"))[1]["record"] == {"_sdc_lsn": "Ada"}


def test_only_numbers_of_records_are_told_not_the_names_of_their_fields() -> None:
    at = stage(rule("email"))
    masked(at, users(email=STR, a=ADDRESS), *(record("users", id=i, mail=1) for i in range(3)), record("users", a='{"mail": 1}'))
    told: list[Any] = []
    at.tell(lambda *words: told.append(words))
    at.tell(lambda *words: told.append(words))
    assert told == [("users", "records have fields that neither their SCHEMA nor a rule for personal data names; these are left out", 4)]


@pytest.mark.parametrize("fields", [{"mail": 1}, {"a": {"mail": 1}}, {"a": '{"mail": 1}'}, {"l": [{"mail": 1}]}], ids=str)
def test_what_nobody_has_named_makes_a_record_invalid_where_that_is_wanted(db: Any, fields: Any) -> None:
    settings = {"pii": {"key": "v1:" + "k" * 32, "rules": [rule("email")]}, "unknown_fields": "fail", "invalid_records": "quarantine"}
    load(dialect(db, **settings), [users(email=STR, a=ADDRESS, l=ITEMS), record("users", id=1, **fields), record("users", id=2)])
    assert [row[0] for row in rows(db, "id", "users")] == [2]
    ((reason, source),) = rows(db, "reason, convert_from(source, 'UTF8')", "__rejected")
    assert reason == "it has fields that neither their SCHEMA nor a rule for personal data names (setting unknown_fields)"
    assert masking.is_withheld(source.encode())


def test_a_load_tells_how_many_records_had_more(db: Any) -> None:
    report = Report(quiet=True)
    settings = {"pii": {"key": "v1:" + "k" * 32, "rules": [rule("email")]}, "unknown_fields": "keep"}
    load(dialect(db, **settings), [users(email=STR), *(record("users", id=i, mail="a") for i in range(5))], report=report)
    (found,) = report.summary()["notices"]
    assert (found["stream"], found["count"], "mail" in found["what"]) == ("users", 5, False)


def test_a_schema_that_names_nothing_changes_nothing_behind_one_that_does() -> None:
    at = stage(rule("email"))
    opened = {**users(), "schema": {"type": "object"}}
    sent = record("users", id=1, email=None, note="a", mail=1)
    found = masked(at, opened, sent, users(email=STR, note=STR), sent, opened, sent)
    assert [found[i]["record"] for i in (1, 3, 5)] == [{"id": 1, "email": None}, *[{"id": 1, "email": None, "note": "a"}] * 2]


@pytest.mark.parametrize("gone", [{"x": 1, "mail": 1}, '{"x": 1, "mail": 1}', [{"x": 1, "mail": 1}]], ids=str)
def test_what_a_rule_alone_names_is_kept_and_nothing_else_beside_it(gone: Any) -> None:
    path = "gone[].x" if isinstance(gone, list) else "gone.x"
    at = stage(rule("email"), rule(path, optional=True, method="redact"))
    found = masked(at, users(email=STR), record("users", id=1, gone=gone))[1]["record"]["gone"]
    assert str(found).replace(":", ": ").replace("'", '"').replace("  ", " ") in ('{"x": "redacted"}', '[{"x": "redacted"}]')


def test_a_batch_before_its_schema_shows_nothing_of_it() -> None:
    (found,) = lines(stage(rule("email")), {"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": ["file:///Ada"]})
    assert isinstance(found, Withheld)
    assert str(found.error(1, 1)) == "line 1: a BATCH of stream 'users' before its SCHEMA"


def test_what_is_masked_already_keeps_what_is_named_too() -> None:
    at = stage(rule("x"))
    schema_line, record_line = lines(at, users(x=STR), record("users", id=1, x="a"))
    more = json.loads(record_line)
    more["record"]["mail"] = more["note"] = "a"
    described = json.loads(schema_line)
    described["schema"]["properties"]["x"]["default"] = described["note"] = "a"
    again = stage(rule("x"))
    assert masked(again, described, more) == [json.loads(schema_line), json.loads(record_line)]


# --- the SCHEMA


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"type": "string", "enum": ["a"], "default": "a", "pattern": "a"}, {"type": "string"}),
        ({"enum": ["a", 1, None]}, {"type": ["string", "integer", "null"]}),
        ({"const": 1.5}, {"type": ["number"]}),
        ({"type": "string", "format": "date-time", "maxLength": 5}, {"type": "string", "format": "date-time", "maxLength": 5}),
        ({"type": "string", "format": "a", "maxLength": "a", "contentEncoding": "a"}, {"type": "string"}),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "contentEncoding": "base64"}),
        ({"type": "number", "multipleOf": 0.01, "maximum": 1e3}, {"type": "number", "multipleOf": 0.01, "maximum": 1e3}),
        ({"type": "number", "multipleOf": -1, "maximum": "a"}, {"type": "number"}),
        ({"type": "number", "maximum": 10, "exclusiveMaximum": True}, {"type": "number", "exclusiveMaximum": 10}),
        ({"type": "number", "maximum": 10, "exclusiveMaximum": False}, {"type": "number", "maximum": 10}),
        ({"oneOf": [STR, {"const": 1}]}, {"anyOf": [STR, {"type": ["integer"]}]}),
        ({"oneOf": [STR], "anyOf": [INT]}, {"anyOf": [INT], "allOf": [{"anyOf": [STR]}]}),
        ({**ADDRESS, "required": ["zip", "a", 5], "additionalProperties": {"a": 1}}, {**ADDRESS, "required": ["zip"]}),
        ({**ADDRESS, "additionalProperties": False, "if": {}, "not": {}}, {**ADDRESS, "additionalProperties": False}),
        ({"type": None, "format": None, "$ref": None}, {}),
    ],
    ids=str,
)
def test_a_schema_keeps_what_has_the_form_of_its_word(found: Any, wanted: Any) -> None:
    (message,) = masked(stage(rule("email")), users(email=STR, x=found))
    assert message["schema"]["properties"]["x"] == wanted


@pytest.mark.parametrize("described", [{"type": "Ada"}, {"type": ["string", "Ada"]}, {"properties": "Ada"}, {"items": "Ada"}, {"anyOf": "Ada"}, "Ada"], ids=str)
def test_the_error_of_a_schema_names_the_property_and_shows_nothing_of_it(db: Any, described: Any) -> None:
    settings = {"pii": {"key": "v1:" + "k" * 32, "rules": [rule("email")]}}
    sent = [schema(), record(id=1), users(email=STR, x={"type": "object", "properties": {"y": described}}), record("users", id=1)]
    with pytest.raises(SchemaError, match=r"^line 3: stream 'users': \$\.x\.y: ") as error:
        load(dialect(db, **settings), sent)
    assert "Ada" not in str(error.value)
    assert rows(db, "id", "orders") == [(1,)]


def test_a_stream_whose_schema_is_none_is_put_aside_where_that_is_wanted(db: Any) -> None:
    settings = {"pii": {"key": "v1:" + "k" * 32, "rules": [rule("email")]}, "invalid_schemas": "quarantine", "invalid_records": "quarantine"}
    sent = [users(email=STR, x={"type": "Ada"}), record("users", id=1), schema(), record(id=1)]
    with pytest.raises(SchemaError, match="1 of the streams had a SCHEMA that is refused") as error:
        load(dialect(db, **settings), sent)
    assert "Ada" not in str(error.value)
    assert (rows(db, "id", "orders"), len(rows(db, "line", "__rejected"))) == ([(1,)], 1)


def test_columns_have_the_types_that_they_have_without_rules(db: Any) -> None:
    """Of draft 4, too, and whatever definitions are called."""
    money = {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 10**12, "exclusiveMaximum": True}
    described = {"a": {"$ref": "#/definitions/Money"}, "b": NUM, "c": {"enum": ["x", None]}, "d": {"oneOf": [INT, {"type": "null"}]}}
    types = []
    for name, stream in (("users", rule("email")), ("others", {**rule("email"), "stream": "no one", "optional": True})):
        message = schema(name, id=INT, email=STR, **described)
        message["schema"]["definitions"] = {"Money": money}
        load(dialect(db, pii={"key": "v1:" + "k" * 32, "rules": [stream]}), [message, record(name, id=1)])
        columns = "SELECT column_name, data_type, numeric_scale FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        types.append(sorted(db.query(columns, [db.schema, name]), key=repr))
    assert types[0] == types[1]
