"""Whether a table has the records that were sent, value by value, by its columns as SQL shows them.

It shares no code with what writes them: docs/values.md once more, in other words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

OURS = {"__loaded_at", "__version", "__deleted_at"}
WHOLE, EXTRA = ".**", "__extra"  # how the comment of a whole object ends; the column of what no schema names
MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):?(\d\d))?)?")
CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):?(\d\d))?")
SECONDS = {"timestamp with time zone", "timestamp without time zone", "time without time zone"}


@dataclass(frozen=True)
class Column:
    """A column, and of what it is: *source* is its comment, the path of its property with dots."""

    name: str
    type: str
    source: str

    def shown(self) -> str:
        """Return the SQL that gives its value as text: times as seconds, whatever their zone."""
        name = '"' + self.name.replace('"', '""') + '"'
        return f"EXTRACT(epoch FROM {name})::text" if self.type in SECONDS else f"{name}::text"


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, str | None]]


def tables(db: Any) -> dict[str, Table]:
    """Return the tables of the schema by their names."""
    found = db.query(
        "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL), coalesce(pg_catalog.col_description(c.oid, a.attnum), '')"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind = 'r' AND c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s)) ORDER BY c.relname, a.attnum",
        (db.schema,),
    )
    columns: dict[str, list[Column]] = {}
    for table, *column in found:
        columns.setdefault(table, []).append(Column(*column))
    made = {}
    for name, its in columns.items():
        shown = ", ".join(column.shown() for column in its)
        rows = db.query(f'SELECT {shown} FROM "{db.schema}"."{name}"')
        made[name] = Table(its, [dict(zip((column.name for column in its), row, strict=True)) for row in rows])
    return made


def differences(table: Table, sent: Sequence[Sequence[Any]], key: str | None) -> list[str]:
    """Return how the rows of *table* differ from what was *sent*: for each row that there should be, its records.

    The last of them is what the row has; where that has no field, what the one before had.
    """
    columns = [column for column in table.columns if column.name not in OURS]
    sources = below({EXTRA if column.name == EXTRA else column.source for column in columns})
    at = next((column for column in columns if column.source == key), None)
    there: dict[str, list[Mapping[str, str | None]]] = {}
    for row in table.rows:
        there.setdefault(str(row[at.name]) if at else "", []).append(row)
    found = [] if len(table.rows) == len(sent) else [f"{len(table.rows)} rows, wanted {len(sent)}"]
    for records in sent:
        cells: dict[str, Any] = {}
        for record in records:
            cells |= cells_of(record, sources)
        if EXTRA in cells and EXTRA not in sources:
            found.append(f"no column has {sorted(cells[EXTRA])}")
        candidates = there.get(str(records[-1][key]) if at else "", [])
        faults = [_faults(columns, row, cells) for row in candidates]
        best = min(range(len(faults)), key=lambda i: len(faults[i]), default=None)
        if best is None:
            found.append(f"no row for {key} {records[-1].get(key)!r}")
        else:
            found += faults[best]
            if not faults[best]:
                del candidates[best]
    return found


def _faults(columns: Sequence[Column], row: Mapping[str, str | None], cells: Mapping[str, Any]) -> list[str]:
    found = []
    for column in columns:
        wanted = cells.get(EXTRA if column.name == EXTRA else column.source)
        if not equal(wanted, row[column.name], column.type):
            found.append(f"{column.source or column.name}: {wanted!r} was sent, {row[column.name]!r} is there ({column.type})")
    return found


def below(sources: Iterable[str]) -> dict[str, list[str]]:
    """Return *sources*, and the objects that they are of, each with the sources below it."""
    found: dict[str, list[str]] = {source: [] for source in sources}
    for source in tuple(found):
        for at, letter in enumerate(source):
            if letter == ".":
                found.setdefault(source[:at], []).append(source)
    return found


def cells_of(record: Mapping[str, Any], sources: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the values of a record by the *sources* of their columns, none for fields that it does not have.

    What has no column is in that of its object (`path.*`), else in that of the record.
    """
    cells: dict[str, Any] = {}
    if extra := _cells(record, "", sources, cells):
        cells[EXTRA] = extra
    return cells


def _cells(found: Mapping[str, Any], path: str, sources: Mapping[str, Sequence[str]], cells: dict[str, Any]) -> dict[str, Any]:
    """Put the members of an object into *cells*, and return those that have no column."""
    extra, rest = {}, {}
    for name, value in found.items():
        source = f"{path}{name}"
        if source + WHOLE in sources:
            cells[source + WHOLE] = value
        elif sources.get(source) == []:
            cells[source] = value
        elif source in sources and isinstance(value, dict):
            if inner := _cells(value, f"{source}.", sources, cells):
                extra[name] = inner
        elif source in sources and value is None:
            cells |= dict.fromkeys(sources[source])
        elif path and f"{path}*" in sources:
            rest[name] = value
        else:
            extra[name] = value
    if rest:
        cells[f"{path}*"] = rest
    return extra


def equal(wanted: Any, stored: str | None, column_type: str) -> bool:
    if wanted is None or stored is None:
        return wanted is None and stored is None
    if column_type in ("json", "jsonb"):
        return same(wanted, exact(stored))
    if column_type in ("bigint", "numeric", "double precision", "integer"):
        return not isinstance(wanted, bool) and Decimal(str(wanted)) == Decimal(stored)
    if column_type == "boolean":
        return isinstance(wanted, bool) and str(wanted).lower() == stored
    if column_type == "date":
        return bool(wanted[:10] == stored)
    if column_type in SECONDS:
        return seconds(wanted) == Decimal(stored)
    if isinstance(wanted, str):
        return wanted == stored
    try:
        return same(wanted, exact(stored))  # of several types: what is no text is its JSON
    except ValueError:
        return False


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def same(wanted: Any, stored: Any) -> bool:
    """Tell whether two JSON values are equal: numbers by their value, and true is no 1."""
    if isinstance(wanted, dict):
        return isinstance(stored, dict) and wanted.keys() == stored.keys() and all(same(value, stored[name]) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(stored, list) and len(wanted) == len(stored) and all(map(same, wanted, stored))
    if isinstance(wanted, bool) or isinstance(stored, bool) or not isinstance(wanted, int | float | Decimal):
        return type(wanted) is type(stored) and bool(wanted == stored)
    try:
        return Decimal(str(wanted)) == Decimal(str(stored))
    except InvalidOperation:
        return False


def seconds(text: str) -> Decimal:
    """Return the seconds of a date-time since 1970 in UTC, or of a time of day; digits beyond microseconds are cut."""
    if moment := MOMENT.fullmatch(text):
        year, month, day, *clock = moment.groups()
        days = date(int(year), int(month), int(day)).toordinal() - date(1970, 1, 1).toordinal()
        return days * 86400 + _clock(*clock)
    of_day = CLOCK.fullmatch(text)
    assert of_day, text
    return (_clock(*of_day.groups()) + 86400) % 86400  # the remainder of a Decimal has its sign


def _clock(hour: str | None, minute: str | None, second: str | None, fraction: str | None, _z: str | None, sign: str | None, hours: str | None, minutes: str | None) -> Decimal:
    found = int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    ahead = int(hours or 0) * 3600 + int(minutes or 0) * 60
    return found + (ahead if sign == "-" else -ahead) + Decimal(f"0.{(fraction or '0')[:6]}")
