"""The database's side of a run: what the second thread does, one thing after the other.

One transaction is open at a time, over all streams. What it has written is kept until COMMIT, so
that it can be written again: after a lost connection or a deadlock all of it, after a fault what
came before the fault. A STATE is emitted by the thread that committed the rows before it, right
after the COMMIT, so none can run ahead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import backoff
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from . import tables
from .dialect import Dialect
from .diff import Found, Policy, Table
from .errors import DatabaseError, MessageError, RecordError, RowError
from .kept import HIDDEN, LINE, SOURCE, Activated, Followed, Kept, Lines, Step, Written
from .ledger import Ledger, Load, Rejected, now, rejected_batch
from .report import Report
from .settings import Settings
from .stream import last_by_key
from .worker import Worker

RETRY_SECONDS = 60.0  # of doing a transaction again, besides the time that connecting takes


class Loader:
    """Writes batches and commits them. Methods return at once unless they return something."""

    def __init__(
        self, dialect: Dialect[Any], emit: Callable[[str], None], report: Report, ledger: Ledger, lines: Lines
    ):
        self.dialect = dialect
        self.settings: Settings = dialect.settings
        self.report = report
        self.ledger = ledger
        self.lines = lines
        self.loads: dict[str, Load] = {}  # as committed
        self.overwrites = self.settings.load_method == "overwrite"
        self.quarantines = self.settings.invalid_records == "quarantine"
        self._emit = emit
        self._errors: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
        self._open: dict[str, Load] = {}  # of the open transaction, as are the next three
        self._kept = Kept()
        self._states: list[tuple[int, str]] = []  # with their lines
        self._rejected: list[Rejected] = []
        self._rejections = 0  # that are committed
        self._versions: dict[str, int | None] = {}  # as noted, by stream
        self._fault: MessageError | None = None  # why nothing is written or committed any more
        self._is_resting = False  # the transaction was rolled back, to be written again
        self._limit: int | None = None  # only rows of lines before this one are to be written
        self._ours: set[str] = set()  # our tables that are there
        self._swaps: dict[str, Table] = {}  # whose rows are to be replaced, with `overwrite`
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
        self._kept.clear()
        self.dialect.close(self._connection)

    def wait(self) -> None:
        """Return when all is done, or raise what failed."""
        self._worker.call(lambda: None)
        self._check()

    def _check(self) -> None:
        """Raise the fault of a record that the database refused, or that was one too many."""
        if self._fault:
            raise self._fault

    def write(self, stream: str, table: Table, batch: pa.RecordBatch) -> None:
        """Write *batch* into the open transaction.

        Raises:
            RecordError: for a record of this batch or one before. From then on batches are only
                kept, for `salvage`.
        """
        self._worker.submit(self._step, Written(stream, table, batch), size=batch.nbytes)
        self._check()

    def keep(self, stream: str, table: Table, batch: pa.RecordBatch) -> None:
        """Let *batch* be written by `salvage`."""
        self._worker.call(self._kept.add, Written(stream, table, batch))

    def note_state(self, line: int, state: str) -> None:
        """Take note of a STATE: all rows of lines before *line* are written, or will be."""
        self._worker.submit(self._states.append, (line, state), size=len(state))

    def rest(self) -> None:
        """Hold no transaction open while nothing comes; what it has is written again later."""
        self._worker.submit(self._rest)

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Write invalid records into `__rejected`."""
        self._worker.submit(self._rejected_by_us, rejected, size=sum(len(one.source) for one in rejected))
        self._check()

    def commit(self) -> None:
        """Commit the open transaction, if there is one, then emit the newest STATE."""
        self._worker.submit(self._commit)
        self._check()

    def salvage(self, before: int | None) -> None:
        """Undo what is not committed, and commit of it only what came before line *before*.

        With `state_id` only what came before the newest STATE. Returns when it is done.

        Raises:
            RecordError: of an earlier record that the database refuses.
        """
        self._worker.call(self._salvage, before)

    def swap(self) -> None:
        """Let the rows of this run take the place of all others, and emit the newest STATE."""
        self._worker.submit(self._swap)
        self._check()

    def activate(self, stream: str, table: Table, version: int, line: int) -> None:
        """Let rows of older versions not be current any more, in the open transaction."""
        self._worker.submit(self._step, Activated(stream, table, version, line))
        self._check()

    def found(self, table: Table) -> Found | None:
        """Return *table* as the database has it."""
        return self._worker.call(tables.found, self.dialect, self._connection, table)

    def lacking(self, table: Table) -> Sequence[str]:
        """Return the statements for the indexes and readers that *table* wants and does not have."""
        return self._worker.call(tables.lacking, self.dialect, self._connection, table)

    def start(self) -> str | None:
        """Take over the setting `state_id`, if it is set, and return the STATE that is kept for it.

        Raises:
            DatabaseError: another run is under way.
        """
        return self._worker.call(self._start, self.settings.state_id)

    def follow(self, stream: str, table: Table, policy: Policy, schema: str | None) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept there, and the stream's last stamp.

        *schema* is the SCHEMA message, which is kept where invalid records are.
        """
        return self._worker.call(self._follow, stream, table, policy, schema)

    def plan(self, table: Table, policy: Policy, plan: tables.Plan) -> Table:
        """Show what `follow` would do, and return the table that it would return."""
        return self._worker.call(plan.follow, self.dialect, self._connection, table, policy)

    # --- in the thread: writing

    def _start(self, state_id: str | None) -> str | None:
        if not state_id:
            return None
        self._follow_ours(self.ledger.states)
        self._lock(state_id)
        with tables.our_errors(self.dialect, "state_id"):
            state = self.ledger.take_over(self._begun(), state_id)
            self._connection.commit()
        return state

    def _lock(self, state_id: str) -> None:
        if not self.dialect.try_lock(self._connection, f"{self.ledger.states.schema}/{state_id}"):
            raise DatabaseError(f"another run with the state_id {state_id!r} is under way; wait for it, or end it")

    def _follow(self, stream: str, table: Table, policy: Policy, schema: str | None) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept, and the last stamp of its stream."""
        if self._kept:  # with `state_id` a transaction ends only at a STATE
            self._kept.add(Followed(stream, table, policy))
        kept = tables.follow(self.dialect, self._connection, table, policy, partial(self._done, stream))
        self._follow_ours(self.ledger.loads)
        if self.quarantines:
            self._follow_ours(self.ledger.rejected)
            if schema:
                self.ledger.keep_schema(self._connection, stream, schema)
        if self.overwrites:
            self._follow_beside(kept)
        stamp = self.ledger.last_stamp(self._connection, stream)
        if not self._kept:
            self._connection.rollback()
        return kept, stamp

    def _follow_beside(self, table: Table) -> None:
        """Make the table for the new rows of an overwrite; one that a run has left is emptied."""
        beside = self._beside(table)
        if beside.full_name not in self._ours:
            with tables.our_errors(self.dialect, f"table {beside.full_name}"):
                self._begun().exec_driver_sql(f"DROP TABLE IF EXISTS {self.dialect.full_name(beside)}")
                self._connection.commit()
        tables.follow(self.dialect, self._connection, beside, Policy(), lambda statement: None)
        self._ours.add(beside.full_name)
        self._swaps[table.full_name] = table

    def _beside(self, table: Table) -> Table:
        """Return where rows for *table* go until the swap."""
        name = self.ledger.naming.of([f"__new_{table.name}"])
        columns = tuple(replace(column, source="") for column in table.columns)
        return replace(table, name=name, columns=columns, indexes=(), readers=())

    def _swap(self) -> None:
        """DELETE and INSERT: readers see the old rows until COMMIT, which TRUNCATE would not give them."""
        if self._fault:
            return
        self._steadily(self._swap_contents, again=self._swap_again)
        state = self._states[-1][1] if self._states else None
        self._forget()
        self._states.clear()
        with tables.our_errors(self.dialect, "after the swap"):
            for table in self._swaps.values():
                self._begun().exec_driver_sql(f"DROP TABLE {self.dialect.full_name(self._beside(table))}")
            self._connection.commit()
        if state is not None:
            self._emit(state)
            self.report.state = state

    def _swap_contents(self) -> None:
        for table in self._swaps.values():
            names = self.dialect.names([column.name for column in table.columns])
            old, new = self.dialect.full_name(table), self.dialect.full_name(self._beside(table))
            self._begun().exec_driver_sql(f"DELETE FROM {old}")
            self._begun().exec_driver_sql(f"INSERT INTO {old} ({names}) SELECT {names} FROM {new}")
        self._finish(self._states[-1][1] if self._states else None)

    def _swap_again(self) -> None:
        self._reconnect()
        self._swap_contents()

    def _follow_ours(self, table: Table) -> None:
        if table.name not in self._ours:
            tables.follow(self.dialect, self._connection, table, Policy(), lambda statement: None)
            self._ours.add(table.name)

    def _done(self, stream: str, statement: str) -> None:
        if not statement.startswith("COMMENT "):
            self._add(stream, Load(ddl=(statement,)))
        self.report.ddl(stream, statement)

    def _add(self, stream: str, load: Load) -> None:
        self._open[stream] = self._open.get(stream, Load()).plus(load)

    def _step(self, step: Step) -> None:
        """Do *step* in the open transaction, and keep it."""
        self._kept.add(step)
        if self._fault:
            return
        try:
            self._steadily(self._rewrite if self._is_resting else partial(self._do, step), again=self._rewrite)
        except MessageError as fault:
            self._fault = fault

    def _do(self, step: Step) -> None:
        if isinstance(step, Written):
            self._put(step)
        elif isinstance(step, Activated):
            if self._limit is None or step.line < self._limit:
                self._end_versions(step)
        else:
            done = partial(self._done, step.stream)
            tables.follow(self.dialect, self._begun(), step.table, step.policy, done)

    def _rest(self) -> None:
        if not self._fault and self._kept:
            self._connection.rollback()
            self._is_resting = True

    def _put(self, written: Written) -> None:
        """Write rows into the open transaction.

        Raises:
            RecordError: the database refuses one of them, and invalid records are not kept.
        """
        refused = {one.line for one in self._rejected if one.stream == written.stream}
        error: Exception | None = None
        into = self._beside(written.table) if self.overwrites else written.table
        while True:
            batch = written.rows(self._limit, refused)
            rows = last_by_key(batch, written.table)
            error = self._try(into, rows) if rows.num_rows else None
            if error is None:
                break
            line = self._refused_line(into, rows, error)
            self._refuse(written, line, error)
            refused.add(line)
        stamp = written.table.stamp
        last = rows.column(stamp)[-1].as_py() if stamp and rows.num_rows else None
        self._add(written.stream, Load(batch.num_rows, rows.num_rows, last_loaded_at=last))
        self._note_older(written, rows)

    def _note_older(self, written: Written, rows: pa.RecordBatch) -> None:
        """Let the next ACTIVATE_VERSION look at the table, where rows of an older version came."""
        name = self.dialect.fold("__version")
        if name not in rows.schema.names:
            return
        oldest, live = pc.min(rows.column(name)).as_py(), self._live_version(written.stream)
        if oldest is not None and live is not None and oldest < live:
            self._versions[written.stream] = None

    def _live_version(self, stream: str) -> int | None:
        if stream not in self._versions:
            self._versions[stream] = self.ledger.live_version(self._begun(), stream)
        return self._versions[stream]

    def _end_versions(self, step: Activated) -> None:
        """Stamp or delete the rows of older versions, unless it is known that none is current."""
        if self._live_version(step.stream) == step.version:
            return
        table = self.dialect.as_sqlalchemy(step.table)
        older = table.c[self.dialect.fold("__version")] < step.version
        deleted = table.c[self.dialect.fold("__deleted_at")]
        hard = self.settings.activate_version == "hard"
        older = older if hard else older & deleted.is_(None)
        self._guard_deletes(table, older, step)
        change = sa.delete(table) if hard else sa.update(table).values({deleted: now()})
        self._begun().execute(change.where(older))
        self._versions[step.stream] = step.version
        self._add(step.stream, Load())

    def _guard_deletes(self, table: sa.Table, older: Any, step: Activated) -> None:
        most = self.settings.max_deletes_percent
        if most is None:
            return
        every, ended = (
            self._begun().execute(sa.select(sa.func.count()).select_from(table).where(*which)).scalar_one()
            for which in ((), (older,))
        )
        if ended * 100 > most * every:
            raise MessageError(
                f"stream {step.stream!r}: version {step.version} would end {ended:,} of {every:,} rows, "
                f"more than {most:g} % (setting max_deletes_percent)",
                line=step.line,
            )

    def _try(self, table: Table, rows: pa.RecordBatch) -> Exception | None:
        """Write *rows*, or nothing and return the error, if it is one of their values."""
        savepoint = self._begun().begin_nested()
        try:
            self.dialect.write(self._connection, table, _visible(rows))
            savepoint.commit()
        except Exception as error:
            is_of_data = isinstance(error, self._errors) and self.dialect.is_of_data(error)
            if not is_of_data and not isinstance(error, RowError):
                raise
            savepoint.rollback()
            return error
        return None

    def _begun(self) -> sa.Connection:
        if not self._connection.in_transaction():
            self._connection.begin()
        return self._connection

    def _refused_line(self, table: Table, rows: pa.RecordBatch, error: Exception) -> int:
        """Return the line of the first row that the database refuses, by halving where it says nothing."""
        position = error.row if isinstance(error, RowError) else self.dialect.refused_row(error)
        if position is None:
            position, bad = 0, rows.num_rows  # so many are fine, so many are not
            while bad - position > 1:
                middle = (position + bad) // 2
                whole = self._begun().begin_nested()
                failed = self._try(table, rows.slice(position, middle - position))
                whole.rollback()
                position, bad = (position, middle) if failed else (middle, bad)
        line: int = rows.column(LINE)[position].as_py()
        return line

    def _refuse(self, written: Written, line: int, error: Exception) -> None:
        """Keep a row that the database refuses as rejected, or raise its fault."""
        words = str(error) if isinstance(error, RowError) else self.dialect.words(error)
        reason = f"the database refuses it: {words}"
        if not self.quarantines:
            raise RecordError(reason, line=line, stream=written.stream)
        row = written.batch.slice(pc.index(written.batch.column(LINE), line).as_py(), 1)
        stamp = {"at": row.column(written.table.stamp)[0].as_py()} if written.table.stamp else {}
        self._reject([Rejected(line, written.stream, "$", reason, row.column(SOURCE)[0].as_py(), **stamp)])

    def _rejected_by_us(self, rejected: Sequence[Rejected]) -> None:
        try:
            self._reject(rejected)
        except MessageError as fault:
            self._fault = self._fault or fault

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        for one in rejected:
            if self._rejections + len(self._rejected) >= self.settings.max_rejected:
                full = f"{self.settings.max_rejected:,} invalid records are in quarantine already (setting max_rejected)"
                raise RecordError(f"{one.reason}; {full}", line=one.line, stream=one.stream or "", path=one.path)
            self._rejected.append(one)

    # --- in the thread: committing

    def _commit(self) -> None:
        """Commit, then emit; a STATE alone needs no transaction, unless it is kept here."""
        if self._fault:
            return
        state = self._states[-1][1] if self._states and not self.overwrites else None
        if self._kept or self._rejected or (self.settings.state_id and state is not None):
            again = partial(self._finish_again, state)
            self._steadily(again if self._is_resting else partial(self._finish, state), again)
            self._forget()
        if self.overwrites:
            del self._states[:-1]  # the newest waits for the swap
            return
        self._states.clear()
        if state is not None:
            self._emit(state)
            self.report.state = state

    def _forget(self) -> None:
        """Go on after a COMMIT."""
        self._kept.clear()
        self._rejections += len(self._rejected)
        self._rejected.clear()
        for stream, load in self._open.items():
            self.loads[stream] = self.loads.get(stream, Load()).plus(load)
            self.report.committed(stream, self.loads[stream])
        self._open.clear()
        self._limit = None

    def _finish(self, state: str | None) -> None:
        """Write what goes with the rows, and commit all of it."""
        connection = self._begun()
        for one in self._rejected:
            self._add(one.stream or "", Load(rows_read=1, rows_rejected=1))
        if self._rejected:
            self._put_rejected()
        if self.settings.state_id:
            self.ledger.keep(connection, self.settings.state_id, state)
        for stream, load in self._open.items():
            load = self.loads.get(stream, Load()).plus(load)
            self.ledger.note(connection, stream, load, state, self._versions.get(stream))
        transaction = self.dialect.transaction_id(connection)
        try:
            connection.commit()
        except self._errors as error:
            if not self.dialect.is_transient(error):
                raise
            self._reconnect()
            if not self.dialect.was_committed(self._connection, transaction):
                raise  # to be done again as a whole

    def _finish_again(self, state: str | None) -> None:
        self._rewrite()
        self._finish(state)

    def _put_rejected(self) -> None:
        """Write what was rejected, as jsonb too, where the database can hold it so."""
        table, run = self.ledger.rejected, self.ledger.run_id
        if not self._try(table, rejected_batch(run, table, self._rejected, self.lines)):
            return
        for one in self._rejected:
            if self._try(table, rejected_batch(run, table, [one], self.lines)):
                self.dialect.write(self._begun(), table, rejected_batch(run, table, [one], self.lines, documents=False))

    def _salvage(self, before: int | None) -> None:
        self._states = [(line, state) for line, state in self._states if before is None or line < before]
        if self.settings.state_id:
            before = self._states[-1][0] if self._states else 0
        self._fault = None
        self._limit = before
        self._rejected = [one for one in self._rejected if before is None or one.line < before]
        self._steadily(self._rewrite, again=self._rewrite)
        self._commit()

    # --- in the thread: doing it again

    def _steadily(self, step: Callable[[], None], again: Callable[[], None]) -> None:
        """Do *step*; where the connection is lost or another session was in the way, do *again*.

        Raises:
            DatabaseError: the database refuses, or did not come back in time.
        """
        until = time.monotonic() + RETRY_SECONDS
        pauses = backoff.expo(factor=0.1, max_value=10)
        next(pauses)  # is None, to start the generator
        while True:
            try:
                return step()
            except self._errors as error:
                if not self.dialect.is_transient(error) or time.monotonic() > until:
                    raise self.dialect.error(error, "the transaction was rolled back") from error
                self.report.warn(f"the transaction is done again: {self.dialect.words(error)}")
            time.sleep(next(pauses))
            step = again

    def _rewrite(self) -> None:
        """Bring a new transaction to where the last one was, up to the limit."""
        self._reconnect()
        self._is_resting = False
        self._open.clear()
        self._versions.clear()
        for step in self._kept:
            self._do(step)

    def _reconnect(self) -> None:
        self.dialect.close(self._connection)
        self._connection = self.dialect.connect()
        if self.settings.state_id:
            self._lock(self.settings.state_id)


def _visible(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.select([name for name in rows.schema.names if name not in HIDDEN])
