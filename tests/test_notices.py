"""What was rejected, dropped or changed is in the last lines, in the summary and in `__loads`: counted, and without values."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

import pytest
from on_postgres import dialect, make_table, rows

from target_meltano import TargetError, load, notices
from target_meltano.report import MOST_SHOWN, Report
from target_meltano.samples import INT, NUM, STR, record, schema, state

WHEN = {"type": ["string", "null"], "format": "date-time"}


def told(db: Any, *lines: Any, **settings: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """Load, and return the lines on stderr and the notices of the summary."""
    report = Report(out := StringIO())
    try:
        load(dialect(db, **settings), lines, report=report)
    except TargetError:
        pass
    return out.getvalue().splitlines(), report.summary()["notices"]


def kept(db: Any) -> dict[tuple[str, str], int]:
    """Return what `__loads` has of the last run, by kind and words."""
    query = f"SELECT notices FROM \"{db.schema}\".__loads WHERE run_id = (SELECT max(run_id) FROM \"{db.schema}\".__loads) AND notices IS NOT NULL"
    return {(one["kind"], one["what"]): one["count"] for (text,) in db.query(query) for one in json.loads(text)}


def counted(found: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(one["kind"], one["what"]): one["count"] for one in found}


CASES: dict[str, tuple[list[Any], dict[str, Any], dict[tuple[str, str], int], str]] = {
    "a field that no SCHEMA names": (
        [schema("t"), *(record("t", id=n, email="ada@example.com") for n in range(3))],
        {},
        {("dropped", "$.email: the schema does not name this field, it is not stored (setting unknown_fields)"): 3},
        "3 dropped",
    ),
    "digits that are cut": (
        [schema("t", id=INT, at=WHEN), record("t", id=1, at="2026-01-01T00:00:00.1234567Z")],
        {},
        {("changed", "$.at: digits beyond microseconds are cut (setting excess_digits)"): 1},
        "1 changed",
    ),
    "converted values": (
        [schema("t", id=INT, n=INT), record("t", id=1, n="7"), record("t", id=2, n="8")],
        {"coerce": "lossless"},
        {("changed", "$.n: values of another type than the schema's were converted"): 2},
        "2 changed",
    ),
    "text that no database stores": (
        [schema("t", id=INT, s=STR), record("t", id=1, s="a\0b")],
        {"on_bad_text": "replace"},
        {("changed", "$.s: characters that a database cannot store became U+FFFD"): 1},
        "1 changed",
    ),
    "invalid records": (
        [schema("t"), record("t", id="x"), record("t", id=2), record("t", id="y")],
        {"invalid_records": "quarantine"},
        {("rejected", "$.id: an invalid record is in __rejected (command rejected)"): 2},
        "2 rejected",
    ),
    "fields beside rules for personal data": (
        [schema("t", id=INT, name=STR), record("t", id=1, name="Ada", email="ada@example.com")],
        {"pii": [{"stream": "t", "columns": ["name"], "method": "nullify"}]},
        {("dropped", "records have fields that neither their SCHEMA nor a rule for personal data names; these are left out"): 1},
        "1 dropped",
    ),
}


@pytest.mark.parametrize(("lines", "settings", "expected", "total"), CASES.values(), ids=CASES.keys())
def test_it_is_told_last_and_kept(db: Any, lines: list[Any], settings: dict[str, Any], expected: dict[tuple[str, str], int], total: str) -> None:
    found, summary = told(db, *lines, state(1), **settings)
    assert counted(summary) == expected
    assert kept(db) == expected
    last = found[-1 - len(expected) :]
    assert [line.split()[0] for line in last] == ["WARNING"] * len(last)
    assert last[-1].endswith(f"; {total}")
    for (_, what), line in zip(expected, last, strict=False):
        assert what in line
    assert "ada@example.com" not in "".join(found) + json.dumps(summary)


def test_nothing_to_be_noticed_is_no_warning(db: Any) -> None:
    found, summary = told(db, schema("t"), record("t", id=1), state(1))
    assert summary == []
    assert kept(db) == {}
    assert not [line for line in found if line.startswith("WARNING")]
    assert found[-1].startswith("INFO    1 rows of 1 streams committed in")


def test_columns_that_a_later_run_adds_and_widens(db: Any) -> None:
    """The first run makes the table, which is no change of it."""
    _, summary = told(db, schema("t", id=INT, n=INT), record("t", id=1, n=1), state(1))
    assert summary == []
    found, summary = told(db, schema("t", id=INT, n=NUM, s=STR), record("t", id=1, n=60.25, s="red"), state(1))
    assert counted(summary) == kept(db) == {("widened", "column 'n' was bigint and is numeric"): 1, ("added", "column 's' is new: text"): 1}
    assert found[-1].startswith("WARNING 1 rows")
    assert found[-1].endswith("; 1 column widened, 1 column added")


def test_rows_that_a_trigger_leaves_out(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, __loaded_at timestamptz")
    body = "BEGIN IF NEW.id > 1 THEN RETURN NULL; END IF; RETURN NEW; END"
    db.query(f"CREATE FUNCTION \"{db.schema}\".f() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
    db.query(f'CREATE TRIGGER g BEFORE INSERT ON "{db.schema}".t FOR EACH ROW EXECUTE FUNCTION "{db.schema}".f()')
    found, summary = told(db, schema("t"), *(record("t", id=n) for n in range(1, 5)), state(1))
    ((kind, _),) = counted(summary)
    assert (kind, list(counted(summary).values())) == ("dropped", [3])
    assert kept(db) == counted(summary)
    assert found[-1].endswith("; 3 dropped")
    assert rows(db, "id") == [(1,)]


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_record_that_the_database_refuses(db: Any, batch_rows: int) -> None:
    """Each is counted once, however often its transaction is written again."""
    make_table(db, "id bigint PRIMARY KEY, __loaded_at timestamptz, CHECK (id % 3 > 0)")
    found, summary = told(db, schema("t"), *(record("t", id=n) for n in range(9)), state(1), invalid_records="quarantine", batch_rows=batch_rows)
    assert counted(summary) == kept(db) == {("rejected", "$: an invalid record is in __rejected (command rejected)"): 3}
    assert ": 3 times, first in line 2: the database refuses it: " in found[-2]
    assert "DETAIL" not in "".join(found)
    assert rows(db, "count(*)", "__rejected") == [(3,)]


def test_a_run_that_fails_tells_it_all_the_same(db: Any) -> None:
    found, summary = told(db, schema("t"), record("t", id=1, a=1), state(1), record("t", id="x"))
    assert list(counted(summary).values()) == [1]
    assert kept(db) == counted(summary)
    assert found[-1].endswith("; 1 dropped")


def test_notices_have_an_end(db: Any) -> None:
    """At the end of a run's lines, and in a row of `__loads`."""
    many = {f"f{n}": n for n in range(3 * MOST_SHOWN)}
    found, summary = told(db, schema("t"), record("t", id=1, **many), state(1))
    last = [line for line in found if "not stored" in line and line.endswith(": once")]
    assert (len(last), len(summary)) == (MOST_SHOWN, 3 * MOST_SHOWN)
    assert f"{2 * MOST_SHOWN} more of this kind (--summary has all)" in found[-2]
    counts: notices.Counted = {}
    for n in range(3 * notices.MOST_WHATS):
        counts = notices.plus(counts, {("rejected", f"$.f{n}"): 1})
    assert len(counts) == notices.MOST_WHATS + 1
    assert sum(counts.values()) == 3 * notices.MOST_WHATS


def test_rejected_records_have_a_column_of_the_table_on_a_terminal(db: Any) -> None:
    """Records of no stream have a row that says so, and brackets in a name are no colours."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    report = Report(out := Terminal())
    lines = [schema("[red]t"), record("[red]t", id="x"), record("[red]t", id=2), b"no message", state(1)]
    load(dialect(db, invalid_records="quarantine"), lines, report=report)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert [word.strip() for word in shown.split("┃")[1:-1]][3] == "rejected"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert [row[:4] for row in cells] == [["[red]t", "2", "1", "1"], ["(no stream)", "0", "0", "1"]]
    assert "2 rejected" in shown.splitlines()[-1]
