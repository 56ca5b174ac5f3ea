"""The one grammar of dates and times: what a text means, and how a value is written.

The scalar functions say what is right. The columnar ones, `timestamps`, `dates` and `times`, give
the same for a whole Arrow array, in C++ and without the GIL; the tests hold them equal.

The grammar is RFC 3339 and what taps send besides: a blank for the T, a comma for the point, no
seconds, no offset (then it is UTC), +HHMM or +HH for an offset, and one blank before it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_SECOND = 1_000_000  # in microseconds, as all times here
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_EPOCH = dt.datetime(1970, 1, 1)
_FIRST_DAY = dt.date.min.toordinal() - _EPOCH.toordinal()
_LAST_DAY = dt.date.max.toordinal() - _EPOCH.toordinal()
_FIRST = _FIRST_DAY * _DAY
_LAST = (_LAST_DAY + 1) * _DAY - 1

_CLOCK = (
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?: ?(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?))?"
)
_TIME = re.compile(_CLOCK)
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
    if not _FIRST <= value <= _LAST:
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
        raise ValueError("no time in RFC 3339, like 12:00:00")
    clock, cut = _clock(found)
    if found["hour"] == "24":
        raise ValueError("the hour must be below 24")
    if found["second"] == "60":
        raise ValueError("the second must be below 60")
    return (clock - _offset(found)) % _DAY, cut


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


def timestamp_text(us: int) -> str:
    """Write microseconds since 1970: 2024-01-31T12:00:00Z, six digits more if they are not all 0.

    The same in SQL, for a column c of timestamps with time zone:
    replace(to_char(c AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')

    Raises:
        ValueError: outside the years 1 to 9999.
    """
    if not _FIRST <= us <= _LAST:
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


@dataclass(frozen=True)
class Parsed:
    """A column of texts as values; null where the text was null or is refused.

    *cut* counts the values that lost digits other than 0. *refused* is the reason, in words, by
    position, counted from 0 and ascending.
    """

    values: pa.Array
    cut: int
    refused: dict[int, str]


# RE2 tells in 0.1 µs whether a text is a value that Arrow's cast takes: the day exists, no hour is
# 24, no second 60. To try the cast instead is no use: it takes hours without minutes as well, and a
# cast that fails spends 1 µs on each text at fault. What does not match is wrong or rare.
_YEAR_RE = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_LEAP_YEAR_RE = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_MONTH_DAY_RE = (
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_DAY_RE = rf"(?:{_YEAR_RE}-{_MONTH_DAY_RE}|{_LEAP_YEAR_RE}-02-29)"
_CLOCK_RE = r"(?:[01]\d|2[0-3]):[0-5]\d"
_OFFSET_RE = r"[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?"
_PLAIN_RE = rf"{_DAY_RE}[T ]{_CLOCK_RE}(?::[0-5]\d(?:\.\d{{1,6}})?)?"
_NAIVE_RE = rf"^{_PLAIN_RE}$"
_ZONED_RE = rf"^{_PLAIN_RE}(?:Z|{_OFFSET_RE})$"
_ANY_OFFSET_RE = rf"(?: ?(?:[Zz]|{_OFFSET_RE}))?"
_TIMESTAMP_RE = rf"^{_DAY_RE}(?:[Tt ]{_CLOCK_RE}(?::[0-5]\d(?:[.,]\d+)?)?{_ANY_OFFSET_RE})?$"
_DATE_RE = rf"^{_DAY_RE}(?:[Tt ]00:00(?::00(?:[.,]0+)?)?{_ANY_OFFSET_RE})?$"

_SHAPE = re.compile(rf"(?P<clock>{_DAY_RE}[T ]{_CLOCK_RE}:[0-5]\d)(?:\.\d+)?(?P<zone>Z|{_OFFSET_RE}|)".encode())

_SMALL = 200  # texts; up to so many the scalar form takes less than RE2 takes to compile


def timestamps(texts: pa.StringArray) -> Parsed:
    """Read each text as `timestamp` does, into timestamp[us, UTC]."""
    values, cut = _instants(texts)
    return _completed(texts, values, cut, timestamp)


def times(texts: pa.StringArray) -> Parsed:
    """Read each text as `time` does, into time64[us]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow parses no times, but takes them from timestamps.
    values, cut = _instants(pc.binary_join_element_wise(_scalar("1970-01-02"), texts, _scalar("T")))
    return _completed(texts, values.cast(pa.timestamp("us")).cast(pa.time64("us")), cut, time)


def dates(texts: pa.StringArray) -> Parsed:
    """Read each text as `date` does, into date32."""
    import pyarrow as pa

    if len(texts) > _SMALL:
        values = _sliced(_only(texts, _DATE_RE), 0, 10).cast(pa.date32())
    else:
        values = pa.nulls(len(texts), pa.date32())
    return _completed(texts, values, 0, lambda text: (date(text), False))


def _instants(texts: pa.StringArray) -> tuple[pa.TimestampArray, int]:
    """Return the timestamps, null where the scalar form must decide, and how many were cut."""
    import pyarrow as pa
    import pyarrow.compute as pc

    utc, lost = pa.timestamp("us", "UTC"), _scalar(False)
    if len(texts) <= _SMALL:
        return pa.nulls(len(texts), utc), 0
    alike = _alike(texts)
    if alike is not None:
        values, lost = alike
    elif _all_match(texts, _ZONED_RE):
        values = texts.cast(utc)
    elif _all_match(texts, _NAIVE_RE):
        values = texts.cast(pa.timestamp("us")).cast(utc)
    else:
        plain, lost = _plain(_only(texts, _TIMESTAMP_RE))
        values = plain.cast(utc)
    numbers = values.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(numbers, _scalar(_FIRST)), pc.less_equal(numbers, _scalar(_LAST)))
    return pc.if_else(inside, values, _scalar(None)), pc.sum(pc.and_(inside, lost)).as_py() or 0


def _alike(texts: pa.StringArray) -> tuple[pa.TimestampArray, pa.BooleanArray] | None:
    """Return the timestamps of texts that have digits at the same places and else the same characters.

    And which lost digits. None where they differ, or where one of them is no time: 15 ns a text,
    where RE2 takes 70. That the day and the hour exist is for Arrow's cast to find.
    """
    import numpy as np
    import pyarrow as pa

    if texts.offset or texts.null_count == len(texts):
        return None
    known, offsets, text = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1)
    lengths = np.diff(ends)
    width, count = int(lengths.max()), len(texts) - texts.null_count
    data = np.frombuffer(text, np.uint8)[ends[0] : ends[-1]]
    shape = _SHAPE.fullmatch(data[:width].tobytes())
    if not shape or len(data) != count * width or np.count_nonzero(lengths == width) != count:
        return None
    is_digit = np.array([character in b"0123456789" for character in shape[0]])
    is_digit[shape.start("zone") :] = False
    low = np.where(is_digit, np.uint8(ord("0")), data[:width])
    span = np.where(is_digit, np.uint8(9), np.uint8(0))
    if not (data - np.tile(low, count) <= np.tile(span, count)).all():  # what is below wraps to far above
        return None
    lost = _scalar(False)
    after, zone = min(shape.end("clock") + len(".123456"), shape.start("zone")), shape.start("zone")
    if after < zone:
        rows = data.reshape(count, width)
        there = np.where(lengths > 0)[0]
        some = np.zeros(len(texts), bool)
        some[there] = (rows[:, after:zone] != ord("0")).any(axis=1)
        lost = pa.array(some)
        short = np.concatenate((rows[:, :after], rows[:, zone:]), axis=1)
        ends = np.concatenate(([0], np.cumsum(lengths > 0) * short.shape[1])).astype(np.int32)
        texts = pa.Array.from_buffers(pa.string(), len(texts), [known, pa.py_buffer(ends), pa.py_buffer(short.tobytes())])
    try:
        values = texts.cast(pa.timestamp("us", "UTC") if shape["zone"] else pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return values.cast(pa.timestamp("us", "UTC")), lost


@lru_cache(typed=True)  # False is not 0
def _scalar(value: str | int | None) -> pa.Scalar:
    """Return a constant for Arrow, which looks for dateutil whenever it makes one: 0.2 ms where it is missing."""
    import pyarrow as pa

    return pa.scalar(value)


def _all_match(texts: pa.StringArray, pattern: str) -> bool:
    """Tell whether all texts but nulls match."""
    import pyarrow.compute as pc

    first = texts[0].as_py()  # often tells, for nothing
    if first is not None and not re.match(pattern, first):
        return False
    found: bool = pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py()
    return found


def _only(texts: pa.StringArray, pattern: str) -> pa.StringArray:
    """Return the texts that match, null for the others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # An array of nulls, as with a single one if_else spoils slices (apache/arrow#49410).
    nulls = pa.nulls(len(texts), texts.type)
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, nulls)


def _plain(texts: pa.StringArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Spell texts that match _TIMESTAMP_RE as _ZONED_RE wants, and tell which were cut by that."""
    import pyarrow.compute as pc

    texts = pc.ascii_upper(texts)
    dates_only = pc.equal(pc.binary_length(texts), _scalar(len("2024-01-31")))
    texts = pc.if_else(dates_only, pc.binary_join_element_wise(texts, _scalar("T00:00"), _scalar("")), texts)
    head, rest = _sliced(texts, 0, 16), _sliced(texts, 16)  # 2024-01-31T12:00 and :00.5+02:00
    offset = pc.ascii_ltrim(rest, ":.,0123456789")
    rest, lost = _cut(rest, offset)
    rest = pc.replace_substring(pc.replace_substring(rest, ",", "."), " ", "")
    utc = pc.if_else(pc.equal(offset, _scalar("")), _scalar("Z"), _scalar(""))
    return pc.binary_join_element_wise(head, rest, utc, _scalar("")), lost


def _cut(rest: pa.StringArray, offset: pa.StringArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Cut the fractions in texts like :00.1234567+02:00 to six digits, and tell which lost some."""
    import pyarrow.compute as pc

    kept = len(":00.123456")
    long = pc.greater(pc.subtract(pc.binary_length(rest), pc.binary_length(offset)), _scalar(kept))
    if not pc.any(long).as_py():
        return rest, long
    lost = pc.and_(long, pc.not_equal(pc.ascii_ltrim(_sliced(rest, kept), "0"), offset))
    short = pc.binary_join_element_wise(_sliced(rest, 0, kept), offset, _scalar(""))
    return pc.if_else(long, short, rest), lost


def _sliced(texts: pa.StringArray, start: int, stop: int = 2**31) -> pa.StringArray:
    """Return characters *start* to *stop* of texts in ASCII.

    In a sixth of the time of utf8_slice_codeunits. Without a stop binary_slice overflows
    (apache/arrow#51222).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_slice(texts.view(pa.binary()), start, stop).view(pa.string())


def _completed(
    texts: pa.StringArray, values: pa.Array, cut: int, scalar: Callable[[str], tuple[int, bool]]
) -> Parsed:
    """Read one by one, by *scalar*, the texts that have no value yet."""
    import pyarrow as pa
    import pyarrow.compute as pc

    left = pc.and_(values.is_null(), texts.is_valid())
    found: list[int | None] = []
    refused: dict[int, str] = {}
    for position in pc.indices_nonzero(left).to_pylist():
        try:
            value, lost = scalar(texts[position].as_py())
        except ValueError as fault:
            found.append(None)
            refused[position] = str(fault)
        else:
            found.append(value)
            cut += lost
    if found:
        values = pc.replace_with_mask(values, left, pa.array(found, values.type))
    return Parsed(values, cut, refused)
