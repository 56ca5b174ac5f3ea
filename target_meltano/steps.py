"""The steps that are done in the open transaction, one after the other or in the order of their arrival."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from . import notices, tables, writing
from .arrival import Arrivals, Block, Part
from .aside import Aside
from .dialect import Dialect
from .diff import AddColumn, Change, ChangeType, Table
from .errors import InDoubt
from .kept import Activated, Kept, Ready, Step, Written
from .keyed import last_by_key
from .ledger import Ledger, Load
from .overwrite import Overwrite
from .quarantine import Quarantine
from .replay import Refusal, replay
from .report import Report
from .session import Session
from .versions import Versions

LEFT_OUT = notices.DROPPED, "rows that the database took and did not store, by its own count: a trigger or a rule leaves them out"


class Steps:
    """What is done in the open transaction: rows in their tables, DDL, activations; and what that adds up to.

    *kept* has the steps. *limit*: only rows of lines before it are to be written, None for all.
    """

    def __init__(self, dialect: Dialect[Any], session: Session, ledger: Ledger, report: Report, kept: Kept, quarantine: Quarantine):
        self.dialect = dialect
        self.session = session
        self.report = report
        self.kept = kept
        self.quarantine = quarantine
        self.versions = Versions(dialect, session, ledger)
        self.overwrite = Overwrite(dialect, session, ledger, report.warn) if dialect.settings.load_method == "overwrite" else None
        self.limit: int | None = None
        self.loads: dict[str, Load] = {}
        self._beforehand: dict[str, Load] = {}  # of DDL that was committed by itself
        self.applied = 0  # so many steps of those that are kept, where they are applied in order
        self._aside: Aside | None = None  # rows that a deferred constraint refuses until others are there
        self._touched: dict[str, Table] = {}  # tables with rows of this transaction
        self._shapes: Mapping[str, tuple[Any, Any]] = {}  # by table: what tells that its columns are as they were

    def begin(self) -> None:
        """Begin anew, in a new transaction."""
        self.applied = 0
        self.loads = dict(self._beforehand)
        self._touched.clear()
        self.versions.live.clear()

    def end(self) -> None:
        """Go on after a COMMIT."""
        self.loads.clear()
        self._beforehand.clear()
        self._touched.clear()
        self.applied, self.limit, self._aside = 0, None, None

    def forget_shapes(self) -> None:
        """Look at tables anew: one of them is about to change."""
        self._shapes = {}

    def done(self, stream: str, statement: str) -> None:
        """Take note of DDL that is done."""
        if not statement.startswith("COMMENT "):
            self._add_beforehand(stream, Load(ddl=(statement,)))
        self.report.ddl(stream, statement)

    def changed(self, stream: str, change: Change) -> None:
        """Take note of a column that the table of *stream* did not have, or had as another type."""
        if isinstance(change, AddColumn):
            what = notices.ADDED, f"column {change.column.name!r} is new: {self.dialect.type_name(change.column.kind).lower()}"
        elif isinstance(change, ChangeType):
            what = notices.WIDENED, f"column {change.column.name!r} was {change.found.type.lower()} and is {self._type(change)}"
        else:
            return
        self._add_beforehand(stream, Load(notices={what: 1}))

    def _type(self, change: ChangeType) -> str:
        wide = change.found.wide if change.found.holds(change.column.kind) else ""
        return (wide or self.dialect.type_name(change.column.kind)).lower()

    def _add_beforehand(self, stream: str, load: Load) -> None:
        self.add(stream, load)
        if not self.kept or self.dialect.ddl_commits:
            self._beforehand[stream] = self._beforehand.get(stream, Load()).plus(load)

    def add(self, stream: str, load: Load) -> None:
        """Count what is done for a stream."""
        self.loads[stream] = self.loads.get(stream, Load()).plus(load)

    def do(self, step: Step) -> None:
        """Do one step.

        Raises:
            InDoubt: the database refuses some of its rows.
        """
        if isinstance(step, Written):
            self._put(step)
        elif isinstance(step, Activated):
            if self.limit is None or step.line < self.limit:
                self.versions.activate(replace(step, table=self._place(step.table)))
                self.add(step.stream, Load())
        else:
            self.session.begun()
            self.forget_shapes()  # the table that the last transaction made went with it
            done = partial(self.done, step.stream)
            changed = partial(self.changed, step.stream)
            kept = tables.follow(self.dialect, self.session.connection, step.table, step.policy, done, changed=changed)
            if self.overwrite:
                self.overwrite.follow(kept, was_open=True)

    def _put(self, written: Written) -> None:
        """Write rows into the open transaction.

        Raises:
            InDoubt: the database refuses some of them.
        """
        batch = self._rows(written)
        ready = written.ready if batch is written.batch else None
        refusal = self._write([Part(written, batch)], ready)
        if refusal:
            self._check_cause(written, refusal)
            raise InDoubt

    def _rows(self, written: Written) -> pa.RecordBatch:
        """Return the rows of a step that are to be in the table."""
        return written.rows(self.limit, self.quarantine.lines_of(written.stream))

    def _write(self, parts: Sequence[Part], ready: Ready | None = None, *, together: bool = False) -> Refusal | None:
        """Write the rows of all *parts* and count them; or nothing, if some are refused.

        *together*: what constraints allow to wait for, waits until all are written.
        """
        started = time.monotonic()
        rows = [ready.rows if ready else last_by_key(part.rows, part.written.table) for part in parts]
        into = [self._place(part.written.table) for part in parts]
        encoded = ready.encoded if ready else None
        all_rows = [(at, its, encoded) for at, its in zip(into, rows, strict=True)]
        tried = writing.try_parts(self.dialect, self.session, all_rows, together=together)
        self._touched.update((at.full_name, at) for at in into)
        if isinstance(tried, Refusal):
            return tried
        seconds = (time.monotonic() - started) / len(parts)
        for part, its, done in zip(parts, rows, tried, strict=True):
            self._count(part, its, done, seconds)
            if self._aside:
                self._aside.note(part)
        return None

    def _place(self, table: Table) -> Table:
        return self.overwrite.beside(table) if self.overwrite else table

    def _count(self, part: Part, rows: pa.RecordBatch, tried: writing.Tried, seconds: float) -> None:
        written, stamp = part.written, part.written.table.stamp
        last = rows.column(stamp)[-1].as_py() if stamp and rows.num_rows else None
        size = written.bytes * part.rows.num_rows // (written.batch.num_rows or 1)
        left_out = tried.sent - tried.written
        told = {LEFT_OUT: left_out} if left_out else {}
        counts = Load(part.rows.num_rows, tried.written, 0, tried.inserted, size, seconds, (), last, left_out, told)
        self.add(written.stream, counts)
        self.versions.note_rows(written.stream, rows)

    def apply(self) -> None:
        """Apply the steps that are only kept so far in the order of their arrival."""
        aside = self._aside
        if aside:
            aside.clear()
            self.dialect.check_constraints(self.session.begun())
        arrivals = Arrivals(self.kept, self.applied, self._rows)
        replay(arrivals, self._write_block, aside.add if aside else self._refuse, self.do)
        if aside:
            aside.settle(self._write_block, self._refuse)
        self.applied = len(self.kept)

    def _write_block(self, block: Block, together: bool = False) -> Refusal | None:
        return self._write(block.parts, together=together)

    def _refuse(self, part: Part, refusal: Refusal) -> None:
        """Take note of a part of one row, which is refused."""
        self._check_cause(part.written, refusal)
        self.quarantine.refuse(part, refusal, self._place(part.written.table))

    def _check_cause(self, written: Written, refusal: Refusal) -> None:
        """Check that it is rows that are refused, and not that others have changed the table, or that we may not write."""
        into = self._place(written.table)
        self.check_shapes([into])
        writing.refuse_others(self.dialect, self.session, into, refusal.error)

    def check_shapes(self, touched: Sequence[Table]) -> None:
        """Check that tables are what the rows were made for that the open transaction has written into them."""
        with tables.our_errors(self.dialect, "the tables that were loaded"):
            self._shapes = writing.refuse_changed(self.dialect, self.session, touched, self._shapes)

    def check(self) -> None:
        """Check what would show at COMMIT only, and that the tables are what the rows were made for.

        Raises:
            InDoubt: a constraint that was deferred is violated.
        """
        self.check_shapes(list(self._touched.values()))
        try:
            self.dialect.check_constraints(self.session.begun())
        except self.session.errors as error:
            if self._aside or not self.kept or not self.dialect.is_of_data(error):
                raise
            self._aside = Aside()
            raise InDoubt from error
