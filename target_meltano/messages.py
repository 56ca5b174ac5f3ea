"""Bytes become lines, lines become messages.

Records are not parsed here: their decoder reads a whole line at once. This module only finds out
what a line is, when its stream's decoder has refused it.
"""

from __future__ import annotations

import codecs
import io
import json
import select
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import IO, Any, TypeGuard

from . import values
from .errors import MessageError, shown

CHUNK = 1 << 20  # bytes: below, the work per chunk shows; above, only memory grows
PIPE_SIZE = 1 << 20  # bytes, the most an ordinary Linux user may ask for
LONGEST = 1 << 30  # bytes of a line, whatever the setting: an Arrow column of strings ends at 2 GiB
LONGEST_INT = 4000  # digits; Python converts some more, but not many


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
        MessageError: a line is longer than *longest* bytes; what came before it was yielded.
    """
    pieces: Iterator[bytes | None]
    if isinstance(source, (io.BufferedReader, io.FileIO)) and _has_descriptor(source):
        pieces = _pieces_as_they_come(source, wait, wakeup)
    elif hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        pieces = iter(partial(source.read, CHUNK), b"")
    else:
        pieces = _pieces_of_iterable(source)
    return _chunks(_without_bom(pieces), min(longest, LONGEST))


def _has_descriptor(source: io.IOBase) -> bool:
    try:
        return source.fileno() >= 0
    except OSError:
        return False


def _pieces_as_they_come(
    source: io.BufferedReader | io.FileIO, wait: Callable[[], float | None], wakeup: int
) -> Iterator[bytes | None]:
    """Yield what can be read, up to CHUNK bytes at once; None when waiting has ended without."""
    descriptor = source.fileno()
    # A file that was read from before has bytes in its buffer, which the descriptor does not know.
    read = source.read1 if isinstance(source, io.BufferedReader) else source.read
    _widen_pipe(descriptor)
    wanted = [descriptor] + ([wakeup] if wakeup >= 0 else [])
    while True:
        ready, _, _ = select.select(wanted, [], [], wait())
        if descriptor not in ready:
            yield None
            continue
        piece = read(CHUNK)
        parts, size = [piece], len(piece)
        while piece and size < CHUNK and select.select([descriptor], [], [], 0)[0]:
            piece = read(CHUNK)
            parts.append(piece)
            size += len(piece)
        yield b"".join(parts)
        if not piece:
            return


def _widen_pipe(descriptor: int) -> None:
    """Let the tap run ahead: 64 KiB of pipe make it wait for us at every step."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except (ImportError, AttributeError, OSError):
        pass  # no pipe, or not on Linux


def _pieces_of_iterable(source: Iterable[Any]) -> Iterator[bytes | None]:
    parts: list[bytes] = []
    size = 0
    for number, item in enumerate(source, 1):
        parts.append(line_of(item, number))
        size += len(parts[-1])
        if size >= CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def line_of(item: Any, number: int) -> bytes:
    """Return the line of a message: bytes, text, a dict, or an object of singer-python."""
    if hasattr(item, "asdict"):
        item = item.asdict()
    if isinstance(item, dict):
        item = _json(item, number)
    if isinstance(item, str):
        item = item.encode("utf-8", "surrogatepass")
    if not isinstance(item, bytes):
        raise MessageError(f"a {type(item).__name__} is no message, wanted bytes, str or dict", line=number)
    return item if item.endswith(b"\n") else item + b"\n"


def _json(message: dict[str, Any], number: int) -> str:
    """Write a message as JSON; NaN stays NaN, to be refused with its line, and Decimals keep their digits."""
    try:
        return json.dumps(message)
    except TypeError:
        pass
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a message that is not JSON: {error}", line=number) from None
    try:
        return values.json_text(_as_parsed(message))
    except ValueError as error:
        raise MessageError(str(error), line=number) from None


def _as_parsed(value: Any) -> Any:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return values.Number(value)
    if isinstance(value, (list, tuple)):
        return [_as_parsed(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_parsed(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool)):
        return value
    raise ValueError(f"a message holds a {type(value).__name__}, which is not JSON")


def _without_bom(pieces: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """Drop the mark of UTF-8 that some programs write at the start of a file."""
    begun = b""
    for piece in pieces:
        begun += piece or b""
        if len(begun) >= len(codecs.BOM_UTF8) or not codecs.BOM_UTF8.startswith(begun):
            break
        if piece is None:
            yield None
    yield begun.removeprefix(codecs.BOM_UTF8)
    yield from pieces


def _chunks(pieces: Iterator[bytes | None], longest: int) -> Iterator[Chunk]:
    """Cut *pieces* into whole lines; the last line may have no end."""
    first = 1
    begun: list[bytes] = []  # parts of a line that has not ended
    size = 0  # of these
    for piece in pieces:
        size += len(piece or b"")
        if piece and b"\n" in piece:
            begun.append(piece)
            lines = b"".join(begun).split(b"\n")
            begun = [lines.pop()]
            yield from _up_to_longest(Chunk(first, lines, size - len(begun[0])), longest)
            first += len(lines)
            size = len(begun[0])
        elif piece is None:
            yield Chunk(first, [])
        else:
            begun.append(piece)
        if size > longest:
            raise _too_long(first, longest)
    if size:
        yield Chunk(first, [b"".join(begun)], size)


def _up_to_longest(chunk: Chunk, longest: int) -> Iterator[Chunk]:
    if chunk.size > longest:
        for i, line in enumerate(chunk.lines):
            if len(line) > longest:
                yield Chunk(chunk.first, chunk.lines[:i])
                raise _too_long(chunk.first + i, longest)
    yield chunk


def _too_long(line: int, longest: int) -> MessageError:
    return MessageError(f"longer than {longest:,} bytes (setting max_message_bytes)", line=line)


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
class Activate:
    """An ACTIVATE_VERSION message: rows of older versions are not current any more."""

    stream: str
    version: int


@dataclass(frozen=True)
class Batch:
    """A BATCH message: the records are in files. *compression* is None or gzip."""

    stream: str
    format: str
    compression: str | None
    manifest: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """A message of a type that is not known."""

    type: str
    stream: str | None


Message = Schema | Record | State | Activate | Batch | Other


def parse(line: bytes, number: int, rules: values.Rules) -> Message:
    """Return the message of one line. Bad text is replaced in records only.

    Raises:
        MessageError: with the line's number and the fault.
    """
    try:
        found = values.parse(line, rules)
        if not isinstance(found, dict):
            raise ValueError("a message is a JSON object")
        kind = found.get("type")
        if not _is_text(kind):
            raise ValueError('a message has a "type": SCHEMA, RECORD or STATE')
        if rules.replace_bad_text and kind.upper() != "RECORD":
            found = values.parse(line)
        read = _READERS.get(kind.upper(), _other)
        return read(found)
    except ValueError as error:
        raise MessageError(str(error), line=number) from None
    except RecursionError:
        raise MessageError("nested too deeply", line=number) from None


def _schema(found: dict[str, Any]) -> Schema:
    stream, schema, keys = _stream(found), found.get("schema"), found.get("key_properties", _MISSING)
    if not isinstance(schema, dict):
        raise ValueError(f'stream {stream!r}: a SCHEMA has a "schema", a JSON object')
    if keys is _MISSING:
        raise ValueError(f'stream {stream!r}: a SCHEMA has "key_properties", [] for no key')
    if keys is None:
        keys = []
    if not isinstance(keys, list) or not all(map(_is_text, keys)):
        raise ValueError(f'stream {stream!r}: "key_properties" is a list of names of properties')
    return Schema(stream, numbers_as_python(schema), tuple(dict.fromkeys(keys)))


def _record(found: dict[str, Any]) -> Record:
    stream = _stream(found)
    if "record" not in found:
        raise ValueError(f'stream {stream!r}: a RECORD has a "record"')
    return Record(stream)


def _state(found: dict[str, Any]) -> State:
    if "value" not in found:
        raise ValueError('a STATE has a "value"')
    return State(values.json_text(found["value"]))


def _other(found: dict[str, Any]) -> Other:
    return Other(found["type"].upper(), found["stream"] if _is_text(found.get("stream")) else None)


def _activate(found: dict[str, Any]) -> Activate:
    stream, version = _stream(found), values.version_of(found)
    if version is None:
        raise ValueError(f'stream {stream!r}: an ACTIVATE_VERSION has a "version"')
    return Activate(stream, version)


def _batch(found: dict[str, Any]) -> Batch:
    stream, encoding, manifest = _stream(found), found.get("encoding"), found.get("manifest")
    encoding = encoding if isinstance(encoding, dict) else {}
    form, compression = encoding.get("format"), encoding.get("compression")
    if (form, compression) not in BATCH_FORMATS:
        formats = ", ".join(f"{form}/{compression or 'none'}" for form, compression in BATCH_FORMATS)
        raise ValueError(f"stream {stream!r}: a BATCH has an \"encoding\" with format and compression: {formats}")
    if not isinstance(manifest, list) or not all(map(_is_text, manifest)):
        raise ValueError(f'stream {stream!r}: a BATCH has a "manifest", a list of URLs of files')
    return Batch(stream, str(form), compression, tuple(manifest))


def _stream(found: dict[str, Any]) -> str:
    stream = found.get("stream")
    if _is_text(stream) and stream:
        return str(stream)
    raise ValueError(f'a {found["type"]} has a "stream", its name; found {shown(stream)}')


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, values.Number)


_MISSING = object()
BATCH_FORMATS = (("jsonl", None), ("jsonl", "gzip"), ("parquet", None))
_READERS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "SCHEMA": _schema,
    "RECORD": _record,
    "STATE": _state,
    "ACTIVATE_VERSION": _activate,
    "BATCH": _batch,
}


def numbers_as_python(value: Any) -> Any:
    """Return a parsed value with Python's int and Decimal for its numbers, as jsonschema wants them.

    Raises:
        ValueError: an exponent is beyond what Decimal takes.
    """
    if isinstance(value, values.Number):
        return _number_as_python(value)
    if isinstance(value, list):  # loops, not comprehensions: those would take two frames a level
        items = []
        for item in value:
            items.append(numbers_as_python(item))
        return items
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():
            members[key] = numbers_as_python(item)
        return members
    return value


def _number_as_python(number: values.Number) -> int | Decimal:
    if number.lstrip("-").isdigit() and len(number) <= LONGEST_INT:
        return int(number)
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ValueError("a number has an exponent of more than 18 digits") from None
