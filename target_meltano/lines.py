"""Bytes become lines, in chunks, as they come: from a pipe, a file, or messages of Python."""

from __future__ import annotations

import codecs
import io
import json
import math
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from .errors import MessageError, TapError
from .extension import reader
from .messages import json_of

CHUNK = 1 << 20  # bytes: below, the work per chunk shows; above, only memory grows
PIPE_SIZE = 1 << 20  # the most an ordinary Linux user may ask for
LONGEST = 1 << 30  # bytes of a line, whatever the setting: an Arrow column of strings ends at 2 GiB


@dataclass(frozen=True)
class Chunk:
    """Whole lines, without their line ends. *first* is the number of the first one, from 1.

    No lines: nothing came for as long as the reader was told to wait. *are_utf8*: all of them are
    for sure, which takes a tenth of the time if it is found out for many lines at once.
    """

    first: int
    lines: Sequence[bytes]
    size: int = 0
    are_utf8: bool = False


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


def of_tap(source: Source, wait: Callable[[], float | None], wakeup: int, longest: int) -> Iterator[Chunk]:
    """Yield the chunks of a tap's output; see `read_chunks`.

    Raises:
        TapError: the file or pipe that it comes through cannot be read.
    """
    try:
        yield from read_chunks(source, wait, wakeup, longest)
    except OSError as error:
        if not hasattr(source, "read"):
            raise  # of whoever makes the lines
        raise TapError(f"the input cannot be read: {error.strerror or error}") from None


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
    ready, has_more = _looking_at([descriptor, wakeup]), _looking_at([descriptor])
    while True:
        if descriptor not in ready(wait()):
            yield None
            continue
        piece = read(CHUNK)
        parts, size = [piece], len(piece)
        while piece and size < CHUNK and has_more(0):
            piece = read(CHUNK)
            parts.append(piece)
            size += len(piece)
        yield b"".join(parts)
        if not piece:
            return


def _looking_at(descriptors: Sequence[int]) -> Callable[[float | None], Sequence[int]]:
    """Return what waits for so many seconds and tells which of *descriptors*, those that are not -1, can be read.

    select() takes none from 1,024 on, and poll() is not everywhere.
    """
    wanted = [one for one in descriptors if one >= 0]
    if not hasattr(select, "poll"):
        return lambda seconds: select.select(wanted, [], [], seconds)[0]
    poll = select.poll()
    for one in wanted:
        poll.register(one, select.POLLIN)
    return lambda seconds: [one for one, _ in poll.poll(None if seconds is None else math.ceil(seconds * 1000))]


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
    except (TypeError, ValueError, RecursionError) as error:
        try:
            return json_of(message)  # it may hold Decimals
        except (ValueError, RecursionError):
            raise MessageError(f"no message, {error}", line=number) from None


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
            whole = b"".join(begun)
            ends = whole.rindex(b"\n") + 1
            lines = reader.Lines(whole, ends) if reader else whole[: ends - 1].split(b"\n")
            begun = [whole[ends:]]
            are_utf8 = is_utf8(whole, ends)
            del whole  # a line may be long
            yield from _up_to_longest(Chunk(first, lines, ends, are_utf8), longest)
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


def is_utf8(text: bytes, end: int | None = None) -> bool:
    """Tell what `decode` would of the bytes up to *end*, in a seventh of its time."""
    if text.isascii():
        return True
    import numpy as np
    import pyarrow as pa

    ends = pa.py_buffer(np.array([0, len(text) if end is None else end], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _up_to_longest(chunk: Chunk, longest: int) -> Iterator[Chunk]:
    if chunk.size > longest:
        for i, line in enumerate(chunk.lines):
            if len(line) > longest:
                yield Chunk(chunk.first, list(chunk.lines)[:i])
                raise _too_long(chunk.first + i, longest)
    yield chunk


def _too_long(line: int, longest: int) -> MessageError:
    return MessageError(f"longer than {longest:,} bytes (setting max_message_bytes)", line=line)
