"""What a text means as a date or a time, and that a column is read as its texts are, one by one."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import times

FIRST, LAST = -62135596800000000, 253402300799999999  # years 1 to 9999, in microseconds
UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)


def rows(table: dict[str, tuple[object, ...]]) -> list[object]:
    """Make rows of a parametrize of *table*, each with its text as id."""
    return [pytest.param(text, *wanted, id=ascii(text)) for text, wanted in table.items()]


TIMESTAMPS: dict[str, tuple[object, ...]] = {
    "2024-01-31T12:00:00Z": ("2024-01-31T12:00:00Z", False),
    "2024-01-31t12:00:00z": ("2024-01-31T12:00:00Z", False),
    "2024-01-31 12:00:00": ("2024-01-31T12:00:00Z", False),
    "2024-01-31T12:00": ("2024-01-31T12:00:00Z", False),
    "2024-01-31T12:00+02": ("2024-01-31T10:00:00Z", False),
    "2024-01-31": ("2024-01-31T00:00:00Z", False),
    "2024-01-31T12:00:00 Z": ("2024-01-31T12:00:00Z", False),
    "2024-01-31 12:00:00 +02:00": ("2024-01-31T10:00:00Z", False),
    "2024-01-31T12:00:00+0230": ("2024-01-31T09:30:00Z", False),
    "2024-01-31T12:00:00+00:00+00:00": ("2024-01-31T12:00:00Z", False),
    "2024-01-31T12:00:00-23:59": ("2024-02-01T11:59:00Z", False),
    "2024-01-31T12:00:00-00:00": ("2024-01-31T12:00:00Z", False),
    "2024-01-31T12:00:00.5Z": ("2024-01-31T12:00:00.500000Z", False),
    "2024-01-31T12:00:00,123456+01": ("2024-01-31T11:00:00.123456Z", False),
    "2024-01-31T12:00:00.1230000000Z": ("2024-01-31T12:00:00.123000Z", False),
    "2024-01-31T12:00:00.1234567Z": ("2024-01-31T12:00:00.123456Z", True),
    "2024-01-31T12:00:00.000000001": ("2024-01-31T12:00:00Z", True),
    "1600-02-29T00:00:00.9999999Z": ("1600-02-29T00:00:00.999999Z", True),
    "1969-12-31T23:59:59.9999999Z": ("1969-12-31T23:59:59.999999Z", True),
    "2016-12-31T23:59:60Z": ("2017-01-01T00:00:00Z", False),
    "2016-12-31T23:59:60.5Z": ("2017-01-01T00:00:00.500000Z", False),
    "2024-01-31T12:00:60+02:00": ("2024-01-31T10:01:00Z", False),
    "2024-02-28T24:00:00Z": ("2024-02-29T00:00:00Z", False),
    "2024-02-28T24:00:00.0000000+01:00": ("2024-02-28T23:00:00Z", False),
    "2024-02-28T24:00": ("2024-02-29T00:00:00Z", False),
    "0001-01-01T00:00:00Z": ("0001-01-01T00:00:00Z", False),
    "9999-12-31T23:59:59.9999999Z": ("9999-12-31T23:59:59.999999Z", True),
    "9999-12-31T24:00:00+00:01": ("9999-12-31T23:59:00Z", False),
}


@pytest.mark.parametrize(("text", "wanted", "cut"), rows(TIMESTAMPS))
def test_timestamp(text: str, wanted: str, cut: bool) -> None:
    value, was_cut = times.timestamp(text)
    assert (times.timestamp_text(value), was_cut) == (wanted, cut)


NOT_A_TIMESTAMP = "no date-time in RFC 3339, like 2024-01-31T12:00:00Z"
NO_TIMESTAMPS: dict[str, tuple[object, ...]] = {
    "": (NOT_A_TIMESTAMP,),
    " 2024-01-31T12:00:00Z": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00+00:00+02:00": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00+02:00+02:00": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00Z ": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00Z\n": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00 ": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00  +02:00": (NOT_A_TIMESTAMP,),
    "2024-01-31  12:00:00": (NOT_A_TIMESTAMP,),
    "2024-01-31_12:00:00": (NOT_A_TIMESTAMP,),
    "2024-01-31T": (NOT_A_TIMESTAMP,),
    "2024-01-31Z": (NOT_A_TIMESTAMP,),
    "2024-01-31T12": (NOT_A_TIMESTAMP,),
    "2024-01-31T12Z": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00.5Z": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00.Z": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00+2": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00+02:": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:00\N{MINUS SIGN}02:00": (NOT_A_TIMESTAMP,),
    "2024-01-31T12:00:0\N{ARABIC-INDIC DIGIT THREE}Z": (NOT_A_TIMESTAMP,),
    "20240131T120000Z": (NOT_A_TIMESTAMP,),
    "12024-01-31T12:00:00Z": (NOT_A_TIMESTAMP,),
    "+2024-01-31T12:00:00Z": (NOT_A_TIMESTAMP,),
    "24-01-31": (NOT_A_TIMESTAMP,),
    "infinity": (NOT_A_TIMESTAMP,),
    "1706702400": (NOT_A_TIMESTAMP,),
    "2023-02-29T12:00:00Z": ("no such day",),
    "1900-02-29": ("no such day",),
    "2024-13-01": ("no such day",),
    "2024-00-10": ("no such day",),
    "2024-04-31T00:00Z": ("no such day",),
    "0000-12-31T23:00:00-02:00": ("no such day",),
    "2024-01-31T25:00:00Z": ("the hour must be below 24, or the time exactly 24:00:00",),
    "2024-01-31T24:00:01Z": ("the hour must be below 24, or the time exactly 24:00:00",),
    "2024-01-31T24:00:00.0000001Z": ("the hour must be below 24, or the time exactly 24:00:00",),
    "2024-01-31T12:60:00Z": ("the minute must be below 60",),
    "2024-01-31T12:00:61Z": ("the second must be at most 60",),
    "2024-01-31T12:00:00+24:00": ("the offset must be below 24 hours, its minutes below 60",),
    "2024-01-31T12:00:00+0160": ("the offset must be below 24 hours, its minutes below 60",),
    "0001-01-01T00:00:00+00:01": ("outside the years 1 to 9999, in UTC",),
    "9999-12-31T23:59:00-00:01": ("outside the years 1 to 9999, in UTC",),
    "9999-12-31T23:59:59-00:01": ("outside the years 1 to 9999, in UTC",),
    "9999-12-31T23:59:60Z": ("outside the years 1 to 9999, in UTC",),
    "9999-12-31T24:00:00Z": ("outside the years 1 to 9999, in UTC",),
}


@pytest.mark.parametrize(("text", "reason"), rows(NO_TIMESTAMPS))
def test_no_timestamp(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        times.timestamp(text)


DATES: dict[str, tuple[object, ...]] = {
    "2024-03-16": ("2024-03-16",),
    "2024-03-16T00:00:00+00:00": ("2024-03-16",),
    "2024-03-16T00:00:00+13:00": ("2024-03-16",),
    "2024-03-16 00:00": ("2024-03-16",),
    "2024-03-16t00:00:00,0000000 z": ("2024-03-16",),
    "0001-01-01T00:00:00+05:00": ("0001-01-01",),
    "9999-12-31T00:00:00-05:00": ("9999-12-31",),
}


@pytest.mark.parametrize(("text", "wanted"), rows(DATES))
def test_date(text: str, wanted: str) -> None:
    """A date stays as it is written, whatever the offset."""
    assert times.date_text(times.date(text)) == wanted


OTHER_TIME = "a date with a time of day other than midnight"
NO_DATES: dict[str, tuple[object, ...]] = {
    "": ("no date in RFC 3339, like 2024-01-31",),
    "2024-03-16 ": ("no date in RFC 3339, like 2024-01-31",),
    "2024-3-16": ("no date in RFC 3339, like 2024-01-31",),
    "20240316": ("no date in RFC 3339, like 2024-01-31",),
    "2023-02-29": ("no such day",),
    "0000-01-01": ("no such day",),
    "2024-03-16T00:00:01": (OTHER_TIME,),
    "2024-03-16T22:00:00-02:00": (OTHER_TIME,),
    "2024-03-16T24:00:00": (OTHER_TIME,),
    "2024-03-16T00:00:00.0000001": (OTHER_TIME,),
    "2024-03-16T00:00+24": ("the offset must be below 24 hours, its minutes below 60",),
}


@pytest.mark.parametrize(("text", "reason"), rows(NO_DATES))
def test_no_date(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        times.date(text)


TIMES: dict[str, tuple[object, ...]] = {
    "12:00": ("12:00:00", False),
    "12:00:30": ("12:00:30", False),
    "12:00:30.12": ("12:00:30.120000", False),
    "12:00:30,1234567": ("12:00:30.123456", True),
    "23:59:59.9999999": ("23:59:59.999999", True),
    "12:00Z": ("12:00:00", False),
    "01:00:00+02:00": ("23:00:00", False),
    "23:00:00 -0230": ("01:30:00", False),
    "9:30:00": ("09:30:00", False),
    "0:00": ("00:00:00", False),
    "7:08:09.0000001Z": ("07:08:09", True),
    "1:15+02": ("23:15:00", False),
    "8:00am": ("08:00:00", False),
    "12:15 AM": ("00:15:00", False),
    "12:15pm": ("12:15:00", False),
    "11:59:59.9999999 pM": ("23:59:59.999999", True),
}

ZEROS = {
    "0000-00-00": True,
    "0000-00-00 00:00": True,
    "0000-00-00t00:00:00,00 z": True,
    "0000-00-00T00:00:00-0000": True,
    "0000-00-00T00:00:00+01:00": False,
    "0000-00-00 00:00:00.001": False,
    "0000-00-01": False,
    "00:00:00": False,
    "0000-00-00\n": False,
}


@pytest.mark.parametrize("text", ZEROS)
def test_zero_date(text: str) -> None:
    assert times.is_zero(text) is ZEROS[text]



@pytest.mark.parametrize(("text", "wanted", "cut"), rows(TIMES))
def test_time(text: str, wanted: str, cut: bool) -> None:
    value, was_cut = times.time(text)
    assert (times.time_text(value), was_cut) == (wanted, cut)


HALF_DAY = "with am or pm the hour is from 1 to 12, and there is no offset"
NO_TIMES: dict[str, tuple[object, ...]] = {
    "": ("no time of a day, like 12:00:00",),
    "12": ("no time of a day, like 12:00:00",),
    "T12:00:00": ("no time of a day, like 12:00:00",),
    "100:00": ("no time of a day, like 12:00:00",),
    "1 day, 2:03:04": ("no time of a day, like 12:00:00",),
    "-1 day, 22:00:00": ("no time of a day, like 12:00:00",),
    "-9:30:00": ("no time of a day, like 12:00:00",),
    "8am": ("no time of a day, like 12:00:00",),
    "0:30am": (HALF_DAY,),
    "13:30 PM": (HALF_DAY,),
    "8:30am+02:00": (HALF_DAY,),
    "12:00:00 ": ("no time of a day, like 12:00:00",),
    "24:00:00": ("the hour must be below 24",),
    "24:00:00+02:00": ("the hour must be below 24",),
    "25:00": ("the hour must be below 24, or the time exactly 24:00:00",),
    "23:59:60": ("the second must be below 60",),
    "12:60": ("the minute must be below 60",),
    "12:00+24:00": ("the offset must be below 24 hours, its minutes below 60",),
}


@pytest.mark.parametrize(("text", "reason"), rows(NO_TIMES))
def test_no_time(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        times.time(text)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_timestamp_agrees_with_the_standard_library(moment: dt.datetime) -> None:
    ahead = moment.utcoffset() or dt.timedelta()
    if ahead % dt.timedelta(minutes=1):  # local mean time; the grammar has no seconds in offsets
        ahead = dt.timedelta()
    moment = moment.replace(tzinfo=dt.timezone(ahead))
    value = (moment - EPOCH) // dt.timedelta(microseconds=1)
    if FIRST <= value <= LAST:
        assert times.timestamp(moment.isoformat()) == (value, False)


@given(st.integers(FIRST, LAST))
def test_timestamp_text_is_read_back(us: int) -> None:
    assert times.timestamp(times.timestamp_text(us)) == (us, False)


@given(st.dates())
def test_date_text_is_read_back(day: dt.date) -> None:
    days = (day - dt.date(1970, 1, 1)).days
    assert times.date_text(days) == day.isoformat()
    assert times.date(times.date_text(days)) == days


@given(st.integers(0, 86_400_000_000 - 1))
def test_time_text_is_read_back(us: int) -> None:
    assert times.time(times.time_text(us)) == (us, False)


@pytest.mark.parametrize(
    ("write", "value"),
    [
        pytest.param(times.timestamp_text, FIRST - 1, id="timestamp-before"),
        pytest.param(times.timestamp_text, LAST + 1, id="timestamp-after"),
        pytest.param(times.date_text, -719163, id="date-before"),
        pytest.param(times.date_text, 2932897, id="date-after"),
        pytest.param(times.time_text, -1, id="time-before"),
        pytest.param(times.time_text, 86_400_000_000, id="time-after"),
    ],
)
def test_no_text_outside_the_range(write: Callable[[int], str], value: int) -> None:
    with pytest.raises(ValueError, match=r"outside|not from"):
        write(value)


def test_import_needs_no_arrow() -> None:
    """The command line answers --help without it."""
    code = "import sys, target_meltano.times; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
