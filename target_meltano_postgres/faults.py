"""What PostgreSQL's errors mean, and how the outcome of a lost COMMIT is found."""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import errors

from target_meltano import DatabaseError

TRANSIENT = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.DuplicateSchema,
    errors.DuplicateTable,
    errors.DuplicateColumn,
    errors.DuplicateObject,
    errors.UniqueViolation,  # of the catalogue, where two make one thing at once
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.ConnectionException,
    errors.ConnectionFailure,
    errors.ConnectionDoesNotExist,
    errors.TooManyConnections,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
)
Session = tuple[int, dt.datetime]  # process and start
OF_DATA = ("22", "23", "54")  # classes: values, constraints, too large for an index or a page
_COPY_LINE = re.compile(r"^COPY .*?, line (\d+)(?:, column (.*?)(?:: \".*)?)?$", re.MULTILINE)
_PAUSES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 10, 10, 10, 10)  # seconds


def cause_of(error: Exception) -> Any:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return getattr(error, "orig", None) or error


def words(error: Exception) -> str:
    """Return the primary message only: DETAIL prints whole rows."""
    cause = cause_of(error)
    primary = getattr(getattr(cause, "diag", None), "message_primary", None) or " ".join(str(cause).split())
    found = _copied(error)
    if isinstance(cause, errors.OutOfMemory) and "max_locks_per_transaction" in (cause.diag.message_hint or ""):
        return f"{primary}; raise the server's setting max_locks_per_transaction, one transaction writes to so many tables"
    return f"column {found[2]!r}: {primary}" if found and found[2] else primary


def is_transient(error: Exception) -> bool:
    """Tell whether it was a lock that others hold, what others made in between, or a lost connection."""
    cause = cause_of(error)
    is_lost = isinstance(cause, (psycopg2.OperationalError, psycopg2.InterfaceError)) and not cause.pgcode
    return is_lost or isinstance(cause, TRANSIENT)


def is_of_data(error: Exception) -> bool:
    return (getattr(cause_of(error), "pgcode", None) or "")[:2] in OF_DATA


def refused_row(error: Exception) -> int | None:
    """Return the position that the context of a COPY names; a merge names none.

    Rows are put into pages many at a time, and one that is too big for a page shows only then,
    under the number of the last row that was read.
    """
    found = _copied(error)
    is_of_page = isinstance(cause_of(error), errors.ProgramLimitExceeded)
    return int(found[1]) - 1 if found and not is_of_page else None


def _copied(error: Exception) -> re.Match[str] | None:
    return _COPY_LINE.search(getattr(getattr(cause_of(error), "diag", None), "context", None) or "")


def try_lock(connection: sa.Connection, name: str) -> bool:
    """Take an advisory lock of the session; so a proxy that shares sessions must be kept out.

    Raises:
        DatabaseError: two statements met two sessions.
    """
    sessions = set()
    for _ in range(5):
        sessions.add(connection.exec_driver_sql("SELECT pg_catalog.pg_backend_pid()").scalar_one())
        connection.commit()
    if len(sessions) > 1:
        raise DatabaseError(
            "a proxy in between shares sessions by transaction, and state_id needs one of our own: "
            "connect to the database itself, or set the proxy to pool by session"
        )
    query = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended(%s, 0))"
    taken = bool(connection.exec_driver_sql(query, (f"target-meltano/{name}",)).scalar_one())
    connection.commit()
    return taken


def session_of(connection: sa.Connection) -> Session:
    """Return by what the server knows our session: its process may get the number of another one."""
    query = "SELECT pid, backend_start FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()"
    pid, start = connection.exec_driver_sql(query).one()
    connection.rollback()
    return pid, start


def try_lock_of_lost(connection: sa.Connection, name: str, lost: Session) -> bool:
    """Take the lock from an earlier session of ours, which the server may not know to be lost."""
    _end(connection, "pid = %s AND backend_start = %s", lost)
    return try_lock(connection, name)


def end_transaction(connection: sa.Connection, transaction: str) -> None:
    """End the session that is in *transaction*, for it has locks on what is to be written again."""
    _end(connection, "backend_xid = %s::text::xid AND pid <> pg_catalog.pg_backend_pid()", (int(transaction) % 2**32,))


def _end(connection: sa.Connection, which: str, parameters: tuple[Any, ...]) -> None:
    """Wait until a session of our own role is gone, some seconds."""
    query = f"SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {which} AND usename = CURRENT_USER"
    for pause in (*_PAUSES[:6], 0):
        if not connection.exec_driver_sql(query, parameters).all():
            break
        connection.rollback()
        time.sleep(pause)
    connection.rollback()


def was_committed(connection: sa.Connection, transaction: str | None) -> bool:
    """Tell how a transaction ended whose COMMIT got no answer; while the old session works, wait.

    Raises:
        DatabaseError: it still works after a minute.
    """
    query = "SELECT pg_catalog.txid_status(%s::bigint)"
    for pause in _PAUSES:
        try:
            status = connection.exec_driver_sql(query, (transaction,)).scalar_one()
        except sa.exc.DataError:
            status = "forgotten"  # a crash took it, and its number is not even given again
        connection.rollback()
        if status != "in progress":
            return bool(status == "committed")
        time.sleep(pause)
    raise DatabaseError("the connection was lost during COMMIT, and the database still works on it")
