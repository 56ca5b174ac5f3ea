"""The tables of our own in a tap's schema: __loads, __state and __rejected.

They are made and followed like any stream's table, and written in the same transactions as the
rows that they tell of.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from . import kinds, values
from .dialect import Dialect
from .diff import Column, Table
from .errors import DatabaseError, MessageError, RecordError
from .schema import Leaf

POSITION = Leaf(("message",), kinds.JSON, frozenset({"any"}))


def _table(name: str, keys: Sequence[str], **columns: kinds.Kind) -> Table:
    return Table("", name, tuple(Column(column, kind) for column, kind in columns.items()), tuple(keys))


LOADS = _table(
    "__loads",
    ("run_id", "stream"),
    run_id=kinds.STRING,
    stream=kinds.STRING,
    started_at=kinds.TIMESTAMP,
    committed_at=kinds.TIMESTAMP,
    rows_read=kinds.INTEGER,
    rows_written=kinds.INTEGER,
    rows_rejected=kinds.INTEGER,
    ddl=kinds.STRING,
    state=kinds.STRING,
    last_loaded_at=kinds.TIMESTAMP,
)
STATE = _table(
    "__state",
    ("state_id",),
    state_id=kinds.STRING,
    run_id=kinds.STRING,
    state=kinds.STRING,
    updated_at=kinds.TIMESTAMP,
)
REJECTED = _table(
    "__rejected",
    (),
    run_id=kinds.STRING,
    rejected_at=kinds.TIMESTAMP,
    stream=kinds.STRING,
    line=kinds.INTEGER,
    path=kinds.STRING,
    reason=kinds.STRING,
    source=kinds.BINARY,
    message=kinds.JSON,
)


def placed(table: Table, schema: str, dialect: Dialect[Any]) -> Table:
    """Return one of our tables in *schema*, its names folded as the database does."""
    columns = tuple(Column(dialect.fold(column.name), column.kind) for column in table.columns)
    return Table(schema, dialect.fold(table.name), columns, tuple(map(dialect.fold, table.keys)))


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def new_run_id() -> str:
    """Return a name for a run, in the order of time: 20260131T120000-1a2b3c4d."""
    return f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Rejected:
    """An invalid record, or a line that is no message: *stream* is None then."""

    line: int
    stream: str | None
    path: str
    reason: str
    source: bytes

    @classmethod
    def of(cls, fault: MessageError, line: bytes) -> Rejected:
        """Return what is kept of *line*, whose *fault* was found."""
        if isinstance(fault, RecordError):
            return cls(fault.line, fault.stream, fault.path, fault.reason, line)
        return cls(fault.line, None, "$", fault.fault, line)

    def message(self) -> str | None:
        """Return the line as JSON, None where a database could not hold it as such."""
        try:
            text = values.convert(POSITION, values.parse(self.source), values.Rules(), values.Notes())
        except ValueError:
            return None
        return str(text)


def rejected_batch(run_id: str, table: Table, rejected: Sequence[Rejected], documents: bool = True) -> pa.RecordBatch:
    """Return rows for `__rejected`; without *documents* the lines are kept as bytes only."""
    at = now()
    rows = [
        (run_id, at, one.stream, one.line, one.path, one.reason, one.source, one.message() if documents else None)
        for one in rejected
    ]
    columns = zip(table.columns, zip(*rows, strict=True), strict=True)
    arrays = {column.name: pa.array(cells, kinds.arrow_type(column.kind)) for column, cells in columns}
    return pa.RecordBatch.from_pydict(arrays)


@dataclass(frozen=True)
class Load:
    """What a run has done for a stream so far, for its row in `__loads`."""

    rows_read: int = 0
    rows_written: int = 0
    rows_rejected: int = 0
    ddl: tuple[str, ...] = ()
    last_loaded_at: dt.datetime | None = None

    def plus(self, other: Load) -> Load:
        """Return both together, *other* the later one."""
        return Load(
            self.rows_read + other.rows_read,
            self.rows_written + other.rows_written,
            self.rows_rejected + other.rows_rejected,
            self.ddl + other.ddl,
            other.last_loaded_at or self.last_loaded_at,
        )


class Ledger:
    """Writes our tables, in whatever transaction is open."""

    def __init__(self, dialect: Dialect[Any], schema: str, run_id: str):
        self.run_id = run_id
        self.started_at = now()
        self.loads = placed(LOADS, schema, dialect)
        self.states = placed(STATE, schema, dialect)
        self.rejected = placed(REJECTED, schema, dialect)
        self._loads = dialect.as_sqlalchemy(self.loads)
        self._states = dialect.as_sqlalchemy(self.states)
        self._fold = dialect.fold

    def note(self, connection: sa.Connection, stream: str, load: Load, state: str | None, at: dt.datetime) -> None:
        """Bring the run's row for *stream* up to date, to be committed *at* that time."""
        found = {
            "committed_at": at,
            "rows_read": load.rows_read,
            "rows_written": load.rows_written,
            "rows_rejected": load.rows_rejected,
            "ddl": ";\n".join(load.ddl) or None,
            "state": state,
            "last_loaded_at": load.last_loaded_at,
        }
        keys = {"run_id": self.run_id, "stream": stream}
        if not self._update(connection, self._loads, keys, found):
            self._insert(connection, self._loads, {**keys, "started_at": self.started_at, **found})

    def last_loaded_at(self, connection: sa.Connection, stream: str) -> dt.datetime | None:
        """Return the latest stamp that any run gave a record of *stream*."""
        column = self._loads.c[self._fold("last_loaded_at")]
        found = sa.select(sa.func.max(column)).where(self._loads.c[self._fold("stream")] == stream)
        latest: dt.datetime | None = connection.execute(found).scalar_one()
        return latest

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

    def keep(self, connection: sa.Connection, state_id: str, state: str | None, at: dt.datetime) -> None:
        """Keep *state*, None for the one that is there, if this run is still the owner.

        Raises:
            DatabaseError: another run has taken over.
        """
        keys = {"state_id": state_id, "run_id": self.run_id}
        changes = {"updated_at": at} if state is None else {"updated_at": at, "state": state}
        if not self._update(connection, self._states, keys, changes):
            raise DatabaseError(f"another run has taken over the state_id {state_id!r}; nothing of this one is committed any more")

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
