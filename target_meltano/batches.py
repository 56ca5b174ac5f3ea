"""BATCH messages: records in files, read as if each had come as a RECORD message of its own."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from .errors import MessageError
from .lines import Chunk, line_of, read_chunks
from .messages import REFUSED, Batch

ROWS = 10_000  # of a Parquet file at once


def read_records(batch: Batch, root: str | None, longest: int) -> Iterator[Chunk]:
    """Yield a RECORD message per record of the files, in chunks; the first one has number 1.

    Only files below the folder *root* are read; *longest* is the longest line, in bytes.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    if root is None:
        raise ValueError("a BATCH is read only where the setting batch_root names the folder of its files")
    first = 1
    for url in batch.manifest:
        path = _path(url, Path(root))
        try:
            for lines in _READERS[batch.format](path, batch, longest):
                if lines:
                    yield Chunk(first, lines, sum(map(len, lines)))
                    first += len(lines)
        except (OSError, EOFError, zlib.error, MessageError) as error:
            raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _path(url: str, root: Path) -> Path:
    """Return the file that *url* names, if it is below *root*, whatever links there are."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(f"{url}: wanted file:///… below {root} (setting batch_root)")
    path = Path(unquote(parts.path)).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{path}: not below {root.resolve()} (setting batch_root)")
    return path


def _jsonl(path: Path, batch: Batch, longest: int) -> Iterator[list[bytes]]:
    start = b'{"type": "RECORD", "stream": %b, "record": ' % json.dumps(batch.stream).encode()
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if batch.compression == "gzip":
            file = cast(IO[bytes], stack.enter_context(gzip.open(file)))
        for chunk in read_chunks(file, lambda: None, -1, longest):
            yield [b"%b%b}" % (start, line) if _is_json(line) else line for line in chunk.lines if line.strip()]


def _is_json(line: bytes) -> bool:
    """Tell whether a line stands for itself: `{}, "type": "STATE"` would make another message of its RECORD."""
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except REFUSED:
        return False
    return True


def _parquet(path: Path, batch: Batch, longest: int) -> Iterator[list[bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for rows in pq.ParquetFile(path).iter_batches(ROWS):
            try:
                found = rows.to_pylist()
            except (ValueError, OverflowError):  # whose words show the value
                raise ValueError(f"{path}: a time has digits beyond microseconds, or is beyond the years 1 to 9999") from None
            yield [
                line_of({"type": "RECORD", "stream": batch.stream, "record": as_json(record)}, 0)[:-1] for record in found
            ]
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None


def as_json(value: Any) -> Any:
    """Return a value of Parquet as JSON has it: times as text, bytes as base64."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


_READERS = {"jsonl": _jsonl, "parquet": _parquet}
