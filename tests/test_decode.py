"""The fast path on lines that once went wrong, or would at once; `test_both_paths` has all others."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest
from both_paths import (
    NAME,
    PATHS,
    Read,
    assert_same,
    assert_same_read,
    layout,
    read,
    read_fast,
    read_slow,
    reading_with,
    record,
    rows_of,
    take,
)

from target_meltano import compiled, decode, kinds
from target_meltano.decode import Decoder
from target_meltano.kinds import BOOLEAN, DATE, DOUBLE, INTEGER, JSON, NUMBER, STRING, TIME, TIMESTAMP, Kind
from target_meltano.rows import Layout
from target_meltano.stream import Stream
from target_meltano.values import Rules
from target_meltano.wanting import rebuilt

INT, STR = {"type": "integer"}, {"type": "string"}


def test_the_compiled_path_is_there() -> None:
    if not compiled.IS_THERE:
        pytest.skip("the fast path in C was not built, so it is not tested: install a C compiler and Python's headers, make clean, make test")


@pytest.mark.parametrize(
    ("properties", "text", "rules", "options"),
    [
        ({"a": INT}, '{"a": 1, "x": 2}', Rules(), {}),
        ({"o": {"type": "object", "properties": {"a": INT}}}, '{"o": {"x": []}}', Rules(), {}),
        ({"a": INT}, '{"a": 1.0}', Rules(), {}),
        ({"a": {"type": "integer", "maximum": 10**30}}, '{"a": 1.0}', Rules(), {}),
        ({"a": INT}, '{"a": "1"}', Rules(), {"coerce": True}),
        ({"a": STR}, '{"a": 5}', Rules(), {"coerce": True}),
        ({"a": {"type": "array"}}, '{"a": 5}', Rules(), {"coerce": True}),
        ({"a": STR, "b": INT}, '{"a": "\\u0000", "b": 1}', Rules(replace_bad_text=True), {}),
    ],
    ids=["field", "nested field", "1.0", "large 1.0", "integer from text", "text from integer", "JSON", "NUL"],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_oddity_is_expected_once_it_came(
    path: Any, properties: dict[str, Any], text: str, rules: Rules, options: dict[str, Any]
) -> None:
    with reading_with(path):
        stream = Stream(NAME)
        stream.decoder = Decoder(layout(properties, rules, **options))
        take(stream, [record(text)], 1, rules)
        stream.settle(None, keep=False)
        records, reader = stream.decoder.records(), decode.reader()
        reader.put(stream.key, records, stream)
        assert reader.read([record(text)], 0, 1, 2, True) == [(stream, 1)]
        batch, refused, notes = stream.decoder.batch(records, 1)
    assert not refused
    assert_same_read(
        stream.decoder.layout, Read(rows_of(batch), notes), read_slow(stream.decoder.layout, [record(text)])
    )


def test_a_batch_with_a_refused_row_still_tells_what_it_cut() -> None:
    times = {"t": {"type": "string", "format": "date-time"}, "s": STR}
    got = read(times, '{"t": "2024-01-01T00:00:00.1234567Z"}', '{"s": "\\u0000"}', rules=Rules(replace_bad_text=True))
    assert (got.notes.cut, got.notes.replaced) == ({("t",): 2}, {("s",): 2})


def test_an_integer_in_a_column_of_doubles_is_an_integer() -> None:
    made = layout({"a": INT}, column_types={f"{NAME}.a": kinds.DOUBLE})
    assert_same(made, [record('{"a": 1}'), record('{"a": 1.5}')])


@pytest.mark.parametrize("rules", [Rules(), Rules(replace_bad_text=True)], ids=["fail", "replace"])
@pytest.mark.parametrize(
    "line",
    [
        record(b'{"a": {"b": "\xff"}}'),
        record(b'{"x": "\xff", "a": 1.0}'),
        b'{"type": "RECORD", "stream": "s", "y": "\xff", "record": {"a": 1}}',
        record('{"a": "\ud800"}'),
    ],
    ids=["json", "unknown field", "envelope", "surrogate"],
)
def test_invalid_utf8_is_found_wherever_it_is(line: bytes, rules: Rules) -> None:
    assert_same(layout({"a": {}}, rules), [record('{"x": 1}'), line, line])
    assert_same(layout({"a": INT}, rules), [record('{"x": 1}'), line, line])


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "line\n", "\0", "\ud800", ""], ids=ascii)
def test_names_of_any_kind(name: str) -> None:
    written = json.dumps(name)
    assert read({name: INT}, f"{{{written}: 1}}").rows == [[1], [1]]
    assert read({"a": INT}, f'{{"a": 1, {written}: 1}}').notes.unknown == {(name,): 2}


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_with_a_name_that_is_no_text_has_no_fast_path(path: Any) -> None:
    made = layout({"a": INT})
    with reading_with(path):
        stream = Stream("\ud800")
        stream.decoder = Decoder(Layout("\ud800", made.node, made.leaves, made.arrow, ()))
        reader = decode.reader()
        reader.put(stream.key, stream.fast(), stream)
        line = b'{"type": "RECORD", "stream": "\\ud800", "record": {"a": 1}}'
        assert reader.read([line], 0, 1, 1, True) == []


@pytest.mark.parametrize("depth", [5000, 100_000])
@pytest.mark.parametrize("name", ["a", "x"])
@pytest.mark.parametrize("path", PATHS)
def test_no_depth_ends_in_a_traceback(path: Any, depth: int, name: str) -> None:
    text = f'{{"{name}": {"[" * depth}{"]" * depth}}}'
    got = read_fast(layout({"a": {}}), [record(text)], path=path)
    assert got.error is None or "nested deeper than 500 levels" in got.error or "not JSON" in got.error


def test_columns_beyond_what_any_database_has() -> None:
    names = [f"c{i}" for i in range(3000)]
    got = read(dict.fromkeys(names, INT), json.dumps(dict.fromkeys(names, 7)))
    assert got.rows == [[7] * 3000] * 2


def test_hundred_levels_of_objects() -> None:
    properties: dict[str, Any] = {"a": INT}
    for _ in range(100):
        properties = {"a": {"type": "object", "properties": properties}}
    assert read(properties, '{"a":' * 101 + "1" + "}" * 101).rows == [[1], [1]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a": 1, "a": 2}', 2),
        ('{"a": null, "a": 2}', 2),
        ('{"a": 2, "a": null}', None),
        ('{"a": "x", "a": 2}', 2),
        ('{"\\u0061": 2}', 2),
        ('{ "a" \t: \r 2 }', 2),
    ],
)
def test_the_last_of_equal_names_counts(text: str, wanted: int | None) -> None:
    assert read({"a": INT}, text).rows == [[wanted]] * 2


def test_the_last_of_equal_envelope_fields_counts() -> None:
    made = layout({"a": INT})
    lines = [
        b'{"type": "RECORD", "stream": "s", "record": {"a": 1}, "record": {"a": 2}}',
        b'{"type": "RECORD", "type": "STATE", "stream": "s", "record": {"a": 3}, "value": 1}',
        b'{"type": "STATE", "type": "RECORD", "stream": "t", "stream": "s", "record": {"a": 4}}',
        b'{"stream": "s", "stream": "t", "type": "RECORD", "record": {"a": 5}}',
    ]
    assert assert_same(made, lines).rows == [[2], [4]]


def test_a_key_must_have_a_value() -> None:
    made = layout({"a": {}, "b": INT}, keys=(0,))
    for text in ('{"a": null, "b": 1}', '{"b": 1}'):
        got = assert_same(made, [record('{"a": 1}'), record(text), record('{"a": 2}')])
        assert got.rows == [["1", None]]
        assert got.error == "line 2: stream 's': $.a: a key must not be absent or null"


def kept(kind: Kind, *types: str) -> Layout:
    """Return the layout of one property whose column is wider than its schema, as with `narrowing: keep`."""
    made = layout({"a": {"type": ["null", *types]}})
    leaf = dataclasses.replace(made.leaves[0], kind=kind)
    arrow = pa.schema([pa.field("c0", kinds.arrow_type(kind))])
    return dataclasses.replace(made, node=rebuilt(made.node, iter([leaf])), leaves=(leaf,), arrow=arrow)


COLUMNS: list[tuple[Kind, tuple[str, ...]]] = [
    (BOOLEAN, ("boolean",)),
    (INTEGER, ("integer",)),
    (NUMBER, ("number",)),
    (NUMBER, ("integer",)),
    (NUMBER, ("string",)),
    (DOUBLE, ("number",)),
    (DOUBLE, ("integer",)),
    (STRING, ("string",)),
    (STRING, ("integer",)),
    (STRING, ("boolean", "string")),
    (DATE, ("string",)),
    (TIME, ("string",)),
    (TIMESTAMP, ("string",)),
    (JSON, ("integer",)),
    (JSON, ("number",)),
    (JSON, ("string",)),
    (JSON, ("array",)),
    (JSON, ("object", "boolean")),
]
TEXTS = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "-2.00",
    "1.5",
    "1e2",
    "10e-1",
    "1E400",
    "9223372036854775807",
    "9223372036854775808",
    "1234567890123456789.0",
    "12345678901234567890123",
    "1e99999999999999999999",
    '""',
    '"1"',
    '"1.0"',
    '"x"',
    '"\\u0000"',
    '"\\\\u0000"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"é"',
    '"2024-02-29"',
    '"2024-02-30"',
    '"12:00"',
    '"2024-02-29T12:00:00.1234567+01:00"',
    "[]",
    '[1.0,"\\u0000"]',
    "{}",
    '{"b":[true]}',
    '{"b":"\\ud800"}',
    "nul",
    "01",
    "NaN",
]
DEEP = ["[" * depth + "]" * depth for depth in (499, 500, 501, 700)]


@pytest.mark.parametrize("rules", [Rules(), Rules(replace_bad_text=True)], ids=["fail", "replace"])
@pytest.mark.parametrize(("kind", "types"), COLUMNS, ids=[f"{kind}-{'-'.join(types)}" for kind, types in COLUMNS])
def test_every_value_in_every_column(kind: Kind, types: tuple[str, ...], rules: Rules) -> None:
    made = dataclasses.replace(kept(kind, *types), rules=rules)
    for text in [*TEXTS, *DEEP]:
        line = record(f'{{"a": {text}}}')
        for first in ("null", "1.0"):  # after 1.0 an integer is read otherwise
            assert_same(made, [record(f'{{"a": {first}}}'), line, line])
