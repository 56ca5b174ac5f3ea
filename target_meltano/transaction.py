"""The one open transaction of a run, over all streams, and how it is done again.

What it has written is kept until COMMIT: after a lost connection or a deadlock all of it is written
again, after a fault what came before the fault. Where the database refuses rows, what was written
is applied again in the order of its arrival (`replay.py`). A STATE is emitted right after the
COMMIT of the rows before it, so none can run ahead. All of this runs in the second thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from . import deletes, ownership, tables
from .dialect import Dialect
from .diff import Found, Policy, Table
from .errors import InDoubt, MessageError, RecordError
from .kept import Followed, Kept, Lines, Step, Written
from .ledger import Ledger, Load, Rejected, now
from .quarantine import Quarantine
from .report import Report
from .session import Session
from .settings import Settings
from .steps import LEFT_OUT, Steps

T = TypeVar("T")
PATIENCE = 1.0  # seconds that the database may need to see that the run before is gone


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
        self.quarantine = Quarantine(dialect, self.session, ledger, lines)
        self.fault: MessageError | None = None  # why nothing is written or committed any more
        self.kept = Kept()
        self.steps = Steps(dialect, self.session, ledger, report, self.kept, self.quarantine)
        self.overwrite = self.steps.overwrite
        self.in_order = False  # steps are only kept, and applied in the order of their arrival when all are here
        self.states: list[tuple[int, str]] = []  # that wait for the COMMIT, with their lines
        self._loads: dict[str, Load] = {}  # as committed
        self._is_resting = False  # it was rolled back, to be written again
        self._ours: set[str] = set()  # our tables that are there
        self._followed_last: dict[str, Table] = {}  # by table, as it is wanted now

    def close(self) -> None:
        """Roll back what is not committed."""
        self.kept.clear()
        if self.overwrite:
            self.overwrite.abandon()
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
            ownership.wait_for_others(self.dialect, connection, self.ledger, state_id, PATIENCE, "another run")
            state = self.ledger.take_over(connection, state_id)
            connection.commit()
            self.dialect.confirm_commit(connection, lambda known: self.ledger.owns(known, state_id))
            self.dialect.share_lock(connection, ownership.lock_name(self.ledger, state_id))
        return state

    def found(self, table: Table) -> Found | None:
        """Return *table* as the database has it."""
        return self._prepared(lambda: tables.found(self.dialect, self.session.connection, table))

    def lacking(self, table: Table) -> Sequence[str]:
        """Return the statements for the indexes and readers that *table* wants and does not have."""
        return self._prepared(lambda: tables.lacking(self.dialect, self.session.connection, table))

    def follow(self, stream: str, table: Table, policy: Policy, schema: str | None, line: int) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept there, and the stream's last stamp."""
        return self._prepared(partial(self._followed, stream, table, policy, schema, line))

    def _prepared(self, step: Callable[[], T]) -> T:
        """Do *step*, after what is written already where it has to be done again.

        Raises:
            InDoubt: that cannot be done before all that came is here, and `sort_out` was called.
        """

        def again() -> T:
            self._rewrite()
            return first()

        def first() -> T:
            if self.in_order and self.steps.applied < len(self.kept):
                raise InDoubt
            return step()

        try:
            return self.session.steadily(again if self._is_resting else first, again)
        except InDoubt:
            self._doubt()
            raise
        except RecordError as fault:  # of a row that is written again
            self.fault = fault
            raise

    def _followed(self, stream: str, table: Table, policy: Policy, schema: str | None, line: int) -> tuple[Table, int]:
        if self.kept:  # with `state_id` a transaction ends only at a STATE
            self.session.begun()
        self.steps.forget_shapes()
        kept = tables.follow(self.dialect, self.session.connection, table, policy, partial(self.steps.done, stream), self._missing(), partial(self.steps.changed, stream))
        self._follow_ours(self.ledger.loads)
        if self.quarantine.is_on:
            self._follow_ours(self.ledger.rejected)
            if schema:
                self.ledger.keep_schema(self.session.connection, stream, schema)
        if self.overwrite:
            self.overwrite.follow(kept, was_open=bool(self.kept))
        else:
            deletes.check_stream(self.dialect, self.session.connection, kept)
        for words in self.dialect.doubts(kept):
            self.report.warn(f"stream {stream!r}: {words}")
        stamp = self.ledger.last_stamp(self.session.connection, stream)
        self._followed_last[kept.full_name] = kept
        if self.kept and not self.dialect.ddl_commits:
            self.kept.add(Followed(stream, table, policy, line))
            self.steps.applied += self.in_order
        if not self.kept:
            self.session.connection.rollback()
        return kept, stamp

    def put_aside(self, stream: str, schema: str) -> None:
        """Have what keeps the records of a stream whose SCHEMA is refused, and keep that, too."""
        self._prepared(partial(self._put_aside, stream, schema))

    def _put_aside(self, stream: str = "", schema: str = "") -> None:
        self._follow_ours(self.ledger.loads)
        self._follow_ours(self.ledger.rejected)
        if schema:
            self.ledger.keep_schema(self.session.connection, stream, schema)
        if not self.kept:
            self.session.connection.rollback()

    def _missing(self) -> list[Table]:
        """Return those of our tables that are not known yet to be there."""
        ours = [self.ledger.loads, *([self.ledger.rejected] if self.quarantine.is_on else [])]
        return [table for table in ours if table.name not in self._ours]

    def _follow_ours(self, table: Table) -> None:
        if table.name not in self._ours:
            tables.follow(self.dialect, self.session.connection, table, Policy(), lambda statement: None)
            self._ours.add(table.name)

    # --- steps

    def step(self, step: Step) -> None:
        """Do *step* and keep it; after a fault, or while it is in doubt which rows are refused, only keep it."""
        self.kept.add(replace(step, ready=None) if isinstance(step, Written) else step)
        if not self.fault and not self.in_order:
            self._guarded(lambda: self.session.steadily(self._rewrite if self._is_resting else partial(self.steps.do, step), self._rewrite))

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Take invalid records, to be written at COMMIT; they may come before any SCHEMA."""
        if self.quarantine.is_on and self.ledger.rejected.name not in self._ours:
            self._prepared(self._put_aside)
        self._guarded(lambda: self.quarantine.add(rejected))

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Do *action*, and remember the fault of a record in it; tell whether there was none."""
        try:
            action()
        except InDoubt:
            self._doubt()
            return False
        except MessageError as fault:
            self.fault = self.fault or fault
            return False
        return True

    def rest(self) -> None:
        """Hold no transaction open while nothing comes; what it has is written again later."""
        if not self.fault and self.kept:
            self._undo()

    def _undo(self) -> None:
        """Undo what is not committed; it is written again before anything else is done."""
        self._is_resting = True
        self.steps.applied = 0
        try:
            self.session.connection.rollback()
        except self.session.errors:
            pass  # it is lost; what it had is written again anyway

    def _doubt(self) -> None:
        """Let all that came since the last COMMIT be applied in the order of its arrival, once it is here."""
        self.in_order = True
        self._undo()

    def sort_out(self) -> None:
        """Apply in order of arrival what is only kept so far; all that came before it is here."""
        if self.in_order and not self.fault:
            self._guarded(lambda: self.session.steadily(self._again if self._is_resting else self.steps.apply, self._again))

    def _again(self) -> None:
        self._rewrite()
        self.steps.apply()

    # --- its end

    def commit(self) -> None:
        """Commit, then emit; a STATE alone needs no transaction, unless it is kept here."""
        if self.fault:
            return
        state = None if self.overwrite else self._newest()
        if self.kept or self.quarantine or self.steps.loads or (self.settings.state_id and state is not None):
            again = partial(self._finish, state, again=True)
            step = again if self._is_resting else partial(self._finish, state)
            if not self._guarded(lambda: self.session.steadily(step, again)):
                return
            self._forget()
        if self.overwrite:
            del self.states[:-1]  # the newest waits for the swap
        else:
            self._emit(state)
            self._settle(state)

    def swap(self) -> None:
        """Let the rows of an overwrite take the place of all others, and emit the newest STATE."""
        if self.fault or not self.overwrite:
            return
        state = self._newest()
        self.session.steadily(partial(self._swap, state), partial(self._swap_again, state))
        self._forget()
        self.session.steadily(self.overwrite.clean, self.session.roll_back)
        self._emit(state)
        self._settle(state)

    def _settle(self, state: str | None) -> None:
        if state is not None:
            for table in self._followed_last.values():
                self.dialect.settle(self.session.connection, table)

    def _swap(self, state: str | None) -> None:
        assert self.overwrite
        left_out = self.overwrite.swap()
        self.steps.loads = {stream: Load(notices={LEFT_OUT: rows} if rows else {}) for stream, rows in left_out.items()}
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
        if self.overwrite:
            self.overwrite.committed()
        self.report.rejected(self.quarantine.rejected, lambda number: self.lines.of(number)[0])
        self.quarantine.clear()
        self.in_order = False
        for stream, load in self.steps.loads.items():
            self._loads[stream] = self._loads.get(stream, Load()).plus(load)
            self.report.committed(stream, self._loads[stream])
        self.steps.end()

    def _finish(self, state: str | None, again: bool = False) -> None:
        """Write what goes with the rows, and commit all of it; *again*, where nothing of it is there any more."""
        self._complete(again)
        connection, at = self.session.begun(), now()
        if self.quarantine:
            for stream, load in self.quarantine.loads().items():
                self.steps.add(stream, load)
            self.quarantine.write()
            self.steps.check_shapes([self.ledger.rejected])
        if self.settings.state_id:
            self.ledger.keep(connection, self.settings.state_id, state, at)
        loads = {stream: self._loads.get(stream, Load()).plus(load) for stream, load in self.steps.loads.items()}
        loads = {stream: replace(load, notices=self.report.noticed(stream, load)) for stream, load in loads.items()}
        self.ledger.note(connection, loads, self._loads, state, self.steps.versions.live, at)
        noted = bool(loads or self.settings.state_id)
        self.session.commit(lambda connection: self.ledger.has(connection, self.settings.state_id, at), confirmed=noted)

    def _complete(self, again: bool) -> None:
        """Have all rows in their tables, but for those that are refused; and no constraint that waits for COMMIT."""
        try:
            if again:
                self._rewrite()
            if self.in_order:
                self.steps.apply()
            self.steps.check()
        except InDoubt:
            self.in_order = True
            self._again()
            self.steps.check()

    def salvage(self, before: int | None) -> None:
        """Commit only what came before line *before*; with `state_id` before the newest STATE."""
        self.states = [(line, state) for line, state in self.states if before is None or line < before]
        if self.settings.state_id:
            before = self.states[-1][0] if self.states else 0
        self.fault = None
        self.steps.limit = before
        self.quarantine.cut(before)
        self._undo()
        self.commit()
        if self.fault:
            raise self.fault

    def _rewrite(self) -> None:
        """Bring a new transaction to where the last one was, up to the limit."""
        self.session.roll_back()
        self._is_resting = False
        self.steps.begin()
        for step in () if self.in_order else self.kept:
            self.steps.do(step)
