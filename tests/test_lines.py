"""Bytes become lines however they come."""

from __future__ import annotations

import gzip
import io
import os
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano.errors import MessageError
from target_meltano.lines import Chunk, read_chunks
from target_meltano.messages import parse
from target_meltano.values import Rules

LONGEST = 1000


def chunks(source: Any, longest: int = LONGEST) -> list[Chunk]:
    return list(read_chunks(source, lambda: None, -1, longest))


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
        found = read_chunks(source, lambda: 0, -1, LONGEST)
        assert list(next(found).lines) == []
        os.write(writing, b"a\n")
        assert next(list(chunk.lines) for chunk in found if chunk.lines) == [b"a"]
        os.close(writing)
        assert [list(chunk.lines) for chunk in found if chunk.lines] == []


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
        for chunk in read_chunks(
            Pieces(data[i : i + size] for i in range(0, len(data), size)), lambda: None, -1, LONGEST
        ):
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


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\n\xc3", b"\xa4\n"], [True, True]),  # a letter cut in two
        ([b"a\nb\xff", b"c\nd\n"], [True, False]),
        ([b"\xc3\n\xa4\n", b"\xc3\xa4\n"], [False, True]),
        ([b"a\n", b"\xff"], [True, False]),  # the last line has no end
    ],
)
def test_a_chunk_knows_whether_its_lines_are_utf8(pieces: list[bytes], expected: list[bool]) -> None:
    assert [chunk.are_utf8 for chunk in chunks(Pieces(pieces))] == expected
