"""Log-based streams on Snowflake: the same rules as on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano.samples import INT, STR, record, schema, state

GONE = "2025-03-01T10:00:00Z"
PETS = schema(id=INT, name=STR, owner=STR)
ADA, BOB = record(id=1, name="Ada", owner="x"), record(id=2, name="Bob", owner="y")


def read(here: Snowflake) -> list[tuple[Any, ...]]:
    """Return id, name, owner, and whether the row is deleted."""
    found = [(row["ID"], row["NAME"], row["OWNER"], row.get("_SDC_DELETED_AT") is not None) for row in here.rows("ORDERS")]
    return sorted(found)


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_delete_is_known_though_the_schema_does_not_name_its_field(snowflake: Snowflake, batch_rows: int) -> None:
    snowflake.run(PETS, ADA, BOB, record(id=1, _sdc_deleted_at=GONE), state(1), batch_rows=batch_rows)
    assert read(snowflake) == [(1, "Ada", "x", True), (2, "Bob", "y", False)]
    snowflake.run(PETS, record(id=1, name="Ada II", owner="x"), state(2), batch_rows=batch_rows)
    assert read(snowflake) == [(1, "Ada II", "x", False), (2, "Bob", "y", False)]
    snowflake.run(PETS, record(id=2, _sdc_deleted_at=GONE), state(3), batch_rows=batch_rows, hard_delete=True)
    assert read(snowflake) == [(1, "Ada II", "x", False)]


@pytest.mark.parametrize(("settings", "name"), [({}, "long"), ({"absent_fields": "null"}, None)], ids=["auto", "null"])
def test_log_based_streams_keep_absent_fields(snowflake: Snowflake, settings: Any, name: str | None) -> None:
    first, then = record(id=1, name="long", owner="x", _sdc_lsn=1), record(id=1, owner="y", _sdc_lsn=2)
    for batch_rows in (1, 100):
        snowflake.run(PETS, first, then, state(1), batch_rows=batch_rows, **settings)
        assert read(snowflake) == [(1, name, "y", False)]


def test_a_row_that_is_deleted_and_comes_again_begins_anew(snowflake: Snowflake) -> None:
    """Also in columns that its SCHEMA does not name."""
    snowflake.run(PETS, ADA, BOB, state(1))
    less = schema(id=INT, name=STR)
    lines = [record(id=1, _sdc_deleted_at=GONE), record(id=1, name="A"), record(id=2, name="B")]
    snowflake.run(less, *lines, state(2), hard_delete=True)
    assert read(snowflake) == [(1, "A", None, False), (2, "B", "y", False)]
