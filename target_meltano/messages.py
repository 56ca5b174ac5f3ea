"""Bytes become lines, lines become messages.

Records are not parsed here: their decoder reads a whole line at once. This module only finds out
what a line is, when its stream's decoder has refused it.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any

from . import values
from .errors import MessageError, shown

CHUNK = 1 << 20  # bytes: below, the work per chunk shows; above, only memory grows
PIPE_SIZE = 1 << 20  # bytes, the most an ordinary Linux user may ask for


@dataclass(frozen=True)
class Chunk:
    """Whole lines, without their line ends. *first* is the number of the first one, from 1.

    No lines: nothing came for as long as the reader was told to wait.
    """

    first: int
    lines: list[bytes]
    size: int = 0


Source = IO[bytes] | Iterable[Any]


def read_chunks(source: Source, wait: Callable[[], float | None], wakeup: int, longest: int) -> Iterator[Chunk]:
    """Yield the lines of *source* in chunks, as they come.

    *source* is a binary file, or an iterable of lines or messages. `wait()` tells for how many
    seconds to wait for more, None for ever; *wakeup* is a file descriptor that ends the waiting,
    -1 for none.

    Raises:
        MessageError: a line is longer than *longest* bytes.
    """
    try:
        descriptor = source.fileno()  # type: ignore[union-attr]
    except (AttributeError, OSError):
        pieces = _pieces_of_file(source) if hasattr(source, "read") else _pieces_of_iterable(source)
    else:
        pieces = _pieces_of_descriptor(descriptor, wait, wakeup)
    yield from _lines(pieces, longest)


def _pieces_of_descriptor(descriptor: int, wait: Callable[[], float | None], wakeup: int) -> Iterator[bytes | None]:
    """Yield what can be read, up to CHUNK bytes at once; None when waiting has ended without."""
    _widen_pipe(descriptor)
    wanted = [descriptor] + ([wakeup] if wakeup >= 0 else [])
    while True:
        ready, _, _ = select.select(wanted, [], [], wait())
        if descriptor not in ready:
            yield None
            continue
        parts, size = [], 0
        while size < CHUNK and (not parts or select.select([descriptor], [], [], 0)[0]):
            part = os.read(descriptor, CHUNK)
            if not part:
                yield b"".join(parts)
                return
            parts.append(part)
            size += len(part)
        yield b"".join(parts)


def _widen_pipe(descriptor: int) -> None:
    """Let the tap run ahead: 64 KiB of pipe make it wait for us at every step."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except (ImportError, AttributeError, OSError):
        pass  # no pipe, or not on Linux


def _pieces_of_file(source: Any) -> Iterator[bytes | None]:
    while piece := source.read(CHUNK):
        yield piece


def _pieces_of_iterable(source: Any) -> Iterator[bytes | None]:
    parts, size = [], 0
    for item in source:
        parts.append(line_of(item))
        size += len(parts[-1])
        if size >= CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def line_of(item: Any) -> bytes:
    """Return the line of a message: bytes, text, a dict, or an object of singer-python."""
    if isinstance(item, str):
        item = item.encode("utf-8", "surrogatepass")
    if not isinstance(item, bytes):
        item = _json(item if isinstance(item, dict) else item.asdict()).encode()
    return item if item.endswith(b"\n") else item + b"\n"


def _json(message: dict[str, Any]) -> str:
    """Write a message as JSON; NaN stays NaN, to be refused with its line, and Decimals keep their digits."""
    try:
        return json.dumps(message)
    except TypeError:
        return values.json_text(_as_parsed(message))


def _as_parsed(value: Any) -> Any:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return values.Number(value)
    if isinstance(value, (list, tuple)):
        return [_as_parsed(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_parsed(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool)):
        return value
    raise MessageError(f"a message holds a {type(value).__name__}, which is not JSON", line=0)


def _lines(pieces: Iterator[bytes | None], longest: int) -> Iterator[Chunk]:
    first = 1
    begun: list[bytes] = []  # parts of a line that has not ended
    for piece in pieces:
        if piece is None:
            yield Chunk(first, [])
            continue
        if sum(map(len, begun)) + piece.find(b"\n") > longest or (b"\n" not in piece and _size(begun, piece) > longest):
            raise MessageError(f"longer than {longest:,} bytes (setting max_message_bytes)", line=first)
        if b"\n" not in piece:
            begun.append(piece)
            continue
        lines = b"".join([*begun, piece]).split(b"\n")
        last = lines.pop()
        begun = [last] if last else []
        yield Chunk(first, lines, sum(map(len, lines)))
        first += len(lines)
    if begun:
        yield Chunk(first, [b"".join(begun)], _size(begun))


def _size(parts: list[bytes], *more: bytes) -> int:
    return sum(map(len, (*parts, *more)))


@dataclass(frozen=True)
class Schema:
    """A SCHEMA message. *keys* are names of properties, empty for none."""

    stream: str
    schema: Any
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    stream: str


@dataclass(frozen=True)
class State:
    """A STATE message; *text* is its value as JSON, as it was written."""

    text: str


@dataclass(frozen=True)
class Other:
    """A message that means nothing to a table: ACTIVATE_VERSION so far, and unknown types."""

    type: str
    stream: str | None


Message = Schema | Record | State | Other


def parse(line: bytes, number: int, rules: values.Rules) -> Message:
    """Return the message of one line.

    Raises:
        MessageError: with the line's number and the fault.
    """
    try:
        found = values.parse(line, rules)
    except ValueError as error:
        raise MessageError(str(error), line=number) from None
    if not isinstance(found, dict):
        raise MessageError("a message is a JSON object", line=number)
    kind = found.get("type")
    if not isinstance(kind, str):
        raise MessageError('a message has a "type": SCHEMA, RECORD or STATE', line=number)
    read = _READERS.get(kind.upper())
    if read is None:
        stream = found.get("stream")
        return Other(kind.upper(), stream if isinstance(stream, str) else None)
    return read(found, number)


def _schema(found: dict[str, Any], number: int) -> Schema:
    stream, schema, keys = _stream(found, number), found.get("schema"), found.get("key_properties", _MISSING)
    if not isinstance(schema, dict):
        raise MessageError(f'stream {stream!r}: a SCHEMA has a "schema", a JSON object', line=number)
    if keys is _MISSING:
        raise MessageError(f'stream {stream!r}: a SCHEMA has "key_properties", [] for no key', line=number)
    if keys is None:
        keys = []
    if not isinstance(keys, list) or not all(isinstance(key, str) and not isinstance(key, values.Number) for key in keys):
        raise MessageError(f'stream {stream!r}: "key_properties" is a list of names of properties', line=number)
    return Schema(stream, numbers_as_python(schema), tuple(dict.fromkeys(keys)))


def _record(found: dict[str, Any], number: int) -> Record:
    stream = _stream(found, number)
    if "record" not in found:
        raise MessageError(f'stream {stream!r}: a RECORD has a "record"', line=number)
    return Record(stream)


def _state(found: dict[str, Any], number: int) -> State:
    if "value" not in found:
        raise MessageError('a STATE has a "value"', line=number)
    return State(values.json_text(found["value"]))


def _stream(found: dict[str, Any], number: int) -> str:
    stream = found.get("stream")
    if isinstance(stream, str) and stream and not isinstance(stream, values.Number):
        return stream
    raise MessageError(f'a {found["type"]} has a "stream", its name; found {shown(stream)}', line=number)


_MISSING = object()
_READERS: dict[str, Callable[[dict[str, Any], int], Message]] = {
    "SCHEMA": _schema,
    "RECORD": _record,
    "STATE": _state,
}


def numbers_as_python(value: Any) -> Any:
    """Return a parsed value with Python's int and Decimal for its numbers, as jsonschema wants them."""
    if isinstance(value, values.Number):
        return int(value) if value.lstrip("-").isdigit() and len(value) < 4000 else Decimal(value)
    if isinstance(value, list):
        return [numbers_as_python(item) for item in value]
    if isinstance(value, dict):
        return {key: numbers_as_python(item) for key, item in value.items()}
    return value
