"""Values that real taps send and JSON, RFC 3339 or a schema does not know, into PostgreSQL and back."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from on_postgres import dialect, make_table, needs_infinities, rows, run

from target_meltano import DOUBLE, NOT_FINITE, NUMBER, Column, MessageError, RecordError, load
from target_meltano.samples import INT, NUM, STR, record, schema

PRICE = {"type": ["null", "number"], "multipleOf": 0.001}
AMOUNT = {"type": "string", "format": "singer.decimal"}
AT = {"type": ["null", "string"], "format": "date-time"}
DAY = {"type": ["null", "string"], "format": "date"}
CLOCK = {"type": ["null", "string"], "format": "time"}
QUARANTINE = {"invalid_records": "quarantine"}


def raw(*lines: str) -> list[str]:
    """Return lines as a tap writes them: the words of NaN and the infinities as they are."""
    return [f'{{"type": "RECORD", "stream": "t", "record": {line}}}' for line in lines]


def refused(db: Any) -> list[tuple[Any, ...]]:
    """Return stream, line, path and reason of what is in quarantine."""
    return rows(db, "line, stream, path, reason, record IS NULL", "__rejected")


# --- NaN and the infinities


@pytest.mark.parametrize("kind", [NUM, PRICE, {"type": ["integer", "number"]}], ids=["number", "with a scale", "mixed"])
@pytest.mark.parametrize("number", ["exact", "double"])
def test_a_number_may_be_nan_or_infinite(db: Any, kind: Any, number: str) -> None:
    needs_infinities(db)
    sent = raw(*(f'{{"id": {i}, "v": {word}}}' for i, word in enumerate(["NaN", "Infinity", "-Infinity", "1.5", "null"])))
    run(db, schema("t", id=INT, v=kind), *sent, number=number)
    assert [text for (_, text) in rows(db, "id, v::text")] == ["NaN", "Infinity", "-Infinity", "1.5", None]


def test_decimals_in_strings_may_be(db: Any) -> None:
    needs_infinities(db)
    sent = [record("t", id=i, v=word) for i, word in enumerate(["NaN", "-Infinity", "0.10"])]
    run(db, schema("t", id=INT, v=AMOUNT), *sent)
    assert [text for (_, text) in rows(db, "id, v::text")] == ["NaN", "-Infinity", "0.10"]


def test_other_spellings_are_no_numbers(db: Any) -> None:
    for word in ("nan", "inf", "+Infinity", " NaN", "1.#QNAN"):
        with pytest.raises(RecordError, match="is no number"):
            run(db, schema("t", id=INT, v=AMOUNT), record("t", id=1, v=word))


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (INT, "NaN", "NaN is a number, wanted integer"),
        (STR, "Infinity", "Infinity is a number, wanted string"),
        ({"type": ["string", "number"]}, "NaN", "it holds NaN, and JSON has no such number"),
        ({"type": "array"}, "[1, [-Infinity]]", "it holds -Infinity, and JSON has no such number"),
        ({}, "NaN", "it holds NaN, and JSON has no such number"),
        ({"type": "boolean"}, "NaN", "NaN is a number, wanted boolean"),
        (AT, "NaN", "NaN is a number, wanted string"),
    ],
    ids=["integer", "string", "mixed", "array", "anything", "boolean", "time"],
)
def test_elsewhere_they_are_faults_of_their_record(db: Any, kind: Any, value: str, fault: str) -> None:
    """The quarantine has stream and path; its column for JSON is empty, as the line is none."""
    sent = raw('{"id": 1}', f'{{"id": 2, "v": {value}}}', '{"id": 3}')
    run(db, schema("t", id=INT, v=kind), *sent, **QUARANTINE)
    assert rows(db, "id") == [(1,), (3,)]
    (found,) = refused(db)
    assert found[:3] == (3, "t", "$.v")
    assert found[3].startswith(fault)
    assert found[4]


def test_a_word_in_a_text_is_text(db: Any) -> None:
    run(db, schema("t", id=INT, v=STR, j={"type": "array"}), *raw('{"id": 1, "v": "NaN", "j": ["NaN", "Infinity"]}'))
    assert rows(db) == [(1, "NaN", ["NaN", "Infinity"], *rows(db)[0][3:])]


def test_a_field_that_is_not_stored_may_hold_them(db: Any) -> None:
    run(db, schema("t", id=INT), *raw(*(f'{{"id": {i}, "x": NaN, "y": [Infinity]}}' for i in range(3))))
    assert rows(db, "id") == [(0,), (1,), (2,)]
    with pytest.raises(RecordError, match=r"__extra: it holds NaN"):
        run(db, schema("u", id=INT), '{"type": "RECORD", "stream": "u", "record": {"id": 1, "x": NaN}}', unknown_fields="keep")


@pytest.mark.parametrize("number", ["exact", "double"])
def test_nan_is_one_key(db: Any, number: str) -> None:
    """As PostgreSQL compares them: within a batch, across batches and runs."""
    needs_infinities(db)
    keyed = schema("t", keys=("v",), v=NUM, n=INT)
    sent = raw('{"v": NaN, "n": 1}', '{"v": Infinity, "n": 2}', '{"v": NaN, "n": 3}', '{"v": -Infinity, "n": 4}')
    for rows_in_batch in (100, 1):
        run(db, keyed, *sent, number=number, batch_rows=rows_in_batch)
        assert sorted(rows(db, "n, v::text")) == [(2, "Infinity"), (3, "NaN"), (4, "-Infinity")]


def test_a_batch_may_have_them(db: Any, tmp_path: Path) -> None:
    needs_infinities(db)
    (tmp_path / "a.jsonl").write_text('{"id": 1, "v": NaN}\n{"id": 2, "v": -Infinity}\n{"id": 3, "v": [NaN]}\n')
    batch = {"type": "BATCH", "stream": "t", "encoding": {"format": "jsonl"}, "manifest": [f"file://{tmp_path}/a.jsonl"]}
    run(db, schema("t", id=INT, v=NUM), batch, batch_root=str(tmp_path), **QUARANTINE)
    assert rows(db, "id, v::text") == [(1, "NaN"), (2, "-Infinity")]
    assert [found[2] for found in refused(db)] == ["$.v"]


def test_parquet_may_have_them(db: Any, tmp_path: Path) -> None:
    needs_infinities(db)
    pq.write_table(pa.table({"id": [1, 2, 3], "v": [float("nan"), float("-inf"), None]}), tmp_path / "a.parquet")
    batch = {"type": "BATCH", "stream": "t", "encoding": {"format": "parquet"}, "manifest": [f"file://{tmp_path}/a.parquet"]}
    run(db, schema("t", id=INT, v=NUM), batch, batch_root=str(tmp_path))
    assert rows(db, "id, v::text") == [(1, "NaN"), (2, "-Infinity"), (3, None)]


def test_a_record_with_nan_has_its_version(db: Any) -> None:
    line = '{"type": "RECORD", "stream": "t", "version": 7, "record": {"id": 1, "v": NaN}}'
    run(db, schema("t", id=INT, v=NUM), line, line.replace("1,", "2,"))
    assert rows(db, "id, __version") == [(1, 7), (2, 7)]


def test_what_no_record_is_may_not_have_them(db: Any) -> None:
    for line in ('{"type": "STATE", "value": {"at": NaN}}', '{"type": "SCHEMA", "stream": "u", "key_properties": [], "schema": {"maximum": NaN}}'):
        with pytest.raises(MessageError, match="NaN is no JSON number"):
            run(db, line)


def test_a_numeric_of_others_holds_nan_but_no_infinity(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, v numeric(6,2), __loaded_at timestamptz")
    sent = raw('{"id": 1, "v": NaN}', '{"id": 2, "v": -Infinity}', '{"id": 3, "v": Infinity}', '{"id": 4, "v": 0.5}')
    run(db, schema("t", id=INT, v=NUM), *sent, narrow_columns="keep", **QUARANTINE)
    assert rows(db, "id, v::text") == [(1, "NaN"), (4, "0.50")]
    assert [found[:3] for found in refused(db)] == [(3, "t", "$.v"), (4, "t", "$.v")]


def test_before_version_14_no_numeric_is_infinite(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = dialect(db, **QUARANTINE)
    monkeypatch.setattr("target_meltano_postgres.dialect.INFINITIES", 10**9)
    sent = raw(*(f'{{"id": {i}, "v": {word}, "d": {word}}}' for i, word in enumerate(["NaN", "Infinity", "-Infinity"] * 2)))
    load(target, [schema("t", id=INT, v=NUM, d=NUM), *sent])
    assert rows(db, "id, v::text") == [(0, "NaN"), (3, "NaN")]
    assert [found[2] for found in refused(db)] == ["$.v"] * 4
    assert {target.holds(column) for column in (Column('v', NUMBER), Column('v', DOUBLE))} == {frozenset({"NaN"}), NOT_FINITE}


def test_a_schema_with_bounds_takes_no_nan(db: Any) -> None:
    needs_infinities(db)
    bounded = {"type": "number", "minimum": 0}
    sent = raw('{"id": 1, "v": Infinity}', '{"id": 2, "v": NaN}', '{"id": 3, "v": -Infinity}')
    run(db, schema("t", id=INT, v=bounded), *sent, validation="schema", **QUARANTINE)
    assert rows(db, "id") == [(1,)]


# --- digits beyond microseconds


@pytest.mark.parametrize("types", [{}, {"t.at": "timestamp"}, {"t.at": "string"}], ids=["format", "timestamp", "string"])
@pytest.mark.parametrize("many", [1, 300])
def test_keys_never_lose_digits(db: Any, types: Any, many: int) -> None:
    kind = {"type": "string"} if types else AT
    sent = [record("t", at=f"2031-05-06T07:08:09.{i:06}{digit}Z", n=i) for i in range(many) for digit in ("", "000", "4")]
    run(db, schema("t", keys=("at",), at=kind, n=INT), *sent, column_types=types, **QUARANTINE)
    if "string" in types.values():
        assert len(rows(db)) == 3 * many
        return
    assert len(rows(db)) == many
    found = refused(db)
    assert [line for line, *_ in found] == list(range(4, 3 * many + 2, 3))
    assert {path for _, _, path, *_ in found} == {"$.at"}
    assert "in a key" in found[0][3]
    assert '"string" holds it' in found[0][3]


def test_so_it_is_with_a_time_of_day(db: Any) -> None:
    keyed = schema("t", keys=("id", "c"), id=INT, c=CLOCK)
    with pytest.raises(RecordError, match=r"line 3.*\$\.c.*in a key"):
        run(db, keyed, record("t", id=1, c="7:08:09.5000000"), record("t", id=1, c="7:08:09.0000001"))


def test_elsewhere_they_are_cut_counted_and_the_first_line_is_told(db: Any) -> None:
    wide = schema("t", id=INT, at=AT, c=CLOCK)
    sent = [record("t", id=i, at=f"2031-05-06 07:08:09.12345{i}7", c="07:08:09" + ".0000009" * (i > 4)) for i in range(8)]
    result = run(db, wide, record("t", id=9, at="2031-05-06T07:08:09.5000000+02:00"), *sent)
    assert rows(db, "to_char(at AT TIME ZONE 'UTC', 'HH24:MI:SS.US'), c::text")[:2] == [("05:08:09.500000", None), ("07:08:09.123450", "07:08:09")]
    words = "digits beyond microseconds are cut (setting excess_digits)"
    assert [warning for warning in result.summary["warnings"] if "digits" in warning] == [
        f"stream 't': $.at: {words}, first in line 3",
        f"stream 't': $.c: {words}, first in line 8",
    ]
    assert [(odd["what"], odd["count"]) for odd in result.summary["notices"]] == [(f"$.at: {words}", 8), (f"$.c: {words}", 3)]


@pytest.mark.parametrize("many", [2, 400])
def test_they_may_be_refused(db: Any, many: int) -> None:
    sent = [record("t", id=i, at=f"2031-05-06T07:08:09.{i:06}{'00' if i % 2 else '01'}") for i in range(many)]
    run(db, schema("t", id=INT, at=AT), *sent, excess_digits="fail", **QUARANTINE)
    assert rows(db, "id") == [(i,) for i in range(1, many, 2)]
    assert {reason.split("digits", 1)[1] for _, _, _, reason, _ in refused(db)} == {
        ' beyond microseconds, that the column does not have (setting excess_digits: cut); setting column_types: "t.at": "string" holds it'
    }


# --- MySQL's times


def test_hours_of_one_digit_and_half_days(db: Any) -> None:
    sent = ["9:30:00", "0:00:07.25", "23:59:59", "8:15 pm", "12:00am", "12:00PM", "1:00:00+02:00", None]
    run(db, schema("t", id=INT, c=CLOCK), *(record("t", id=i, c=c) for i, c in enumerate(sent)))
    assert [c for _, c in rows(db, "id, c::text")] == [
        "09:30:00", "00:00:07.25", "23:59:59", "20:15:00", "00:00:00", "12:00:00", "23:00:00", None
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["1 day, 2:03:04", "-1 day, 22:00:00", "34 days, 22:59:59", "838:59:59", "24:00:00", "-9:30:00"])
def test_durations_are_no_times_and_the_remedy_works(db: Any, text: str) -> None:
    wide = schema("t", id=INT, c=CLOCK)
    with pytest.raises(RecordError, match=r'setting column_types: "t\.c": "string" holds it') as error:
        run(db, wide, record("t", id=1, c=text))
    assert repr(text) in str(error.value)
    run(db, wide, record("t", id=1, c=text), column_types={"t.c": "string"})
    assert rows(db, "c") == [(text,)]


ZEROS = ["0000-00-00", "0000-00-00 00:00:00", "0000-00-00T00:00:00Z", "0000-00-00 00:00:00.000000", "0000-00-00T00:00:00+00:00"]


@pytest.mark.parametrize("many", [1, 100])
def test_zero_dates_are_null_where_a_setting_says_so(db: Any, many: int) -> None:
    sent = [record("t", id=i, at=text, day=text) for i, text in enumerate([*ZEROS * many, None])]
    result = run(db, schema("t", id=INT, at=AT, day=DAY), record("t", id=-1, at="2031-05-06", day="2031-05-06"), *sent, zero_dates="null")
    assert rows(db, "count(*), count(at), count(day)") == [(5 * many + 2, 1, 1)]
    words = "MySQL's zero date became null (setting zero_dates)"
    assert [(odd["what"], odd["count"]) for odd in result.summary["notices"]] == [(f"$.at: {words}", 5 * many), (f"$.day: {words}", 5 * many)]
    assert f"stream 't': $.at: {words}, first in line 3" in result.summary["warnings"]


@pytest.mark.parametrize("text", ZEROS)
@pytest.mark.parametrize("kind", [AT, DAY], ids=["date-time", "date"])
def test_else_their_fault_names_the_setting(db: Any, text: str, kind: Any) -> None:
    with pytest.raises(RecordError, match=r"MySQL's zero date \(setting zero_dates: null\)") as error:
        run(db, schema("t", id=INT, at=kind), record("t", id=1, at=text))
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["2024-00-00", "2024-05-00 00:00:00", "0000-00-00 01:00:00", "0000-01-01"])
def test_a_date_of_which_something_is_known_is_never_null(db: Any, text: str) -> None:
    for kind in (AT, DAY):
        with pytest.raises(RecordError, match="no such day|other than midnight"):
            run(db, schema("t", **{"id": INT, f"at_{kind['format'][4:]}": kind}), record("t", id=1, **{f"at_{kind['format'][4:]}": text}), zero_dates="null")


def test_a_zero_date_is_no_key(db: Any) -> None:
    with pytest.raises(RecordError, match="a key must not be absent or null"):
        run(db, schema("t", keys=("at",), at=AT), record("t", at=ZEROS[0]), zero_dates="null")


def test_a_zero_date_in_text_is_text(db: Any) -> None:
    run(db, schema("t", id=INT, at=STR), record("t", id=1, at=ZEROS[1]), zero_dates="null")
    assert rows(db, "at") == [(ZEROS[1],)]


# --- floats with all their binary digits


def expansion(value: float) -> str:
    return f"{Decimal(value):f}"


@pytest.mark.parametrize(
    ("kind", "sent", "wanted"),
    [
        (PRICE, expansion(0.07), "0.07"),
        (PRICE, expansion(-1234.1), "-1234.1"),
        (PRICE, "6.9999999999999997e-2", "0.069999999999999997"),
        (PRICE, expansion(0.0701), expansion(0.0701)),
        (PRICE, expansion(0.07)[:-1], expansion(0.07)[:-1]),
        (PRICE, "0.0700000000000000000", "0.0700000000000000000"),
        (NUM, expansion(0.07), expansion(0.07)),
        ({"type": "number", "multipleOf": 1e-20}, expansion(0.07), "0.07"),
        ({"type": "number", "multipleOf": 1}, expansion(2.0**70), expansion(2.0**70)),
    ],
    ids=["0.07", "-1234.1", "not all digits", "more places", "a digit less", "zeros", "no scale", "many places", "whole"],
)
@pytest.mark.parametrize("many", [1, 300])
def test_a_float_in_an_exact_column(db: Any, kind: Any, sent: str, wanted: str, many: int) -> None:
    result = run(db, schema("t", id=INT, v=kind), *raw(*(f'{{"id": {i}, "v": {sent}}}' for i in range(many))))
    assert {text for (text,) in rows(db, "v::text")} == {wanted}
    counted = [odd["count"] for odd in result.summary["notices"] if "binary digits" in odd["what"]]
    assert counted == ([many] if json.loads(sent) == json.loads(wanted) and sent != wanted and "e" not in sent else [])


def test_a_float_in_a_string_with_precision_and_scale(db: Any) -> None:
    kind = {"type": "string", "format": "singer.decimal", "precision": 12, "scale": 2}
    run(db, schema("t", id=INT, v=kind), record("t", id=1, v=expansion(0.07)), record("t", id=2, v="1.005"))
    assert rows(db, "v::text") == [("0.07",), ("1.005",)]


@pytest.mark.parametrize("kind", [PRICE, INT, NUM, {}, {"type": "string", "format": "singer.decimal", "precision": 12, "scale": 2}], ids=str)
@pytest.mark.parametrize("number", ["1e-99999999999999999999", "-1.5e99999999999999999999999", "1e-1000000000000000000000000000"])
@pytest.mark.parametrize("validation", ["types", "schema"])
def test_an_exponent_of_any_length_is_judged(db: Any, kind: Any, number: str, validation: str) -> None:
    """Python's Decimal takes 18 digits of one."""
    sent = raw('{"id": 1, "v": null}', f'{{"id": 2, "v": {json.dumps(number) if "format" in kind else number}}}')
    run(db, schema("t", id=INT, v={"anyOf": [kind, {"type": "null"}]}), *sent, validation=validation, **QUARANTINE)
    assert [line for line, *_ in refused(db)][-1] == 3
