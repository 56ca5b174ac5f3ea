"""How the values of PostgreSQL's types are compared, and what each tap of PostgreSQL makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from postgres_source import Source
from postgres_tables import KEYS
from syncs import Row, differences


@dataclass(frozen=True)
class Form:
    """How a value is told, as SQL of the source and of the target; equal texts are equal values."""

    source: str = "{}::text"
    target: str = "{}::text"


TEXT = Form("CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END")  # ::text pads an inet, and cuts a char
NUMBER = Form("trim_scale({}::text::numeric)::text", "trim_scale({}::text::numeric)::text")
FLOAT = Form("{}::text::float8::text", "{}::text::float8::text")
IN_UTC = Form("{}::timestamp::text", "({} AT TIME ZONE 'UTC')::text")
JSON = Form("{}::jsonb::text")
ARRAYS = ("integer[]", "bigint[]", "boolean[]", "uuid[]", "mood[]", "numeric[]", "double precision[]")
FORMS = {
    **dict.fromkeys(["smallint", "integer", "bigint", "numeric", "positive", "oid"], NUMBER),
    **dict.fromkeys(["real", "double precision"], FLOAT),
    **dict.fromkeys([*ARRAYS, "text[]"], Form("to_jsonb({})::text")),
    **dict.fromkeys(["json", "jsonb", "hstore"], JSON),
    "boolean": Form(),
    "bytea": Form("encode({}, 'hex')"),
    "timestamp without time zone": IN_UTC,
    "time with time zone": Form("({} AT TIME ZONE 'UTC')::time::text"),
}


@dataclass(frozen=True)
class Way:
    """What is particular to a tap and a method.

    *settings* are those of ours that it needs, *forms* tell how its values come, *changed* names the columns whose
    values the tap changes, *left_out* those that it does not send. It *knows_deletions* or not.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    knows_deletions: bool = False


OF_MELTANOLABS = Way({"coerce": "lossless"}, changed=("span",))
# From the log JSON comes as text within JSON, and arrays and hstore as PostgreSQL writes them.
FROM_THE_LOG = {
    **dict.fromkeys(["json", "jsonb"], Form("{}::jsonb::text", "({} #>> '{{}}')::jsonb::text")),
    **dict.fromkeys([*ARRAYS, "hstore"], Form("{}::text", "{} #>> '{{}}'")),
}
OF_PIPELINEWISE = Way(
    # A date comes as a moment, a bit as a boolean, an array that is null as an empty one.
    forms={"date": IN_UTC, "bit": Form("({} = B'1')::text"), **dict.fromkeys([*ARRAYS, "text[]"], Form("coalesce(to_jsonb({}), '[]')::text"))},
    left_out=("raw", "span", "bits", "varbits", "place", "bounds", "markup", "both", "limited", "object_id"),
)
WAYS = {
    ("meltanolabs", "FULL_TABLE"): OF_MELTANOLABS,
    ("meltanolabs", "INCREMENTAL"): OF_MELTANOLABS,
    ("meltanolabs", "LOG_BASED"): Way({"coerce": "lossless"}, FROM_THE_LOG, knows_deletions=True),
    ("pipelinewise", "FULL_TABLE"): replace(OF_PIPELINEWISE, knows_deletions=True),
    ("pipelinewise", "INCREMENTAL"): OF_PIPELINEWISE,
    # From the log the elements of a bigint[] come as texts, and a numeric without a scale as a float.
    ("pipelinewise", "LOG_BASED"): replace(OF_PIPELINEWISE, changed=("larges", "free"), knows_deletions=True),
}


def folded(name: str) -> str:
    """Return the name that a stream or property has in the database."""
    return re.sub(r"\W", "_", name.lower())


@dataclass
class Compared:
    """The tables of a source beside those of a target, as rows of texts: the key, then each column by its form."""

    shop: Source
    db: Any
    way: Way

    def columns(self, table: str) -> dict[str, str]:
        """Return the types of the columns of a table, in their order."""
        sql = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
        return dict(self.shop.query(sql, (f'"{table}"',)))  # type: ignore[arg-type]

    def wanted(self, table: str, of: str) -> list[Row]:
        """Return rows of the source: *of* is a table, with its conditions."""
        return self.shop.query(self._select(table, "source", lambda name: f'"{name}"', of))

    def found(self, table: str, schema: str, *, live: bool) -> list[Row]:
        """Return the rows of the stream's table; with *live*, those that are not marked as deleted."""
        where = "coalesce(to_jsonb(t)->>'_sdc_deleted_at', to_jsonb(t)->>'__deleted_at') IS NULL" if live else "true"
        of = f'"{schema}"."{folded(f"shop-{table}")}" t WHERE {where}'
        rows: list[Row] = self.db.query(self._select(table, "target", lambda name: f'"{folded(name)}"', of))
        return rows

    def differences(self, table: str, wanted: Iterable[Row], found: Iterable[Row]) -> list[str]:
        """Return what is not equal; rows from before a column was added have null in it."""
        names = ["key", *self._kept(table)]
        return differences(((*row, *[None] * (len(names) - len(row))) for row in wanted), found, names)

    def _kept(self, table: str) -> dict[str, str]:
        return {name: of for name, of in self.columns(table).items() if name not in (*self.way.changed, *self.way.left_out)}

    def _select(self, table: str, side: str, quoted: Callable[[str], str], of: str) -> str:
        forms = {**FORMS, **self.way.forms}
        values = [getattr(forms.get(re.sub(r"\(.*\)", "", type_), TEXT), side).format(quoted(name)) for name, type_ in self._kept(table).items()]
        key = ", ".join(f"{quoted(name)}::text" for name in KEYS[table])
        return f"SELECT concat_ws('/', {key}), {', '.join(values)} FROM {of}"
