"""What Snowflake's errors mean, by their numbers: the connectors' majors have other classes for them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from snowflake.connector import errors

from target_meltano import DatabaseError

MISSING = {2003, 2043}  # or not for our role to see
EXPIRED = {390111, 390112, 390114, 390110, 390195, 390318}
TIMED_OUT = 14  # of connector 5, at sign-in, behind whatever it has met until then
NETWORK = {4, TIMED_OUT, 250001, 250002, 250003, 250005, 250006, 251011, 251012, 253001, 253002, 253003, 253004, 253006}
_NOBODY = "HTTP request failed after retries"  # connector 5, in a DatabaseError
TRANSIENT = {
    604,  # cancelled, by somebody
    605,  # the session is gone
    625,  # a lock that others hold
    2002,  # there already: another run has made it
    1430,  # the column, too
    90232,  # too many statements wait for the table
}
REMEDIES = {
    606: "the setting warehouse names one, and the role needs USAGE on it",
    # It would take as long the next time, and cost as much.
    630: "raise STATEMENT_TIMEOUT_IN_SECONDS for the user or the warehouse, take a larger warehouse, or a smaller batch_rows",
}
DRIVER_ERRORS = (errors.Error,)
OF_DATA = range(100_000, 101_000)
_PAUSES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 10, 10, 10, 10)  # seconds


class LateRefusal(errors.DatabaseError):
    """A value was refused when its file was loaded, long after its row was written.

    With *again* the transaction is to be done again, and this time each batch is tried as it is written.
    """

    def __init__(self, refusal: errors.Error, again: bool):
        super().__init__(str(refusal))
        self.refusal = refusal
        self.again = again


class Ended(errors.OperationalError):
    """The server has ended the transaction, and the session lives on; nothing of it is committed."""

    def __init__(self) -> None:
        super().__init__("the server has ended the transaction; nothing of it is committed")


class Changed(errors.DataError):
    """A value of rows that wait would be another one in its column, whose type DDL has changed in between."""

    def __init__(self, columns: Iterable[str]):
        names = ", ".join(map(repr, columns))
        self.words = f"column {names}: its type has changed since, and would not hold this value as it is"
        super().__init__(self.words, errno=OF_DATA.start)


def cause_of(error: BaseException) -> Any:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return getattr(error, "orig", None) or error


def number_of(error: BaseException) -> int:
    """Return the number of an error, 0 where it has none."""
    number = getattr(cause_of(error), "errno", None)
    return int(number) if isinstance(number, int) and number > 0 else 0


def is_lost(error: BaseException) -> bool:
    """Tell whether the session cannot be used any more, or it is not known whether it can."""
    cause, number = cause_of(error), number_of(error)
    if isinstance(cause, Ended):
        return False
    if number in EXPIRED | NETWORK or 290_000 <= number < 291_000:
        return True
    if (getattr(cause, "sqlstate", None) or "").startswith("08"):
        return True
    return isinstance(cause, (errors.OperationalError, errors.InterfaceError)) and number not in TRANSIENT and not _is_refusal(cause)


def _is_refusal(cause: Any) -> bool:
    """The server's own words on a statement come with a state of SQL."""
    return bool(getattr(cause, "sqlstate", None) or "") and cause.sqlstate != "n/a"


def is_transient(error: Exception) -> bool:
    cause = cause_of(error)
    if isinstance(cause, Ended):
        return True
    return cause.again if isinstance(cause, LateRefusal) else is_lost(error) or number_of(error) in TRANSIENT


def may_come(error: Exception) -> bool:
    """Tell whether a sign-in that failed may succeed soon: nobody has answered.

    It is never tried again after an answer, for some wrong passwords lock a user out. Answers come as DatabaseErrors, with
    the numbers of lost connections where an account is wrong (HTTP 403 or 404) or an identity provider refuses.
    """
    return is_lost(error) and (isinstance(error, errors.OperationalError) or _NOBODY in _text(error))


def is_of_data(error: Exception) -> bool:
    """Tell whether it is a value of the rows that were just written."""
    return number_of(error) in OF_DATA


def refused_row(error: Exception) -> int | None:
    """Return the row of its file that a COPY names, counted from 0."""
    found = re.findall(r"\bRow (\d+)\b", _text(error))
    return int(found[-1]) - 1 if found else None


def refused_column(error: Exception) -> int | None:
    """Return the number of the column of a staging table that a COPY names."""
    found = re.findall(r'\["C(\d+)":\d+\]', _text(error))
    return int(found[-1]) if found else None


def words(error: Exception) -> str:
    """Return the driver's message in one line, with its number, without the value that it shows."""
    cause = cause_of(error)
    cause = getattr(cause, "refusal", cause)
    if isinstance(cause, Changed):
        return cause.words
    text, number = " ".join(_text(cause).split()), number_of(cause)
    text = re.sub(rf"^({number:06d} \(\w+\): )+|\s*\(request_id=[^)]*\)\Z", "", text)
    if number in OF_DATA:
        text = re.sub(r" File '[^']*'.*", "", text)  # where it was, and advice on ON_ERROR
        text = re.sub(r"(?<=JSON: ).*|'.*'|\".*\"", "…", text)
    text = f"{number:06d}: {text}" if number else text or type(cause).__name__
    return f"{text.rstrip('.')}; {REMEDIES[number]}" if number in REMEDIES else text


def _text(error: BaseException) -> str:
    cause = cause_of(error)
    return str(getattr(cause, "raw_msg", None) or getattr(cause, "msg", None) or cause)


def end_transaction(cursor: Any, transaction: str) -> None:
    """End a transaction whose session is lost, and wait until it is over, one way or the other.

    Raises:
        DatabaseError: it still works after a minute.
    """
    for pause in _PAUSES:
        cursor.execute("SHOW TRANSACTIONS")
        position = [column[0].lower() for column in cursor.description].index("id")
        if not any(str(row[position]) == transaction for row in cursor.fetchall()):
            return
        try:
            cursor.execute(f"SELECT SYSTEM$ABORT_TRANSACTION({int(transaction)})")
        except errors.ProgrammingError:
            pass  # it has just ended
        time.sleep(pause)
    raise DatabaseError(f"transaction {transaction} of a connection that was lost is still under way")
