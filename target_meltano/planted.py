"""Differences that are put into tables which a load has filled: `verify` has to find each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dialect import Dialect
from .samples import INT, NUM, STR, record, schema

DATES: dict[str, Any] = {name: {"type": ["null", "string"], "format": name} for name in ("date", "date-time", "time")}
ARRAY: Any = {"type": ["null", "array"]}
Statement = Callable[[Dialect[Any]], str]


@dataclass(frozen=True)
class Planted:
    """What is loaded, what is done to the tables then, and *words* of the one difference that is to be told."""

    name: str
    messages: Sequence[Mapping[str, Any]]
    plant: Statement
    words: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False

    def __str__(self) -> str:
        return self.name


def _table(dialect: Dialect[Any], name: str = "orders") -> str:
    place = dialect.settings.schema or dialect.default_schema or ""
    return f"{dialect.quote(place)}.{dialect.quote(dialect.fold(name))}"


def _copied(column: str) -> Statement:
    """The value of row 2 in row 1."""

    def statement(dialect: Dialect[Any]) -> str:
        table, name, key = _table(dialect), dialect.quote(dialect.fold(column)), dialect.quote(dialect.fold("id"))
        return f"UPDATE {table} SET {name} = (SELECT {name} FROM {table} WHERE {key} = 2) WHERE {key} = 1"

    return statement


def _said(text: str, *names: str, table: str = "orders") -> Statement:
    """A statement with {t} for the table, and {0}, {1}, … for the columns of *names*."""
    return lambda dialect: text.format(*(dialect.quote(dialect.fold(name)) for name in names), t=_table(dialect, table))


def _pair(name: str, its: Any, one: Any, two: Any, column: str = "v", **settings: Any) -> Planted:
    """Two rows whose values are nearly the same; the first then has that of the second."""
    messages = [schema(id=INT, v=its), record(id=1, v=one), record(id=2, v=two)]
    return Planted(name, messages, _copied(column), r"line 2: .*another value", settings)


_SOME = [schema(id=INT, a=STR, b=STR), *(record(id=i, a=f"a{i}", b=f"b{i}") for i in range(1, 5))]
_LOG = [schema(keys=(), id=INT, a=STR), *(record(id=i, a="x") for i in (1, 2, 2, 3))]
_VERSIONS = [
    schema(id=INT, a=STR),
    {**record(id=1, a="old"), "version": 1},
    {**record(id=2, a="new"), "version": 2},
    {"type": "ACTIVATE_VERSION", "stream": "orders", "version": 2},
]
_OBJECT = {"type": "object", "properties": {"b": {"type": ["null", "string"]}}}
_OPEN = {**_OBJECT, "additionalProperties": True}
_GONE = [schema(id=INT, a=STR, _sdc_deleted_at=DATES["date-time"]), record(id=1, a="x"), record(id=2, a="y")]
_SHORT: dict[str, Any] = {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}
_BAD = [schema(id=INT, a=STR), record(id=1, a="x"), record(id=2, a=5), record(id=3, a="z")]

PLANTED = [
    # --- values
    _pair("an integer, by 1", INT, 2**53, 2**53 + 1),
    _pair("a number, by its last digit", NUM, 0.3, 0.30000000000000004),
    _pair("a number, by its sign", NUM, 1.5, -1.5),
    _pair("a double, by its last bit", NUM, 0.1, 0.10000000000000002, number="double"),
    _pair("a boolean", {"type": ["null", "boolean"]}, True, False),
    _pair("a text, by its case", STR, "AAPL", "AAPl"),
    _pair("a text, by a blank at its end", STR, "x", "x "),
    _pair("a text, by its normal form", STR, "\u00e9", "e\u0301"),
    _pair("a text, by its end", STR, "x" * 5000 + "y", "x" * 5000),
    _pair("an empty text that became NULL", STR, "", None),
    _pair("NULL that became an empty text", STR, None, ""),
    _pair("0 that became NULL", INT, 0, None),
    _pair("NULL that became 0", INT, None, 0),
    _pair("false that became NULL", {"type": ["null", "boolean"]}, False, None),
    _pair("a date, by a day", DATES["date"], "2024-02-29", "2024-03-01"),
    _pair("a date-time, by a microsecond", DATES["date-time"], "2024-01-01T00:00:00.000001Z", "2024-01-01T00:00:00Z"),
    _pair("a date-time, by its offset", DATES["date-time"], "2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00Z"),
    _pair("a time, by a microsecond", DATES["time"], "23:59:59.999999", "23:59:59.999998"),
    _pair("bytes, by one", {"type": ["null", "string"], "contentEncoding": "base64"}, "AAEC", "AAED", decode_binary=True),
    _pair("JSON, by a digit", ARRAY, [{"a": 1.25}], [{"a": 1.24}]),
    _pair("JSON, by the order of items", ARRAY, [1, 2], [2, 1]),
    _pair("JSON, by a member", ARRAY, [{"a": 1, "b": None}], [{"a": 1}]),
    _pair("JSON, by a type", ARRAY, [1], ["1"]),
    _pair("JSON, empty or NULL", ARRAY, [], None),
    _pair("a member of a nested object", _OBJECT, {"b": "x"}, {"b": "y"}, column="v__b"),
    _pair("a member that no schema names", _OPEN, {"b": "x", "more": 1}, {"b": "x", "more": 2}, column="v__extra"),
    # --- rows
    Planted("a row that is gone", _SOME, _said("DELETE FROM {t} WHERE {0} = 3", "id"), "line 4: .*its row is not there"),
    Planted("a row with another key", _SOME, _said("UPDATE {t} SET {0} = 30 WHERE {0} = 3", "id"), "line 4: .*its row is not there"),
    Planted("two columns, exchanged", _SOME, _said("UPDATE {t} SET {0} = {1} WHERE {2} = 3", "a", "b", "id"), r"line 4: .*'(a|A)'.*another value"),
    Planted("a column, emptied", _SOME[:2], _said("UPDATE {t} SET {0} = NULL", "a"), "line 2: .*stored NULL"),
    Planted("an older record that won", [*_SOME, record(id=1, a="a2", b="b1")], _said("UPDATE {t} SET {0} = 'a1' WHERE {1} = 1", "a", "id"), "line 6: .*another value"),
    Planted("a row that no record made", _SOME, _said("INSERT INTO {t} ({0}, {1}) VALUES (9, 'x')", "id", "a"), "no record made", whole=True),
    Planted("a field that should be kept", [*_SOME[:2], record(id=1, b="b")], _said("UPDATE {t} SET {0} = NULL", "a"), "line 3: .*another value", {"absent_fields": "keep"}),
    Planted("a field that should be NULL", [*_SOME[:2], record(id=1, b="b")], _said("UPDATE {t} SET {0} = 'a1'", "a"), "line 3: .*another value"),
    Planted("one of two equal rows, changed", _LOG, _said("UPDATE {t} SET {0} = 9 WHERE {0} = 3", "id"), "line 5: .*(not there|another value)"),
    Planted("rows without a key that are gone", _LOG, _said("DELETE FROM {t} WHERE {0} = 3", "id"), "line 5: .*not there"),
    Planted("a row that was written twice", _LOG, _said("INSERT INTO {t} ({0}, {1}) VALUES (3, 'x')", "id", "a"), "no record made", whole=True),
    # --- deletes and versions
    Planted("a row whose deletion is lost", [*_GONE, record(**_SHORT)], _said("UPDATE {t} SET {0} = NULL WHERE {1} = 1", "_sdc_deleted_at", "id"), "line 4: .*another value"),
    Planted("a deleted row that is there", [*_GONE, record(**_SHORT)], _said("INSERT INTO {t} ({0}, {1}) VALUES (1, 'x')", "id", "a"), "line 4: .*deletes its row", {"hard_delete": True}),
    Planted("an older version that is not marked", _VERSIONS, _said("UPDATE {t} SET {0} = NULL WHERE {1} = 1", "__deleted_at", "id"), "line 2: .*not marked as deleted"),
    Planted("a row that is marked", _VERSIONS, _said("UPDATE {t} SET {0} = (SELECT {0} FROM {t} WHERE {1} = 1) WHERE {1} = 2", "__deleted_at", "id"), "line 3: .*marked as deleted"),
    Planted("another version", _VERSIONS, _said("UPDATE {t} SET {0} = 7 WHERE {1} = 2", "__version", "id"), "line 3: .*another value"),
    # --- what was rejected
    Planted("an invalid record that is nowhere", _BAD, _said("DELETE FROM {t}", table="__rejected"), "line 3: .*not in __rejected", {"invalid_records": "quarantine"}),
    # --- tables
    Planted("a table that is gone", _SOME, _said("DROP TABLE {t}"), "no table"),
    Planted("a column that is gone", _SOME[:2], _said("ALTER TABLE {t} DROP COLUMN {0}", "b"), "line 2: .*no column"),
]
