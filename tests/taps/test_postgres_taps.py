"""Real taps of PostgreSQL, four syncs each with changes between them: after each the tables are equal to the source."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from postgres_forms import WAYS, Compared, folded
from postgres_source import PACKAGES, PostgresPipe, Source, needs_wal2json
from postgres_tables import CHANGES, KEYS, change
from syncs import Row

FULL, INCREMENTAL, LOG = "FULL_TABLE", "INCREMENTAL", "LOG_BASED"
METHODS = pytest.mark.parametrize("method", [FULL, INCREMENTAL, pytest.param(LOG, marks=needs_wal2json)])
TAPS = pytest.mark.parametrize("tap", PACKAGES)


@METHODS
@TAPS
def test_after_each_sync_the_tables_are_equal_to_the_source(
    tap: str, method: str, shop: Source, db: Any, postgres_url: str, tmp_path: Path
) -> None:
    """With upsert they have its rows, with append all that it ever had and a sync saw.

    Where the method knows no deletions, rows that are gone stay with upsert; with overwrite, by FULL_TABLE, they do not.
    """
    way = WAYS[tap, method]
    compared = Compared(shop, db, way)
    schemas = {how: f"{db.schema}_{how}" for how in ("upsert", "append", "overwrite") if method == FULL or how != "overwrite"}
    pipe = PostgresPipe(tap, method, shop, KEYS, postgres_url, tmp_path, {schema: {**way.settings, "load_method": how} for how, schema in schemas.items()})
    known: dict[str, dict[str, Row]] = {table: {} for table in KEYS}
    sent: dict[str, Counter[Row]] = {table: Counter() for table in KEYS}
    since = dict.fromkeys(KEYS, "-infinity")
    try:
        for changes in CHANGES:
            change(shop, changes)
            pipe.sync()
            for table in KEYS:
                if table == "wide":
                    assert [name for name in compared.columns(table) if name not in pipe.fields("shop-wide")] == list(way.left_out)
                there = compared.wanted(table, f'"{table}"')
                known[table].update({row[0]: row for row in there})
                found = compared.found(table, schemas["upsert"], live=way.knows_deletions)
                assert compared.differences(table, there if way.knows_deletions else known[table].values(), found) == []
                if method == FULL:
                    assert compared.differences(table, there, compared.found(table, schemas["overwrite"], live=False)) == []
                if method == LOG:
                    # A long text that an UPDATE did not touch is in no log; and what a tap sends twice is there twice.
                    logged = replace(way, changed=(*way.changed, "big"))
                    every = Compared(shop, db, logged)
                    assert every.differences(table, set(every.wanted(table, f'log."{table}"')), set(every.found(table, schemas["append"], live=True))) == []
                else:
                    sent[table].update(compared.wanted(table, f'"{table}" WHERE updated >= \'{since[table]}\'') if method == INCREMENTAL else there)
                    assert compared.differences(table, sent[table].elements(), compared.found(table, schemas["append"], live=False)) == []
                    since[table] = shop.query(f'SELECT max(updated) FROM "{table}"')[0][0]
        stored = sum(db.query(f'SELECT count(*) FROM "{schemas["append"]}"."{folded(f"shop-{table}")}"')[0][0] for table in KEYS)
        assert stored == pipe.records
        print(tap, method, pipe.syncs, "syncs", pipe.records, "records")
    finally:
        for schema in schemas.values():
            db.query(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
