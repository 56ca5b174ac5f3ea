"""Rows in the order of their digests, in bounded memory: sorted runs on disk, merged."""

from __future__ import annotations

import heapq
import marshal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import SpoolError

Row = tuple[Any, ...]  # the digest first, then what orders rows of one
MEMORY = 48 << 20  # bytes of rows, as they come in, that wait to be sorted
OVERHEAD = 300  # bytes that a row takes beside its values
BLOCK_ROWS = 500
BLOCK_BYTES = 1 << 18
MOST_RUNS = 64  # that are merged at once: each has a block in memory


class Runs:
    """Takes rows, by name, and leaves them in sorted files in *folder*, split by digest into so many *parts*."""

    def __init__(self, folder: Path, owner: str, parts: int, memory: int = MEMORY):
        self.folder, self.owner, self.parts, self.memory = folder, owner, parts, memory
        self.rows: dict[tuple[str, int], list[Row]] = {}
        self.size = 0
        self.files: dict[tuple[str, int], list[Path]] = {}
        self.count = 0

    def add(self, name: str, row: Row, size: int) -> None:
        """Take a row of about *size* bytes.

        Raises:
            SpoolError: the disk is full.
        """
        at = (name, row[0][0] % self.parts)
        rows = self.rows.get(at)
        if rows is None:
            rows = self.rows[at] = []
        rows.append(row)
        self.size += size + OVERHEAD
        if self.size >= self.memory:
            self.spill()

    def spill(self) -> None:
        for at, rows in self.rows.items():
            rows.sort()
            self.files.setdefault(at, []).append(self._written(iter(rows)))
        self.rows, self.size = {}, 0

    def done(self) -> dict[tuple[str, int], list[Path]]:
        """Return the files of each name and part, few enough to be merged at once."""
        self.spill()
        for files in self.files.values():
            while len(files) > MOST_RUNS:
                some, files[:] = files[:MOST_RUNS], files[MOST_RUNS:]
                files.append(self._written(merged(some)))
                for file in some:
                    file.unlink()
        return self.files

    def _written(self, rows: Iterator[Row]) -> Path:
        self.count += 1
        path = self.folder / f"{self.owner}-{self.count}"
        with room(self.folder), open(path, "wb") as file:
            block: list[Row] = []
            for row in rows:
                block.append(row)
                if len(block) >= BLOCK_ROWS:
                    _write(file, block)
                    block = []
            _write(file, block)
        return path


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Raise SpoolError for what says that nothing can be written."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}; verify sorts there what it compares, set TMPDIR to where there is room") from None


def _write(file: Any, block: list[Row]) -> None:
    """Write rows; large ones in blocks of their own, since a block is read as a whole."""
    if not block:
        return
    content = marshal.dumps(block)
    if len(content) > BLOCK_BYTES and len(block) > 1:
        half = len(block) // 2
        _write(file, block[:half])
        _write(file, block[half:])
        return
    file.write(len(content).to_bytes(8, "little"))
    file.write(content)


def merged(files: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of all files, in order."""
    return heapq.merge(*map(_read, files)) if len(files) != 1 else _read(files[0])


def _read(path: Path) -> Iterator[Row]:
    with open(path, "rb", buffering=1 << 16) as file:
        while size := file.read(8):
            yield from marshal.loads(file.read(int.from_bytes(size, "little")))


