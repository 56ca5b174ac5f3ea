"""The stand-in is strict: it refuses what Snowflake refuses, and keeps what Snowflake keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_snowflake import Snowflake
from snowflake import connector

sys.path.insert(0, str(Path(__file__).parent / "snowflake_server"))
import rules  # type: ignore[import-not-found]


@pytest.fixture
def table(standin: Snowflake) -> str:
    standin.query(f'CREATE SCHEMA "{standin.schema}"')
    name = f'"{standin.schema}"."T"'
    standin.query(f'CREATE TABLE {name} ("ID" NUMBER(38,0) NOT NULL COMMENT \'it\'\'s\', "F" FLOAT, "N" NUMBER(10,2), "S" VARCHAR(10), "V" VARIANT, PRIMARY KEY ("ID"))')
    return name


def refused(here: Snowflake, sql: str) -> int:
    with pytest.raises(connector.errors.Error) as told:
        here.query(sql)
    return int(told.value.errno)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ('"ID" SET DATA TYPE VARCHAR', 2262),
        ('"ID" SET DATA TYPE FLOAT', 2262),
        ('"F" SET DATA TYPE VARCHAR', 2262),
        ('"N" SET DATA TYPE NUMBER(12,3)', 2262),
        ('"S" SET DATA TYPE VARCHAR(5)', 2262),
        ('"S" SET DATA TYPE VARIANT', 2262),
    ],
)
def test_few_types_are_changed_in_place(standin: Snowflake, table: str, change: str, number: int) -> None:
    assert refused(standin, f"ALTER TABLE {table} ALTER COLUMN {change}") == number


@pytest.mark.parametrize("change", ['"N" SET DATA TYPE NUMBER(20,2)', '"S" SET DATA TYPE VARCHAR(20)', '"S" SET DATA TYPE VARCHAR'])
def test_some_are(standin: Snowflake, table: str, change: str) -> None:
    standin.query(f"ALTER TABLE {table} ALTER COLUMN {change}")


def test_a_row_that_a_merge_would_update_twice_is_refused(standin: Snowflake, table: str) -> None:
    standin.query(f'INSERT INTO {table} ("ID") VALUES (1)')
    twice = '(SELECT 1 AS "K" UNION ALL SELECT 1) AS "s" ON "t"."ID" = "s"."K"'
    merge = f'MERGE INTO {table} AS "t" USING {twice} WHEN MATCHED THEN UPDATE SET "F" = 1 WHEN NOT MATCHED THEN INSERT ("ID") VALUES ("s"."K")'
    assert refused(standin, merge) == 100090


def test_primary_keys_are_told_and_not_enforced(standin: Snowflake, table: str) -> None:
    standin.query(f'INSERT INTO {table} ("ID") VALUES (1), (1)')
    described = {row[0]: (row[5], row[9]) for row in standin.query(f"DESCRIBE TABLE {table}")}
    assert described["ID"] == ("Y", "it's")
    assert refused(standin, f'INSERT INTO {table} ("ID") VALUES (NULL)') == 100072
    assert refused(standin, f'ALTER TABLE {table} ADD PRIMARY KEY ("F")') == 2200


def test_ddl_commits(standin: Snowflake, table: str) -> None:
    for statement in ("BEGIN", f'INSERT INTO {table} ("ID") VALUES (1)', f'ALTER TABLE {table} ADD COLUMN "X" VARCHAR', "ROLLBACK"):
        standin.query(statement)
    assert standin.query(f"SELECT COUNT(*) FROM {table}") == [(1,)]


def test_integers_have_38_digits(standin: Snowflake, table: str) -> None:
    standin.query(f'INSERT INTO {table} ("ID") VALUES ({"9" * 38})')
    assert standin.query(f'SELECT "ID" FROM {table}') == [(10**38 - 1,)]


def test_options_that_do_not_exist_are_refused(standin: Snowflake, table: str) -> None:
    standin.query(f'CREATE TEMPORARY STAGE "{standin.schema}"."STAGE"')
    copy = f'COPY INTO {table} ("F") FROM (SELECT $1:"F"::FLOAT FROM @"{standin.schema}"."STAGE"/x/) FILE_FORMAT = (TYPE = PARQUET {{}}) ON_ERROR = ABORT_STATEMENT'
    assert refused(standin, copy.format("BINARY_AS_TEXTT = FALSE")) == 1420


def test_a_name_that_is_not_there_has_its_number(standin: Snowflake, table: str) -> None:
    assert refused(standin, f'DESCRIBE TABLE "{standin.schema}"."NONE"') == 2003
    assert refused(standin, 'SHOW OBJECTS IN SCHEMA "NOWHERE"') == 2043


def test_underscores_of_like_are_patterns_unless_escaped(standin: Snowflake, table: str) -> None:
    standin.query(f'CREATE TABLE "{standin.schema}"."A_B" ("X" NUMBER(38,0))')
    standin.query(f'CREATE TABLE "{standin.schema}"."AXB" ("X" NUMBER(38,0))')
    names = [[row[1] for row in standin.query(f"SHOW OBJECTS LIKE '{like}' IN SCHEMA \"{standin.schema}\"")] for like in ("a_b", r"A\\_B")]
    assert [sorted(found) for found in names] == [["AXB", "A_B"], ["A_B"]]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"b": 1.10, "a": null}', '{"a":null,"b":1.1}'),
        ("1e3", "1000"),
        ("[12345678901234567890.12345678901234567890]", "[1.2345678901234567e+19]"),
        ('"é"', '"é"'),
    ],
)
def test_json_is_kept_as_a_variant_keeps_it(text: str, kept: str) -> None:
    assert rules.variant(text, "s") == kept


def test_a_name_that_comes_twice_in_json_needs_leave() -> None:
    assert rules.variant('{"a": 1, "a": 2}', "d") == '{"a":2}'
    with pytest.raises(ValueError, match="duplicate"):
        rules.variant('{"a": 1, "a": 2}', "s")


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**37), 10**37) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_other_json_stays_what_it_is(value: Any) -> None:
    assert json.loads(rules.variant(json.dumps(value), "s")) == value


# --- policies, collations, clustering keys, transactions that the server ends


def test_a_masking_policy_stands_for_its_column_wherever_it_is_read(standin: Snowflake, table: str) -> None:
    schema = standin.schema
    standin.query(f"INSERT INTO {table} (\"ID\", \"S\") VALUES (1, 'a'), (2, 'b')")
    standin.query(f"CREATE MASKING POLICY \"{schema}\".\"M\" AS (v VARCHAR) RETURNS VARCHAR -> CASE WHEN CURRENT_ROLE() = 'EXEMPT' THEN v ELSE '***' END")
    standin.query(f'ALTER TABLE {table} MODIFY COLUMN "S" SET MASKING POLICY "{schema}"."M"')
    assert standin.query(f'SELECT "ID", "S" FROM {table} ORDER BY 1') == [(1, "***"), (2, "***")]
    assert standin.query(f"SELECT count(*) FROM {table} WHERE \"S\" = 'a'") == [(0,)]
    described = {row[0]: row[10] for row in standin.query(f"DESCRIBE TABLE {table}")}
    assert (described["S"], described["F"]) == (f"TESTS.{schema}.M", None)
    standin.query(f'ALTER TABLE {table} ADD COLUMN "S2" VARCHAR')
    standin.query(f'UPDATE {table} SET "S2" = "S"')
    standin.query(f'ALTER TABLE {table} MODIFY COLUMN "S" UNSET MASKING POLICY')
    assert standin.query(f'SELECT "S", "S2" FROM {table} ORDER BY "ID"') == [("a", "***"), ("b", "***")]


def test_a_row_access_policy_hides_rows_from_all_but_inserts(standin: Snowflake, table: str) -> None:
    schema = standin.schema
    standin.query(f'INSERT INTO {table} ("ID", "F") VALUES (1, 1), (2, 2)')
    standin.query(f'CREATE ROW ACCESS POLICY "{schema}"."R" AS (n NUMBER) RETURNS BOOLEAN -> CURRENT_ROLE() = \'EXEMPT\' OR n > 1')
    standin.query(f'ALTER TABLE {table} ADD ROW ACCESS POLICY "{schema}"."R" ON ("ID")')
    assert standin.query(f'SELECT "ID" FROM {table}') == [(2,)]
    assert [row[7] for row in standin.query(f'SHOW OBJECTS IN SCHEMA "{schema}"')] == [2]
    standin.query(f'INSERT INTO {table} ("ID", "F") VALUES (0, 0)')
    standin.query(f'UPDATE {table} SET "F" = 9')
    merge = f'MERGE INTO {table} AS "t" USING (SELECT 1 AS "K") AS "s" ON "t"."ID" = "s"."K" WHEN MATCHED THEN UPDATE SET "F" = 7 WHEN NOT MATCHED THEN INSERT ("ID") VALUES ("s"."K")'
    standin.query(merge)
    standin.query(f"DELETE FROM {table}")
    references = f"SELECT * FROM TABLE(\"TESTS\".INFORMATION_SCHEMA.POLICY_REFERENCES(REF_ENTITY_NAME => '\"TESTS\".{table}', REF_ENTITY_DOMAIN => 'table'))"
    assert [(row[2], row[3], row[9]) for row in standin.query(references)] == [("R", "ROW_ACCESS_POLICY", '["ID"]')]
    assert refused(standin, f'ALTER TABLE {table} DROP COLUMN "ID"') == 2443
    standin.query(f'ALTER TABLE {table} DROP ROW ACCESS POLICY "{schema}"."R"')
    assert sorted(standin.query(f'SELECT "ID", "F" FROM {table}'), key=str) == [(0, 0.0), (1, 1.0), (1, None)]


def test_texts_have_the_collation_of_the_schema_the_table_or_their_own(standin: Snowflake) -> None:
    schema = standin.schema
    standin.query(f'CREATE SCHEMA "{schema}"')
    standin.query(f"ALTER SCHEMA \"{schema}\" SET DEFAULT_DDL_COLLATION = 'en-ci'")
    standin.query(f'CREATE TABLE "{schema}"."A" ("S" VARCHAR, "N" NUMBER(38,0))')
    standin.query(f"CREATE TABLE \"{schema}\".\"B\" (\"S\" VARCHAR, \"T\" VARCHAR COLLATE 'de-ci') DEFAULT_DDL_COLLATION = ''")
    standin.query(f'ALTER TABLE "{schema}"."B" ADD COLUMN "U" VARCHAR')
    types = {name: [row[1] for row in standin.query(f'DESCRIBE TABLE "{schema}"."{name}"')] for name in "AB"}
    assert types == {"A": ["VARCHAR(16777216) COLLATE 'en-ci'", "NUMBER(38,0)"], "B": ["VARCHAR(16777216)", "VARCHAR(16777216) COLLATE 'de-ci'", "VARCHAR(16777216)"]}
    for name, count in (("A", 1), ("B", 2)):
        standin.query(f"INSERT INTO \"{schema}\".\"{name}\" (\"S\") VALUES ('a'), ('A')")
        assert len(standin.query(f'SELECT DISTINCT "S" FROM "{schema}"."{name}"')) == count


def test_a_column_of_the_clustering_key_is_not_dropped(standin: Snowflake, table: str) -> None:
    standin.query(f'ALTER TABLE {table} CLUSTER BY ("F")')
    standin.query(f'ALTER TABLE {table} RENAME COLUMN "F" TO "G"')
    assert [row[6] for row in standin.query(f'SHOW OBJECTS IN SCHEMA "{standin.schema}"')] == ['LINEAR("G")']
    assert refused(standin, f'ALTER TABLE {table} DROP COLUMN "G"') == 2443
    standin.query(f"ALTER TABLE {table} DROP CLUSTERING KEY")
    standin.query(f'ALTER TABLE {table} DROP COLUMN "G"')


@pytest.mark.parametrize("is_automatic", [True, False], ids=["with AUTOCOMMIT", "without"])
def test_what_comes_behind_a_transaction_that_the_server_has_ended(standin: Snowflake, table: str, is_automatic: bool) -> None:
    server = standin.server
    assert server
    cursor = standin.connection.cursor()
    cursor.execute(f"ALTER SESSION SET AUTOCOMMIT = {is_automatic}")
    try:
        cursor.execute("BEGIN TRANSACTION")
        (before,) = cursor.execute("SELECT CURRENT_TRANSACTION()").fetchone()
        cursor.execute(f'INSERT INTO {table} ("ID") VALUES (1)')
        server.fault(r"VALUES \(2\)", "aborts")
        cursor.execute(f'INSERT INTO {table} ("ID") VALUES (2)')
        (now,) = cursor.execute("SELECT CURRENT_TRANSACTION()").fetchone()
        assert (now is None, now == before) == (is_automatic, False)
        cursor.execute("ROLLBACK")
        cursor.execute("COMMIT")  # of none: no error
        assert standin.query(f'SELECT "ID" FROM {table}') == ([(2,)] if is_automatic else [])
    finally:
        cursor.execute("ALTER SESSION SET AUTOCOMMIT = TRUE")


def test_a_comment_on_a_column(standin: Snowflake, table: str) -> None:
    standin.query(f"COMMENT ON COLUMN {table}.\"F\" IS 'one'")
    standin.query(f"ALTER TABLE {table} ALTER COLUMN \"S\" COMMENT 'it''s'")
    comments = {row[0]: row[9] for row in standin.query(f"DESCRIBE TABLE {table}")}
    assert (comments["F"], comments["S"]) == ("one", "it's")


def test_policies_may_be_spelt_without_quotes(standin: Snowflake) -> None:
    standin.query(f'CREATE SCHEMA "{standin.schema}"')
    table = f"{standin.schema}.t"
    standin.query(f"CREATE TABLE {table} (a VARCHAR, b NUMBER(38,0))")
    standin.query(f"CREATE OR REPLACE MASKING POLICY {standin.schema}.stars AS (val STRING) RETURNS STRING -> '***'")
    standin.query(f"CREATE ROW ACCESS POLICY IF NOT EXISTS {standin.schema}.some AS (n NUMBER) RETURNS BOOLEAN -> n > 1")
    standin.query(f"ALTER TABLE {table} ALTER a SET MASKING POLICY {standin.schema}.stars")
    standin.query(f"ALTER TABLE {table} ADD ROW ACCESS POLICY {standin.schema}.some ON (b)")
    standin.query(f"ALTER TABLE {table} CLUSTER BY (b)")
    standin.query(f"INSERT INTO {table} VALUES ('x', 1), ('y', 2)")
    assert standin.query(f'SELECT * FROM "{standin.schema}"."T"') == [("***", 2)]
    with pytest.raises(connector.errors.ProgrammingError, match="clustering key"):
        standin.query(f'ALTER TABLE "{standin.schema}"."T" DROP COLUMN "B"')
