"""BATCH messages: records in files, read as if each had come as a RECORD message of its own.

What is in the files is data of one stream and nothing else: whatever a line holds, it becomes a line
that is a RECORD of that stream, and the loop takes it as a record only.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from . import values
from .errors import MessageError, RecordError, json_path, shown
from .lines import Chunk, read_chunks
from .messages import REFUSED, Batch

_LENIENT = values.Rules(replace_bad_text=True)
_MAGIC = {  # what a file begins with, whatever the message says
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
}


class Unreadable(ValueError):
    """A file cannot be read, or only up to here; the message names it and what is wrong."""


class Invalid(bytes):
    """A RECORD in place of one that is none; *fault* is why, at *path* in it, and *came* is what came."""

    fault: str
    path: str
    came: bytes


def _start(stream: str) -> bytes:
    return b'{"type": "RECORD", "stream": %b, "record": ' % json.dumps(stream).encode()


def _invalid(start: bytes, text: str, fault: str, path: str = "$") -> Invalid:
    """Return a line that no reader takes for a record, with *text* in place of it: also when it is replayed."""
    made = Invalid(b"%b%b}" % (start, json.dumps(text).encode()))
    made.fault, made.path, made.came = fault, path, text.encode("utf-8", "surrogateescape")
    return made


def refuse_invalid(line: bytes, number: int, stream: str) -> None:
    """Raise the fault of a line that is `Invalid`."""
    if isinstance(line, Invalid):
        raise RecordError(line.fault, line=number, stream=stream, path=line.path)


@dataclass(frozen=True)
class Part:
    """RECORD messages as lines; *place* is their file below the root, or row group of it."""

    lines: list[bytes]
    place: str

    def chunk(self, first: int) -> Chunk:
        """Return the lines, the first of which has this number."""
        return Chunk(first, self.lines, sum(map(len, self.lines)))


def read_records(batch: Batch, root: str | None, longest: int) -> Iterator[Part]:
    """Yield a RECORD message per record of the files, a few megabytes at once.

    Only regular files below the folder *root* are read; *longest* is the longest record, in bytes.

    Raises:
        Unreadable: naming the file and what is wrong with it.
    """
    if root is None:
        raise Unreadable("a BATCH is read only where the setting batch_root names the folder of its files")
    for url in batch.manifest:
        path = _path(url, Path(root))
        try:
            with _opened(path) as file:
                place = str(path.relative_to(Path(root).resolve()))
                yield from _READERS[batch.format](file, place, batch.stream, longest)
        except (OSError, EOFError, zlib.error, MessageError) as error:
            raise Unreadable(f"{path}: {_words(error)}") from None


def _words(error: Exception) -> str:
    if isinstance(error, MessageError):
        return f"record {error.line}: {error.fault}"
    text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return text[:200] or type(error).__name__


def _path(url: str, root: Path) -> Path:
    """Return the file that *url* names, if it is below *root*, whatever links there are."""
    try:
        parts = urlsplit(url)
        path = Path(unquote(parts.path)).resolve()
    except (ValueError, OSError, RuntimeError):  # no URL, a NUL, a link to itself
        raise Unreadable(f"{shown(url, 200)}: wanted file:///… below {root} (setting batch_root)") from None
    if parts.query or parts.fragment or url[-1] in "?#":
        raise Unreadable(f"{shown(url, 200)}: a ? or # in the name of a file is %3F or %23 in its URL")
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise Unreadable(f"{shown(url, 200)}: wanted file:///… below {root} (setting batch_root)")
    if not path.is_relative_to(root.resolve()):
        raise Unreadable(f"{path}: not below {root.resolve()} (setting batch_root)")
    return path


def _opened(path: Path) -> IO[bytes]:
    """Open a regular file; to open a FIFO would wait until somebody writes into it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("no regular file")
    return open(descriptor, "rb")


def _format(file: IO[bytes]) -> str | None:
    """Return as what a file begins, None for what has no mark; the words of messages are often not true."""
    begin = file.read(8)
    file.seek(0)
    return next((name for magic, name in _MAGIC.items() if begin.startswith(magic)), None)


def _jsonl(file: IO[bytes], place: str, stream: str, longest: int) -> Iterator[Part]:
    start = _start(stream)
    found = _format(file)
    if found not in (None, "gzip"):
        raise OSError(f"it is {found}; wanted jsonl, plain or gzip")
    with ExitStack() as stack:
        if found:
            file = cast(IO[bytes], stack.enter_context(gzip.open(file)))
        for chunk in read_chunks(file, lambda: None, -1, longest):
            lines = [_record(start, line) for line in chunk.lines if line.strip()]
            if lines:
                yield Part(lines, place)


def _record(start: bytes, line: bytes) -> bytes:
    """Return the RECORD of a line, if it is one JSON value: `{}, "type": "STATE"` would make another message of it.

    Bad text does not matter here, it is judged with the record.
    """
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except REFUSED:
        try:
            values.parse(line, _LENIENT, not_finite=True)
        except ValueError as error:
            return _invalid(start, line.decode("utf-8", "surrogateescape"), str(error))
    return b"%b%b}" % (start, line)


def _parquet(file: IO[bytes], place: str, stream: str, longest: int) -> Iterator[Part]:
    from . import parquet  # and Arrow's reader only here

    found = _format(file)
    if found != "Parquet":
        raise OSError(f"it is {found or 'no Parquet'}; wanted Parquet, whose pages alone may be compressed")
    for group, rows in parquet.read(file, stream, longest):
        lines = [row if isinstance(row, bytes) else _invalid(_start(stream), row.text, row.fault, json_path([row.path])) for row in rows]
        yield Part(lines, f"{place}, row group {group}")


_READERS: dict[str, Any] = {"jsonl": _jsonl, "parquet": _parquet}
