"""The one grammar of dates and times: what a text means, and how a value is written.

These functions say what is right. `times_columns.py` and `c/times.h` give the same for whole columns;
the tests hold them equal.

The grammar is RFC 3339 and what taps send besides: a blank for the T, a comma for the point, no
seconds, no offset (then it is UTC), +HHMM or +HH for an offset, and one blank before it. A time of
day alone may have an hour of one digit, as MySQL's taps write it, or am or pm.
"""

from __future__ import annotations

import datetime as dt
import re

_SECOND = 1_000_000  # in microseconds, as all times here
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_EPOCH = dt.datetime(1970, 1, 1)
_FIRST_DAY = dt.date.min.toordinal() - _EPOCH.toordinal()
_LAST_DAY = dt.date.max.toordinal() - _EPOCH.toordinal()
FIRST = _FIRST_DAY * _DAY
LAST = (_LAST_DAY + 1) * _DAY - 1

_CLOCK = (
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?: ?(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?|\+00:00\+00:00))?"  # UTC twice, as tap-mysql marks what is deleted
)
_HALF = r"(?: ?(?P<half>[AaPp])[Mm])?"
_TIME = re.compile(_CLOCK.replace("{2}", "{1,2}", 1).replace("(?: ?(?P<offset>", f"{_HALF}(?: ?(?P<offset>"))
_TIMESTAMP = re.compile(rf"(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[Tt ]{_CLOCK})?")


def timestamp(text: str) -> tuple[int, bool]:
    """Return the microseconds since 1970-01-01T00:00Z, and whether digits other than 0 were cut.

    A date alone is its midnight. 24:00:00 is the next day's midnight, and second 60, a leap second,
    begins the next minute.

    Raises:
        ValueError: the reason in words, without *text*.
    """
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        raise ValueError("no date-time in RFC 3339, like 2024-01-31T12:00:00Z")
    clock, cut = (0, False) if found["hour"] is None else _clock(found)
    value = _days(found["day"]) * _DAY + clock - _offset(found)
    if not FIRST <= value <= LAST:
        raise ValueError("outside the years 1 to 9999, in UTC")
    return value, cut


def date(text: str) -> int:
    """Return the days since 1970-01-01 of a date, or of a date-time that is midnight where it is.

    Raises:
        ValueError: the reason in words, without *text*.
    """
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        raise ValueError("no date in RFC 3339, like 2024-01-31")
    if found["hour"] is not None and _clock(found) != (0, False):
        raise ValueError("a date with a time of day other than midnight")
    _offset(found)  # the date stays as written, but not with an offset that does not exist
    return _days(found["day"])


def time(text: str) -> tuple[int, bool]:
    """Return the microseconds since midnight, in UTC, and whether digits other than 0 were cut.

    Raises:
        ValueError: the reason in words, without *text*. Also for 24:00:00 and second 60, which
            Arrow's times do not have.
    """
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError("no time of a day, like 12:00:00")
    clock, cut = _clock(found)
    if found["half"]:
        clock += _half(found)
    if found["hour"] == "24":
        raise ValueError("the hour must be below 24")
    if found["second"] == "60":
        raise ValueError("the second must be below 60")
    return (clock - _offset(found)) % _DAY, cut


def _half(found: re.Match[str]) -> int:
    """Return the microseconds to add to a clock of twelve hours: 12:30 am is 00:30."""
    hour = int(found["hour"])
    if not 1 <= hour <= 12 or found["offset"]:
        raise ValueError("with am or pm the hour is from 1 to 12, and there is no offset")
    return (12 * (found["half"] in "Pp") - 12 * (hour == 12)) * _HOUR


def _days(text: str) -> int:
    """Return the days since 1970-01-01 of YYYY-MM-DD."""
    try:
        day = dt.date(int(text[:4]), int(text[5:7]), int(text[8:]))
    except ValueError:
        raise ValueError("no such day") from None
    return day.toordinal() - _EPOCH.toordinal()


def _clock(found: re.Match[str]) -> tuple[int, bool]:
    """Return the microseconds since midnight where it is, and whether digits but 0 were cut."""
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if minute > 59:
        raise ValueError("the minute must be below 60")
    if second > 60:
        raise ValueError("the second must be at most 60")
    digits = found["fraction"] or ""
    clock = hour * _HOUR + minute * _MINUTE + second * _SECOND + int(digits[:6].ljust(6, "0"))
    cut = digits[6:].strip("0") != ""
    if hour > 23 and (clock, cut) != (_DAY, False):
        raise ValueError("the hour must be below 24, or the time exactly 24:00:00")
    return clock, cut


def _offset(found: re.Match[str]) -> int:
    """Return by how many microseconds the clock is ahead of UTC."""
    text = found["offset"]
    if text is None or text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    if hours > 23 or minutes > 59:
        raise ValueError("the offset must be below 24 hours, its minutes below 60")
    return (hours * _HOUR + minutes * _MINUTE) * (-1 if text[0] == "-" else 1)


LEAP = ":60"  # is in each date-time with a leap second, and in no other one that is right


def is_leap(text: str) -> bool:
    """Tell whether a date-time has second 60, which begins the next minute here."""
    return LEAP in text


ZERO = "0000-00-00(?:[Tt ]00:00(?::00(?:[.,]0+)?)?(?: ?(?:[Zz]|[+-]00(?::?00)?))?)?"
_ZERO = re.compile(ZERO)


def is_zero(text: str) -> bool:
    """Tell whether a text is what MySQL has where there is no date: 0000-00-00, also with midnight."""
    return _ZERO.fullmatch(text) is not None


def timestamp_text(us: int) -> str:
    """Write microseconds since 1970: 2024-01-31T12:00:00Z, six digits more if they are not all 0.

    The same in SQL, for a column c of timestamps with time zone:
    replace(to_char(c AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')

    Raises:
        ValueError: outside the years 1 to 9999.
    """
    if not FIRST <= us <= LAST:
        raise ValueError("outside the years 1 to 9999, in UTC")
    return (_EPOCH + dt.timedelta(microseconds=us)).isoformat() + "Z"


def date_text(days: int) -> str:
    """Write days since 1970 as 2024-01-31; the same in SQL: to_char(c, 'YYYY-MM-DD').

    Raises:
        ValueError: outside the years 1 to 9999.
    """
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise ValueError("outside the years 1 to 9999")
    return (_EPOCH + dt.timedelta(days)).date().isoformat()


def time_text(us: int) -> str:
    """Write microseconds since midnight: 12:00:00, six digits more if they are not all 0.

    The same in SQL: replace(to_char(c, 'HH24:MI:SS.US'), '.000000', '')

    Raises:
        ValueError: no time of a day.
    """
    if not 0 <= us < _DAY:
        raise ValueError("not from 00:00:00 to 23:59:59.999999")
    return (_EPOCH + dt.timedelta(microseconds=us)).time().isoformat()
