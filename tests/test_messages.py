"""Bytes become lines however they come, and lines become messages or an error of their line."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import messages
from target_meltano.errors import MessageError, TargetError
from target_meltano.messages import Other, Record, Schema, State, parse
from target_meltano.values import Rules

LONGEST = 1000


def chunks(source: Any, longest: int = LONGEST) -> list[messages.Chunk]:
    return list(messages.read_chunks(source, lambda: None, -1, longest))


def lines(source: Any, longest: int = LONGEST) -> list[bytes]:
    """Return all lines, after a check that their numbers have no gap."""
    found: list[bytes] = []
    for chunk in chunks(source, longest):
        assert chunk.first == len(found) + 1
        found += chunk.lines
    return found


class Pieces(io.RawIOBase):
    """A file that gives one of *pieces* at a time."""

    def __init__(self, pieces: Iterable[bytes]):
        self.pieces = iter(pieces)

    def read(self, size: int = -1) -> bytes:
        return next(self.pieces, b"")


def piped(data: bytes) -> io.BufferedReader:
    """Return the end of a pipe that holds *data*, and no more."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, "rb")


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"\n\na\n", [b"", b"", b"a"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"\xef\xbb\xbfa\nb\n", [b"a", b"b"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb", [b"\xef\xbb"]),
        (b"a\n\xef\xbb\xbfb", [b"a", b"\xef\xbb\xbfb"]),
        (b"a\x0bb\x85c\n", [b"a\x0bb\x85c"]),
    ],
    ids=ascii,
)
def test_lines(data: bytes, wanted: list[bytes]) -> None:
    with piped(data) as pipe:
        assert lines(pipe) == wanted
    assert lines(io.BytesIO(data)) == wanted
    assert lines(Pieces(bytes([byte]) for byte in data)) == wanted


@given(st.lists(st.binary(max_size=5), max_size=20))
def test_lines_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    pieces = [piece for piece in pieces if piece]
    found = lines(Pieces(pieces))
    assert b"\n".join(found).rstrip(b"\n") == b"".join(pieces).removeprefix(b"\xef\xbb\xbf").rstrip(b"\n")


def test_a_file_that_was_read_from_before_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"first\nsecond\nthird\n")
    with (tmp_path / "f").open("rb") as file, piped(b"first\nsecond\nthird\n") as pipe:
        for source in (file, pipe):
            assert source.readline() == b"first\n"
            assert lines(source) == [b"second", b"third"]


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "f.gz", "wb") as file:
        file.write(b"a\nb\n")
    with gzip.open(tmp_path / "f.gz") as file:
        assert lines(file) == [b"a", b"b"]


def test_a_text_file_is_its_lines() -> None:
    assert lines(io.StringIO("a\nb")) == [b"a", b"b"]


def test_silence_is_a_chunk_without_lines() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        found = messages.read_chunks(source, lambda: 0, -1, LONGEST)
        assert next(found).lines == []
        os.write(writing, b"a\n")
        assert next(chunk.lines for chunk in found if chunk.lines) == [b"a"]
        os.close(writing)
        assert [chunk.lines for chunk in found if chunk.lines] == []


class AsDict:
    def asdict(self) -> dict[str, Any]:
        return {"type": "STATE", "value": 1}


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (b"a", b"a"),
        (b"a\n", b"a"),
        ("é", "é".encode()),
        ({"a": 1}, b'{"a": 1}'),
        ({"a": Decimal("0.10"), "b": [1.5, True, None, "x", (2,)]}, b'{"a":0.10,"b":[1.5,true,null,"x",[2]]}'),
        (AsDict(), b'{"type": "STATE", "value": 1}'),
    ],
    ids=["bytes", "whole line", "str", "dict", "decimal", "asdict"],
)
def test_messages_of_python(item: Any, line: bytes) -> None:
    assert lines([item]) == [line]


CIRCLE: dict[str, Any] = {}
CIRCLE["circle"] = CIRCLE


@pytest.mark.parametrize(
    "item",
    [None, 5, object(), {"a": object()}, {"a": {1, 2}}, {"a": 10**5000}, {"a": Decimal(1), 1: 2}, CIRCLE],
    ids=["None", "int", "object", "dict of object", "set", "huge", "key", "circle"],
)
def test_what_is_no_message_of_python_is_refused_with_its_number(item: Any) -> None:
    with pytest.raises(MessageError) as caught:
        lines(["a", item])
    assert caught.value.line == 2


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("Infinity")], ids=str)
def test_what_json_has_no_number_for_is_refused_when_it_is_read(value: Any) -> None:
    [line] = lines([{"type": "STATE", "value": value}])
    with pytest.raises(MessageError):
        parse(line, 1, Rules())


@pytest.mark.parametrize("size", [1, 3, 1 << 20], ids=["bytes", "3 bytes", "whole"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nc\n"], ids=["no end", "end", "more"])
def test_a_line_that_is_too_long_is_refused_after_what_came_before(size: int, end: bytes) -> None:
    data = b"a\nbb\n" + b"x" * (LONGEST + 1) + end
    read: list[bytes] = []
    with pytest.raises(MessageError) as caught:
        for chunk in messages.read_chunks(Pieces(data[i : i + size] for i in range(0, len(data), size)), lambda: None, -1, LONGEST):
            read += chunk.lines
    assert read == [b"a", b"bb"]
    assert str(caught.value) == "line 3: longer than 1,000 bytes (setting max_message_bytes)"


def test_a_line_may_be_as_long_as_the_limit() -> None:
    data = (b"x" * LONGEST + b"\n") * 3
    assert lines(io.BytesIO(data)) == [b"x" * LONGEST] * 3


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    start = time.monotonic()
    found = lines(Pieces(b"x" * 500 for _ in range(100_000)), longest=1 << 30)
    assert [len(line) for line in found] == [50_000_000]
    assert time.monotonic() - start < 10


def message(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_messages() -> None:
    properties = {"properties": {"a": {"multipleOf": 0.01, "maximum": 5}}}
    found = [
        parse(message(type="SCHEMA", stream="s", schema=properties, key_properties=["a", "b", "a"]), 1, Rules()),
        parse(message(type="schema", stream="s", schema={}, key_properties=None), 1, Rules()),
        parse(message(type="RECORD", stream="s", record={}, version=1), 1, Rules()),
        parse(b'{"type": "STATE", "value": {"at": 1.10, "t": "\\ud800\xc3\xa9"}}', 1, Rules()),
        parse(message(type="ACTIVATE_VERSION", stream="s", version=1), 1, Rules()),
        parse(message(type="whatever"), 1, Rules()),
    ]
    wanted = {"properties": {"a": {"multipleOf": Decimal("0.01"), "maximum": 5}}}
    assert found == [
        Schema("s", wanted, ("a", "b")),
        Schema("s", {}, ()),
        Record("s"),
        State('{"at":1.10,"t":"\\ud800\\u00e9"}'),
        Other("ACTIVATE_VERSION", "s"),
        Other("WHATEVER", None),
    ]


DEEP = b"[" * 600 + b"]" * 600
BAD: dict[str, tuple[bytes, str]] = {
    "array": (b"[1]", "a message is a JSON object"),
    "text": (b'"a"', "a message is a JSON object"),
    "one byte": (b"x", "not JSON"),
    "not UTF-8": (b'{"type": "STATE", "value": "\xff"}', "byte 29 is not valid UTF-8"),
    "no type": (b"{}", 'a message has a "type"'),
    "type a number": (b'{"type": 5}', 'a message has a "type"'),
    "type null": (b'{"type": null}', 'a message has a "type"'),
    "STATE without value": (b'{"type": "STATE"}', 'a STATE has a "value"'),
    "deep STATE": (b'{"type": "STATE", "value": ' + DEEP + b"}", "nested deeper than 500 levels"),
    "RECORD without record": (message(type="RECORD", stream="s"), 'a RECORD has a "record"'),
    "RECORD without stream": (message(type="RECORD", record={}), 'a RECORD has a "stream", its name; found None'),
    "stream a number": (message(type="RECORD", record={}, stream=5), 'a RECORD has a "stream"'),
    "stream empty": (message(type="RECORD", record={}, stream=""), "found ''"),
    "SCHEMA without schema": (message(type="SCHEMA", stream="s", key_properties=[]), 'a SCHEMA has a "schema"'),
    "schema a list": (message(type="SCHEMA", stream="s", schema=[], key_properties=[]), 'a SCHEMA has a "schema"'),
    "SCHEMA without keys": (message(type="SCHEMA", stream="s", schema={}), 'a SCHEMA has "key_properties"'),
    "keys a text": (message(type="SCHEMA", stream="s", schema={}, key_properties="id"), '"key_properties" is a list'),
    "keys of numbers": (message(type="SCHEMA", stream="s", schema={}, key_properties=[1]), '"key_properties" is a list'),
    "keys of lists": (message(type="SCHEMA", stream="s", schema={}, key_properties=[["id"]]), '"key_properties" is a list'),
    "exponent": (b'{"type":"SCHEMA","stream":"s","key_properties":[],"schema":{"maximum":1e99999999999999999999}}', "exponent"),
}


@pytest.mark.parametrize(("line", "fault"), BAD.values(), ids=BAD)
def test_what_is_no_message_is_refused_with_its_line(line: bytes, fault: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse(line, 7, Rules())
    assert str(caught.value).startswith("line 7: ")
    assert fault in str(caught.value)


def test_bad_text_is_replaced_in_records_only() -> None:
    replace = Rules(replace_bad_text=True)
    assert parse(b'{"type": "RECORD", "stream": "s", "record": {"a": "\xff"}}', 1, replace) == Record("s")
    with pytest.raises(MessageError, match="not valid UTF-8"):
        parse(b'{"type": "STATE", "value": "\xff"}', 1, replace)


SHAPES = st.recursive(
    st.sampled_from(["null", "true", "5", "1e99999999999999999999", '"s"', '"\\ud800"', "7" * 5000, '"SCHEMA"', '"STATE"', "{", "[" * 600 + "]" * 600]),
    lambda items: st.lists(items, max_size=3).map(lambda found: f"[{','.join(found)}]")
    | st.lists(st.tuples(st.sampled_from(["type", "stream", "value", "schema", "key_properties", "record"]), items), max_size=5).map(
        lambda found: "{" + ",".join(f'"{name}":{item}' for name, item in found) + "}"
    ),
    max_leaves=8,
)


@given(SHAPES, st.booleans())
def test_a_line_of_any_shape_is_a_message_or_an_error_of_ours(text: str, replace: bool) -> None:
    try:
        parse(text.encode(), 1, Rules(replace))
    except TargetError as error:
        assert isinstance(error, MessageError)
