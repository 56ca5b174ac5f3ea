"""Messages and values to test a dialect with: of each kind of column what a tap sends and what is stored."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from . import kinds
from .kinds import BINARY, BOOLEAN, DATE, DOUBLE, INTEGER, JSON, NUMBER, STRING, TIME, TIMESTAMP, Kind

UTC = dt.timezone.utc
INT: Any = {"type": ["integer", "null"]}
NUM: Any = {"type": ["number", "null"]}
STR: Any = {"type": ["string", "null"]}
# --- messages


def schema(stream: str = "orders", keys: tuple[str, ...] = ("id",), **properties: Any) -> dict[str, Any]:
    """Return a SCHEMA; without properties of `id` only."""
    properties = properties or {"id": INT}
    described = {"type": "object", "properties": properties}
    return {"type": "SCHEMA", "stream": stream, "schema": described, "key_properties": list(keys)}


def record(stream: str = "orders", **fields: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": fields}


def state(value: Any) -> dict[str, Any]:
    return {"type": "STATE", "value": value}


# --- values


@dataclass(frozen=True)
class Sample:
    """A kind of column: the JSON Schema that makes one, and values for it.

    *values* are pairs of what a tap sends and what is read back. *one* is such a pair, *text* is
    what a column of strings has of it, *json* what one of JSON has.
    """

    kind: Kind
    schema: Any
    values: st.SearchStrategy[tuple[Any, Any]]
    one: tuple[Any, Any]
    text: str = ""
    json: Any = None


def _same(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return values.map(lambda value: (value, value))


def _instant(naive: dt.datetime, minutes: int) -> tuple[str, dt.datetime]:
    """Return what a tap with an offset of its own sends, and the same in UTC."""
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    return naive.replace(tzinfo=zone).isoformat(), (naive - zone.utcoffset(None)).replace(tzinfo=UTC)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
EXACT = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e40"), max_value=Decimal("1e40"))
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | EXACT | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
INSTANTS = st.builds(
    _instant, st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)), st.integers(-23 * 60, 23 * 60)
)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 120, tzinfo=UTC)
SAMPLES = (
    Sample(BOOLEAN, {"type": "boolean"}, _same(st.booleans()), (True, True), "true", True),
    Sample(INTEGER, INT, _same(st.integers(-(2**63), 2**63 - 1)), (-7, -7), "-7", -7),
    Sample(NUMBER, NUM, _same(EXACT), (Decimal("19.90"), Decimal("19.90")), "19.90", Decimal("19.90")),
    Sample(DOUBLE, NUM, _same(st.floats(allow_nan=False, allow_infinity=False)), (0.25, 0.25), "0.25", Decimal("0.25")),
    Sample(STRING, STR, _same(TEXTS), ('a"\\\n€', 'a"\\\n€'), 'a"\\\n€', 'a"\\\n€'),
    Sample(
        DATE,
        {"type": "string", "format": "date"},
        st.dates().map(lambda day: (day.isoformat(), day)),
        ("0044-03-15", dt.date(44, 3, 15)),
        "0044-03-15",
        "0044-03-15",
    ),
    Sample(
        TIME,
        {"type": "string", "format": "time"},
        st.times().map(lambda time: (time.isoformat(), time)),
        ("23:59:59.5", dt.time(23, 59, 59, 500_000)),
        "23:59:59.500000",
        "23:59:59.500000",
    ),
    Sample(
        TIMESTAMP,
        {"type": "string", "format": "date-time"},
        INSTANTS,
        ("2024-02-29T13:00:00.00012+01:00", NOON),
        "2024-02-29T12:00:00.000120Z",
        "2024-02-29T12:00:00.000120Z",
    ),
    Sample(
        BINARY,
        {"type": "string", "contentEncoding": "base64"},
        st.binary().map(lambda data: (base64.b64encode(data).decode(), data)),
        ("AP8=", b"\0\xff"),
    ),
    Sample(JSON, {}, _same(JSONS), ([Decimal("1.10"), {"b": None}], [Decimal("1.10"), {"b": None}])),
)
SAMPLE = {sample.kind: sample for sample in SAMPLES}
PAIRS = [(found, wanted) for found in SAMPLES for wanted in SAMPLES if found.kind != wanted.kind]


def is_up(found: Sample, wanted: Sample) -> bool:
    return kinds.can_become(found.kind, wanted.kind)


def pair_id(sample: Sample) -> str:
    return sample.kind.name


def settings_of(*samples: Sample) -> dict[str, Any]:
    """Return the settings under which the samples' schemas make columns of their kinds."""
    return {
        "number": "double" if samples[-1].kind == DOUBLE else "exact",
        "decode_binary": any(sample.kind == BINARY for sample in samples),
    }


def as_wanted(found: Sample, wanted: Sample) -> Any:
    """Return the one value of *found* as a column of the kind *wanted* has it."""
    if wanted.kind == STRING:
        return found.text
    if wanted.kind == JSON:
        return found.json
    if wanted.kind == TIMESTAMP:
        day: dt.date = found.one[1]
        return dt.datetime(day.year, day.month, day.day, tzinfo=UTC)
    return float(found.one[1]) if wanted.kind == DOUBLE else found.one[1]


# --- records that lack fields

PART = {
    "id": INT,
    "a": STR,
    "o": {"type": ["object", "null"], "properties": {"b": INT}},
    "c": INT,
    "_sdc_deleted_at": {"type": ["string", "null"], "format": "date-time"},
}
PARTS = st.fixed_dictionaries(
    {"id": st.integers(1, 3)},
    optional={
        "a": st.none() | st.sampled_from("xyz"),
        "o": st.none() | st.fixed_dictionaries({}, optional={"b": st.none() | st.integers(0, 9)}),
        "c": st.none() | st.integers(0, 9),
        "_sdc_deleted_at": st.none() | st.just(NOON.isoformat()),
    },
)


def applied(parts: list[Any], *, absent: str, hard: bool, named: bool) -> list[tuple[Any, ...]]:
    """Return the rows that records of `PARTS` leave, one after the other: id, a, o.b, c, time of deletion.

    *absent* is the setting `absent_fields`; the SCHEMA has *named* the time of deletion or not.
    """
    rows: dict[int, tuple[Any, ...]] = {}
    for part in parts:
        named = named or "_sdc_deleted_at" in part
        deleted = NOON if part.get("_sdc_deleted_at") else None
        if deleted and hard:
            rows.pop(part["id"], None)
            continue
        keeps = absent == "keep" or (absent == "auto" and named) or deleted
        _, a, b, c, _ = (rows.get(part["id"]) if keeps else None) or (None,) * 5
        o = part.get("o", {"b": b})
        b = o.get("b", b) if o is not None else None
        rows[part["id"]] = (part["id"], part.get("a", a), b, part.get("c", c), deleted)
    return sorted(rows.values(), key=lambda row: row[0])
