"""From JSON Schema to columns: what decides a kind, what is flattened, and that nothing is dropped."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import schema
from target_meltano.errors import SchemaError
from target_meltano.kinds import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    NUMBER,
    STRING,
    TIME,
    TIMESTAMP,
    Kind,
    decimal,
)
from target_meltano.schema import Node, Options

DATE_TIME = {"type": "string", "format": "date-time"}
DEEP = {"type": "object", "properties": {"b": {"type": "object", "properties": {"c": {"type": "string"}}}}}


def read(properties: dict[str, Any], options: Options = Options(), **more: Any) -> Node:
    return schema.read("s", {"type": "object", "properties": properties, **more}, options)


def kind_of(found: Any, **options: Any) -> Kind | None:
    """Return the kind of a property, None where it makes no column."""
    node = read({"p": found, "other": {"type": "integer"}}, Options(**options))
    leaf = next((leaf for leaf in node.leaves() if leaf.path == ("p",)), None)
    return leaf.kind if leaf else None


def columns(node: Node) -> dict[str, Kind]:
    return {".".join(leaf.path): leaf.kind for leaf in node.leaves()}


KINDS: dict[str, tuple[Any, Kind | None]] = {
    "boolean": ({"type": "boolean"}, BOOLEAN),
    "integer": ({"type": "integer"}, INTEGER),
    "number": ({"type": "number"}, NUMBER),
    "string": ({"type": "string"}, STRING),
    "array": ({"type": "array", "items": {"type": "integer"}}, JSON),
    "object without properties": ({"type": "object"}, JSON),
    "object with no properties": ({"type": "object", "properties": {}}, JSON),
    "open object": ({"type": "object", "additionalProperties": {"type": "integer"}}, JSON),
    "no type": ({}, JSON),
    "no type but properties": ({"properties": {"a": {"type": "integer"}}}, JSON),
    "no type but words": ({"description": "?"}, JSON),
    "null": ({"type": "null"}, None),
    "list of null": ({"type": ["null"]}, None),
    "nullable": ({"type": ["null", "integer"]}, INTEGER),
    "null last": ({"type": ["integer", "null"]}, INTEGER),
    "null type": ({"type": None}, JSON),
    "date-time": (DATE_TIME, TIMESTAMP),
    "date": ({"type": "string", "format": "date"}, DATE),
    "time": ({"type": "string", "format": "time"}, TIME),
    "nullable date-time": ({"type": ["null", "string"], "format": "date-time"}, TIMESTAMP),
    "unknown format": ({"type": "string", "format": "email"}, STRING),
    "format of another type": ({"type": "integer", "format": "date-time"}, INTEGER),
    "format that is none": ({"type": "string", "format": ["date"]}, STRING),
    "singer.decimal": ({"type": "string", "format": "singer.decimal"}, NUMBER),
    "x-singer.decimal": ({"type": "string", "format": "x-singer.decimal"}, NUMBER),
    "precision and scale": (
        {"type": "string", "format": "singer.decimal", "precision": 10, "scale": 2},
        decimal(10, 2),
    ),
    "precision": ({"type": "string", "format": "singer.decimal", "precision": 10}, decimal(10, 0)),
    "scale only": ({"type": "string", "format": "singer.decimal", "scale": 2}, NUMBER),
    "scale beyond precision": ({"type": "string", "format": "singer.decimal", "precision": 2, "scale": 3}, NUMBER),
    "precision true": ({"type": "string", "format": "singer.decimal", "precision": True}, NUMBER),
    "base64": ({"type": "string", "contentEncoding": "base64"}, STRING),
    "integer and number": ({"type": ["integer", "number"]}, NUMBER),
    "integer and string": ({"type": ["integer", "string"]}, STRING),
    "boolean and integer": ({"type": ["boolean", "integer", "null"]}, STRING),
    "date-time and integer": ({"type": ["string", "integer"], "format": "date-time"}, STRING),
    "string and array": ({"type": ["string", "array"]}, JSON),
    "integer and object": ({"type": ["integer", "object"], "properties": {"a": {}}}, JSON),
    "object and array": ({"type": ["object", "array"], "properties": {"a": {}}}, JSON),
    "const": ({"const": "x"}, STRING),
    "const null": ({"const": None}, None),
    "const 1.5": ({"const": Decimal("1.5")}, NUMBER),
    "const true": ({"const": True}, BOOLEAN),
    "const array": ({"const": [1]}, JSON),
    "enum of strings": ({"enum": ["a", "b", None]}, STRING),
    "enum of integers": ({"enum": [1, 2]}, INTEGER),
    "enum of both": ({"enum": [1, "a"]}, STRING),
    "enum of null": ({"enum": [None]}, None),
    "enum with type": ({"type": "string", "enum": ["a"]}, STRING),
    "true": (True, JSON),
    "false": (False, None),
    "anyOf null": ({"anyOf": [DATE_TIME, {"type": "null"}]}, TIMESTAMP),
    "anyOf any": ({"anyOf": [{"type": "integer"}, {}]}, JSON),
    "anyOf formats": ({"anyOf": [DATE_TIME, {"type": "string", "format": "date"}]}, STRING),
    "anyOf format or none": ({"anyOf": [DATE_TIME, {"type": "string"}]}, STRING),
    "anyOf with type outside": (
        {"type": ["null", "string"], "anyOf": [{"format": "date-time"}, {"type": "null"}]},
        TIMESTAMP,
    ),
    "anyOf that narrows nothing": ({"type": "integer", "anyOf": [{"minimum": 3}, {"maximum": 1}]}, INTEGER),
    "anyOf of nothing": ({"anyOf": []}, None),
    "anyOf and oneOf": (
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "oneOf": [{"type": "string"}, {"type": "array"}]},
        STRING,
    ),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, NUMBER),
    "nested anyOf": ({"anyOf": [{"anyOf": [{"type": "null"}, {"oneOf": [DATE_TIME]}]}]}, TIMESTAMP),
    "allOf": ({"allOf": [{"type": "string"}, {"format": "date-time"}]}, TIMESTAMP),
    "allOf narrows": ({"allOf": [{"type": ["string", "null"]}, {"type": ["string", "integer"]}]}, STRING),
    "allOf integer in number": ({"allOf": [{"type": "number"}, {"type": "integer"}]}, INTEGER),
    "allOf contradiction": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, None),
    "allOf of anyOfs": (
        {
            "allOf": [
                {"anyOf": [{"type": "string"}, {"type": "null"}]},
                {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            ]
        },
        STRING,
    ),
    "allOf false": ({"allOf": [{"type": "string"}, False]}, None),
    "allOf true": ({"allOf": [{"type": "string"}, True]}, STRING),
    "multipleOf 0.01": ({"type": "number", "multipleOf": Decimal("0.01")}, decimal(38, 2)),
    "multipleOf 0.010": ({"type": "number", "multipleOf": Decimal("0.010")}, decimal(38, 2)),
    "multipleOf as float": ({"type": "number", "multipleOf": 0.01}, decimal(38, 2)),
    "multipleOf 1e-15": ({"type": "number", "multipleOf": Decimal("1e-15")}, decimal(38, 15)),
    "multipleOf 1e-38": ({"type": "number", "multipleOf": Decimal("1e-38")}, NUMBER),
    "multipleOf 1e-38, less than 1": ({"type": "number", "multipleOf": Decimal("1e-38"), "minimum": -0.5, "maximum": 0.5}, decimal(38, 38)),
    "multipleOf 1e-19": ({"type": "number", "multipleOf": Decimal("1e-19")}, decimal(38, 19)),
    "multipleOf 1e-39": ({"type": "number", "multipleOf": Decimal("1e-39")}, NUMBER),
    "multipleOf 1e-999999999": ({"type": "number", "multipleOf": Decimal("1e-999999999")}, NUMBER),
    "multipleOf 1": ({"type": "number", "multipleOf": 1}, decimal(38, 0)),
    "multipleOf 100": ({"type": "number", "multipleOf": 100}, decimal(38, 0)),
    "multipleOf 0.5": ({"type": "number", "multipleOf": Decimal("0.5")}, NUMBER),
    "multipleOf 0.25": ({"type": "number", "multipleOf": 0.25}, NUMBER),
    "multipleOf 1 and 29 zeros 1": ({"type": "number", "multipleOf": Decimal(f"1.{'0' * 29}1")}, NUMBER),
    "multipleOf 0": ({"type": "number", "multipleOf": 0}, NUMBER),
    "multipleOf true": ({"type": "number", "multipleOf": True}, NUMBER),
    "multipleOf of integers": ({"type": "integer", "multipleOf": 5}, INTEGER),
    "integer or cents": (
        {"anyOf": [{"type": "integer"}, {"type": "number", "multipleOf": Decimal("0.01")}]},
        decimal(38, 2),
    ),
    "cents or any number": ({"anyOf": [{"type": "number"}, {"type": "number", "multipleOf": Decimal("0.01")}]}, NUMBER),
    "int64": ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, INTEGER),
    "maximum 2^63": ({"type": "integer", "maximum": 2**63}, decimal(38, 0)),
    "minimum below": ({"type": "integer", "minimum": -(2**63) - 1}, decimal(38, 0)),
    "maximum 1e38": ({"type": "integer", "maximum": 1e38}, decimal(38, 0)),
    "maximum 1E+999999999": ({"type": "integer", "maximum": Decimal("1E+999999999")}, decimal(38, 0)),
    "exclusive, a number": ({"type": "integer", "exclusiveMaximum": 2**64}, decimal(38, 0)),
    "exclusive, draft 4": ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, INTEGER),
    "nullable with bounds": ({"type": ["null", "integer"], "maximum": 2**64}, decimal(38, 0)),
}


@pytest.mark.parametrize(("found", "wanted"), KINDS.values(), ids=KINDS)
def test_kind(found: Any, wanted: Kind | None) -> None:
    assert kind_of(found) == wanted


@pytest.mark.parametrize(
    ("found", "options", "wanted"),
    [
        ({"type": "number"}, {"double": True}, DOUBLE),
        ({"type": ["integer", "number"]}, {"double": True}, DOUBLE),
        ({"type": "integer"}, {"double": True}, INTEGER),
        ({"type": "number", "multipleOf": Decimal("0.01")}, {"double": True}, decimal(38, 2)),
        ({"type": "string", "format": "singer.decimal"}, {"double": True}, NUMBER),
        ({"type": "string", "contentEncoding": "base64"}, {"decode_binary": True}, BINARY),
        ({"type": ["null", "string"], "contentEncoding": "BASE16"}, {"decode_binary": True}, BINARY),
        ({"type": "string", "contentEncoding": "quoted-printable"}, {"decode_binary": True}, STRING),
        ({"type": "string", "contentEncoding": []}, {"decode_binary": True}, STRING),
        (
            {"anyOf": [{"type": "string", "contentEncoding": e} for e in ("base64", "base16")]},
            {"decode_binary": True},
            STRING,
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "string", "contentEncoding": "base64"}]},
            {"decode_binary": True},
            STRING,
        ),
        ({"type": "integer"}, {"column_types": {"s.p": STRING}}, STRING),
        ({"type": "null"}, {"column_types": {"s.p": DATE}}, DATE),
        ({"type": "object", "properties": {"a": {}}}, {"column_types": {"s.p": JSON}}, JSON),
    ],
    ids=str,
)
def test_kind_by_settings(found: Any, options: dict[str, Any], wanted: Kind) -> None:
    assert kind_of(found, **options) == wanted


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [
        (None, {"a.b.c": STRING}),
        (2, {"a.b.c": STRING}),
        (1, {"a.b": JSON}),
        (0, {"a": JSON}),
    ],
)
def test_objects_are_flattened_to_a_depth(depth: int | None, wanted: dict[str, Kind]) -> None:
    assert columns(read({"a": DEEP}, Options(flatten_depth=depth))) == wanted


def test_the_properties_of_all_alternatives_make_columns() -> None:
    found = read(
        {
            "p": {
                "anyOf": [
                    {"type": "object", "properties": {k: {"type": t}}} for k, t in (("a", "integer"), ("b", "string"))
                ]
            }
        }
    )
    assert columns(found) == {"p.a": INTEGER, "p.b": STRING}


def test_a_property_of_several_alternatives_holds_the_values_of_all() -> None:
    found = read(
        {"p": {"oneOf": [{"type": "object", "properties": {"a": {"type": t}}} for t in ("integer", "string")]}}
    )
    assert columns(found) == {"p.a": STRING}


def test_all_of_narrows_the_properties_of_an_object() -> None:
    parts = [
        {"properties": {"a": {"type": ["string", "integer"]}, "b": {}}},
        {"properties": {"a": {"type": ["integer", "null"]}}},
    ]
    assert columns(read({"p": {"type": "object", "allOf": parts}})) == {"p.a": INTEGER, "p.b": JSON}


def test_an_alternative_without_properties_makes_json() -> None:
    assert kind_of({"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object"}]}) == JSON


def test_properties_that_can_only_be_null_are_known_but_make_no_column() -> None:
    node = read({"a": {"type": "null"}, "o": {"type": "object", "properties": {"b": {"type": "null"}}}, "c": {}})
    assert (columns(node), node.nulls) == ({"c": JSON}, {"a"})
    assert isinstance(node.properties["o"], Node)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"$ref": "#/definitions/money"}, {"p": decimal(38, 2)}),
        ({"anyOf": [{"$ref": "#/definitions/money"}, {"type": "null"}]}, {"p": decimal(38, 2)}),
        ({"allOf": [{"$ref": "#/definitions/money"}], "description": "?"}, {"p": decimal(38, 2)}),
        ({"$ref": "#/definitions/alias"}, {"p": decimal(38, 2)}),
        ({"$ref": "#/definitions/list/1"}, {"p": STRING}),
        ({"$ref": "#/definitions/a~1b~0c%20d"}, {"p": BOOLEAN}),
        ({"$ref": "#/definitions/pair"}, {"p.x": decimal(38, 2), "p.y": decimal(38, 2)}),
        ({"$ref": "#/definitions/tree"}, {"p.name": STRING, "p.child": JSON}),
        (
            {"$ref": "#/definitions/tree", "properties": {"more": {"type": "integer"}}},
            {"p.more": INTEGER, "p.name": STRING, "p.child": JSON},
        ),
        ({"$ref": "#/definitions/cycle"}, {"p": JSON}),
        ({"$ref": "#"}, {"p.p": JSON, "p.id": INTEGER}),
    ],
    ids=str,
)
def test_references(found: Any, wanted: dict[str, Kind]) -> None:
    money = {"type": "number", "multipleOf": Decimal("0.01")}
    definitions = {
        "money": money,
        "alias": {"$ref": "#/definitions/money"},
        "list": [{}, {"type": "string"}],
        "a/b~c d": {"type": "boolean"},
        "pair": {
            "type": "object",
            "properties": {"x": {"$ref": "#/definitions/money"}, "y": {"$ref": "#/definitions/money"}},
        },
        "tree": {"type": "object", "properties": {"name": {"type": "string"}, "child": {"$ref": "#/definitions/tree"}}},
        "cycle": {"$ref": "#/definitions/cycle2"},
        "cycle2": {"$ref": "#/definitions/cycle"},
    }
    got = columns(read({"p": found, "id": {"type": "integer"}}, definitions=definitions))
    assert got == {**wanted, "id": INTEGER}


@pytest.mark.parametrize(
    "root",
    [
        {"properties": {"a": {"type": "integer"}}},
        {"type": ["null", "object"], "properties": {"a": {"type": "integer"}}},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"type": "null"}]},
        {
            "allOf": [{"type": "object"}, {"$ref": "#/definitions/r"}],
            "definitions": {"r": {"properties": {"a": {"type": "integer"}}}},
        },
    ],
    ids=["no type", "nullable", "anyOf", "allOf"],
)
def test_a_schema_of_records_may_be_put_together(root: dict[str, Any]) -> None:
    assert columns(schema.read("s", root)) == {"a": INTEGER}


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        found = {"type": "object", "properties": {"a": found}}
    return found


TWICE = {f"d{i}": {"allOf": [{"$ref": f"#/d{i + 1}"}, {"$ref": f"#/d{i + 1}"}]} for i in range(30)}
FORK = {f"d{i}": {"type": "object", "properties": {n: {"$ref": f"#/d{i + 1}"} for n in "ab"}} for i in range(30)}
@pytest.mark.parametrize(
    "root",
    [
        {"type": ["null", "object", "string"], "properties": {"a": {"type": "integer"}}},
        {"type": ["array", "object"], "properties": {"a": {"type": "integer"}}},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"type": "boolean"}, {"type": "null"}]},
    ],
    ids=["string", "array", "anyOf"],
)
def test_records_are_objects_whatever_else_a_schema_of_them_allows(root: Any) -> None:
    (leaf,) = schema.read("s", root).leaves()
    assert (leaf.path, leaf.kind) == (("a",), INTEGER)


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"type": "decimal"}, "$.a.b: 'decimal' is no JSON type"),
        ({"$ref": "#/nowhere"}, "$.a.b: $ref '#/nowhere' leads nowhere"),
        ({"anyOf": [{"type": "null"}, {"$ref": "other.json"}]}, "$.a.b: $ref 'other.json' is not read"),
    ],
    ids=["type", "$ref", "anyOf"],
)
def test_a_fault_is_told_with_the_path_of_its_property(found: Any, where: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema.read("s", {"properties": {"a": {"type": "object", "properties": {"b": found, "c": {}}}}})
    assert str(caught.value).startswith(where)


BAD: dict[str, tuple[Any, str]] = {
    "no properties": ({"type": "object"}, "no property that can be other than null"),
    "empty": ({"type": "object", "properties": {}}, "no property that can be other than null"),
    "properties null": ({"type": "object", "properties": None}, "no property that can be other than null"),
    "nothing but null": (
        {"type": "object", "properties": {"a": {"type": "null"}}},
        "no property that can be other than null",
    ),
    "array": ({"type": "array"}, "has type object, not array"),
    "array or string": ({"type": ["array", "null", "string"], "properties": {"a": {}}}, "has type object, not array or null or string"),
    "type no type": ({"properties": {"a": {"type": "decimal"}}}, "'decimal' is no JSON type"),
    "type a number": ({"properties": {"a": {"type": 5}}}, "'type' is 5"),
    "type of objects": ({"properties": {"a": {"type": [{"type": "string"}]}}}, "is no JSON type"),
    "no schema": ({"properties": {"a": 5}}, "5 is no JSON schema"),
    "anyOf object": ({"properties": {"a": {"anyOf": {}}}}, "'anyOf' is {}"),
    "properties array": ({"properties": ["a"]}, "'properties' is ['a']"),
    "ref nowhere": ({"properties": {"a": {"$ref": "#/x/y"}}}, "$ref '#/x/y' leads nowhere"),
    "ref beyond a list": ({"properties": {"a": {"$ref": "#/x/7"}}, "x": []}, "leads nowhere"),
    "ref outside": ({"properties": {"a": {"$ref": "http://x/y"}}}, "only those within the schema"),
    "ref to an anchor": ({"properties": {"a": {"$ref": "#a"}}}, "only those within the schema"),
    "ref to a text": (
        {"properties": {"a": {"$ref": "#/title", "description": "?"}}, "title": "t"},
        "'t' is no JSON schema",
    ),
    "ref a number": ({"properties": {"a": {"$ref": 5}}}, "'$ref' is 5"),
    "10,000 levels": (nested(10_000), "nested deeper than 500 levels"),
    "exploding allOf": ({"properties": {"a": {"$ref": "#/d0"}}, **TWICE, "d30": {}}, "too many alternatives"),
    "exploding properties": ({"properties": {"a": {"$ref": "#/d0"}}, **FORK, "d30": {}}, "too many alternatives"),
    "override of nothing": ({"properties": {"a": {}}}, "column_types names no property of it: s.b"),
}


@pytest.mark.parametrize(("root", "fault"), BAD.values(), ids=BAD)
def test_what_is_no_schema_of_records_is_refused(root: Any, fault: str) -> None:
    options = Options(column_types={"s.b": STRING}) if "override" in fault or "s.b" in fault else Options()
    with pytest.raises(SchemaError) as caught:
        schema.read("s", root, options)
    assert fault in str(caught.value)


def test_a_hundred_levels_are_flattened() -> None:
    assert list(columns(read({"a": nested(100)}))) == [".".join("a" * 101)]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["string", "object", "#", "#/properties", "date", "base64"]),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "$ref",
                    "enum",
                    "const",
                    "format",
                    "multipleOf",
                    "maximum",
                    "a",
                ]
            ),
            items,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "anyOf", "allOf", "$ref", "a"]), JUNK, max_size=4))
def test_a_schema_of_any_shape_is_read_or_refused(root: dict[str, Any]) -> None:
    try:
        assert columns(schema.read("s", root, Options(decode_binary=True)))
    except SchemaError as error:
        assert "\n" not in str(error)
