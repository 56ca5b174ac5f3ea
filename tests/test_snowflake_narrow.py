"""Columns of others that hold less stay as they are on Snowflake, too; its COPY would round and cut what does not fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import Limit
from target_meltano.samples import INT, NUM, STR, record, schema

KEEP = {"narrow_columns": "keep", "invalid_records": "quarantine"}

@pytest.mark.parametrize(
    ("spelt", "wanted", "fits", "not_fits"),
    [
        ("VARCHAR(3)", STR, "äöü", "abcd"),
        ("NUMBER(4,1)", NUM, Decimal("123.5"), Decimal("1.25")),
        ("NUMBER(4,0)", INT, 1234, 12345),
    ],
)
def test_what_fits_arrives_and_what_does_not_is_told(snowflake: Snowflake, spelt: str, wanted: Any, fits: Any, not_fits: Any) -> None:
    snowflake.query(f'CREATE SCHEMA "{snowflake.schema}"')
    snowflake.query(f'CREATE TABLE "{snowflake.schema}"."T" ("ID" NUMBER(38,0) NOT NULL, "V" {spelt}, PRIMARY KEY ("ID"))')
    for _ in range(2):
        snowflake.run(schema("t", id=INT, v=wanted), record("t", id=1, v=fits), record("t", id=2, v=not_fits), **KEEP)
    assert [row["ID"] for row in snowflake.rows("T")] == [1]
    assert len(snowflake.rows("__REJECTED")) == 2
    (described,) = [row for row in snowflake.query(f'DESCRIBE TABLE "{snowflake.schema}"."T"') if row[0] == "V"]
    assert described[1] == spelt


@pytest.mark.parametrize(
    ("spelt", "limit"),
    [("TIMESTAMP_TZ(3)", Limit("digits of a second", 3)), ("TIME(0)", Limit("digits of a second", 0)), ("BINARY(4)", Limit("bytes", 4)), ("TIME(9)", None)],
)
def test_what_types_hold_is_known(snowflake: Snowflake, spelt: str, limit: Limit | None) -> None:
    """The stand-in shows all times with nine digits."""
    found = snowflake.dialect().found_column("V", spelt)
    assert (found.limit, found.can_stay) == (limit, limit is not None)
