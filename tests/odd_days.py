"""Three days of a pipeline with odd values, and what is in the tables afterwards, on any PostgreSQL.

Upserts, appends, columns that widen, an overwrite, a STATE that is kept, a run that dies, a quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from target_meltano import commands
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano.verify.program import Options, Verification

Run = Callable[..., Any]  # loads lines, with settings
Query = Callable[[str], list[tuple[Any, ...]]]

AT = {"type": ["string", "null"], "format": "date-time"}
DAY = {"type": ["string", "null"], "format": "date"}
CLOCK = {"type": ["string", "null"], "format": "time"}
BOOL = {"type": ["boolean", "null"]}
ANY: Any = {}
LONG = "x" * 70_000  # out of line, in TOAST
DIGITS = "12345678901234567890123456789.012345678901234567890"

ODD = schema("odd", id=INT, n=NUM, t=STR, at=AT, d=DAY, c=CLOCK, b=BOOL, j=ANY, w=INT, **{"select": STR, 'Ü "q"\\': INT})
WIDER = schema("odd", id=INT, n=NUM, t=STR, at=AT, d=DAY, c=CLOCK, b=BOOL, j=ANY, w=NUM, new=STR, **{"select": STR, 'Ü "q"\\': INT})
WIDEST = schema("odd", id=INT, n=NUM, t=STR, w=STR, new=STR)


def raw(**fields: str) -> str:
    """Return a RECORD whose values are written as here: digits that Python's floats have not, and NaN."""
    inner = ", ".join(f'"{name}": {value}' for name, value in fields.items())
    return f'{{"type": "RECORD", "stream": "odd", "record": {{{inner}}}}}'


FIRST = [
    ODD,
    schema("events", keys=(), n=INT, what=STR),
    raw(id="1", n=DIGITS, t=r'"\\N \u20ac \ud83d\ude00 \t\r\n"', at='"0001-01-01T00:00:00Z"', d='"0001-01-01"', c='"23:59:59.999999"', b="true", j='{"a": [1.10, null, "\\u0009"]}', w="7"),
    raw(id="2", n="NaN", t='""', at='"9999-12-31T23:59:59.999999+00:00"', d='"9999-12-31"', c='"00:00"', b="false", j="null", w="-9223372036854775808"),
    raw(id="3", n="-0.000", t=f'"{LONG}"', at='"2024-02-29T12:00:00.5-04:30"', j="[]", w="null", select='"order by"'),
    record("odd", id=4, t="it's \\ \"q\" %s %(x)s $1 {0}", **{'Ü "q"\\': 5}),
    record("events", n=1, what="a"),
    record("events", n=1, what="a"),
    state({"day": 1}),
]
SECOND = [
    WIDER,
    schema("events", keys=(), n=INT, what=STR),
    record("odd", id=1, n=1, t="updated", w=1),
    raw(id="5", w="0.10", t='"five"', new='"n"'),
    record("odd", id="no number", t="refused"),
    record("odd", id=6, t="refused", d="2023-02-29"),
    record("events", n=2, what=None),
    record("events", n="no number"),
    state({"day": 2}),
]
THIRD = [
    WIDEST,
    record("odd", id=5, t="5", w="text", new="m"),
    record("odd", id=7, t="seven", w=None),
    state({"day": 3}),
]
WHOLE = [
    [schema("whole", id=INT, v=STR), *(record("whole", id=n, v=f"{n}") for n in range(50)), state(1)],
    [schema("whole", id=INT, v=STR), *(record("whole", id=n, v=f"{n} again") for n in range(40, 60)), state(2)],
]
KEPT = {"state_id": "p", "invalid_records": "quarantine", "batch_rows": 2}

# Columns as text; what has been widened shows what it was.
QUERIES = {
    "odd": """SELECT id::text, n::text, CASE WHEN length(t) > 100 THEN length(t)::text ELSE t END, (at AT TIME ZONE 'UTC')::text, d::text, c::text,
        b::text, j::text, w::text, new, "select", "Ü__q__"::text FROM {0}.odd ORDER BY id""",
    "types": """SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{0}.odd'::regclass
        AND attname IN ('n', 'w', 'j', 'at') AND NOT attisdropped ORDER BY 1""",
    "events": "SELECT n::text, what FROM {0}.events ORDER BY 1, 2",
    "rejected": "SELECT stream, path, line::text FROM {0}.__rejected ORDER BY line",
    "state": "SELECT state_id, state FROM {0}.__state",
}
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "odd": [
        ("1", "1", "updated", None, None, None, None, None, "1", None, None, None),
        ("2", "NaN", "", "9999-12-31 23:59:59.999999", "9999-12-31", "00:00:00", "false", None, "-9223372036854775808", None, None, None),
        ("3", "0.000", "70000", "2024-02-29 16:30:00.5", None, None, None, "[]", None, None, "order by", None),
        ("4", None, "it's \\ \"q\" %s %(x)s $1 {0}", None, None, None, None, None, None, None, None, "5"),
        ("5", None, "5", None, None, None, None, None, "text", "m", None, None),
        ("7", None, "seven", None, None, None, None, None, None, None, None, None),
    ],
    "types": [("at", "timestamp with time zone"), ("j", "jsonb"), ("n", "numeric"), ("w", "text")],
    "events": [("1", "a"), ("1", "a"), ("2", None)],
    "rejected": [("odd", "$.id", "5"), ("odd", "$.d", "6"), ("events", "$.n", "8")],
    "state": [("p", '{"day":3}')],
}
AFTER_FIRST = ("1", DIGITS, "\\N € 😀 \t\r\n", "0001-01-01 00:00:00", "0001-01-01", "23:59:59.999999", "true", '{"a": [1.10, null, "\\t"]}', "7")


class Died(Exception):
    pass


def differences(dialect: Any, lines: list[Any], *, whole: bool = False) -> list[str]:
    """Return how the tables differ from what *lines* say, as `verify` does."""
    return [str(one) for verdict in Verification(dialect, lines, Options(whole=whole)).run() for one in verdict.found.differences]


def three_days(run: Run, make: Run, query: Query, name: str) -> None:
    """Load all of it into the schema *name* by *run*, and compare; *make* is a dialect with settings."""
    run(FIRST, **KEPT)
    assert differences(make(**KEPT), FIRST, whole=True) == []
    first = QUERIES["odd"].partition(", new")[0] + " FROM {0}.odd WHERE id = 1"
    assert query(first.format(name)) == [AFTER_FIRST]
    with pytest.raises(Died):
        run(dying(SECOND), **KEPT)
    assert commands.get_state(make(**KEPT)) == '{"day":1}'
    for day in (SECOND, THIRD):
        run(day, **KEPT)
        assert differences(make(**KEPT), day) == []
    for what, sql in QUERIES.items():
        assert query(sql.format(name)) == EXPECTED[what], what


def overwrites(run: Run, make: Run, query: Query, name: str) -> None:
    for day in WHOLE:
        run(day, load_method="overwrite")
        assert differences(make(load_method="overwrite"), day, whole=True) == []
    assert query(f"SELECT id, v FROM {name}.whole ORDER BY 1") == [(n, f"{n} again") for n in range(40, 60)]


def dying(lines: list[Any]) -> Iterator[Any]:
    """Yield what comes before the STATE; then the tap is gone."""
    yield from lines[:-1]
    raise Died
