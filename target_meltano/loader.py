"""The database's side of a run: what the second thread does, one thing after the other.

One transaction is open at a time, over all streams. What it has written is kept until COMMIT, so
that it can be written again: after a lost connection or a deadlock all of it, after a fault what
came before the fault. A STATE is emitted by the thread that committed the rows before it, right
after the COMMIT, so none can run ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from . import tables
from .dialect import Dialect
from .diff import Policy, Table
from .errors import RecordError
from .kept import HIDDEN, LINE, SOURCE, Followed, Kept, Written
from .kinds import TIMESTAMP, arrow_type
from .ledger import Ledger, Load, Rejected, now, rejected_batch
from .report import Report
from .session import Session
from .settings import Settings
from .stream import last_by_key
from .worker import Worker

T = TypeVar("T")
STAMP = arrow_type(TIMESTAMP)


class Loader:
    """Writes batches and commits them. Methods return at once unless they return something."""

    def __init__(self, dialect: Dialect[Any], emit: Callable[[str], None], report: Report, ledger: Ledger):
        self.dialect = dialect
        self.settings: Settings = dialect.settings
        self.report = report
        self.ledger = ledger
        self.emitted: str | None = None
        self.loads: dict[str, Load] = {}  # as committed
        self.quarantines = self.settings.invalid_records == "quarantine"
        self._emit = emit
        self._open: dict[str, Load] = {}  # of the open transaction, as are the next three
        self._kept = Kept()
        self._states: list[tuple[int, str]] = []  # with their lines
        self._rejected: list[Rejected] = []
        self._rejections = 0  # that are committed
        self._fault: RecordError | None = None  # why nothing is written or committed any more
        self._is_resting = False  # the transaction was rolled back, to be written again
        self._limit: int | None = None  # only rows of lines before this one are to be written
        self._ours: set[str] = set()  # our tables that are there
        self._worker = Worker()
        try:
            self._session: Session = self._worker.call(Session, dialect, report.warn)
        except BaseException:
            self._worker.stop()
            raise
        if dialect.notice:
            report.info(dialect.notice)

    def close(self) -> None:
        """End the thread and the connection; what is not committed is rolled back."""
        self._worker.stop()
        self._kept.clear()
        self._session.close()

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
        self._worker.submit(self._write, Written(stream, table, batch), size=batch.nbytes)
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

    def needs_changes(self, table: Table, policy: Policy) -> bool:
        """Tell whether the database lacks something that *table* needs.

        Raises:
            SchemaError: it cannot be had.
        """
        found: bool = self._worker.call(self._prepared, partial(self._lacks, table, policy))
        return found

    def start(self) -> str | None:
        """Take over the setting `state_id`, if it is set, and return the STATE that is kept for it.

        Raises:
            DatabaseError: another run is under way.
        """
        state: str | None = self._worker.call(self._prepared, partial(self._start, self.settings.state_id))
        return state

    def follow(self, stream: str, table: Table, policy: Policy) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept there, and the stream's last stamp."""
        found: tuple[Table, int] = self._worker.call(self._prepared, partial(self._follow, stream, table, policy))
        return found

    def plan(self, table: Table, policy: Policy, plan: tables.Plan) -> Table:
        """Show what `follow` would do, and return the table that it would return."""
        return self._worker.call(plan.follow, self.dialect, self._session.connection, table, policy)

    # --- in the thread: writing

    def _start(self, state_id: str | None) -> str | None:
        if not state_id:
            return None
        self._follow_ours(self.ledger.states)
        with tables.our_errors(self.dialect, "state_id"):
            self._session.take_lock(f"{self.ledger.states.schema}/{state_id}")
            state = self.ledger.take_over(self._session.begun(), state_id)
            self._session.connection.commit()
        return state

    def _prepared(self, step: Callable[[], T]) -> T:
        """Do *step*, after what is written already where it has to be done again."""

        def again() -> T:
            self._rewrite()
            return step()

        try:
            return self._session.steadily(again if self._is_resting else step, again)
        except RecordError as fault:  # of a row that is written again
            self._fault = fault
            raise

    def _lacks(self, table: Table, policy: Policy) -> bool:
        return bool(tables.changes(self.dialect, self._session.connection, table, policy))

    def _follow(self, stream: str, table: Table, policy: Policy) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept, and the last stamp of its stream."""
        if self._kept:  # with `state_id` a transaction ends only at a STATE
            self._session.begun()
        self._follow_ours(self.ledger.loads)
        if self.quarantines:
            self._follow_ours(self.ledger.rejected)
        kept = tables.follow(self.dialect, self._session.connection, table, policy, partial(self._done, stream))
        latest = self.ledger.last_loaded_at(self._session.connection, stream)
        if self._kept:
            self._kept.add(Followed(stream, table, policy))
        else:
            self._session.connection.rollback()
        return kept, int(latest.timestamp() * 1_000_000) + 1 if latest else 0

    def _follow_ours(self, table: Table) -> None:
        if table.name not in self._ours:
            tables.follow(self.dialect, self._session.connection, table, Policy(), lambda statement: None)
            self._ours.add(table.name)

    def _done(self, stream: str, statement: str) -> None:
        if not statement.startswith("COMMENT "):
            self._add(stream, Load(ddl=(statement,)))
        self.report.ddl(stream, statement)

    def _add(self, stream: str, load: Load) -> None:
        self._open[stream] = self._open.get(stream, Load()).plus(load)

    def _write(self, written: Written) -> None:
        self._kept.add(written)
        if self._fault:
            return
        try:
            self._session.steadily(self._rewrite if self._is_resting else partial(self._put, written), again=self._rewrite)
        except RecordError as fault:
            self._fault = fault

    def _rest(self) -> None:
        if self._fault or not self._kept:
            return
        self._is_resting = True
        try:
            self._session.connection.rollback()
        except self._session.errors:
            pass  # it is lost; what it had is written again anyway

    def _put(self, written: Written) -> None:
        """Write rows into the open transaction.

        Raises:
            RecordError: the database refuses one of them, and invalid records are not kept.
        """
        refused = {one.line for one in self._rejected if one.stream == written.stream}
        error: Exception | None = None
        while True:
            batch = written.rows(self._limit, refused)
            rows = last_by_key(batch, written.table)
            error = self._try(written.table, rows) if rows.num_rows else None
            if error is None:
                break
            line = self._refused_line(written.table, rows, error)
            self._refuse(written, line, error)
            refused.add(line)
        if rows.num_rows and written.stream not in self._open:
            tables.refuse_changed(self.dialect, self._session.connection, written.table)
        stamps = rows.column(written.table.columns[-1].name) if rows.num_rows else None
        last = stamps[-1].as_py() if stamps and stamps.type == STAMP else None
        self._add(written.stream, Load(batch.num_rows, rows.num_rows, last_loaded_at=last))

    def _try(self, table: Table, rows: pa.RecordBatch) -> Exception | None:
        """Write *rows*, or nothing and return the error, if it is one of their values."""
        savepoint = self._session.begun().begin_nested()
        try:
            self.dialect.write(self._session.connection, table, _visible(rows))
            savepoint.commit()
        except self._session.errors as error:
            if not self.dialect.is_of_data(error):
                raise
            savepoint.rollback()
            return error
        return None

    def _refused_line(self, table: Table, rows: pa.RecordBatch, error: Exception) -> int:
        """Return the line of the first row that the database refuses.

        What the database says is a hint: of a row too big for a page COPY names one that comes later.
        """
        position = self.dialect.refused_row(error)
        if position is None or not self._is_refused(table, rows.slice(position, 1)):
            position, bad = 0, rows.num_rows  # so many are fine, so many are not
            while bad - position > 1:
                middle = (position + bad) // 2
                position, bad = (position, middle) if self._is_refused(table, rows.slice(0, middle)) else (middle, bad)
        line: int = rows.column(LINE)[position].as_py()
        return line

    def _is_refused(self, table: Table, rows: pa.RecordBatch) -> bool:
        if not rows.num_rows:
            return False
        whole = self._session.begun().begin_nested()
        error = self._try(table, rows)
        whole.rollback()
        return error is not None

    def _refuse(self, written: Written, line: int, error: Exception) -> None:
        """Keep a row that the database refuses as rejected, or raise its fault."""
        reason = f"the database refuses it: {self.dialect.words(error)}"
        if not self.quarantines:
            raise RecordError(reason, line=line, stream=written.stream)
        at = pc.index(written.batch.column(LINE), line).as_py()
        self._reject([Rejected(line, written.stream, "$", reason, written.batch.column(SOURCE)[at].as_py())])

    def _rejected_by_us(self, rejected: Sequence[Rejected]) -> None:
        try:
            self._reject(rejected)
        except RecordError as fault:
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
        state = self._states[-1][1] if self._states else None
        if self._kept or self._rejected or (self.settings.state_id and state is not None):
            again = partial(self._finish_again, state)
            try:
                self._session.steadily(again if self._is_resting else partial(self._finish, state), again)
            except RecordError as fault:  # of a row that is written again
                self._fault = fault
                return
            self._forget()
        self._states.clear()
        if state is not None:
            self._emit(state)
            self.emitted = state

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
        connection, at = self._session.begun(), now()
        for one in self._rejected:
            self._add(one.stream or "", Load(rows_read=1, rows_rejected=1))
        if self._rejected:
            self._put_rejected()
        if self.settings.state_id:
            self.ledger.keep(connection, self.settings.state_id, state, at)
        for stream, load in self._open.items():
            self.ledger.note(connection, stream, self.loads.get(stream, Load()).plus(load), state, at)
        self._session.commit(lambda connection: self.ledger.has(connection, self.settings.state_id, at))

    def _finish_again(self, state: str | None) -> None:
        self._rewrite()
        self._finish(state)

    def _put_rejected(self) -> None:
        """Write what was rejected, as jsonb too, where the database can hold it so."""
        table, run = self.ledger.rejected, self.ledger.run_id
        if not self._try(table, rejected_batch(run, table, self._rejected)):
            return
        for one in self._rejected:
            if self._try(table, rejected_batch(run, table, [one])):
                self.dialect.write(self._session.begun(), table, rejected_batch(run, table, [one], documents=False))

    def _salvage(self, before: int | None) -> None:
        self._states = [(line, state) for line, state in self._states if before is None or line < before]
        if self.settings.state_id:
            before = self._states[-1][0] if self._states else 0
        self._fault = None
        self._limit = before
        self._rejected = [one for one in self._rejected if before is None or one.line < before]
        self._session.steadily(self._rewrite, again=self._rewrite)
        self._commit()
        self._check()

    # --- in the thread: doing it again

    def _rewrite(self) -> None:
        """Bring a new transaction to where the last one was, up to the limit."""
        self._session.roll_back()
        self._is_resting = False
        self._open.clear()
        for item in self._kept:
            if isinstance(item, Written):
                self._put(item)
            else:
                self._session.begun()
                done = partial(self._done, item.stream)
                tables.follow(self.dialect, self._session.connection, item.table, item.policy, done)


def _visible(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.select([name for name in rows.schema.names if name not in HIDDEN])
