"""The fast path is only ever a shortcut: same rows as the slow path, or the same error of the same line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_meltano import decode, kinds, messages, schema
from target_meltano.decode import Decoder, Layout
from target_meltano.errors import MessageError, RecordError, SchemaError
from target_meltano.stream import Stream
from target_meltano.target import REFUSED, Envelope
from target_meltano.values import Notes, Rules

NAME = "s"


def layout(properties: object, rules: Rules = Rules(), keys: Sequence[int] = (), **options: Any) -> Layout:
    """Return the layout of a stream whose schema has *properties*; *keys* are positions of columns."""
    node = schema.read(NAME, {"type": "object", "properties": properties}, schema.Options(**options))
    leaves = tuple(node.leaves())
    fields = [pa.field(f"c{i}", kinds.arrow_type(leaf.kind)) for i, leaf in enumerate(leaves)]
    if rules.unknown_fields == "keep":
        fields.append(pa.field("extra", pa.string()))
    return Layout(NAME, node, leaves, pa.schema(fields), tuple(k for k in keys if k < len(leaves)), rules)


def record(text: str | bytes) -> bytes:
    """Return the line of a record; a str may hold halves of surrogate pairs, which are not UTF-8."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return b'{"type": "RECORD", "stream": "s", "record": ' + data + b"}"


# --- both paths, as `Target` takes them


@dataclass
class Read:
    """What became of lines: rows in Python's terms, what was noticed, and the error that ended it."""

    rows: list[list[Any]]
    notes: Notes
    error: str | None = None


def is_record(line: bytes, rules: Rules) -> bool:
    """Tell what `Target._odd_line` does: whether the line is a record of the stream."""
    try:
        envelope = msgspec.json.decode(line, type=Envelope)
    except REFUSED:
        envelope = Envelope()
    if envelope.type == "RECORD" and envelope.stream == NAME:
        return True
    if not line.strip():
        return False
    return messages.parse(line, 0, rules) == messages.Record(NAME)


def read_slow(layout: Layout, lines: Sequence[bytes]) -> Read:
    rows: list[list[Any]] = []
    notes = Notes()
    for number, line in enumerate(lines, 1):
        ours = Notes()
        try:
            if is_record(line, layout.rules):
                rows.append(decode.slow_row(layout, line, number, ours))
        except RecordError as error:
            return Read(rows_of(decode.batch_of_rows(layout, rows)), notes, str(error))
        except MessageError as error:
            return Read(rows_of(decode.batch_of_rows(layout, rows)), notes, error.fault)
        notes.add(ours)
    return Read(rows_of(decode.batch_of_rows(layout, rows)), notes)


def read_fast(layout: Layout, lines: Sequence[bytes], *, every: int = 1000) -> Read:
    """Read with a decoder; settle after *every* lines."""
    stream = Stream(NAME)
    stream.decoder = Decoder(layout)
    read = Read([], Notes())
    for number, line in enumerate(lines, 1):
        try:
            take(stream, line, number, layout.rules)
        except RecordError as error:
            read.error = str(error)
        except MessageError as error:
            read.error = error.fault
        if read.error or number % every == 0:
            settle(stream, read)
        if read.error:
            return read
    settle(stream, read)
    return read


def take(stream: Stream, line: bytes, number: int, rules: Rules) -> None:
    try:
        message = stream.decoder.decode(line)
    except REFUSED:
        if is_record(line, rules):
            stream.add_slow(line, number)
        return
    segment = stream.fast()
    segment.messages.append(message)
    segment.lines.append(line)
    segment.numbers.append(number)


def settle(stream: Stream, read: Read, before: int | None = None) -> None:
    try:
        settled = stream.settle(before, keep=False)
    except RecordError as error:
        read.error = str(error)
        settle(stream, read, error.line)
        return
    stream.pending.clear()
    read.notes.add(settled.notes)
    read.notes.add(stream.take_notes())
    for part in settled.parts:
        batch = part.remove_column(part.num_columns - 1)  # the lines' numbers
        batch.validate(full=True)
        read.rows += rows_of(batch)


def rows_of(batch: pa.RecordBatch) -> list[list[Any]]:
    """Return rows whose values are equal where a database would store the same."""
    columns = []
    for column in batch.columns:
        is_exact = pa.types.is_timestamp(column.type) or pa.types.is_time(column.type)
        columns.append((column.cast(pa.int64()) if is_exact else column).to_pylist())
    return [list(row) for row in zip(*columns, strict=True)]


def comparable(layout: Layout, rows: list[list[Any]]) -> list[list[Any]]:
    """Parse JSON, as its blanks and escapes mean nothing. That -0 is 0 in a column of doubles is no loss."""
    is_json = [leaf.kind == kinds.JSON for leaf in layout.leaves] + [True] * (layout.rules.unknown_fields == "keep")

    def value(cell: Any, parse: bool) -> Any:
        if parse and cell is not None:
            return json.loads(cell, parse_int=lambda n: ("number", n), parse_float=lambda n: ("number", n))
        return cell

    return [[value(cell, parse) for cell, parse in zip(row, is_json, strict=True)] for row in rows]


def assert_same(layout: Layout, lines: Sequence[bytes], every: int = 1000) -> Read:
    fast = read_fast(layout, lines, every=every)
    assert_same_read(layout, fast, read_slow(layout, lines))
    return fast


def assert_same_read(layout: Layout, fast: Read, slow: Read) -> None:
    assert fast.error == slow.error
    assert comparable(layout, fast.rows) == comparable(layout, slow.rows)
    if slow.error is None:
        assert fast.notes == slow.notes


# --- schemas, and records that fit them more or less

PLAIN = st.sampled_from(["a", "b", "id", "ID", "", " ", "\x7f", "é", "😀", "a.b", "f0", "record"])
NAMES = PLAIN | st.sampled_from(['quo"te', "back\\slash", "line\n", "\0", "\ud800"]) | st.text(max_size=3)
TYPES = st.sampled_from(
    ["boolean", "integer", "integer", "number", "number", "string", "string", "string", "object", "object", "array", "null"]
)
TIMES = {
    "date-time": ["2024-02-29T12:00:00Z", "2024-02-29t12:00:00.123456789+02:30", "2024-02-29 12:00", "2024-02-29T12:00:00.000001Z", "2024-02-30T00:00:00Z", "2024-02-29", "0001-01-01T00:00:00+01:00", "2024-02-29T24:00:00", "2016-12-31T23:59:60Z", "now"],
    "date": ["2024-02-29", "2024-02-29T00:00:00Z", "2024-02-29 00:00+02:00", "2023-02-29", "20240229", "2024-02-29T00:00:01"],
    "time": ["12:00:00", "12:00", "12:00:00.1234567+01", "23:59:59.999999Z", "24:00:00", "23:59:60"],
    "singer.decimal": ["1.50", "-0", "1e5", "1_000", " 1", "NaN", "01", "123456789012345678901234567890.1"],
    "email": ["a@b", "", "\0"],
}
NUMBERS = st.sampled_from(
    ["0", "-0", "-0.0", "1", "1.0", "-1.00", "1e2", "1E+2", "100e-2", "1.5", "0.1", "1e19", "1e22", "1e400", "1e-400", "-1e-7", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9007199254740993", "9007199254740993.0", "9223372036854775807.0", "1e999999999", "1e99999999999999999999", "0e99999999999999999999", "1e-99999999999999999999", "1e00000000000000000000002", "0.10", "123456789012345678901234567890.1234567890123456789"]
) | st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.just("7" * 5000)
NO_JSON = st.sampled_from(["NaN", "-Infinity", "01", "1.", "+1", "tru", "'a'", "[1,]", "", '"\t"', '"\\x"', '"\\u00"'])
WORDS = st.sampled_from(
    ["", "a", "true", "0", "1", "NaN", "1_000", " 1", "\0", "a\0b", "\ud800", "\ude00\ud83d", "😀", "é", "\ufffd", "\\u0000"]
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
    member = st.builds(lambda name, escaped, b, item: f"{b}{in_json(name, escaped)}{b}:{b}{item}", names, st.booleans(), BLANKS, items)
    return st.lists(member, max_size=4).map(lambda found: f"{{{','.join(found)}}}")


def deep(depth: int, is_list: bool) -> str:
    opened, closed = ("[", "]") if is_list else ('{"a":', "}")
    return opened * depth + "1" + closed * depth


SCALARS = st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda items: st.one_of(members(NAMES, items), st.lists(items, max_size=3).map(lambda found: f"[ {','.join(found)}]")),
    max_leaves=5,
) | st.builds(deep, DEPTHS, st.booleans())


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Return the schema of a property: often flat and nullable, sometimes odd."""
    found: dict[str, Any] = {}
    if draw(st.integers(0, 9)):
        found["type"] = draw(TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True) | TYPES.map(lambda t: ["null", t]))
    if draw(st.booleans()) and "string" in found.get("type", ()):
        found["format"] = draw(st.sampled_from(sorted(TIMES)))
    if draw(st.integers(0, 9)) == 0:
        found["contentEncoding"] = draw(st.sampled_from(["base64", "base16"]))
    if draw(st.integers(0, 4)) == 0:
        found |= draw(st.sampled_from([{"maximum": 10**20}, {"multipleOf": 0.01}, {"minimum": -5}]))
    if depth and "object" in found.get("type", ()):
        found["properties"] = draw(st.dictionaries(PLAIN, schemas(depth - 1), max_size=3))
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
        how = draw(st.sampled_from(["fits"] * 25 + ["null", "other", "absent", "twice", "broken"]))
        item = fitting(child) if how == "fits" else {"null": st.just("null"), "broken": NO_JSON}.get(how, VALUES)
        for _ in range({"absent": 0, "twice": 2}.get(how, 1)):
            found.append(f"{in_json(name, draw(st.booleans()))}:{draw(BLANKS)}{draw(item)}")
    if draw(st.integers(0, 7)) == 0:
        found.append(f"{in_json(draw(NAMES), True)}:{draw(VALUES)}")
    return f"{{{','.join(draw(st.permutations(found)))}}}"


RULES = st.builds(Rules, st.booleans(), st.sampled_from(["warn", "fail", "keep"]))
OPTIONS = st.fixed_dictionaries(
    {
        "flatten_depth": st.sampled_from([None, None, 0, 1]),
        "double": st.booleans(),
        "decode_binary": st.booleans(),
        "coerce": st.booleans(),
    }
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Layout, list[bytes]]:
    """Return a layout and lines for it; some lines come again, as faults do."""
    names = PLAIN if draw(st.integers(0, 9)) else NAMES
    properties = draw(st.dictionaries(names, schemas(), min_size=1, max_size=5))
    keys = draw(st.sampled_from([(), (), (), (), (0,), (0, 1)]))
    try:
        made = layout(properties, draw(RULES), keys, **draw(OPTIONS))
    except SchemaError:  # nothing but nulls
        made = layout({"a": {}}, draw(RULES))
        properties = {"a": {}}
    lines = draw(st.lists(objects(properties), min_size=1, max_size=4))
    return made, [record(line) for line in lines for _ in range(draw(st.integers(1, 2)))]


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
        new = draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"}", b",", b"\xff", b"\xc3\xa9", b"\0", b'"stream":"t",']))
        line[start:end] = new
    return made, [bytes(line).replace(b"\n", b""), *lines[1:]]


@as_often_as(150)
@given(edits())
def test_both_paths_read_bytes_the_same(stream: tuple[Layout, list[bytes]]) -> None:
    made, lines = stream
    assert_same(made, lines)


# --- what once went wrong, or would at once


def read(properties: dict[str, Any], *records: str, rules: Rules = Rules(), **options: Any) -> Read:
    """Read records as both paths do, each twice."""
    return assert_same(layout(properties, rules, **options), [record(text) for text in records for _ in "12"])


INT, STR = {"type": "integer"}, {"type": "string"}


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
def test_an_oddity_is_expected_once_it_came(properties: dict[str, Any], text: str, rules: Rules, options: dict[str, Any]) -> None:
    stream = Stream(NAME)
    stream.decoder = Decoder(layout(properties, rules, **options))
    take(stream, record(text), 1, rules)
    stream.settle(None)
    batch, refused, notes = stream.decoder.batch([stream.decoder.decode(record(text))], [record(text)])
    assert not refused
    assert_same_read(stream.decoder.layout, Read(rows_of(batch), notes), read_slow(stream.decoder.layout, [record(text)]))


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


def test_a_stream_with_a_name_that_is_no_text_has_no_fast_path() -> None:
    made = layout({"a": INT})
    assert Decoder(Layout("\ud800", made.node, made.leaves, made.arrow, ())).decode is decode._refuse


@pytest.mark.parametrize("depth", [5000, 100_000])
@pytest.mark.parametrize("name", ["a", "x"])
def test_no_depth_ends_in_a_traceback(depth: int, name: str) -> None:
    text = f'{{"{name}": {"[" * depth}{"]" * depth}}}'
    got = read_fast(layout({"a": {}}), [record(text)])
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
