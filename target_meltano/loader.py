"""The database's side of a run: what the second thread does, one thing after the other.

One transaction is open at a time, over all streams. A STATE is emitted by the same thread that
committed the rows before it, right after the COMMIT, so none can run ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from . import tables
from .dialect import Dialect
from .diff import Policy, Table
from .report import Report
from .worker import Worker


class Loader:
    """Writes batches and commits them. Methods return at once unless they return something."""

    def __init__(self, dialect: Dialect[Any], emit: Callable[[str], None], report: Report):
        self.dialect = dialect
        self.report = report
        self.emitted: str | None = None
        self._emit = emit
        self._worker = Worker()
        try:
            self._connection: sa.Connection = self._worker.call(dialect.connect)
        except BaseException:
            self._worker.stop()
            raise
        if dialect.notice:
            report.info(dialect.notice)

    def close(self) -> None:
        """End the thread and the connection; what is not committed is rolled back."""
        self._worker.stop()
        self.dialect.close(self._connection)

    def wait(self) -> None:
        """Return when all is done, or raise what failed."""
        self._worker.call(lambda: None)

    def write(self, stream: str, table: Table, batch: pa.RecordBatch) -> None:
        """Write *batch* into the open transaction."""
        self._worker.submit(self._write, stream, table, batch, size=batch.nbytes)

    def commit(self, has_rows: bool, state: str | None) -> None:
        """Commit the open transaction, if rows were written, then emit *state*."""
        read = {name: counts.read for name, counts in self.report.streams.items()}
        self._worker.submit(self._commit, has_rows, state, read, size=len(state or ""))

    def needs_changes(self, table: Table, policy: Policy) -> bool:
        """Tell whether the database lacks something that *table* needs.

        Raises:
            SchemaError: it cannot be had.
        """
        return bool(self._worker.call(tables.changes, self.dialect, self._connection, table, policy))

    def follow(self, stream: str, table: Table, policy: Policy) -> Table:
        """Make the database have *table*, and return it as it is kept there."""

        def done(statement: str) -> None:
            self.report.ddl(stream, statement)

        return self._worker.call(tables.follow, self.dialect, self._connection, table, policy, done)

    def plan(self, table: Table, policy: Policy, plan: tables.Plan) -> Table:
        """Show what `follow` would do, and return the table that it would return."""
        return self._worker.call(plan.follow, self.dialect, self._connection, table, policy)

    # --- in the thread

    def _write(self, stream: str, table: Table, batch: pa.RecordBatch) -> None:
        with tables.our_errors(self.dialect, f"stream {stream!r}: table {table.full_name}"):
            if not self._connection.in_transaction():
                self._connection.begin()
            self.dialect.write(self._connection, table, batch)

    def _commit(self, has_rows: bool, state: str | None, read: dict[str, int]) -> None:
        if has_rows:
            with tables.our_errors(self.dialect, "COMMIT"):
                self._connection.commit()
            for name, count in read.items():
                self.report.of(name).written = count
        if state is not None:
            self._emit(state)
            self.emitted = state
