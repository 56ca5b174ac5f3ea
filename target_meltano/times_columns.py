"""The grammar of `times.py` for a whole Arrow array at once, in C++ and without the GIL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .times import FIRST, LAST, date, time, timestamp


@dataclass(frozen=True)
class Parsed:
    """A column of texts as values; null where the text was null or is refused.

    *cut* tells of each value whether it lost digits other than 0; None: none did. *refused* is the
    reason, in words, by position, counted from 0 and ascending.
    """

    values: pa.Array
    cut: np.ndarray[Any, Any] | None
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
    values, cut = _clocks(texts)
    if len(texts) > _SMALL and values.null_count > texts.null_count:
        padded = pc.replace_substring_regex(texts, r"^(\d:)", r"0\1")  # 9:30, as taps of MySQL write it
        values, cut = _clocks(padded)
    return _completed(texts, values.cast(pa.timestamp("us")).cast(pa.time64("us")), cut, time)


def _clocks(texts: pa.StringArray) -> tuple[pa.TimestampArray, np.ndarray[Any, Any] | None]:
    """Read times of a day: Arrow parses none, but takes them from timestamps."""
    return _instants(pc.binary_join_element_wise(_scalar("1970-01-02"), texts, _scalar("T")))


def dates(texts: pa.StringArray) -> Parsed:
    """Read each text as `date` does, into date32."""
    if len(texts) > _SMALL:
        values = _sliced(_only(texts, _DATE_RE), 0, 10).cast(pa.date32())
    else:
        values = pa.nulls(len(texts), pa.date32())
    return _completed(texts, values, None, lambda text: (date(text), False))


def _instants(texts: pa.StringArray) -> tuple[pa.TimestampArray, np.ndarray[Any, Any] | None]:
    """Return the timestamps, null where the scalar form must decide, and which were cut."""
    utc, lost = pa.timestamp("us", "UTC"), _scalar(False)
    if len(texts) <= _SMALL:
        return pa.nulls(len(texts), utc), None
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
    inside = pc.and_(pc.greater_equal(numbers, _scalar(FIRST)), pc.less_equal(numbers, _scalar(LAST)))
    cut = pc.and_(inside, lost)
    return pc.if_else(inside, values, _scalar(None)), _flags(cut) if pc.any(cut).as_py() else None


def _flags(booleans: pa.BooleanArray) -> np.ndarray[Any, Any]:
    """Return booleans as an array that can be written to, false for null."""
    return np.array(booleans.fill_null(False).to_numpy(zero_copy_only=False))


def _alike(texts: pa.StringArray) -> tuple[pa.TimestampArray, pa.BooleanArray] | None:
    """Return the timestamps of texts that have digits at the same places and else the same characters.

    And which lost digits. None where they differ, or where one of them is no time: 15 ns a text,
    where RE2 takes 70. That the day and the hour exist is for Arrow's cast to find.
    """
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
    return pa.scalar(value)


def _all_match(texts: pa.StringArray, pattern: str) -> bool:
    """Tell whether all texts but nulls match."""
    first = texts[0].as_py()  # often tells, for nothing
    if first is not None and not re.match(pattern, first):
        return False
    found: bool = pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py()
    return found


def _only(texts: pa.StringArray, pattern: str) -> pa.StringArray:
    """Return the texts that match, null for the others."""

    # An array of nulls, as with a single one if_else spoils slices (apache/arrow#49410).
    nulls = pa.nulls(len(texts), texts.type)
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, nulls)


def _plain(texts: pa.StringArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Spell texts that match _TIMESTAMP_RE as _ZONED_RE wants, and tell which were cut by that."""
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
    return pc.binary_slice(texts.view(pa.binary()), start, stop).view(pa.string())


def _completed(
    texts: pa.StringArray, values: pa.Array, cut: np.ndarray[Any, Any] | None, scalar: Callable[[str], tuple[int, bool]]
) -> Parsed:
    """Read one by one, by *scalar*, the texts that have no value yet."""
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
            if lost:
                cut = np.zeros(len(texts), bool) if cut is None else cut
                cut[position] = True
    if found:
        values = pc.replace_with_mask(values, left, pa.array(found, values.type))
    return Parsed(values, cut, refused)
