"""Rows on their way to a stage: Parquet files, written as rows come, sent while the next is written.

A `Spool` is the files of one table in one layout, in a folder of their own on a stage that ends with
the session. A local file is gone once it is sent: what is to be sent again comes from the core.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from target_meltano import DatabaseError

FILE_BYTES = 160 << 20  # compressed; Snowflake loads files of 100 to 250 MB best
GROUP_BYTES = 16 << 20  # of Arrow data, in a row group
MAX_WAITING = 2  # files on disk that wait to be sent


@dataclass
class Spool:
    """Files of rows of one layout; *send* is called with each that is complete, and where it goes."""

    home: Path
    send: Callable[[Path, str], Future[None]]
    folder: str = field(default_factory=lambda: secrets.token_hex(8))
    rows: int = 0
    waiting: int = 0  # bytes of Arrow data that are in no file yet
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None
    _path: Path | None = None
    _files: int = 0
    _sent: list[tuple[Path, Future[None]]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are written when there are enough for a row group."""
        self._batches.append(batch)
        self.rows += batch.num_rows
        self.waiting += batch.nbytes
        if self.waiting >= GROUP_BYTES:
            self.write()

    def write(self) -> None:
        """Write what waits as one row group, and send the file if it is large enough."""
        if not self._batches:
            return
        table = pa.Table.from_batches(self._batches)
        self._batches, self.waiting = [], 0
        if self._writer is None:
            self._path = self.home / f"{self.folder}-{self._files}.parquet"
            self._files += 1
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd", use_dictionary=False)
        self._writer.write_table(table, row_group_size=table.num_rows)
        assert self._path
        if self._path.stat().st_size >= FILE_BYTES:
            self._finish()

    def _finish(self) -> None:
        if self._writer and self._path:
            self._writer.close()
            self._writer = None
            self._sent.append((self._path, self.send(self._path, self.folder)))

    def complete(self) -> None:
        """Have all rows on the stage.

        Raises:
            Exception: the driver's, of a file that could not be sent.
        """
        self.write()
        self._finish()
        for _, sent in self._sent:
            sent.result()

    def drop(self) -> None:
        """Forget the rows, and the files that are not on their way yet."""
        if self._writer and self._path:
            self._writer.close()
            self._path.unlink()
        for path, sent in self._sent:
            if sent.cancel():
                path.unlink()
        self._batches, self._writer = [], None


class Sender:
    """PUTs files, one after the other, in a thread of its own."""

    def __init__(self, connection: Any, stage: str, parameters: dict[str, Any]):
        self._connection = connection
        self._stage = stage
        self._parameters = parameters
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="stage")
        self._waiting: list[Future[None]] = []

    def send(self, path: Path, folder: str) -> Future[None]:
        """Let a file be sent; wait here while others wait already."""
        self._waiting = [one for one in self._waiting if not one.done()]
        if len(self._waiting) >= MAX_WAITING:
            self._waiting[0].exception()
        sent = self._pool.submit(self._put, path, folder)
        self._waiting.append(sent)
        return sent

    def _put(self, path: Path, folder: str) -> None:
        cursor = self._connection.cursor()
        source = str(path).replace("\\", "\\\\").replace("'", "\\'")
        options = "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE PARALLEL = 4"
        cursor.execute(f"PUT 'file://{source}' @{self._stage}/{folder} {options}", _statement_params=self._parameters)
        position = [column[0].lower() for column in cursor.description].index("status")
        found = [row[position] for row in cursor.fetchall()]
        if found != ["UPLOADED"]:
            raise DatabaseError(f"stage: a file was not sent: {', '.join(found) or 'no answer'}")
        path.unlink()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
