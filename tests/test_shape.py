"""Rows are written only into the shape for which they were encoded, whatever others do to the table meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import DatabaseError, TargetError, lines, load, outbox, target
from target_meltano.samples import INT, NUM, STR, record, schema, state

TIME = {"type": ["string", "null"], "format": "date-time"}
FIELDS = {"i": INT, "n": NUM, "s": STR, "t": TIME, "f": {"type": "boolean"}}
VALUES = {"i": 7, "n": 19.95, "s": "wide", "t": "2024-02-29T12:00:00.123456Z", "f": True}
READ = "id, i::text, n::text, s::text, t::text, f::text"
SENT = ("7", "19.95", "wide", "2024-02-29 12:00:00.123456+00", "true")
PLACE = "{s}.t"
KEY = "t_pkey"
CHANGES = {
    "integer to numeric": "ALTER TABLE {t} ALTER i TYPE numeric",
    "integer to double": "ALTER TABLE {t} ALTER i TYPE double precision",
    "integer to numeric(10,0)": "ALTER TABLE {t} ALTER i TYPE numeric(10,0)",
    "integer to smallint": "ALTER TABLE {t} ALTER i TYPE smallint",
    "integer to text": "ALTER TABLE {t} ALTER i TYPE text",
    "integer to timestamp": "ALTER TABLE {t} ALTER i TYPE timestamptz USING to_timestamp(i)",
    "number to integer": "ALTER TABLE {t} ALTER n TYPE bigint",
    "number to scale": "ALTER TABLE {t} ALTER n TYPE numeric(10,1)",
    "number to double": "ALTER TABLE {t} ALTER n TYPE double precision",
    "number to text": "ALTER TABLE {t} ALTER n TYPE text",
    "text to char": "ALTER TABLE {t} ALTER s TYPE char(9)",
    "text to varchar": "ALTER TABLE {t} ALTER s TYPE varchar(4)",
    "text to bytea": "ALTER TABLE {t} ALTER s TYPE bytea USING s::bytea",
    "timestamp to seconds": "ALTER TABLE {t} ALTER t TYPE timestamptz(0)",
    "timestamp without zone": "ALTER TABLE {t} ALTER t TYPE timestamp",
    "timestamp to bigint": "ALTER TABLE {t} ALTER t TYPE bigint USING 0",
    "boolean to char": 'ALTER TABLE {t} ALTER f TYPE "char" USING \'x\'',
    "a column goes": "ALTER TABLE {t} DROP s",
    "a column is renamed": "ALTER TABLE {t} RENAME s TO z",
    "two swap their names": "ALTER TABLE {t} RENAME s TO z; ALTER TABLE {t} RENAME i TO s; ALTER TABLE {t} RENAME z TO i",
    "a column is made by the database": "ALTER TABLE {t} DROP i; ALTER TABLE {t} ADD i bigint GENERATED ALWAYS AS (id + 1) STORED",
    "the key goes": "ALTER TABLE {t} DROP CONSTRAINT {k}",
    "the key is wider": "ALTER TABLE {t} DROP CONSTRAINT {k}; UPDATE {t} SET i = 7; ALTER TABLE {t} ADD PRIMARY KEY (id, i)",
    "the table is renamed": "ALTER TABLE {t} RENAME TO gone",
    "the table goes": "DROP TABLE {t}",
    "the schema goes": "DROP SCHEMA {s} CASCADE",
    "swapped by rename": "CREATE TABLE {s}.other (LIKE {t} INCLUDING ALL); ALTER TABLE {t} RENAME TO old; ALTER TABLE {s}.other RENAME TO t",
    "a required column": "ALTER TABLE {t} ADD more text NOT NULL DEFAULT 'x'; ALTER TABLE {t} ALTER more DROP DEFAULT",
    # These are no obstacle.
    "a column more": "ALTER TABLE {t} ADD more text",
    "another order": "ALTER TABLE {t} DROP f; ALTER TABLE {t} ADD f boolean; UPDATE {t} SET f = true",
    "an index": "CREATE INDEX ON {t} (s)",
}
FINE = {"a column more", "another order", "an index"}


@pytest.fixture(autouse=True)
def line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((lines, "CHUNK"), (target, "SETTLE_BYTES"), (outbox, "SEND_BYTES")):
        monkeypatch.setattr(module, name, 1)


WAYS: dict[str, dict[str, Any]] = {
    "upsert": {},
    "append": {"load_method": "append"},
    "state": {"state_id": "p", "invalid_records": "quarantine"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES)
def test_the_table_changes_between_two_flushes(db: Any, change: str, way: str) -> None:
    """What is there is what was sent; or the run stops by the table's name, and no STATE is ahead."""
    if way == "append" and change.startswith("the key"):
        pytest.skip("a table that is appended to has no key")
    place = f'"{db.schema}".t'
    states: list[str] = []

    def messages() -> Iterator[Any]:
        yield from (schema("t", id=INT, **FIELDS), record("t", id=1, **VALUES), state(1))
        yield record("t", id=2, **{**VALUES, "s": None})  # pulled when the STATE is committed, or on its way
        yield state(2)
        while states[-1:] != ["2"]:
            pass
        db.query(CHANGES[change].replace("{t}", place).replace("{s}", f'"{db.schema}"').replace("{k}", KEY))
        yield from (record("t", id=1, **VALUES), record("t", id=3, **VALUES), state(3))

    ours = dialect(db, batch_rows=1, **WAYS[way])
    try:
        load(ours, messages(), on_state=states.append)
    except TargetError as error:
        assert change not in FINE
        assert isinstance(error, DatabaseError)
        assert f"{db.schema}.t" in str(error) or "__" in str(error)
        assert states == ["1", "2"]
    else:
        assert change in FINE
        assert states == ["1", "2", "3"]
        found = rows(db, READ)
        assert [row[1:] for row in found if row[0] != 2] == [SENT] * (3 if way == "append" else 2)
        if way == "state":
            assert db.query(f'SELECT count(*) FROM "{db.schema}".__rejected') == [(0,)]


def test_another_run_that_widens_a_column_stops_the_first_one(db: Any) -> None:
    states: list[str] = []

    def messages() -> Iterator[Any]:
        yield from (schema("t", id=INT, i=INT), record("t", id=1, i=1), state(1))
        while not states:
            pass
        run(db, schema("t", id=INT, i=NUM), record("t", id=9, i=0.5))
        yield from (record("t", id=2, i=2), state(2))

    with pytest.raises(DatabaseError, match=r"table .*\.t: its column 'i' became numeric while it was loaded; nothing of it is committed"):
        load(dialect(db, batch_rows=1), messages(), on_state=states.append)
    assert states == ["1"]
    assert rows(db, "id, i::text") == [(1, "1"), (9, "0.5")]


def test_the_shape_of_all_tables_costs_one_query_a_commit(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them is looked at by itself once it is known."""
    ours = dialect(db, batch_rows=50)
    asked: list[int] = []
    shapes, found = ours.shapes, ours.found
    looks: list[str] = []

    def counted(connection: Any, tables: Any) -> Any:
        asked.append(len(tables))
        return shapes(connection, tables)

    def looked(connection: Any, place: str, name: str) -> Any:
        looks.append(name)
        return found(connection, place, name)

    monkeypatch.setattr(ours, "shapes", counted)
    monkeypatch.setattr(ours, "found", looked)
    names = [f"s{i}" for i in range(10)]
    messages = [schema(name, id=INT) for name in names]
    messages += [record(name, id=i) for i in range(20) for name in names]
    load(ours, messages)
    assert asked == [10] * 4
    assert looks.count("s3") == 3  # what is there, what is to be done, and at its first COMMIT
