"""target-meltano-snowflake review, on the stand-in: the statements, what they give, and their grammar."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from on_snowflake import Snowflake

from target_meltano import DatabaseError, reviews
from target_meltano.reviews import Copies
from target_meltano.samples import record, schema, state

BRANCH = "fix/it's \"odd\" \\ 🚀"
SQL = Path(__file__).parent / "snowflake_sql/review.sql"


@pytest.fixture
def copies(standin: Snowflake) -> Iterator[Copies]:
    """Copies of the stand-in's database, with a table in it; the grants are Snowflake's own."""
    standin.run(schema(), record(id=1), state(1))
    standin.query('GRANT USAGE ON DATABASE "TESTS" TO ROLE "ANALYST"')
    standin.query('GRANT CREATE SCHEMA ON DATABASE "TESTS" TO ROLE "PUBLIC" WITH GRANT OPTION')
    assert standin.server
    standin.server.clear()
    with standin.dialect().copies() as made:
        yield made
        for name in made.databases():
            if "_REVIEW_" in name:
                made.drop_database(name, force=True)


def grants(standin: Snowflake, database: str) -> list[tuple[str, str, str]]:
    return sorted((row[1], row[5], row[6]) for row in standin.query(f'SHOW GRANTS ON DATABASE "{database}"'))


def test_a_clone_has_rows_marker_and_grants(copies: Copies, standin: Snowflake) -> None:
    made, how = reviews.create(copies, BRANCH)
    assert (made.name, how) == (reviews.name_of("TESTS", BRANCH).upper(), "by CLONE")
    assert standin.query(f'SELECT "ID" FROM "{made.name}"."{standin.schema}"."ORDERS"') == [(1,)]
    assert json.loads(copies.databases()[made.name])["target_meltano_review"] == BRANCH
    assert grants(standin, made.name) == grants(standin, "TESTS") == [
        ("CREATE SCHEMA", "PUBLIC", "true"),
        ("OWNERSHIP", "LOADER", "true"),
        ("USAGE", "ANALYST", "false"),
    ]
    assert reviews.create(copies, BRANCH) == (made, "was there already")
    assert reviews.listed(copies) == [made]
    assert reviews.drop(copies, BRANCH) == [made.name]
    assert made.name not in copies.databases()


def test_a_load_goes_into_the_clone(copies: Copies, standin: Snowflake) -> None:
    made, _ = reviews.create(copies, "x")
    standin.run(schema(), record(id=2), state(2), database=made.name)
    rows = f'SELECT count(*) FROM "{{}}"."{standin.schema}"."ORDERS"'
    assert (standin.query(rows.format(made.name)), standin.query(rows.format("TESTS"))) == ([(2,)], [(1,)])


def test_what_others_made_survives(copies: Copies, standin: Snowflake) -> None:
    name = reviews.name_of("TESTS", "x").upper()
    standin.query(f'CREATE DATABASE "{name}"')
    for does in (reviews.create, reviews.drop):
        with pytest.raises(DatabaseError, match=f"database {name}: has no marker of ours"):
            does(copies, "x")
    assert list(reviews.drop_old(copies, timedelta(0), print)) == []
    assert name in copies.databases()


def test_schemas_for_models(copies: Copies) -> None:
    made = reviews.create_schemas(copies, "x", "analytics", ["staging"])
    first = reviews.name_of("analytics", "x", reviews.MAX_BASE).upper()
    assert [one.name for one in made] == [first, f"{first}_STAGING"]
    assert reviews.create_schemas(copies, "x", "analytics", ["staging"]) == made
    assert reviews.drop(copies, "x") == [one.name for one in made]
    assert first not in copies.schemas()


def test_the_sql_is_as_it_was_and_is_snowflakes(copies: Copies, standin: Snowflake) -> None:
    """Mend by: UPDATE_SQL=1 pytest tests/test_snowflake_review.py"""
    grammar = pytest.importorskip("test_snowflake_sql", reason='pip install "sqlfluff>=4.5,<5" to check the grammar')
    created = reviews.create(copies, BRANCH)[0].created
    reviews.create_schemas(copies, BRANCH, "analytics", ["staging"])
    reviews.drop(copies, BRANCH)
    assert created
    told = [grammar.re.sub(r"20\d\d-[0-9T:-]+Z", "2026-01-01T00:00:00Z", one) for one in standin.statements()]
    found = "".join(f"{statement};\n" for statement in dict.fromkeys(told))
    if os.environ.get("UPDATE_SQL"):
        SQL.write_text(found, "utf-8")
    assert found == SQL.read_text("utf-8")
    assert grammar.faults(found) == []
