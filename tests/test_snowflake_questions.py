"""What only an account can answer, and the stand-in assumes: the seven questions of docs/snowflake.md, in their order.

On an account, `make snowflake-live` asks them. The role that it uses has to be able to make policies
(CREATE MASKING POLICY, CREATE ROW ACCESS POLICY on the schema, which it owns).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from on_snowflake import Snowflake
from snowflake import connector

from target_meltano import make
from target_meltano.samples import INT, STR, record, schema, state
from target_meltano_snowflake import SnowflakeSettings, loading, policies
from target_meltano_snowflake.session import parameters


@pytest.fixture
def here(snowflake: Snowflake) -> Snowflake:
    snowflake.query(f'CREATE SCHEMA "{snowflake.schema}"')
    return snowflake


@pytest.fixture
def session(here: Snowflake) -> Iterator[Any]:
    """A session as a load has it."""
    settings = make(SnowflakeSettings, **{"schema": here.schema, **here.settings})
    connection = connector.connect(**parameters(settings, "questions"))
    yield connection
    connection.close()


def ask(session: Any, statement: str) -> list[Any]:
    return list(session.cursor().execute(statement).fetchall())


def table(here: Snowflake, *columns: str, rows: str = "") -> str:
    name = f'"{here.schema}"."T"'
    here.query(f"CREATE TABLE {name} ({', '.join(columns)})")
    if rows:
        here.query(f"INSERT INTO {name} VALUES {rows}")
    return name


def test_1_a_session_whose_transaction_was_ended_lives_on_and_its_commit_does_nothing(here: Snowflake, session: Any) -> None:
    name = table(here, '"A" NUMBER(38,0)')
    ask(session, "BEGIN TRANSACTION")
    number = ask(session, "SELECT CURRENT_TRANSACTION()")[0][0]
    ask(session, f"INSERT INTO {name} VALUES (1)")
    here.query(f"SELECT SYSTEM$ABORT_TRANSACTION({int(number)})")
    assert ask(session, "SELECT CURRENT_TRANSACTION()")[0][0] != number
    ask(session, "COMMIT")
    assert here.query(f"SELECT COUNT(*) FROM {name}") == [(0,)]
    ask(session, f"INSERT INTO {name} VALUES (2)")  # begins another one, as AUTOCOMMIT is off
    assert ask(session, "SELECT CURRENT_TRANSACTION()")[0][0] not in (None, number)
    ask(session, "ROLLBACK")
    assert here.query(f"SELECT COUNT(*) FROM {name}") == [(0,)]


def test_2_update_and_merge_read_what_a_masking_policy_shows(here: Snowflake) -> None:
    name = table(here, '"A" VARCHAR', '"B" VARCHAR', rows="('secret', NULL)")
    here.query(f"CREATE MASKING POLICY \"{here.schema}\".\"STARS\" AS (val VARCHAR) RETURNS VARCHAR -> '***'")
    here.query(f'ALTER TABLE {name} MODIFY COLUMN "A" SET MASKING POLICY "{here.schema}"."STARS"')
    here.query(f'UPDATE {name} SET "B" = "A"')
    here.query(f'MERGE INTO {name} AS "t" USING (SELECT \'secret\' AS "C0") AS "s" ON "t"."A" = "s"."C0" WHEN NOT MATCHED THEN INSERT ("A") VALUES ("s"."C0")')
    here.query(f'ALTER TABLE {name} MODIFY COLUMN "A" UNSET MASKING POLICY')
    assert sorted(here.query(f'SELECT "A", "B" FROM {name}'), key=str) == [("secret", "***"), ("secret", None)]


@pytest.mark.parametrize("what", ["clustering key", "masking policy", "row access policy"])
def test_3_a_column_that_something_depends_on_is_not_dropped(here: Snowflake, what: str) -> None:
    name = table(here, '"A" VARCHAR', '"B" VARCHAR')
    if what == "clustering key":
        here.query(f'ALTER TABLE {name} CLUSTER BY ("A")')
    elif what == "masking policy":
        here.query(f'CREATE MASKING POLICY "{here.schema}"."P" AS (val VARCHAR) RETURNS VARCHAR -> val')
        here.query(f'ALTER TABLE {name} MODIFY COLUMN "A" SET MASKING POLICY "{here.schema}"."P"')
    else:
        here.query(f'CREATE ROW ACCESS POLICY "{here.schema}"."P" AS (val VARCHAR) RETURNS BOOLEAN -> TRUE')
        here.query(f'ALTER TABLE {name} ADD ROW ACCESS POLICY "{here.schema}"."P" ON ("A")')
    with pytest.raises(connector.errors.ProgrammingError):
        here.query(f'ALTER TABLE {name} DROP COLUMN "A"')


def test_4_files_are_loaded_again_after_a_rollback(here: Snowflake) -> None:
    """With DDL in the middle, as the statements of the product are."""
    lines = [schema("a", keys=(), id=INT), *(record("a", id=i) for i in range(3)), schema("a", keys=(), id=INT, w=INT), record("a", id=3, w=1)]
    here.run(*lines, schema("b", id=INT), record("b", id=1), schema("b", id=INT, w=STR), record("b", id=2), state(1), state_id="p")
    assert sorted(row["ID"] for row in here.rows("A")) == [0, 1, 2, 3]
    assert "FORCE = TRUE" in loading.OPTIONS


def test_5_names_of_stages_need_no_more_than_double_quotes(here: Snowflake) -> None:
    here.query(f'DROP SCHEMA "{here.schema}"')
    here.schema += " a-b 1"
    here.run(schema(id=INT, v=STR), record(id=1, v="a"), naming="preserve")
    assert [row["id"] for row in here.rows("orders")] == [1]


def test_6_transient_tables_are_tables(here: Snowflake) -> None:
    here.query(f'CREATE TRANSIENT TABLE "{here.schema}"."ORDERS" ("ID" NUMBER(38,0) NOT NULL, PRIMARY KEY ("ID"))')
    here.run(schema(id=INT), record(id=1))
    assert [row["ID"] for row in here.rows("ORDERS")] == [1]


def test_7_the_owner_of_a_table_sees_its_policies_and_all_see_the_number_of_its_rows(here: Snowflake) -> None:
    name = table(here, '"A" VARCHAR', rows="('x'), ('y')")
    here.query(f'DELETE FROM {name} WHERE "A" = \'y\'')
    shown = here.connection.cursor().execute(f"SHOW OBJECTS LIKE 'T' IN SCHEMA \"{here.schema}\"")
    rows = [dict(zip([one[0] for one in shown.description], row, strict=True)) for row in shown.fetchall()]
    assert [int(row["rows"]) for row in rows] == [1]
    here.query(f'CREATE ROW ACCESS POLICY "{here.schema}"."P" AS (val VARCHAR) RETURNS BOOLEAN -> TRUE')
    here.query(f'ALTER TABLE {name} ADD ROW ACCESS POLICY "{here.schema}"."P" ON ("A")')
    dialect = here.dialect()
    asked = here.connection.cursor().execute(policies.query(str(here.settings["database"]), name, dialect.quote, dialect.literal))
    (found,) = policies.of_rows(dict(zip([one[0] for one in asked.description], row, strict=True)) for row in asked.fetchall())
    assert (found.name, found.column, found.takes) == (f"{here.settings['database']}.{here.schema}.P", "", ("A",))
