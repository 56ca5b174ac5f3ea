"""The staging layer of a dbt project: sources, and one model per table, as texts of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .catalogue import Column, Table
from .spelling import MAX_NAME, column, cut, is_plain, jinja, quoted, short_hash, slug, source_name
from .yaml_writer import document

DELETED = ("__deleted_at", "_sdc_deleted_at")  # a row that has one is deleted
VERSIONS = ("__version",)
FRESHNESS = {"warn_after": "24h", "error_after": "72h"}
PERIODS = {"h": "hour", "d": "day"}
UNIQUE_COMBINATION = """\
{% test unique_combination(model, columns) %}

select {{ columns | join(', ') }}, count(*) as n
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1

{% endtest %}
"""


@dataclass(frozen=True)
class Source:
    """A tap's tables. *stamp* is the column with the time of receipt; *freshness* how old it may be, as 24h."""

    tap: str
    schema: str
    tables: Sequence[Table]
    dialect: str
    stamp: str = "__loaded_at"
    freshness: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        return source_name(self.tap)


def files(source: Source) -> dict[str, str]:
    """Return the texts of a source's files by their names."""
    names = _unique([table.name for table in source.tables], [slug(table.name) for table in source.tables])
    made = {
        f"_{source.name}__sources.yml": document({"version": 2, "sources": [_source(source, names)]}),
        f"_{source.name}__models.yml": document({"version": 2, "models": [_model(source, table, names) for table in source.tables]}),
    }
    return made | {f"{_model_name(source, names[table.name])}.sql": _sql(source, table, names) for table in source.tables}


def _model_name(source: Source, table: str) -> str:
    return cut(f"stg_{source.name}__{table}")


def _source(source: Source, names: Mapping[str, str]) -> dict[str, Any]:
    ages = source.freshness or FRESHNESS
    freshness = {name: {"count": int(age[:-1]), "period": PERIODS[age[-1]]} for name, age in ages.items()}
    quoting = {} if is_plain(source.schema, source.dialect) else {"quoting": {"schema": True}}
    return {
        "name": source.name,
        "schema": _in_quotes(source.schema),
        "description": jinja(f"What the tap {source.tap} has sent, loaded by target-meltano-{source.dialect}."),
        **quoting,
        "config": {"loaded_at_field": source.stamp, "freshness": freshness},
        "tables": [_source_table(source, table, names[table.name]) for table in source.tables],
    }


def _source_table(source: Source, table: Table, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "description": jinja(f"Stream {table.stream}.")}
    if table.name.lower() != name or not is_plain(table.name, source.dialect):
        made |= {"identifier": _in_quotes(table.name), "quoting": {"identifier": True}}
    if not table.has(source.stamp):
        made["config"] = {"freshness": None}
    is_unique = not table.versions
    if len(table.keys) > 1 and is_unique:
        made["data_tests"] = [_combination([quoted(key, source.dialect) for key in table.keys])]
    made["columns"] = [_source_column(source, table, one, is_unique) for one in table.columns]
    return made


def _source_column(source: Source, table: Table, one: Column, is_unique: bool) -> dict[str, Any]:
    is_simple = is_plain(one.name, source.dialect)
    made: dict[str, Any] = {"name": one.name.lower()} if is_simple else {"name": _in_quotes(one.name), "quote": True}
    made["data_type"] = one.type
    if one.path:
        made["description"] = jinja(one.path)
    tests = _key_tests(table, one, is_unique)
    return {**made, "data_tests": tests} if tests else made


def _in_quotes(name: str) -> str:
    """Return *name* as dbt puts it between quotes, of which it doubles none."""
    return jinja(name.replace('"', '""'))


def _key_tests(table: Table, one: Column, is_unique: bool) -> list[str]:
    if one.name not in table.keys:
        return []
    return ["not_null", "unique"] if len(table.keys) == 1 and is_unique else ["not_null"]


def _combination(columns: Sequence[str]) -> dict[str, Any]:
    return {"unique_combination": {"arguments": {"columns": list(columns)}}}


def _model(source: Source, table: Table, names: Mapping[str, str]) -> dict[str, Any]:
    aliases = _aliases(table)
    made: dict[str, Any] = {"name": _model_name(source, names[table.name]), "description": jinja(f"Stream {table.stream} of the tap {source.tap}.")}
    is_latest = table.versions and bool(table.keys)
    if is_latest and len(table.keys) > 1:
        made["data_tests"] = [_combination([aliases[key] for key in table.keys])]
    made["columns"] = [
        {
            "name": aliases[one.name],
            "data_type": one.type,
            **({"description": jinja(one.path)} if one.path else {}),
            **({"data_tests": _key_tests(table, one, True)} if is_latest and one.name in table.keys else {}),
        }
        for one in table.columns
        if one.name in aliases
    ]
    return made


def _aliases(table: Table) -> dict[str, str]:
    """Return the names in the staging model by those of the columns, without those that say what is deleted."""
    kept = [one for one in table.columns if one.name.lower() not in (*DELETED, *VERSIONS) or (one.path and one.name.lower() not in DELETED)]
    return _unique([one.name for one in kept], [column(one.name, one.path) for one in kept])


def _unique(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Return what is *wanted* for each name; where several want the same, each gets a hash of its own, as long as it takes."""
    counts = Counter(wanted)
    taken = {one for one, count in counts.items() if count == 1}
    made = {}
    for name, one in zip(names, wanted, strict=True):
        if counts[one] > 1:
            hashed = (f"{cut(one)[: MAX_NAME - 1 - size]}_{short_hash(name, size)}" for size in range(6, MAX_NAME))
            one = next(other for other in hashed if other not in taken)
            taken.add(one)
        made[name] = one
    return made


def _sql(source: Source, table: Table, names: Mapping[str, str]) -> str:
    def spelt(name: str) -> str:
        return quoted(name, source.dialect)

    columns = [
        spelt(name) if spelt(name) == alias else f"{spelt(name)} as {alias}" for name, alias in _aliases(table).items()
    ]
    wheres = [f"{spelt(one.name)} is null" for one in table.columns if one.name.lower() in DELETED]
    parts = [_part("source", f"select * from {{{{ source('{source.name}', '{names[table.name]}') }}}}")]
    if table.versions and table.keys and table.has(source.stamp):
        over = f"partition by {', '.join(map(spelt, table.keys))} order by {source.stamp.lower()} desc"
        parts.append(_part("latest", f"select *, row_number() over ({over}) as __version_number\nfrom source"))
        wheres = ["__version_number = 1", *wheres]
    before = "latest" if len(parts) > 1 else "source"
    where = f"\nwhere {' and '.join(wheres)}" if wheres else ""
    listed = ",\n".join(f"    {one}" for one in columns)
    parts.append(_part("renamed", f"select\n{listed}\nfrom {before}{where}"))
    return f"with {', '.join(parts)}\nselect * from renamed\n"


def _part(name: str, sql: str) -> str:
    body = "\n".join(f"    {line}" for line in sql.split("\n"))
    return f"{name} as (\n\n{body}\n\n)"
