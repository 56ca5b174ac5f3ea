"""A column is read as its texts are, one by one."""


from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from both_paths import NAME, layout, reading_with, record
from hypothesis import given, settings
from hypothesis import strategies as st
from test_times import DATES, NO_DATES, NO_TIMES, NO_TIMESTAMPS, NOT_A_TIMESTAMP, TIMES, TIMESTAMPS

from target_meltano import compiled, decode, times, times_columns
from target_meltano.cells import Cells
from target_meltano.decode import Decoder

# Columns.

COLUMNS: dict[
    str, tuple[Callable[..., times_columns.Parsed], Callable[..., tuple[int, bool]], pa.DataType]
] = {
    "timestamps": (times_columns.timestamps, times.timestamp, pa.timestamp("us", "UTC")),
    "dates": (times_columns.dates, lambda text: (times.date(text), False), pa.date32()),
    "times": (times_columns.times, times.time, pa.time64("us")),
}


def told(text: str) -> str:
    """Return the moment of a leap second as another text for it, with as many digits too many; as it is where there is none."""
    try:
        at, was_cut = times.timestamp(text)
    except ValueError:
        return text
    return f"{(dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=at)).isoformat(timespec='microseconds')}{'1' * was_cut}Z"


def timestamps_in_c(texts: pa.Array) -> times_columns.Parsed:
    """Read texts as the reader in C does, each in a line of its own; those that it refuses have the words of `times`."""
    made = layout({"t": {"type": ["null", "string"], "format": "date-time"}})
    with reading_with(compiled):
        decoder, reader = Decoder(made), decode.reader()
        records = decoder.records()
        reader.put(NAME.encode(), records, None)
        refused = {}
        for at, text in enumerate(texts.to_pylist()):
            if text and times.is_leap(text):  # it is for the slow path to tell
                text = told(text)
            if not reader.read([record(json.dumps({"t": text}))], 0, 1, at, True):
                assert reader.read([record('{"t": null}')], 0, 1, at, True)
                with pytest.raises(ValueError, match=".") as fault:
                    times.timestamp(text)
                refused[at] = str(fault.value)
        cells = records.taken().leaves[0] if len(texts) else Cells(texts.cast(pa.timestamp("us", "UTC")))
    return times_columns.Parsed(cells.values, cells.cut, refused)


if compiled.IS_THERE:
    COLUMNS["timestamps in C"] = (timestamps_in_c, *COLUMNS["timestamps"][1:])
every_column = pytest.mark.parametrize("column", list(COLUMNS))


@pytest.fixture(scope="module", autouse=True)
def _vectorised() -> Iterator[None]:
    """Keep columns of a few texts from going one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times_columns, "_SMALL", 0)
        yield


def cut_in(parsed: times_columns.Parsed) -> list[int]:
    """Return the positions of the values that lost digits."""
    return [] if parsed.cut is None else [i for i, was_cut in enumerate(parsed.cut) if was_cut]


def check(column: str, texts: list[str | None]) -> times_columns.Parsed:
    """Read *texts* as a column, and as a slice of one; assert that all is as if read one by one."""
    read, read_one, kind = COLUMNS[column]
    values: list[int | None] = [None] * len(texts)
    refused, cut = {}, []
    for i, text in enumerate(texts):
        try:
            values[i], lost = (None, False) if text is None else read_one(text)
            cut += [i] * lost
        except ValueError as fault:
            refused[i] = str(fault)
    whole = pa.array(texts, pa.string())
    for array in (whole, pa.array(["before", *texts, "after"])[1:-1]):
        parsed = read(array)
        parsed.values.validate(full=True)
        assert parsed.values.equals(pa.array(values, kind))
        assert (cut_in(parsed), list(parsed.refused.items())) == (cut, list(refused.items()))
    return parsed


def test_leap_seconds_are_read_by_the_column_as_one_by_one() -> None:
    for column in ["timestamps", *(["timestamps in C"] if compiled.IS_THERE else [])]:
        check(column, ["0001-01-01T00:00:60", "2016-12-31T23:59:60.7Z", "2024-01-01T00:00:60.1234567+02:00", "9999-12-31T23:59:60Z"])


def two(low: int, high: int, *rare: int) -> st.SearchStrategy[str]:
    """Draw two digits from *low* to *high*, or sometimes *rare* ones."""
    usual = st.integers(low, high) | st.sampled_from([low, high])
    return (usual | st.sampled_from(rare) if rare else usual).map("{:02}".format)


YEARS = st.sampled_from(["0000", "0001", "0004", "1900", "2000", "2023", "2024", "9999"])
DAYS = st.builds(
    "{}-{}-{}".format,
    YEARS | st.integers(0, 9999).map("{:04}".format),
    two(1, 12) | two(0, 13),
    two(1, 28) | two(0, 32),
)
SEPARATORS = st.sampled_from("Tt ")
SECONDS = two(0, 59, 60, 61).map(":{}".format)
FRACTIONS = st.builds(
    "{}{}{}".format,
    st.sampled_from(".,"),
    st.text("0123456789", min_size=1, max_size=10),
    st.sampled_from(["", "0", "000", "0000000"]),
)
OFFSETS = st.sampled_from(["", "Z", "z", " Z", "+00:00", "-0000", " +02:00"]) | st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["+", "-", " +", " -"]),
    two(0, 23, 24),
    st.sampled_from(["", ":"]),
    two(0, 59, 60) | st.just(""),
)
MIDNIGHTS = st.sampled_from(["00:00", "00:00:00", "00:00:00.000", "24:00:00", "24:00"])
CLOCKS = MIDNIGHTS | st.builds(
    "{}:{}{}".format,
    two(0, 23, 24),
    two(0, 59, 60),
    st.just("") | SECONDS | st.builds("{}{}".format, SECONDS, FRACTIONS),
)
HALVES = st.sampled_from(["", "", "am", " PM", "Am"])
TIMES_OF_DAY = st.builds("{}{}".format, CLOCKS, OFFSETS)
TIMES_ALONE = TIMES_OF_DAY | st.builds("{}{}{}".format, CLOCKS.map(lambda clock: clock.removeprefix("0")), HALVES, OFFSETS)
DATE_TIMES = st.builds("{}{}{}".format, DAYS, SEPARATORS, TIMES_OF_DAY)


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """Draw one of *texts* and insert, delete or replace one to three characters."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from("0123456789 -+:.,TtZz\n\0") | st.characters(codec="utf-8"))
        text = text[:at] + draw(st.sampled_from([new, ""])) + text[at + draw(st.integers(0, 1)) :]
    return text


@st.composite
def alike(draw: st.DrawFn, start: int) -> list[str | None]:
    """Draw date-times that exist, from position *start*, in one form, as a tap sends them."""
    places = draw(st.integers(0, 9))
    fraction = "." if places else ""
    end = draw(st.sampled_from(["", "Z", "+00:00", "-0230", "+14", " +02:00"]))
    moments = st.datetimes() | st.sampled_from([dt.datetime.min, dt.datetime.max])
    return [
        moment.isoformat(timespec="seconds")[start:]
        + f"{fraction}{f'{moment.microsecond:06}789'[:places]}{end}"
        for moment in draw(st.lists(moments, max_size=20))
    ]


GRAMMAR = DAYS | TIMES_ALONE | DATE_TIMES
ANY_TEXT = st.none() | GRAMMAR | mutated(GRAMMAR) | st.text(max_size=30)


@every_column
@settings(deadline=None)
@given(texts=st.lists(st.none() | GRAMMAR, max_size=20))
def test_column_of_the_grammar(column: str, texts: list[str | None]) -> None:
    check(column, texts)


@every_column
@settings(deadline=None)
@given(texts=st.lists(ANY_TEXT, max_size=20))
def test_column_of_anything(column: str, texts: list[str | None]) -> None:
    check(column, texts)


@every_column
@given(text=ANY_TEXT)
def test_column_of_one(column: str, text: str | None) -> None:
    """Alone, as no other text keeps it from Arrow's cast."""
    check(column, [text])


@given(texts=alike(start=0))
def test_timestamps_alike(texts: list[str | None]) -> None:
    for column in COLUMNS.keys() - {"dates", "times"}:
        check(column, texts)


@given(texts=alike(start=len("2024-01-31T")))
def test_times_alike(texts: list[str | None]) -> None:
    check("times", texts)


@every_column
def test_column_of_the_tables(column: str) -> None:
    tables = (TIMESTAMPS, NO_TIMESTAMPS, DATES, NO_DATES, TIMES, NO_TIMES)
    for text in [text for table in tables for text in table]:
        check(column, [text])
        check(column, [None, text, "2024-01-31T00:00:00Z", "12:00"])


@pytest.mark.parametrize("column", [column for column in COLUMNS if column != "times"])
@pytest.mark.parametrize("end", ["", "T00:00", "T00:00:00Z"], ids=["day", "naive", "zoned"])
def test_every_day_there_is_and_no_other(column: str, end: str) -> None:
    """Of each year the days that leap years move; of two years all."""
    ends = [f"{y:04}-02-{d}{end}" for y in range(10_000) for d in (28, 29, 30)]
    years = [f"{y}-{m:02}-{d:02}{end}" for y in (2023, 2024) for m in range(15) for d in range(35)]
    parsed = check(column, [*ends, *years])
    assert len(parsed.values) - parsed.values.null_count == 9_999 + 2_424 + 365 + 366


@every_column
@pytest.mark.parametrize("texts", [[], [None], [None] * 3], ids=["empty", "null", "nulls"])
def test_column_of_nothing(column: str, texts: list[str | None]) -> None:
    check(column, texts)


@pytest.mark.parametrize("small", [0, 100], ids=["vectorised", "one-by-one"])
def test_positions_are_those_of_the_column(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a slice of a longer one, with nulls, faults and cuts of all kinds among the rest."""
    monkeypatch.setattr(times_columns, "_SMALL", small)
    texts = [
        "before",
        "2024-01-31T12:00:00Z",
        None,
        "2024-02-30",
        "2016-12-31T23:59:60.0000001",
        "2024-01-31 12:00:00,1234567 +02",
        "0001-01-01T00:00:00.1234567+02:00",
        "",
        "after",
    ]
    parsed = times_columns.timestamps(pa.array(texts)[1:-1])
    assert [None if v is None else times.timestamp_text(v) for v in numbers(parsed.values)] == [
        "2024-01-31T12:00:00Z",
        None,
        None,
        "2017-01-01T00:00:00Z",
        "2024-01-31T10:00:00.123456Z",
        None,
        None,
    ]
    assert cut_in(parsed) == [3, 4]
    assert parsed.refused == {
        2: "no such day",
        5: "outside the years 1 to 9999, in UTC",
        6: NOT_A_TIMESTAMP,
    }


def numbers(values: pa.Array) -> list[int | None]:
    """Return timestamps as microseconds."""
    found: list[int | None] = values.cast(pa.int64()).to_pylist()
    return found


USUAL = {
    "timestamps": [
        "2024-01-31T12:00:00Z",
        "2024-01-31T12:00:00.123456+00:00",
        "2024-01-31 12:00:00",
        "2024-01-31t12:00:00,5z",
        "2024-01-31T12:00:00.123456789-0230",
        "2024-01-31 12:00:00 +02",
        "2024-02-29",
        "9999-12-31T23:59:59.9999999Z",
        "0001-01-01T00:00:00Z",
    ],
    "dates": ["2024-02-29", "2024-03-16T00:00:00+00:00", "2024-03-16 00:00:00.000"],
    "times": ["12:00", "12:00:00.5", "12:00:00.123456789+02:00", "12:00 z"],
}


@pytest.mark.parametrize("column", list(USUAL))
def test_usual_forms_are_not_read_one_by_one(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for scalar in ("timestamp", "date", "time"):
        monkeypatch.setattr(times, scalar, lambda text: pytest.fail(f"{text} was"))
    for texts in [USUAL[column], *([text] for text in USUAL[column])]:
        COLUMNS[column][0](pa.array(texts))
