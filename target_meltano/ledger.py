"""The tables of our own in a tap's schema: __loads, __state and __rejected.

They are made and followed like any stream's table, and written in the same transactions as the
rows that they tell of.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from . import kinds, naming, notices, times, values
from .dialect import Dialect
from .diff import Column, Table
from .errors import DatabaseError, MessageError, RecordError
from .kept import Lines
from .schema import Leaf

MOST_MARKED = 500  # records in a statement
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
MESSAGE = Leaf(("message",), kinds.JSON, frozenset({"any"}))


def _table(name: str, keys: Sequence[str], **columns: kinds.Kind) -> Table:
    return Table("", name, tuple(Column(column, kind) for column, kind in columns.items()), tuple(keys))


LOADS = _table(
    naming.LOADS,
    ("run_id", "stream"),
    run_id=kinds.STRING,
    stream=kinds.STRING,
    started_at=kinds.TIMESTAMP,
    committed_at=kinds.TIMESTAMP,
    rows_read=kinds.INTEGER,
    rows_written=kinds.INTEGER,
    rows_rejected=kinds.INTEGER,
    rows_inserted=kinds.INTEGER,
    bytes=kinds.INTEGER,
    seconds=kinds.DOUBLE,
    ddl=kinds.STRING,
    state=kinds.STRING,
    last_loaded_at=kinds.TIMESTAMP,
    live_version=kinds.INTEGER,
    schema=kinds.STRING,
    notices=kinds.STRING,  # what was rejected, dropped or changed, and which columns: a list as JSON
)
STATE = _table(
    naming.STATE,
    ("state_id",),
    state_id=kinds.STRING,
    run_id=kinds.STRING,
    state=kinds.STRING,
    updated_at=kinds.TIMESTAMP,
)
REJECTED = _table(
    naming.REJECTED,
    (),
    run_id=kinds.STRING,
    rejected_at=kinds.TIMESTAMP,
    stream=kinds.STRING,
    line=kinds.INTEGER,
    path=kinds.STRING,
    reason=kinds.STRING,
    source=kinds.BINARY,
    message=kinds.JSON,
    record=kinds.INTEGER,  # of the BATCH in that line, from 1; NULL for others
    file=kinds.STRING,  # that it came from, and the place there
    replayed_at=kinds.TIMESTAMP,  # when `rejected replay` last gave it out
)


def placed(table: Table, schema: str, dialect: Dialect[Any]) -> Table:
    """Return one of our tables in *schema*, its names folded as the database does."""
    columns = tuple(Column(dialect.fold(column.name), column.kind) for column in table.columns)
    return Table(schema, dialect.fold(table.name), columns, tuple(map(dialect.fold, table.keys)))


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def new_run_id() -> str:
    """Return a name for a run, in the order of time: 20260131T120000123456-1a2b3c4d."""
    return f"{now():%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Rejected:
    """An invalid record, or a line that is no message: *stream* is None then.

    *at* is when it was received: rows of records that came later have later stamps. *counts*: to
    `max_rejected`. As it is read again it has its *record* in the BATCH of that line, 0 for none, and when it was replayed.
    """

    line: int
    stream: str | None
    path: str
    reason: str
    source: bytes
    at: dt.datetime = field(default_factory=lambda: now())
    run_id: str = ""
    counts: bool = True
    record: int = 0
    replayed_at: dt.datetime | None = None

    @classmethod
    def of(cls, fault: MessageError, line: bytes) -> Rejected:
        """Return what is kept of *line*, whose *fault* was found."""
        if isinstance(fault, RecordError):
            return cls(fault.line, fault.stream, fault.path, fault.reason, line)
        return cls(fault.line, None, "$", fault.fault, line)

    def load(self) -> Load:
        """Return what it adds to its stream: the rows of later runs are stamped after it, whatever their clock says."""
        return Load(rows_read=1, rows_rejected=1, last_loaded_at=self.at, notices={self.what(): 1})

    def what(self) -> notices.What:
        """Return as what it is counted."""
        if not self.counts:
            return notices.REJECTED, f"records are in {naming.REJECTED}, since the SCHEMA of their stream is refused (setting invalid_schemas)"
        return notices.REJECTED, f"{notices.short(self.path)}: an invalid record is in {naming.REJECTED} (command rejected)"

    def message(self) -> str | None:
        """Return the line as JSON, None where a database could not hold it as such."""
        try:
            text = values.convert(MESSAGE, values.parse(self.source), values.Rules(), values.Notes())
        except ValueError:
            return None
        return str(text)


def rejected_batch(
    run_id: str, table: Table, rejected: Sequence[Rejected], lines: Lines, documents: bool = True
) -> pa.RecordBatch:
    """Return rows for `__rejected`; without *documents* the lines are kept as bytes only."""
    rows = []
    for one in rejected:
        line, record = lines.of(one.line)
        message = one.message() if documents else None
        place = lines.place(one.line) or None
        rows.append((run_id, one.at, one.stream, line, one.path, one.reason, one.source, message, record or None, place, None))
    columns = zip(table.columns, zip(*rows, strict=True), strict=True)
    arrays = {column.name: pa.array(cells, kinds.arrow_type(column.kind)) for column, cells in columns}
    return pa.RecordBatch.from_pydict(arrays)


@dataclass(frozen=True)
class Load:
    """What a run has done for a stream so far, for its row in `__loads`.

    Of the rows read some are of one key, of which the last is written. Of those some are inserted,
    None if the database does not tell, the others updated. *bytes* are of the input, *seconds* of
    the database. Rows *left out* were sent, and the database's own count lacks them. *notices* are of
    what happens in the database; those of values on their way there, the report has.
    """

    rows_read: int = 0
    rows_written: int = 0
    rows_rejected: int = 0
    rows_inserted: int | None = 0
    bytes: int = 0
    seconds: float = 0.0
    ddl: tuple[str, ...] = ()
    last_loaded_at: dt.datetime | None = None
    rows_left_out: int = 0
    notices: notices.Counted = field(default_factory=dict)

    def plus(self, other: Load) -> Load:
        """Return both together, *other* the later one."""
        return Load(
            self.rows_read + other.rows_read,
            self.rows_written + other.rows_written,
            self.rows_rejected + other.rows_rejected,
            None if self.rows_inserted is None or other.rows_inserted is None else self.rows_inserted + other.rows_inserted,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
            self.ddl + other.ddl,
            max(filter(None, (self.last_loaded_at, other.last_loaded_at)), default=None),
            self.rows_left_out + other.rows_left_out,
            notices.plus(self.notices, other.notices),
        )


class Ledger:
    """Writes our tables, in whatever transaction is open."""

    def __init__(self, dialect: Dialect[Any], schema: str, run_id: str):
        self.run_id = run_id
        self.started_at = now()
        self.naming = naming.Naming("preserve", dialect.fold, dialect.name_size, dialect.name_length)
        self.loads = placed(LOADS, schema, dialect)
        self.states = placed(STATE, schema, dialect)
        self.rejected = placed(REJECTED, schema, dialect)
        self._loads = dialect.as_sqlalchemy(self.loads)
        self._states = dialect.as_sqlalchemy(self.states)
        self._rejected = dialect.as_sqlalchemy(self.rejected)
        self._schemas: dict[str, str] = {}  # the SCHEMA messages that are to be kept
        self._fold = dialect.fold
        self._is_last = False  # it is known that no other run has started later

    def note(
        self,
        connection: sa.Connection,
        loads: Mapping[str, Load],
        known: Collection[str],
        state: str | None,
        live_versions: Mapping[str, int | None],
        at: dt.datetime,
    ) -> None:
        """Bring the run's rows for streams up to date, to be committed *at* that time; those of *known* are there.

        In two statements, however many streams there are.
        """
        new, old = [], []
        for stream, load in loads.items():
            found = {
                "committed_at": at,
                "rows_read": load.rows_read,
                "rows_written": load.rows_written,
                "rows_rejected": load.rows_rejected,
                "rows_inserted": load.rows_inserted,
                "bytes": load.bytes,
                "seconds": load.seconds,
                "ddl": ";\n".join(load.ddl) or None,
                "state": state,
                "last_loaded_at": load.last_loaded_at,
                "live_version": live_versions.get(stream),
                "schema": self._schemas.get(stream),
                "notices": notices.kept(load.notices),
            }
            if stream in known:
                old.append({"of": stream, **found})
            else:
                new.append({"run_id": self.run_id, "stream": stream, **found})
        if new:
            self._begin_after_others(connection)
            for row in new:
                row["started_at"] = self.started_at
            rows = [{self._fold(name): value for name, value in row.items()} for row in new]
            connection.execute(sa.insert(self._loads), rows)
        if old:
            connection.execute(self._renewal(old[0]), old)

    def _begin_after_others(self, connection: sa.Connection) -> None:
        """Let this run have started after those that are noted: their order is not that of a clock, which may be set back."""
        if not self._is_last:
            others = sa.select(sa.func.max(self._loads.c[self._fold("started_at")]))
            latest = _micros(connection.execute(others).scalar_one())
            self.started_at = max(self.started_at, EPOCH + dt.timedelta(microseconds=latest + 1))
            self._is_last = True

    def _renewal(self, row: Mapping[str, Any]) -> sa.Update:
        """Return the statement that brings a row up to date with values of such names, for the stream `of`."""
        column = self._loads.c
        mine = column[self._fold("run_id")] == self.run_id, column[self._fold("stream")] == sa.bindparam("of")
        changes: dict[str, Any] = {self._fold(name): sa.bindparam(name) for name in row if name != "of"}
        return sa.update(self._loads).where(*mine).values(changes)

    def last_stamp(self, connection: sa.Connection, stream: str) -> int:
        """Return the latest `__loaded_at` that any run gave a record of *stream*, 0 for none.

        In microseconds since 1970.
        """
        column = self._loads.c[self._fold("last_loaded_at")]
        found = sa.select(sa.func.max(column)).where(self._loads.c[self._fold("stream")] == stream)
        return _micros(connection.execute(found).scalar_one())

    def keep_schema(self, connection: sa.Connection, stream: str, message: str) -> None:
        """Let `note` keep the SCHEMA message of *stream*, if it is another one than that of the runs before."""
        if message != (self._schemas.get(stream) or self.schema(connection, stream)):
            self._schemas[stream] = message

    def schema(self, connection: sa.Connection, stream: str) -> str | None:
        """Return the latest SCHEMA message that is kept of *stream*."""
        kept, started, of = (self._loads.c[self._fold(name)] for name in ("schema", "started_at", "stream"))
        found: str | None = connection.execute(
            sa.select(kept).where(of == stream, kept.is_not(None)).order_by(started.desc()).limit(1)
        ).scalar()
        return found

    def rejections(self, connection: sa.Connection, run_id: str | None, stream: str | None, there: Collection[str]) -> Iterator[Rejected]:
        """Yield what is in quarantine, in the order in which it came: of all runs and streams, or of one.

        The table has the columns *there*: it may be older than places of records in a BATCH, and marks of what was replayed.
        """
        table, fold = self._rejected.c, self._fold
        names = ("line", "stream", "path", "reason", "source", "rejected_at")
        more = {
            "record": sa.func.coalesce(table[fold("record")], 0) if fold("record") in there else sa.literal(0),
            "replayed_at": table[fold("replayed_at")] if fold("replayed_at") in there else sa.null(),
        }
        order = [table[fold("line")], *([more["record"]] if fold("record") in there else []), table[fold("rejected_at")]]
        chosen = self._chosen(run_id, stream)
        runs = connection.execute(sa.select(table[fold("run_id")]).where(*chosen).distinct()).scalars().all()
        for run in self._in_order(connection, runs):
            query = sa.select(*[table[fold(name)] for name in names], *more.values()).where(table[fold("run_id")] == run, *chosen)
            for row in connection.execute(query.order_by(*order).execution_options(yield_per=100)):
                line, of, path, reason, source, at, record, replayed = row
                yield Rejected(line, of, path, reason, bytes(source), at, run, record=record, replayed_at=replayed)

    def _chosen(self, run_id: str | None, stream: str | None) -> list[sa.ColumnElement[bool]]:
        wanted = (("run_id", run_id), ("stream", stream))
        return [self._rejected.c[self._fold(name)] == value for name, value in wanted if value is not None]

    def mark_replayed(self, connection: sa.Connection, given: Iterable[Rejected], at: dt.datetime) -> None:
        """Note that records in quarantine were given out, some hundreds in a statement: the table has no index."""
        table, fold = self._rejected.c, self._fold
        numbers: dict[tuple[str, str | None, int], list[int]] = {}  # lines of a run and stream, or records of a line
        for one in given:
            numbers.setdefault((one.run_id, one.stream, one.line if one.record else 0), []).append(one.record or one.line)
        for (run_id, stream, line), found in numbers.items():
            of = [table[fold("run_id")] == run_id, table[fold("stream")].is_(None) if stream is None else table[fold("stream")] == stream]
            of += [table[fold("line")] == line] if line else []
            place = table[fold("record" if line else "line")]
            for start in range(0, len(found), MOST_MARKED):
                chosen = [*of, place.in_(found[start : start + MOST_MARKED])]
                connection.execute(sa.update(self._rejected).where(*chosen).values({fold("replayed_at"): at}))

    def clear_rejected(self, connection: sa.Connection, run_id: str | None, stream: str | None, *, replayed: bool) -> int:
        """Delete what is in quarantine, or only what was *replayed*, and return how many records that was."""
        marked = [self._rejected.c[self._fold("replayed_at")].is_not(None)] if replayed else []
        return connection.execute(sa.delete(self._rejected).where(*self._chosen(run_id, stream), *marked)).rowcount

    def _in_order(self, connection: sa.Connection, runs: Collection[str]) -> list[str]:
        """Return the ids of runs in the order in which they started."""
        run, started = self._loads.c[self._fold("run_id")], self._loads.c[self._fold("started_at")]
        found = connection.execute(sa.select(run, sa.func.min(started)).group_by(run)) if len(runs) > 1 else ()
        begun = {one: _micros(at) for one, at in found}
        return sorted(runs, key=lambda one: (begun.get(one, 0), one))

    def take_over(self, connection: sa.Connection, state_id: str) -> str | None:
        """Make this run the owner of *state_id*, and return the STATE that was kept last."""
        if not self._update(connection, self._states, {"state_id": state_id}, {"run_id": self.run_id}):
            self._insert(connection, self._states, {"state_id": state_id, "run_id": self.run_id, "updated_at": now()})
        return self.state(connection, state_id)

    def state(self, connection: sa.Connection, state_id: str) -> str | None:
        """Return the STATE kept for *state_id*."""
        column = self._states.c[self._fold("state")]
        mine = self._states.c[self._fold("state_id")] == state_id
        found: str | None = connection.execute(sa.select(column).where(mine)).scalar()
        return found

    def owner(self, connection: sa.Connection, state_id: str) -> tuple[str, Any] | None:
        """Return the run that has *state_id*, and when it last committed."""
        columns = [self._states.c[self._fold(name)] for name in ("run_id", "updated_at")]
        mine = self._states.c[self._fold("state_id")] == state_id
        found = connection.execute(sa.select(*columns).where(mine)).first()
        return (found[0], found[1]) if found else None

    def owns(self, connection: sa.Connection, state_id: str) -> bool:
        """Tell whether this run has *state_id*."""
        owner = self.owner(connection, state_id)
        return owner is not None and owner[0] == self.run_id

    def forget(self, connection: sa.Connection, state_id: str) -> None:
        """Delete the STATE of *state_id*; a run that has it cannot commit any more."""
        connection.execute(sa.delete(self._states).where(self._states.c[self._fold("state_id")] == state_id))

    def keep(self, connection: sa.Connection, state_id: str, state: str | None, at: dt.datetime) -> None:
        """Keep *state*, None for the one that is there, if this run is still the owner.

        Raises:
            DatabaseError: another run has taken over.
        """
        keys = {"state_id": state_id, "run_id": self.run_id}
        changes = {"updated_at": at} if state is None else {"updated_at": at, "state": state}
        if not self._update(connection, self._states, keys, changes):
            raise DatabaseError(f"another run has taken over the state_id {state_id!r}; nothing of this one is committed any more")

    def live_version(self, connection: sa.Connection, stream: str) -> int | None:
        """Return the version below which no row of *stream* is current, None where it is not known.

        It spares ACTIVATE_VERSION a look at the whole table.
        """
        loads, fold = self._loads.c, self._fold
        latest = sa.select(loads[fold("live_version")]).where(loads[fold("stream")] == stream)
        found: int | None = connection.execute(latest.order_by(loads[fold("started_at")].desc()).limit(1)).scalar()
        return found

    def has(self, connection: sa.Connection, state_id: str | None, at: dt.datetime) -> bool:
        """Tell whether what this run wrote here to be committed *at* that time is there."""
        table, stamp = (self._states, "updated_at") if state_id else (self._loads, "committed_at")
        mine = [table.c[self._fold("run_id")] == self.run_id, table.c[self._fold(stamp)] == at]
        return connection.execute(sa.select(sa.literal(1)).select_from(table).where(*mine).limit(1)).first() is not None

    def _update(self, connection: sa.Connection, table: sa.Table, keys: dict[str, Any], found: dict[str, Any]) -> bool:
        changes = {self._fold(name): value for name, value in found.items()}
        same = [table.c[self._fold(name)] == value for name, value in keys.items()]
        return bool(connection.execute(sa.update(table).where(*same).values(changes)).rowcount)

    def _insert(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> None:
        connection.execute(sa.insert(table).values({self._fold(name): value for name, value in row.items()}))


def _micros(found: Any) -> int:
    """Return a time that a database has, in microseconds since 1970; 0 for none."""
    if isinstance(found, str):  # of a database without a type for it
        return times.timestamp(found)[0]
    return (found - EPOCH) // dt.timedelta(microseconds=1) if found else 0
