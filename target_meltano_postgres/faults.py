"""What PostgreSQL's errors mean, and how the outcome of a lost COMMIT is found."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import errors

from target_meltano import DatabaseError

from . import hints

DUPLICATE = (
    errors.DuplicateSchema,
    errors.DuplicateTable,
    errors.DuplicateColumn,
    errors.DuplicateObject,
)
TRANSIENT = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
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
LOCK = "pg_catalog.hashtextextended(%s, 0)"  # of a name
# Classes and errors that no row is the cause of: connection, rollback, resources, operator, system, damaged data.
NOT_OF_A_ROW = ("08", "40", "53", "57", "58", "XX001", "XX002")
# "COPY t, line 3, column a: ...", whose words are those of the server's language, as "COPY t, Zeile 3, Spalte a: ...".
_COPY_LINE = re.compile(r"^COPY .*?, [^\W\d]+ (\d+)(?:, [^\W\d]+ (.*?)(?:: \".*)?)?$", re.MULTILINE)
_PAUSES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 10, 10, 10, 10)  # seconds


class Standby(psycopg2.OperationalError):
    """The server only repeats what another one has, and may not have all of it yet."""

    def __str__(self) -> str:
        return "the server is a read-only standby, wanted the primary; name that one, or let the url say target_session_attrs=read-write"


class NoTransactions(psycopg2.OperationalError):
    """The session ended at BEGIN, where pgbouncer says nothing to the client."""

    def __str__(self) -> str:
        return (
            "the session ends at BEGIN: a pooler seems to share sessions by statement, wanted by transaction or by session "
            "(pgbouncer's pool_mode)"
        )


def cause_of(error: Exception) -> Any:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return getattr(error, "orig", None) or error


def words(error: Exception) -> str:
    """Return the primary message, and advice that has no values: DETAIL prints whole rows."""
    cause = cause_of(error)
    primary = getattr(getattr(cause, "diag", None), "message_primary", None) or " ".join(str(cause).split())
    found = _copied(error)
    if isinstance(cause, errors.OutOfMemory) and "max_locks_per_transaction" in (cause.diag.message_hint or ""):
        return f"{primary}; raise the server's setting max_locks_per_transaction, one transaction writes to so many tables"
    behind = hints.advice(cause.diag) if getattr(cause, "diag", None) else ""
    return f"column {found[2]!r}: {primary}{behind}" if found and found[2] else f"{primary}{behind}"


def is_transient(error: Exception) -> bool:
    """Tell whether it was a lock that others hold, what others made in between, or a lost connection."""
    cause = cause_of(error)
    # A COPY whose connection ends raises the class of all errors of the server, without a code.
    is_of_client = isinstance(cause, (psycopg2.OperationalError, psycopg2.InterfaceError)) or type(cause) is psycopg2.DatabaseError
    return (is_of_client and not cause.pgcode) or is_duplicate(error) or isinstance(cause, TRANSIENT)


def is_duplicate(error: Exception) -> bool:
    """Tell whether a thing is there already; two that make one at once meet in the catalogue's own index."""
    cause = cause_of(error)
    if isinstance(cause, errors.UniqueViolation):
        return bool(cause.diag.schema_name == "pg_catalog")
    return isinstance(cause, DUPLICATE)


def is_answer(error: Exception) -> bool:
    """Tell whether the server has said that a COMMIT failed: after FATAL it may be done all the same."""
    return getattr(getattr(cause_of(error), "diag", None), "severity_nonlocalized", None) == "ERROR"


def is_of_data(error: Exception) -> bool:
    """Tell whether a row can be the cause: triggers, CHECKs and types of others raise what they like."""
    code = getattr(cause_of(error), "pgcode", None) or ""
    if code == "XX000":  # the server's own trouble, like a file that cannot grow, unless it is raised in a function
        return any(not line.startswith("COPY ") for line in _context(error).splitlines())
    return bool(code) and not code.startswith(NOT_OF_A_ROW) and not is_transient(error)


def refused_row(error: Exception) -> int | None:
    """Return the position that the context of a COPY names; a merge names none.

    Rows are put into pages many at a time, and one that is too big for a page shows only then,
    under the number of the last row that was read.
    """
    found = _copied(error)
    is_of_page = isinstance(cause_of(error), errors.ProgramLimitExceeded)
    return int(found[1]) - 1 if found and not is_of_page else None


def _copied(error: Exception) -> re.Match[str] | None:
    return _COPY_LINE.search(_context(error))


def _context(error: Exception) -> str:
    """Return where in the server it was, from the inside out."""
    return getattr(getattr(cause_of(error), "diag", None), "context", None) or ""


def try_lock(connection: sa.Connection, name: str) -> bool:
    """Have an advisory lock alone until the open transaction ends; tell whether nobody else has it or a share."""
    query = f"SELECT pg_catalog.pg_try_advisory_xact_lock({LOCK})"
    return bool(connection.exec_driver_sql(query, (f"target-meltano/{name}",)).scalar_one())


def has_session(connection: sa.Connection, name: str) -> bool:
    """Tell whether a session in this database, not ours, is called *name*."""
    query = (
        "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE application_name = %s "
        "AND datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()"
    )
    return connection.exec_driver_sql(query, (name,)).first() is not None


def end_transaction(connection: sa.Connection, xid: int, pid: int, at: float) -> None:
    """End the session that is in the transaction, which has locks on what is to be written again; wait some seconds.

    A pooler gives a session to others when a transaction ends, and a server that crashed may give a
    number to another one: it is ours only with the same number, process and time.
    """
    query = (
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
        "WHERE pid = %s AND backend_xid = %s::text::xid AND pg_catalog.date_part('epoch', xact_start) = %s "
        "AND usename = CURRENT_USER"
    )
    for pause in (*_PAUSES[:6], 0):
        if not connection.exec_driver_sql(query, (pid, xid % 2**32, at)).all():
            break
        connection.rollback()
        time.sleep(pause)
    connection.rollback()


def was_committed(connection: sa.Connection, xid: int) -> bool:
    """Tell how a transaction ended whose COMMIT got no answer; while the old session works, wait.

    Raises:
        DatabaseError: it still works after a minute.
    """
    query = "SELECT pg_catalog.txid_status(%s::bigint)"
    for pause in _PAUSES:
        try:
            status = connection.exec_driver_sql(query, (xid,)).scalar_one()
        except sa.exc.DataError:
            status = "forgotten"  # a crash took it, and its number is not even given again
        connection.rollback()
        if status != "in progress":
            return bool(status == "committed")
        time.sleep(pause)
    raise DatabaseError("the connection was lost during COMMIT, and the database still works on it")


@contextmanager
def printed_by_no_driver() -> Iterator[None]:
    """Let psycopg2 print nothing: where a COPY ends in two errors, it raises the last one and prints a SystemError."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not issubclass(kind, SystemError):
            before(kind, error, trace)

    sys.excepthook = hook
    try:
        yield
    finally:
        sys.excepthook = before
