"""The records of a BATCH's files, a few megabytes of lines at once."""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ..lines import LONGEST

CHUNK = 1 << 20


class Unreadable(ValueError):
    """A file of a BATCH cannot be read: which one, and why."""


def read_batch(message: dict[str, Any], root: str | None) -> Iterator[bytes]:
    """Yield chunks of whole lines, each line the JSON of a record; lines that are blank are left out.

    Raises:
        Unreadable
    """
    form = (message.get("encoding") or {}).get("format")
    for url in message["manifest"]:
        path = Path(unquote(urlsplit(url).path)).resolve()
        if root is None or not path.is_relative_to(Path(root).resolve()):
            raise Unreadable(f"{path}: not below the folder of the setting batch_root")
        try:
            with _opened(path) as file:
                if form == "parquet":
                    yield from _parquet(file, message["stream"])
                else:
                    is_packed = file.peek(2)[:2] == b"\x1f\x8b"  # type: ignore[attr-defined]
                    if is_packed:
                        with gzip.open(file) as unpacked:
                            yield from _lines(unpacked)
                    else:
                        yield from _lines(file)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _opened(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("no regular file")
    return open(descriptor, "rb")


def _lines(file: Any) -> Iterator[bytes]:
    left = b""
    first = True
    while piece := file.read(CHUNK):
        piece = piece.removeprefix(b"\xef\xbb\xbf") if first else piece
        first = False
        whole, newline, rest = piece.rpartition(b"\n")
        if not newline:
            left += piece
            continue
        yield from _without_blank(left + whole)
        left = rest
    yield from _without_blank(left)


def _without_blank(lines: bytes) -> Iterator[bytes]:
    found = [line for line in lines.split(b"\n") if line.strip()]
    if found:
        yield b"\n".join(found)


def _parquet(file: IO[bytes], stream: str) -> Iterator[bytes]:
    """How a value of Parquet is written as JSON is `parquet_types.py`'s; that no row is missing is counted here."""
    import pyarrow.parquet as pq

    from .. import parquet  # and Arrow's reader only here

    start = f'{{"type": "RECORD", "stream": {json.dumps(stream)}, "record": '.encode()
    wanted, count = pq.ParquetFile(file).metadata.num_rows, 0
    file.seek(0)
    for _, rows in parquet.read(file, stream, LONGEST):
        count += len(rows)
        lines = [row[len(start) : -1] if isinstance(row, bytes) else _not_json(row.text) for row in rows]
        yield b"\n".join(lines)
    if count != wanted:
        raise OSError(f"{count:,} of {wanted:,} rows can be read")


def _not_json(text: str) -> bytes:
    """Return a line that is no JSON, as the row that is refused: as it is shown where it is kept."""
    return text.encode("utf-8", "surrogateescape") + b"!"
