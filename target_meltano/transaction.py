"""The one open transaction of a run, over all streams, and how it is done again.

What it has written is kept until COMMIT: after a lost connection or a deadlock all of it is written
again, after a fault what came before the fault. A STATE is emitted right after the COMMIT of the
rows before it, so none can run ahead. All of this runs in the second thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pyarrow.compute as pc

from . import ownership, tables, writing
from .dialect import Dialect
from .diff import Found, Policy, Table
from .errors import MessageError, RecordError
from .kept import LINE, SOURCE, Activated, Followed, Kept, Lines, Step, Written
from .keyed import last_by_key
from .ledger import Ledger, Load, Rejected, now, rejected_batch
from .overwrite import Overwrite
from .report import Report
from .session import Session
from .settings import Settings
from .versions import Versions

T = TypeVar("T")
PATIENCE = 1.0  # seconds that the database may need to see that the run before is gone
LEFT_OUT = "rows that the database took and did not store, by its own count: a trigger or a rule leaves them out"


class Transaction:
    """Steps that are done and kept, and what goes with them: STATEs, invalid records, the ledger."""

    def __init__(
        self, dialect: Dialect[Any], emit: Callable[[str], None], report: Report, ledger: Ledger, lines: Lines
    ):
        self.dialect = dialect
        self.settings: Settings = dialect.settings
        self.report = report
        self.ledger = ledger
        self.lines = lines
        self.emit = emit
        self.session = Session(dialect, report.warn)
        self.versions = Versions(dialect, self.session, ledger)
        self.overwrite = Overwrite(dialect, self.session, ledger) if self.settings.load_method == "overwrite" else None
        self.quarantines = self.settings.invalid_records == "quarantine"
        self.fault: MessageError | None = None  # why nothing is written or committed any more
        self.kept = Kept()
        self.states: list[tuple[int, str]] = []  # that wait for the COMMIT, with their lines
        self._loads: dict[str, Load] = {}  # as committed
        self._open: dict[str, Load] = {}  # of the open transaction
        self._rejected: list[Rejected] = []  # of it
        self._rejections = 0  # that are committed
        self._limit: int | None = None  # only rows of lines before this one are to be written
        self._is_resting = False  # it was rolled back, to be written again
        self._ours: set[str] = set()  # our tables that are there
        self._shapes: dict[str, Any] = {}  # by table: what tells that its columns are as they were

    def close(self) -> None:
        """Roll back what is not committed."""
        self.kept.clear()
        self.session.close()

    # --- the catalogue

    def start(self) -> str | None:
        """Take over the setting `state_id`, and return the STATE that is kept for it."""
        state_id = self.settings.state_id
        return self._prepared(partial(self._taken_over, state_id)) if state_id else None

    def _taken_over(self, state_id: str) -> str | None:
        self._follow_ours(self.ledger.states)
        connection = self.session.connection
        with tables.our_errors(self.dialect, "state_id"):
            ownership.wait_for_others(self.dialect, connection, self.ledger, state_id, PATIENCE)
            state = self.ledger.take_over(connection, state_id)
            connection.commit()
            self.dialect.share_lock(connection, ownership.lock_name(self.ledger, state_id))
        return state

    def found(self, table: Table) -> Found | None:
        """Return *table* as the database has it."""
        return self._prepared(lambda: tables.found(self.dialect, self.session.connection, table))

    def lacking(self, table: Table) -> Sequence[str]:
        """Return the statements for the indexes and readers that *table* wants and does not have."""
        return self._prepared(lambda: tables.lacking(self.dialect, self.session.connection, table))

    def follow(self, stream: str, table: Table, policy: Policy, schema: str | None) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept there, and the stream's last stamp."""
        return self._prepared(partial(self._followed, stream, table, policy, schema))

    def _prepared(self, step: Callable[[], T]) -> T:
        """Do *step*, after what is written already where it has to be done again."""

        def again() -> T:
            self._rewrite()
            return step()

        try:
            return self.session.steadily(again if self._is_resting else step, again)
        except RecordError as fault:  # of a row that is written again
            self.fault = fault
            raise

    def _followed(self, stream: str, table: Table, policy: Policy, schema: str | None) -> tuple[Table, int]:
        if self.kept:  # with `state_id` a transaction ends only at a STATE
            self.session.begun()
        self._shapes.clear()
        kept = tables.follow(self.dialect, self.session.connection, table, policy, partial(self._done, stream), self._missing())
        self._follow_ours(self.ledger.loads)
        if self.quarantines:
            self._follow_ours(self.ledger.rejected)
            if schema:
                self.ledger.keep_schema(self.session.connection, stream, schema)
        if self.overwrite:
            self.overwrite.follow(kept)
        for words in self.dialect.doubts(kept):
            self.report.warn(f"stream {stream!r}: {words}")
        stamp = self.ledger.last_stamp(self.session.connection, stream)
        if self.kept:
            self.kept.add(Followed(stream, table, policy))
        else:
            self.session.connection.rollback()
        return kept, stamp

    def _missing(self) -> list[Table]:
        """Return those of our tables that are not known yet to be there."""
        ours = [self.ledger.loads, *([self.ledger.rejected] if self.quarantines else [])]
        return [table for table in ours if table.name not in self._ours]

    def _follow_ours(self, table: Table) -> None:
        if table.name not in self._ours:
            tables.follow(self.dialect, self.session.connection, table, Policy(), lambda statement: None)
            self._ours.add(table.name)

    def _done(self, stream: str, statement: str) -> None:
        if not statement.startswith("COMMENT "):
            self._add(stream, Load(ddl=(statement,)))
        self.report.ddl(stream, statement)

    def _add(self, stream: str, load: Load) -> None:
        self._open[stream] = self._open.get(stream, Load()).plus(load)

    # --- steps

    def step(self, step: Step) -> None:
        """Do *step* and keep it; after a fault only keep it."""
        self.kept.add(replace(step, ready=None) if isinstance(step, Written) else step)
        if not self.fault:
            self._guarded(lambda: self.session.steadily(self._rewrite if self._is_resting else partial(self._do, step), self._rewrite))

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Take invalid records, to be written at COMMIT."""
        self._guarded(lambda: self._reject(rejected))

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Do *action*, and remember the fault of a record in it; tell whether there was none."""
        try:
            action()
        except MessageError as fault:
            self.fault = self.fault or fault
            return False
        return True

    def rest(self) -> None:
        """Hold no transaction open while nothing comes; what it has is written again later."""
        if self.fault or not self.kept:
            return
        self._is_resting = True
        try:
            self.session.connection.rollback()
        except self.session.errors:
            pass  # it is lost; what it had is written again anyway

    def _do(self, step: Step) -> None:
        if isinstance(step, Written):
            self._put(step)
        elif isinstance(step, Activated):
            if self._limit is None or step.line < self._limit:
                self.versions.activate(step)
                self._add(step.stream, Load())
        else:
            self.session.begun()
            done = partial(self._done, step.stream)
            tables.follow(self.dialect, self.session.connection, step.table, step.policy, done)

    def _put(self, written: Written) -> None:
        """Write rows into the open transaction.

        Raises:
            RecordError: the database refuses one of them, and invalid records are not kept.
        """
        started = time.monotonic()
        refused = {one.line for one in self._rejected if one.stream == written.stream}
        into = self.overwrite.beside(written.table) if self.overwrite else written.table
        ready = written.ready if self._limit is None and not refused else None
        while True:
            batch = written.rows(self._limit, refused)
            rows = ready.rows if ready else last_by_key(batch, written.table)
            tried = writing.try_rows(self.dialect, self.session, into, rows, ready.encoded if ready else None)
            if tried.error is None:
                break
            ready = None
            line = writing.refused_line(self.dialect, self.session, into, rows, tried.error)
            self._refuse(written, line, writing.words(self.dialect, tried.error))
            refused.add(line)
        if rows.num_rows and written.stream not in self._open:
            before = self._shapes.get(into.full_name)
            self._shapes[into.full_name] = writing.refuse_changed(self.dialect, self.session, into, before)
        stamp = written.table.stamp
        last = rows.column(stamp)[-1].as_py() if stamp and rows.num_rows else None
        size = written.bytes * batch.num_rows // (written.batch.num_rows or 1)
        seconds = time.monotonic() - started
        left_out = tried.sent - tried.written
        counts = Load(batch.num_rows, tried.written, 0, tried.inserted, size, seconds, last_loaded_at=last, rows_left_out=left_out)
        self._add(written.stream, counts)
        self.versions.note_rows(written.stream, rows)

    def _refuse(self, written: Written, line: int, words: str) -> None:
        """Keep a row that the database refuses as rejected, or raise its fault."""
        reason = f"the database refuses it: {words}"
        if not self.quarantines:
            raise RecordError(reason, line=line, stream=written.stream)
        row = written.batch.slice(pc.index(written.batch.column(LINE), line).as_py(), 1)
        stamp = {"at": row.column(written.table.stamp)[0].as_py()} if written.table.stamp else {}
        self._reject([Rejected(line, written.stream, "$", reason, row.column(SOURCE)[0].as_py(), **stamp)])

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        most = self.settings.max_rejected
        for one in rejected:
            if self._rejections + len(self._rejected) >= most:
                reason = f"{one.reason}; {most:,} invalid records are in quarantine already (setting max_rejected)"
                raise RecordError(reason, line=one.line, stream=one.stream or "", path=one.path)
            self._rejected.append(one)

    # --- its end

    def commit(self) -> None:
        """Commit, then emit; a STATE alone needs no transaction, unless it is kept here."""
        if self.fault:
            return
        state = None if self.overwrite else self._newest()
        if self.kept or self._rejected or self._open or (self.settings.state_id and state is not None):
            again = partial(self._finish_again, state)
            step = again if self._is_resting else partial(self._finish, state)
            if not self._guarded(lambda: self.session.steadily(step, again)):
                return
            self._forget()
        if self.overwrite:
            del self.states[:-1]  # the newest waits for the swap
        else:
            self._emit(state)

    def swap(self) -> None:
        """Let the rows of an overwrite take the place of all others, and emit the newest STATE."""
        if self.fault or not self.overwrite:
            return
        state = self._newest()
        self.session.steadily(partial(self._swap, state), partial(self._swap_again, state))
        self._forget()
        self.session.steadily(self.overwrite.clean, self.session.roll_back)
        self._emit(state)

    def _swap(self, state: str | None) -> None:
        assert self.overwrite
        self.overwrite.swap()
        self._finish(state)

    def _swap_again(self, state: str | None) -> None:
        self.session.roll_back()
        self._swap(state)

    def _newest(self) -> str | None:
        return self.states[-1][1] if self.states else None

    def _emit(self, state: str | None) -> None:
        self.states.clear()
        if state is not None:
            self.emit(state)
            self.report.state = state

    def _forget(self) -> None:
        """Go on after a COMMIT."""
        self.kept.clear()
        self._rejections += len(self._rejected)
        self._rejected.clear()
        for stream, load in self._open.items():
            self._loads[stream] = self._loads.get(stream, Load()).plus(load)
            self.report.committed(stream, self._loads[stream])
            if load.rows_left_out:
                self.report.odd(stream, LEFT_OUT, load.rows_left_out)
        self._open.clear()
        self._limit = None

    def _finish(self, state: str | None) -> None:
        """Write what goes with the rows, and commit all of it."""
        connection, at = self.session.begun(), now()
        for one in self._rejected:
            self._add(one.stream or "", one.load())
        if self._rejected:
            self._put_rejected()
        if self.settings.state_id:
            self.ledger.keep(connection, self.settings.state_id, state, at)
        loads = {stream: self._loads.get(stream, Load()).plus(load) for stream, load in self._open.items()}
        self.ledger.note(connection, loads, self._loads, state, self.versions.live, at)
        self.session.commit(lambda connection: self.ledger.has(connection, self.settings.state_id, at))

    def _finish_again(self, state: str | None) -> None:
        self._rewrite()
        self._finish(state)

    def _put_rejected(self) -> None:
        """Write what was rejected, as jsonb too, where the database can hold it so.

        Raises:
            RecordError: it cannot hold a line at all.
        """
        table, run = self.ledger.rejected, self.ledger.run_id
        put = partial(writing.try_rows, self.dialect, self.session, table)
        if put(rejected_batch(run, table, self._rejected, self.lines)).error:
            for one in self._rejected:
                if put(rejected_batch(run, table, [one], self.lines)).error:
                    error = put(rejected_batch(run, table, [one], self.lines, documents=False)).error
                    if error:
                        reason = f"{one.reason}; it cannot be kept in quarantine: {writing.words(self.dialect, error)}"
                        raise RecordError(reason, line=one.line, stream=one.stream or "", path=one.path) from error

    def salvage(self, before: int | None) -> None:
        """Commit only what came before line *before*; with `state_id` before the newest STATE."""
        self.states = [(line, state) for line, state in self.states if before is None or line < before]
        if self.settings.state_id:
            before = self.states[-1][0] if self.states else 0
        self.fault = None
        self._limit = before
        self._rejected = [one for one in self._rejected if before is None or one.line < before]
        self.session.steadily(self._rewrite, self._rewrite)
        self.commit()
        if self.fault:
            raise self.fault

    def _rewrite(self) -> None:
        """Bring a new transaction to where the last one was, up to the limit."""
        self.session.roll_back()
        self._is_resting = False
        self._open.clear()
        self.versions.live.clear()
        for step in self.kept:
            self._do(step)
