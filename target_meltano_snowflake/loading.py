"""The statements that bring the files of a stage into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from target_meltano import Table

from . import upgrades
from .encode import ARRIVAL, expression

Quote = Callable[[str], str]
NO_COLLATION = "DEFAULT_DDL_COLLATION = ''"  # else texts have the schema's, by which others than equal ones may be equal
# NULL_IF: else \\N is NULL. USE_VECTORIZED_SCANNER: FALSE is what the default was, and is to become TRUE "in a future BCR"
# (sql-reference/sql/create-file-format); with it a NULL in a file is no longer absent from $1, but a JSON null there.
# FORCE: whether a ROLLBACK takes back what COPY has noted of its files is not said. LOAD_HISTORY has no record of them then
# (sql-reference/info-schema/load_history), but that is a view. A file of ours is loaded once per transaction anyhow.
OPTIONS = (
    "FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_VECTORIZED_SCANNER = FALSE NULL_IF = ()) "
    "ON_ERROR = ABORT_STATEMENT FORCE = TRUE"
)


@dataclass
class Load:
    """Rows of *table* in a *folder* of the stage, each column of its type in *types*.

    *now* are the types that the columns of the table have by now: DDL may have come in between.
    """

    table: Table
    types: tuple[str, ...]
    folder: str
    rows: int
    now: Mapping[str, str] = field(default_factory=dict)

    def read(self) -> list[str]:
        """Return the columns of the files, as values of their types."""
        return [expression(i, spelt) for i, spelt in enumerate(self.types)]

    def cells(self) -> list[str]:
        """Return the columns of the staging table as the table's columns want them."""
        return [
            upgrades.conversion(f'"C{i}"', self.types[i], self.now.get(column.name, self.types[i]))
            for i, column in enumerate(self.table.columns)
        ]

    def losses(self) -> Mapping[str, str]:
        """Return the conditions for staged values that would not stay what they are, by column."""
        found = {column.name: self._loses(i, column.name) for i, column in enumerate(self.table.columns)}
        return {name: condition for name, condition in found.items() if condition}

    def _loses(self, i: int, name: str) -> str | None:
        return upgrades.loses(f'"C{i}"', self.types[i], self.now.get(name, self.types[i]))

    @property
    def is_straight(self) -> bool:
        """Tell whether the rows can be copied into the table itself."""
        return not self.table.keys and self.cells() == [f'"C{i}"' for i in range(len(self.types))]


def full_name(table: Table, quote: Quote) -> str:
    return f"{quote(table.schema)}.{quote(table.name)}"


def create_staging(name: str, types: Sequence[str]) -> str:
    columns = [*(f'"C{i}" {spelt.upper()}' for i, spelt in enumerate(types)), f'"{ARRIVAL}" NUMBER(38,0)']
    return f"CREATE OR REPLACE TEMPORARY TABLE {name} ({', '.join(columns)}) {NO_COLLATION}"


def statements(load: Load, stage: str, staging: str, quote: Quote) -> Iterator[str]:
    """Yield what loads the files below *stage*, by way of the table *staging* where that is needed."""
    table = full_name(load.table, quote)
    names = [quote(column.name) for column in load.table.columns]
    if load.is_straight:
        yield _copy(table, names, load.read(), stage)
        return
    yield from staged(load, stage, staging)
    if load.table.keys:
        yield _merge(load, table, staging, quote)
    else:
        yield f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(load.cells())} FROM {staging}"


def changed(load: Load, staging: str) -> str | None:
    """Return the query for the first staged row with a value that would not stay what it is in the table, None where all do."""
    conditions = [f"({condition})" for condition in load.losses().values()]
    return f'SELECT MIN("{ARRIVAL}") FROM {staging} WHERE {" OR ".join(conditions)}' if conditions else None


def staged(load: Load, stage: str, staging: str) -> Iterator[str]:
    """Yield what brings the files below *stage* into the table *staging*, and nothing else there."""
    yield f"TRUNCATE TABLE {staging}"
    names = [f'"C{i}"' for i in range(len(load.types))]
    yield _copy(staging, [*names, f'"{ARRIVAL}"'], [*load.read(), f'$1:"{ARRIVAL}"::NUMBER(38,0)'], stage)


def _copy(into: str, names: Sequence[str], cells: Sequence[str], stage: str) -> str:
    return f"COPY INTO {into} ({', '.join(names)}) FROM (SELECT {', '.join(cells)} FROM @{stage}) {OPTIONS}"


def _merge(load: Load, table: str, staging: str, quote: Quote) -> str:
    """The last row of each key, by the order of arrival. No key of ours is NULL, so = will do."""
    columns = [column.name for column in load.table.columns]
    at = {name: f'"C{i}"' for i, name in enumerate(columns)}
    keys = load.table.keys
    rows = ", ".join(f"{cell} AS {at[name]}" for name, cell in zip(columns, load.cells(), strict=True))
    by = ", ".join(at[key] for key in keys)
    source = f'SELECT {rows} FROM {staging} QUALIFY ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY "{ARRIVAL}" DESC) = 1'
    on = " AND ".join(f'"t".{quote(key)} = "s".{at[key]}' for key in keys)
    changes = ", ".join(f'{quote(name)} = "s".{at[name]}' for name in columns if name not in keys)
    matched = f"WHEN MATCHED THEN UPDATE SET {changes} " if changes else ""
    names = ", ".join(map(quote, columns))
    values = ", ".join(f'"s".{at[name]}' for name in columns)
    return (
        f'MERGE INTO {table} AS "t" USING ({source}) AS "s" ON {on} {matched}'
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    )
