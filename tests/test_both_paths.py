"""The fast path is only ever a shortcut: any lines give the same rows as the slow path, or the same error."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from itertools import starmap
from typing import Any

import pyarrow as pa
from both_paths import assert_same, layout, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_meltano.digits import NOT_FINITE
from target_meltano.errors import SchemaError
from target_meltano.kinds import NUMBER, Kind
from target_meltano.rows import ABSENT, Layout
from target_meltano.values import Rules

PLAIN = st.sampled_from(["a", "b", "id", "ID", "", " ", "\x7f", "é", "😀", "a.b", "f0", "record"])
NAMES = PLAIN | st.sampled_from(['quo"te', "back\\slash", "line\n", "\0", "\ud800"]) | st.text(max_size=3)
TYPES = st.sampled_from(
    [
        "boolean",
        "integer",
        "integer",
        "number",
        "number",
        "string",
        "string",
        "string",
        "object",
        "object",
        "array",
        "null",
    ]
)
TIMES = {
    "date-time": [
        "2024-02-29T12:00:00Z",
        "2024-02-29t12:00:00.123456789+02:30",
        "2024-02-29 12:00",
        "2024-02-29T12:00:00.000001Z",
        "2024-02-30T00:00:00Z",
        "2024-02-29",
        "0001-01-01T00:00:00+01:00",
        "2024-02-29T24:00:00",
        "2016-12-31T23:59:60Z",
        "2024-02-29T12:00:00.0000019-01",
        "2024-02-29T9:00:00Z",
        "0000-00-00 00:00:00",
        "0000-00-00T00:00:00.000Z",
        "2024-00-00 00:00:00",
        "now",
    ],
    "date": [
        "2024-02-29",
        "2024-02-29T00:00:00Z",
        "2024-02-29 00:00+02:00",
        "2023-02-29",
        "20240229",
        "0000-00-00",
        "0000-00-00T00:00:01",
        "2024-02-29T00:00:01",
    ],
    "time": ["12:00:00", "12:00", "12:00:00.1234567+01", "23:59:59.999999Z", "24:00:00", "23:59:60", "7:05:00", "0:00:00.0000001", "1 day, 1:00:00", "7:30 PM"],
    "singer.decimal": ["1.50", "-0", "1e5", "1_000", " 1", "NaN", "-Infinity", "Infinity ", "01", "123456789012345678901234567890.1", f"{Decimal(float(7) / 100)}"],
    "email": ["a@b", "", "\0"],
}
NUMBERS = (
    st.sampled_from(
        [
            "0",
            "-0",
            "-0.0",
            "1",
            "1.0",
            "-1.00",
            "1e2",
            "1E+2",
            "100e-2",
            "1.5",
            "0.1",
            "1e19",
            "1e22",
            "1e400",
            "1e-400",
            "-1e-7",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "9007199254740993",
            "9007199254740993.0",
            "9223372036854775807.0",
            "1e999999999",
            "1e99999999999999999999",
            "0e99999999999999999999",
            "1e-99999999999999999999",
            "1e00000000000000000000002",
            "0.10",
            "123456789012345678901234567890.1234567890123456789",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e99991",
        ]
    )
    | st.decimals(-(10**6), 10**6, places=3).map(lambda n: f"{Decimal(float(n))}")  # all binary digits
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.just("7" * 5000)
)
NO_JSON = st.sampled_from(["nan", "-NaN", "Infinit", "+Infinity", "01", "1.", "+1", "tru", "'a'", "[1,]", "", '"\t"', '"\\x"', '"\\u00"'])
WORDS = st.sampled_from(
    [
        "",
        "a",
        "true",
        "0",
        "1",
        "NaN",
        " NaN,",
        '\\": Infinity }',
        "1_000",
        " 1",
        "\0",
        "a\0b",
        "\ud800",
        "\ude00\ud83d",
        "😀",
        "é",
        "\ufffd",
        "\\u0000",
    ]
    + ["aGk=", "aGl=", "aG k", "c0FFee", "c0 ff", "null", "\x7f", "\u2028"]
) | st.text(max_size=8)
DEPTHS = st.sampled_from([1, 2, 3, 30, 499, 500, 501, 600])


def in_json(text: str, escaped: bool) -> str:
    """Return *text* as a JSON string, with escapes or as it is."""
    return json.dumps(text, ensure_ascii=escaped)


STRINGS = st.builds(in_json, WORDS | st.sampled_from(TIMES["date-time"]) | NUMBERS, st.booleans())
BLANKS = st.sampled_from(["", "", "", " ", "\t", " \r "])


def members(names: st.SearchStrategy[str], items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return objects whose members come in any order, some twice, with blanks about."""
    member = st.builds(
        lambda name, escaped, b, item: f"{b}{in_json(name, escaped)}{b}:{b}{item}", names, st.booleans(), BLANKS, items
    )
    return st.lists(member, max_size=4).map(lambda found: f"{{{','.join(found)}}}")


def deep(depth: int, is_list: bool) -> str:
    opened, closed = ("[", "]") if is_list else ('{"a":', "}")
    return opened * depth + "1" + closed * depth


SCALARS = st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda items: st.one_of(
        members(NAMES, items), st.lists(items, max_size=3).map(lambda found: f"[ {','.join(found)}]")
    ),
    max_leaves=5,
) | st.builds(deep, DEPTHS, st.booleans())


OPEN: list[dict[str, Any]] = [{}, {"additionalProperties": False}, {"additionalProperties": True}, {"patternProperties": {"^x": {}}}]


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Return the schema of a property: often flat and nullable, sometimes odd."""
    found: dict[str, Any] = {}
    if draw(st.integers(0, 9)):
        found["type"] = draw(
            TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True) | TYPES.map(lambda t: ["null", t])
        )
    if draw(st.booleans()) and "string" in found.get("type", ()):
        found["format"] = draw(st.sampled_from(sorted(TIMES)))
    if draw(st.integers(0, 9)) == 0:
        found["contentEncoding"] = draw(st.sampled_from(["base64", "base16"]))
    if draw(st.integers(0, 4)) == 0:
        found |= draw(st.sampled_from([{"maximum": 10**20}, {"multipleOf": 0.01}, {"minimum": -5}, {"multipleOf": 1e-38, "maximum": 10**62}]))
    if depth and "object" in found.get("type", ()):
        found["properties"] = draw(st.dictionaries(PLAIN, schemas(depth - 1), max_size=3))
        found |= draw(st.sampled_from(OPEN))
    if draw(st.integers(0, 9)) == 0:
        found = {"anyOf": [found, draw(schemas(0))]}
    return found


def fitting(found: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return values that mostly fit a schema of `schemas`."""
    options = found.get("anyOf", [found])
    return st.one_of([_fitting_one(option) for option in options])


def _fitting_one(found: dict[str, Any]) -> st.SearchStrategy[str]:
    by_type = {
        "null": st.just("null"),
        "boolean": st.sampled_from(["true", "false"]),
        "integer": st.integers(-9, 2**63 - 1).map(str) | st.sampled_from(["1.0", "-0", "7.000", "1e2"]),
        "number": NUMBERS,
        "string": st.sampled_from(TIMES[found["format"]]).map(json.dumps) if "format" in found else STRINGS,
        "array": VALUES.map(lambda item: f"[{item}]"),
        "object": objects(found.get("properties", {})),
    }
    types = found.get("type", "string")
    return st.one_of([by_type[name] for name in ([types] if isinstance(types, str) else types)])


@st.composite
def objects(draw: st.DrawFn, properties: dict[str, Any]) -> str:
    """Return an object with most of the *properties*, some null or wrong, and fields of no schema."""
    found = []
    for name, child in properties.items():
        how = draw(st.sampled_from(["fits"] * 24 + ["absent"] * 3 + ["null", "other", "twice", "broken"]))
        item = fitting(child) if how == "fits" else {"null": st.just("null"), "broken": NO_JSON}.get(how, VALUES)
        for _ in range({"absent": 0, "twice": 2}.get(how, 1)):
            found.append(f"{in_json(name, draw(st.booleans()))}:{draw(BLANKS)}{draw(item)}")
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        found.append(f"{in_json(draw(NAMES), True)}:{draw(VALUES)}")
    return f"{{{','.join(draw(st.permutations(found)))}}}"


VERSIONS = st.sampled_from(["", *(f', "version": {it}' for it in ("null", "7", "-0", "7.0", '"7"', "true", str(2**63), "1e2", "[]"))])
CUT, ZERO = st.sampled_from(["cut", "cut", "fail"]), st.sampled_from(["fail", "null"])
RULES = st.builds(Rules, st.booleans(), st.sampled_from(["warn", "fail", "keep"]), CUT, ZERO)
HOLDS = st.sampled_from([NOT_FINITE, NOT_FINITE, frozenset({"NaN"}), frozenset()])
OPTIONS = st.fixed_dictionaries(
    {
        "flatten_depth": st.sampled_from([None, None, 0, 1]),
        "double": st.booleans(),
        "decode_binary": st.booleans(),
        "coerce": st.booleans(),
        "is_open": st.booleans(),
    }
)


def plainly(kind: Kind) -> Kind:
    return kind


def unscaled(kind: Kind) -> Kind:
    """Return what PostgreSQL makes of a kind: a numeric has any scale."""
    return NUMBER if kind.name == "decimal" else kind


@st.composite
def streams(draw: st.DrawFn) -> tuple[Layout, list[bytes]]:
    """Return a layout and lines for it; some lines come again, as faults do."""
    names = PLAIN if draw(st.integers(0, 9)) else NAMES
    properties = draw(st.dictionaries(names, schemas(), min_size=1, max_size=5))
    keys = draw(st.sampled_from([(), (), (), (), (0,), (0, 1)]))
    keeps = draw(st.sampled_from(["", "", "all", "deleted"]))
    if keeps:
        properties["_sdc_deleted_at"] = {"type": ["null", "string"], "format": "date-time"}
    try:
        made = layout(properties, draw(RULES), keys, draw(HOLDS), draw(st.sampled_from([plainly, unscaled])), **draw(OPTIONS))
    except SchemaError:  # nothing but nulls
        made = layout({"a": {}}, draw(RULES))
        properties, keeps = {"a": {}}, ""
    lines = draw(st.lists(objects(properties), min_size=1, max_size=4))
    versions = VERSIONS if draw(st.integers(0, 3)) == 0 else st.just("")
    if versions is VERSIONS and draw(st.booleans()):
        kinds = (("version", pa.int64()), ("deleted_at", pa.timestamp("us", "UTC")))
        made = replace(made, versioned=True, arrow=pa.schema([*made.arrow, *starmap(pa.field, kinds)]))
    if keeps:
        made = replace(made, keeps=keeps, arrow=made.arrow.append(pa.field(ABSENT, pa.binary())))
    return made, [record(line, draw(versions)) for line in lines for _ in range(draw(st.integers(1, 2)))]


def as_often_as(profile_default: int) -> Any:
    """Return hypothesis' settings: many examples where a profile asks for more, few by default."""
    many = settings().max_examples
    return settings(
        max_examples=max(profile_default, many),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


@as_often_as(150)
@given(streams(), st.integers(1, 4))
def test_both_paths_read_the_same(stream: tuple[Layout, list[bytes]], every: int) -> None:
    made, lines = stream
    assert_same(made, lines, every)


@st.composite
def edits(draw: st.DrawFn) -> tuple[Layout, list[bytes]]:
    """Return lines of which one has some bytes replaced, dropped or added."""
    made, lines = draw(streams())
    line = bytearray(lines[0][:400])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(line)))
        end = min(len(line), start + draw(st.integers(0, 3)))
        new = draw(
            st.binary(max_size=3)
            | st.sampled_from([b'"', b"\\", b"{", b"}", b",", b"\xff", b"\xc3\xa9", b"\0", b'"stream":"t",'])
        )
        line[start:end] = new
    return made, [bytes(line).replace(b"\n", b""), *lines[1:]]


@as_often_as(150)
@given(edits())
def test_both_paths_read_bytes_the_same(stream: tuple[Layout, list[bytes]]) -> None:
    made, lines = stream
    assert_same(made, lines)
