"""A transaction as the core means it, on a database where DDL commits and there are no savepoints.

Rows are not sent when they are written: they wait in files on a stage until COMMIT, or until a
statement has to see them. So Snowflake's own transaction is as short as it can be,

    BEGIN; TRUNCATE, COPY and MERGE per table; our own tables; COMMIT

and a savepoint is a place in a list. What was done in an open transaction is noted: where DDL comes
in between, as with the setting `state_id`, it is rolled back and done again after the DDL.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from target_meltano import DatabaseError, RowError, Table

from . import faults, loading
from .loading import Load
from .session import query_tag
from .stage import Sender, Spool
from .upgrades import OUTSIDE

WAITING_BYTES = 64 << 20  # of Arrow data over all tables, before the largest is written to its file
_LOOKS = {"SHOW", "DESCRIBE"}
_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE"}
Layout = tuple[Table, tuple[str, ...]]  # a table, and the types in which its rows are staged


@dataclass(frozen=True)
class Statement:
    """A statement of the core that was done in the open transaction."""

    text: str
    parameters: tuple[Any, ...] | None


@dataclass
class Work:
    """The work of one connection.

    *describe* tells the types of a table's columns; *began* is told the number of the transaction that
    is open on the server, None when it is over.
    """

    connection: Any
    run_id: str
    schema: str
    quote: Callable[[str], str]
    describe: Callable[[Table], Mapping[str, str]]
    began: Callable[[str | None], None]
    is_open: bool = False  # on the server, as far as we know
    _number: str | None = None  # of the last transaction there
    _done: list[Load | Statement] = field(default_factory=list)  # in the open transaction, to be done again after DDL
    _marks: list[int] = field(default_factory=list)
    _written: list[tuple[Layout, pa.RecordBatch]] = field(default_factory=list)  # since the first mark
    _spools: list[tuple[Layout, Spool]] = field(default_factory=list)  # in the order in which they are to be loaded
    _loaded: list[str] = field(default_factory=list)  # folders of the stage that are to be removed
    _staged: dict[tuple[str, ...], str] = field(default_factory=dict)  # staging tables, by their columns
    _sender: Sender | None = None
    _home: Path | None = None
    _tries: bool = False  # rows as they are written, to find the one that is refused when they are loaded
    arrival: int = 0

    # --- rows

    def write(self, layout: Layout, batch: pa.RecordBatch) -> None:
        """Take encoded rows of a table.

        Raises:
            Exception: the driver's or a RowError, where rows are tried, as they are after a `LateRefusal`.
        """
        if self._tries:
            self._try(layout, batch)
        self.arrival += batch.num_rows
        self._written.append((layout, batch))
        if not self._marks:
            self._keep()

    def _try(self, layout: Layout, batch: pa.RecordBatch) -> None:
        """Have rows read into a staging table, which is all that a value may fail at."""
        (table, types), spool = layout, self._spool()
        spool.add(batch)
        spool.complete()
        self._loaded.append(spool.folder)
        load = Load(table, types, spool.folder, spool.rows, self.describe(table))
        staging = self._staging(types)
        try:
            for statement in loading.staged(load, self._folder(load), staging):
                self._execute(statement, stream=table.source)
            changed = self._changed(load, staging)
            self._end_unasked()
        except faults.DRIVER_ERRORS as error:
            if not faults.is_lost(error):
                self._end_unasked()
            row, column = faults.refused_row(error), faults.refused_column(error)
            if not faults.is_of_data(error) or row is None:
                raise
            where = f"column {table.columns[column].name!r}: " if column is not None else ""
            raise RowError(where + faults.words(error), row=row) from error
        if changed is not None:
            raise RowError(faults.words(faults.Changed(load.losses())), row=changed - self.arrival)

    def _changed(self, load: Load, staging: str) -> int | None:
        """Return the number of the first staged row that DDL in between has left no column for that holds it."""
        query = loading.changed(load, staging)
        found: int | None = self._execute(query).fetchone()[0] if query else None
        return found

    def _end_unasked(self) -> None:
        """End the transaction that the server has begun with a statement, where we have none open."""
        if not self.is_open:
            self._execute("ROLLBACK")

    def _keep(self) -> None:
        written, self._written = self._written, []
        for layout, batch in written:
            self._spool_of(layout).add(batch)
        spools = [spool for _, spool in self._spools]
        while sum(spool.waiting for spool in spools) > WAITING_BYTES:
            max(spools, key=lambda spool: spool.waiting).write()

    def _spool_of(self, layout: Layout) -> Spool:
        """Return where rows of a layout go: behind all other rows of their table, for the last one wins."""
        name = layout[0].full_name
        last = next((known for known in reversed(self._spools) if known[0][0].full_name == name), None)
        if last is None or last[0] != layout:
            last = (layout, self._spool())
            self._spools.append(last)
        return last[1]

    def _spool(self) -> Spool:
        if self._sender is None or self._home is None:
            self._suspend()
            self._execute(f"CREATE OR REPLACE TEMPORARY STAGE {self._stage}")
            self._sender = Sender(self.connection, self._stage, self._parameters())
            self._home = Path(tempfile.mkdtemp(prefix="target-meltano-"))
        return Spool(self._home, self._sender.send)

    @property
    def _stage(self) -> str:
        return f"{self.quote(self.schema)}.{self.quote('TARGET_MELTANO_' + re.sub('[^0-9A-Z]', '_', self.run_id.upper()))}"

    def mark(self) -> None:
        """Begin a savepoint."""
        self._marks.append(len(self._written))

    def roll_back_to_mark(self) -> None:
        """Forget the rows since the last savepoint, which ends."""
        del self._written[self._marks.pop() :]

    def release_mark(self) -> None:
        """Keep the rows since the last savepoint, which ends."""
        self._marks.pop()
        if not self._marks:
            self._keep()

    # --- statements

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query that looks at nothing that waits here."""
        cursor = self._execute(statement)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def execute(self, cursor: Any, statement: str, parameters: tuple[Any, ...] | None) -> None:
        """Execute a statement of the core, after what it has to see, in the transaction it belongs to."""
        verb = statement.split(None, 1)[0].upper()
        if verb in _LOOKS:
            cursor.execute(statement, parameters)
        elif verb == "SELECT":
            self._show(statement)
            cursor.execute(statement, parameters)
        elif verb in _WRITES:
            self._load()
            self._begin()
            cursor.execute(statement, parameters)
            self._done.append(Statement(statement, parameters))
        else:  # DDL, and what is OUTSIDE of any transaction
            self._suspend()
            if not statement.startswith(OUTSIDE):
                cursor.execute(statement, parameters)
                return
            self._execute("ALTER SESSION SET AUTOCOMMIT = TRUE")
            try:
                cursor.execute(statement, parameters)
            finally:
                self._execute("ALTER SESSION SET AUTOCOMMIT = FALSE")

    def _show(self, statement: str) -> None:
        """Let a SELECT see the rows of its tables: those that wait, and those that DDL has rolled back."""
        tables = [table for (table, _), _ in self._spools] + [step.table for step in self._done if isinstance(step, Load)]
        if any(loading.full_name(table, self.quote) in statement for table in tables):
            self._load()
            self._begin()

    def _execute(self, statement: str, parameters: Any = None, stream: str | None = None) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(statement, parameters, _statement_params=self._parameters(stream))
        return cursor

    def _parameters(self, stream: str | None = None) -> dict[str, Any]:
        return {"QUERY_TAG": query_tag(self.run_id, stream)}

    # --- the transaction on the server

    def _begin(self) -> None:
        """Have it open, with all that was done in it."""
        if self.is_open:
            return
        for step in self._done:
            if isinstance(step, Load):
                self._prepare(step)
        self._execute("BEGIN TRANSACTION")
        self.is_open = True
        self._number = self._current()
        self.began(self._number)
        for step in self._done:
            self._run(step)

    def _current(self) -> str | None:
        found: str | None = self._execute("SELECT CURRENT_TRANSACTION()").fetchone()[0]
        return found

    def _suspend(self) -> None:
        """Have none open, for DDL would commit it."""
        if self.is_open:
            self._execute("ROLLBACK")
            self._ended()

    def _ended(self) -> None:
        self.is_open = False
        self.began(None)

    def _load(self) -> None:
        """Bring the rows that wait into their tables."""
        spools, self._spools = self._spools, []
        loads = []
        for (table, types), spool in spools:
            spool.complete()
            self._loaded.append(spool.folder)
            loads.append(Load(table, types, spool.folder, spool.rows))
        for load in loads:
            self._prepare(load)
        for load in loads:
            self._begin()
            self._run(load)
            self._done.append(load)

    def _prepare(self, load: Load) -> None:
        """Look at the table, and have a staging table where one is needed, from before the transaction."""
        load.now = self.describe(load.table)
        if not load.is_straight:
            self._staging(load.types)

    def _staging(self, types: tuple[str, ...]) -> str:
        """Return the staging table for columns of these types."""
        if types not in self._staged:
            self._suspend()
            # A name of the run: REPLACE is to meet no table but our own.
            name = f"{self.quote(self.schema)}.{self.quote(f'staged rows {len(self._staged)} of run {self.run_id}')}"
            self._execute(loading.create_staging(name, types))
            self._staged[types] = name
        return self._staged[types]

    def _folder(self, load: Load) -> str:
        return f"{self._stage}/{load.folder}/"

    def _run(self, step: Load | Statement) -> None:
        if isinstance(step, Statement):
            self._execute(step.text, step.parameters)
            return
        staging = self._staged.get(step.types, "")
        try:
            for statement in loading.statements(step, self._folder(step), staging, self.quote):
                cursor = self._execute(statement, stream=step.table.source)
                if statement.startswith("COPY"):
                    self._check_copied(cursor, step)
                    if self._changed(step, staging) is not None:
                        raise faults.Changed(step.losses())
        except faults.DRIVER_ERRORS as error:
            if not faults.is_of_data(error):
                raise
            again, self._tries = not self._tries, True
            raise faults.LateRefusal(error, again) from error

    @staticmethod
    def _check_copied(cursor: Any, load: Load) -> None:
        names = [column[0].lower() for column in cursor.description]
        copied = sum(int(row[names.index("rows_loaded")]) for row in cursor.fetchall()) if "rows_loaded" in names else 0
        if copied != load.rows:
            raise DatabaseError(
                f"table {load.table.full_name}: {load.rows:,} rows were sent and COPY loaded {copied:,}; nothing is committed"
            )

    def commit(self) -> None:
        """Load what waits, commit, and remove the files."""
        self._load()
        if not self._done:
            return
        self._begin()
        if self._current() != self._number:  # after hours, or by an administrator
            raise faults.Ended
        self._execute("COMMIT")
        self._ended()
        self._done.clear()
        self._tries = False
        self._remove()

    def _remove(self) -> None:
        """Remove files that are loaded, or never will be; those that stay end with the session."""
        loaded, self._loaded = self._loaded, []
        for folder in loaded:
            try:
                self._execute(f"REMOVE @{self._stage}/{folder}/")
            except faults.DRIVER_ERRORS:
                return

    def roll_back(self) -> None:
        """Forget what was not committed."""
        for _, spool in self._spools:
            spool.drop()
            self._loaded.append(spool.folder)
        self._spools.clear()
        self._written.clear()
        self._marks.clear()
        self._done.clear()
        self._suspend()

    def close(self) -> None:
        """Leave nothing behind on this side; the server forgets stage and staging tables with the session."""
        if self._sender:
            self._sender.close()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)
