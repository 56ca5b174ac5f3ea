"""Snowflake beside others: their columns, collations, clustering keys and policies, and what a change of type leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from on_snowflake import Snowflake
from snowflake import connector

from target_meltano import DatabaseError, SchemaError, SettingsError, UpgradeError
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_snowflake.work import Work

TIME = {"type": ["string", "null"], "format": "date-time"}


def made(here: Snowflake, *columns: str, rows: Sequence[str] = (), table: str = "ORDERS", more: str = "") -> None:
    here.query(f'CREATE SCHEMA IF NOT EXISTS "{here.schema}"')
    here.query(f'CREATE TABLE "{here.schema}"."{table}" ({", ".join(columns)}) {more}')
    for row in rows:
        here.query(f'INSERT INTO "{here.schema}"."{table}" VALUES ({row})')


def read(here: Snowflake, *columns: str, table: str = "ORDERS") -> list[tuple[Any, ...]]:
    return sorted((tuple(row[column] for column in columns) for row in here.rows(table)), key=str)


def described(here: Snowflake, column: int, table: str = "ORDERS") -> dict[str, Any]:
    return {row[0]: row[column] for row in here.query(f'DESCRIBE TABLE "{here.schema}"."{table}"')}


# --- columns of others

KEY = ('"ID" NUMBER(38,0)', 'PRIMARY KEY ("ID")')


@pytest.mark.parametrize("how", ["upgrade", "add", "fail"])
@pytest.mark.parametrize("name", ["PRICE (old)", "PRICE (new)", "TOTAL (old)", "TOTAL (new)"])
def test_columns_of_others_stay_whatever_their_names_are(standin: Snowflake, name: str, how: str) -> None:
    made(standin, KEY[0], '"PRICE" FLOAT', f'"{name}" FLOAT', '"__LOADED_AT" TIMESTAMP_TZ', KEY[1], rows=["1, 7.5, 8.5, NULL"])
    standin.run(schema(id=INT, price=NUM), record(id=2, price=1.5), schema_changes=how)
    assert read(standin, "ID", "PRICE", name) == [(1, Decimal("7.5"), Decimal("8.5")), (2, Decimal("1.5"), None)]
    if how == "upgrade":
        standin.run(schema(id=INT, price=STR, total=NUM), record(id=3, price="x", total=5))
        assert read(standin, "ID", "PRICE", name) == [(1, "7.5", Decimal("8.5")), (2, "1.5", None), (3, "x", None)]


@pytest.mark.parametrize("name", ["V (new)", "V (old)"])
def test_a_column_of_the_stream_may_have_such_a_name(standin: Snowflake, name: str) -> None:
    its = {"column_names": {"orders.w": name}, "naming": "preserve"}
    for _ in range(2):
        standin.run(schema(id=INT, v=INT, w=INT), record(id=1, v=2, w=3), **its)
    standin.run(schema(id=INT, v=STR, w=STR), record(id=2, v="a", w="b"), **its)
    assert read(standin, "id", "v", name, table="orders") == [(1, "2", "3"), (2, "a", "b")]


def test_the_names_of_a_change_are_nobodys(standin: Snowflake) -> None:
    """A change of type that others have anticipated, name by name, takes other names."""
    standin.run(schema(id=INT, v=INT), record(id=1, v=1))
    dialect = standin.dialect()
    dialect.run_id = "20261128T000000000000-0badcafe"
    for name in ("V (new 0badcafe)", "V (old 0badcafe)", "V (new 0badcafe 2)"):
        standin.query(f'ALTER TABLE "{standin.schema}"."ORDERS" ADD COLUMN "{name}" VARCHAR DEFAULT \'mine\'')
    connection = dialect.connect()
    found = dialect.found(connection, standin.schema, "ORDERS")
    dialect.close(connection)
    assert found
    assert set(found.columns) >= {"V (new 0badcafe)", "V (old 0badcafe)", "V (new 0badcafe 2)", "V"}
    from target_meltano.diff import ChangeType, Column, Table

    table = Table(standin.schema, "ORDERS", (Column("ID", found.columns["ID"].kind, "id"), Column("V", dialect.reads["varchar"], "v")), ("ID",), "orders")
    names = set(re.findall(r'"(V \([^"]*)"', " ".join(dialect.change_type(ChangeType(table, table.column("V"), found.columns["V"])))))
    assert names == {"V (new 0badcafe 3)", "V (old 0badcafe 2)"}


# --- a change of type that ends in between


def steps_of_a_change(here: Snowflake, keyed: bool) -> list[str]:
    """Return the statements of a change of type, by a run of it."""
    here.run(schema(id=INT, v=INT), record(id=1, v=1))
    assert here.server
    here.server.clear()
    change = schema(id=STR, v=INT) if keyed else schema(id=INT, v=STR)
    here.run(change)
    here.query(f'DROP TABLE "{here.schema}"."ORDERS"')
    return [one for one in here.statements() if re.match(r"ALTER TABLE|/\* committed by itself", one)]


class Killed(BaseException):
    pass


def ends_at(patch: pytest.MonkeyPatch, number: int, end: str) -> None:
    """Let that statement of a change be refused, or the run be killed right behind it."""
    execute, steps = Work.execute, iter(range(99))

    def ending(self: Work, cursor: Any, statement: str, parameters: Any) -> None:
        is_due = re.match(r"ALTER TABLE|/\* committed by itself", statement) and next(steps) == number
        if is_due and end == "refused":
            raise connector.errors.ProgrammingError(msg="as planned", errno=2443, sqlstate="42601")
        execute(self, cursor, statement, parameters)
        if is_due:
            raise Killed

    patch.setattr(Work, "execute", ending)


@pytest.mark.parametrize("keyed", [False, True], ids=["a column", "a key"])
@pytest.mark.parametrize("end", ["refused", "killed"])
@pytest.mark.parametrize("then", ["again", "as before"])
def test_wherever_a_change_ends_the_next_run_carries_on(standin: Snowflake, monkeypatch: pytest.MonkeyPatch, keyed: bool, end: str, then: str) -> None:
    """No value is lost, no column of ours stays, and comments are what they should be, after each step."""
    steps = steps_of_a_change(standin, keyed)
    assert len(steps) == (11 if keyed else 7)
    assert standin.server
    wide = schema(id=STR, v=INT) if keyed else schema(id=INT, v=STR)
    for at, step in enumerate(steps):
        standin.run(schema(id=INT, v=INT), record(id=1, v=1), record(id=2, v=None))
        with monkeypatch.context() as patch, suppress(DatabaseError, Killed):
            ends_at(patch, at, end)
            standin.run(wide, record(**({"id": "3", "v": 3} if keyed else {"id": 3, "v": "3"})))
        now = wide if then == "again" else schema(id=INT, v=INT)
        new = {"id": "4" if now is wide and keyed else 4, "v": "4" if now is wide and not keyed else 4}
        standin.run(now, record(**new), narrowing="keep")
        rows = [(str(id_), None if v is None else str(v)) for id_, v in read(standin, "ID", "V")]
        assert rows in ([("1", "1"), ("2", None), ("4", "4")], [("1", "1"), ("2", None), ("3", "3"), ("4", "4")]), step
        assert (described(standin, 9)["ID"], described(standin, 9)["V"], set(described(standin, 9))) == ("id", "v", {"ID", "V", "__LOADED_AT"}), (at, step)
        assert [name for name, is_key in described(standin, 5).items() if is_key == "Y"] == ["ID"], step
        standin.query(f'DROP TABLE "{standin.schema}"."ORDERS"')


def test_an_old_column_that_cannot_be_dropped_is_told_and_in_nobodys_way(standin: Snowflake) -> None:
    standin.run(schema(id=INT, v=INT), record(id=1, v=1))
    assert standin.server
    standin.server.fault("DROP COLUMN", "error", times=3, number=2443)
    for number in (2, 3):
        result = standin.run(schema(id=INT, v=STR), record(id=number, v="x"))
        assert any("DROP COLUMN" in one and "nothing needs it" in one for one in result.summary["warnings"])
    standin.server.clear()
    standin.run(schema(id=INT, v=STR), record(id=4, v="x"))
    assert read(standin, "ID", "V") == [(1, "1"), (2, "x"), (3, "x"), (4, "x")]
    assert set(described(standin, 0)) == {"ID", "V", "__LOADED_AT"}


# --- comments like ours on columns of others

LIKE_OURS = [
    {"of": ["V"], "new": False, "run": "r"},
    {"of": "V", "new": "x", "run": "r"},
    {"of": "V", "new": False, "run": "r", "source": "w"},
    {"of": "V", "run": "r", "was": ["NUMBER(38,0)"]},
    {"of": "V", "new": True, "run": 5},
    {"of": "V", "new": True, "run": "r", "was": 5},
    {"of": "GONE", "new": False, "run": "r"},
    {"of": "W", "run": "r", "source": ["w"]},
]


@pytest.mark.parametrize("like", LIKE_OURS, ids=str)
def test_a_comment_that_is_like_ours_makes_no_column_ours(standin: Snowflake, like: Any) -> None:
    standin.run(schema(id=INT, v=INT, w=INT), record(id=1, v=1, w=7))
    standin.query(f"""ALTER TABLE "{standin.schema}"."ORDERS" ALTER COLUMN "W" COMMENT 'target-meltano {json.dumps(like)}'""")
    standin.run(schema(id=INT, v=STR), record(id=2, v="x"))
    assert read(standin, "ID", "V", "W") == [(1, "1", 7), (2, "x", None)]


def test_a_column_that_others_rename_in_a_change_is_theirs(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.run(schema(id=INT, v=INT), record(id=1, v=1))
    with monkeypatch.context() as patch, suppress(DatabaseError, Killed):
        ends_at(patch, 4, "killed")  # its comment is not its own yet
        standin.run(schema(id=INT, v=STR), record(id=2, v="2"))
    table = f'"{standin.schema}"."ORDERS"'
    standin.query(f'ALTER TABLE {table} RENAME COLUMN "V" TO "MINE"')
    standin.query(f'ALTER TABLE {table} ADD COLUMN "V" VARCHAR')
    standin.run(schema(id=INT, v=STR), record(id=3, v="3"))
    assert ("1", 1) in [(row["MINE"], row["ID"]) for row in standin.rows("ORDERS")]


# --- collations


def collated(here: Snowflake) -> None:
    here.query(f'CREATE SCHEMA IF NOT EXISTS "{here.schema}"')
    here.query(f"ALTER SCHEMA \"{here.schema}\" SET DEFAULT_DDL_COLLATION = 'en-ci'")


def test_keys_that_differ_stay_apart_in_a_schema_with_a_collation(standin: Snowflake) -> None:
    collated(standin)
    standin.run(schema(id=STR, v=INT), record(id="AAPL", v=1), record(id="aapl", v=2))
    standin.run(schema(id=STR, v=INT), record(id="aapl", v=3), record(id="Aapl", v=4))
    assert read(standin, "ID", "V") == [("AAPL", 1), ("Aapl", 4), ("aapl", 3)]
    for table in ("ORDERS", "__LOADS"):
        assert not any("COLLATE" in spelt for spelt in described(standin, 1, table).values())


def test_state_ids_that_differ_stay_apart(standin: Snowflake) -> None:
    collated(standin)
    for name in "pP":
        standin.run(schema(id=INT), record(id=1), state({name: 1}), state_id=name)
    assert sorted((row["STATE_ID"], json.loads(row["STATE"])) for row in standin.rows("__STATE")) == [("P", {"P": 1}), ("p", {"p": 1})]


@pytest.mark.parametrize("settings", [{}, {"hard_delete": True}], ids=str)
def test_a_key_with_a_collation_is_refused_by_name(standin: Snowflake, settings: Any) -> None:
    made(standin, "\"ID\" VARCHAR COLLATE 'en-ci'", '"V" NUMBER(38,0)', 'PRIMARY KEY ("ID")', rows=["'a', 1"])
    with pytest.raises(SchemaError, match="key column 'ID' has the collation 'en-ci', by which keys that differ may be equal"):
        standin.run(schema(id=STR, v=INT), record(id="A", v=1), **settings)
    assert read(standin, "ID", "V") == [("a", 1)]
    standin.run(schema(id=STR, v=INT), record(id="A", v=1), table_names={"orders": "OTHERS"}, **settings)


def test_a_state_table_with_a_collation_is_refused_by_name(standin: Snowflake) -> None:
    standin.run(schema(id=INT), record(id=1), state({"p": 1}), state_id="p")
    columns = ", ".join(f'"{name}" {spelt} {"COLLATE " + chr(39) + "en-ci" + chr(39) if name == "STATE_ID" else ""}' for name, spelt in described(standin, 1, "__STATE").items())
    standin.query(f'DROP TABLE "{standin.schema}"."__STATE"')
    standin.query(f'CREATE TABLE "{standin.schema}"."__STATE" ({columns}, PRIMARY KEY ("STATE_ID"))')
    with pytest.raises(SchemaError, match="__STATE: key column 'STATE_ID' has the collation"):
        standin.run(schema(id=INT), record(id=1), state({"p": 1}), state_id="p")


def test_other_columns_with_a_collation_keep_their_values(standin: Snowflake) -> None:
    made(standin, '"ID" NUMBER(38,0)', "\"S\" VARCHAR COLLATE 'en-ci'", "\"T\" VARCHAR(3) COLLATE 'de'", 'PRIMARY KEY ("ID")', rows=["1, 'a', 'b'"])
    standin.run(schema(id=INT, s=STR, t=STR), record(id=2, s="A", t="long enough"), record(id=3, s="a", t="b"))
    assert read(standin, "ID", "S", "T") == [(1, "a", "b"), (2, "A", "long enough"), (3, "a", "b")]
    standin.run(schema(id=INT, s={}, t=STR), record(id=4, s=[5], t="c"))
    assert read(standin, "ID", "S") == [(1, "a"), (2, "A"), (3, "a"), (4, [5])]


# --- policies


EXEMPT = "CURRENT_ROLE() IN ('ADMIN')"  # so that LOADER, who loads, is not
MASKED = f"CASE WHEN {EXEMPT} THEN val ELSE '***' END"


def masked(here: Snowflake, column: str, body: str = MASKED, table: str = "ORDERS", spelt: str = "VARCHAR") -> str:
    here.query(f'CREATE MASKING POLICY "{here.schema}"."HIDE_{column}" AS (val {spelt}) RETURNS {spelt} -> {body}')
    here.query(f'ALTER TABLE "{here.schema}"."{table}" MODIFY COLUMN "{column}" SET MASKING POLICY "{here.schema}"."HIDE_{column}"')
    return f"TESTS.{here.schema}.HIDE_{column}"


def hidden(here: Snowflake, condition: str, column: str = "REGION", table: str = "ORDERS") -> str:
    here.query(f'CREATE ROW ACCESS POLICY "{here.schema}"."ROWS_OF" AS (r VARCHAR) RETURNS BOOLEAN -> {condition}')
    here.query(f'ALTER TABLE "{here.schema}"."{table}" ADD ROW ACCESS POLICY "{here.schema}"."ROWS_OF" ON ("{column}")')
    return f"TESTS.{here.schema}.ROWS_OF"


def unveiled(here: Snowflake, *columns: str, table: str = "ORDERS") -> list[tuple[Any, ...]]:
    """Return rows as they are, whatever policies say."""
    here.query(f'ALTER TABLE "{here.schema}"."{table}" DROP ROW ACCESS POLICY "{here.schema}"."ROWS_OF"')
    return read(here, *columns, table=table)


@pytest.fixture
def regions(standin: Snowflake) -> Snowflake:
    standin.run(schema(id=INT, region=STR, zip=INT), record(id=1, region="EU", zip=12345), record(id=2, region="US", zip=90210))
    return standin


ONE_REGION = "r = 'EU'"


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ([schema(id=INT, region=STR, zip=STR), record(id=3, region="EU", zip="AB1")], {}),
        ([schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1)], {}),
        ([schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1)], {"load_method": "overwrite"}),
        ([schema(id=INT, region=STR, zip=INT, _sdc_deleted_at=TIME), record(id=2, _sdc_deleted_at="2024-01-01T00:00:00Z")], {"hard_delete": True}),
    ],
    ids=["type", "upsert", "overwrite", "hard delete"],
)
def test_rows_that_may_be_hidden_are_neither_lost_nor_doubled(regions: Snowflake, lines: Any, settings: Any) -> None:
    name = hidden(regions, ONE_REGION)
    before = described(regions, 1)
    lines = [*lines, state(1)]
    with pytest.raises((SchemaError, UpgradeError), match=rf"row access policy {name} may hide rows from our role, .*let it exempt our role LOADER.*exempt_policies: \[{name}\]"):
        regions.run(*lines, **settings)
    assert described(regions, 1) == before
    assert unveiled(regions, "ID", "REGION", "ZIP") == [(1, "EU", 12345), (2, "US", 90210)]


VERSION = {"type": "ACTIVATE_VERSION", "stream": "orders", "version": 3}


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ([schema(keys=(), id=INT, region=STR, zip=STR), record(id=3, region="EU", zip="AB1")], {}),
        ([schema(keys=(), id=INT, region=STR, zip=INT), {**record(id=2), "version": 3}, VERSION], {"activate_version": "hard"}),
        ([schema(keys=(), id=INT, region=STR, zip=INT), {**record(id=2), "version": 3}, VERSION], {}),
    ],
    ids=["type", "versions, hard", "versions"],
)
def test_rows_of_a_history_that_may_be_hidden_are_not_lost(standin: Snowflake, lines: Any, settings: Any) -> None:
    old = [{**record(id=1, region="EU", zip=12345), "version": 1}, {**record(id=2, region="US", zip=90210), "version": 1}]
    standin.run(schema(keys=(), id=INT, region=STR, zip=INT), *old)
    name = hidden(standin, ONE_REGION)
    with pytest.raises((SchemaError, UpgradeError), match=rf"row access policy {name} may hide rows from our role"):
        standin.run(*lines, **settings)
    assert unveiled(standin, "ID", "REGION", "ZIP") == [(1, "EU", 12345), (2, "US", 90210)]


def test_rows_without_a_key_go_on_under_a_row_access_policy(standin: Snowflake) -> None:
    lines = schema(keys=(), id=INT, region=STR), record(id=1, region="EU"), record(id=2, region="US")
    standin.run(*lines)
    hidden(standin, ONE_REGION)
    standin.run(*lines)
    assert unveiled(standin, "ID", "REGION") == [(1, "EU"), (1, "EU"), (2, "US"), (2, "US")]


def test_a_role_that_is_exempt_goes_on(regions: Snowflake) -> None:
    """The remedy as the message says it; that it was done is looked at."""
    name = hidden(regions, f"{ONE_REGION} OR CURRENT_ROLE() = 'LOADER'")
    lines = schema(id=INT, region=STR, zip=STR), record(id=2, region="US", zip="AB1")
    for settings in ({}, {"load_method": "overwrite"}):
        with pytest.raises((SchemaError, UpgradeError), match="may hide rows"):
            regions.run(*lines, state(1), **settings)
    regions.run(*lines, exempt_policies=[name])
    assert read(regions, "ID", "REGION", "ZIP") == [(1, "EU", "12345"), (2, "US", "AB1")]
    regions.run(schema(id=INT, region=STR, zip=STR), record(id=3, region="US", zip="x"), state(1), load_method="overwrite", exempt_policies=[name])
    assert unveiled(regions, "ID", "REGION", "ZIP") == [(3, "US", "x")]


def test_a_role_that_is_said_to_be_exempt_and_is_not_is_found_out(regions: Snowflake) -> None:
    name = hidden(regions, ONE_REGION)
    with pytest.raises(SchemaError, match="1 of its 2 rows are hidden from our role LOADER"):
        regions.run(schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1), exempt_policies=[name])
    assert unveiled(regions, "ID", "ZIP") == [(1, 12345), (2, 90210)]


def test_rows_that_are_hidden_from_who_cannot_see_the_policy_are_found_out_by_their_number(regions: Snowflake) -> None:
    """The policies of a table are shown to its owner."""
    regions.query(f'GRANT OWNERSHIP ON TABLE "{regions.schema}"."ORDERS" TO ROLE "SECURITY"')
    hidden(regions, ONE_REGION)
    for lines in ([schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1)], [schema(id=INT, region=STR, zip=STR), record(id=2, region="US", zip="x")]):
        with pytest.raises((SchemaError, UpgradeError), match="1 of its 2 rows are hidden from our role LOADER, by a policy; let that exempt our role"):
            regions.run(*lines)
    assert unveiled(regions, "ID", "ZIP") == [(1, 12345), (2, 90210)]


def test_a_table_of_another_owner_without_policies_goes_on(regions: Snowflake) -> None:
    regions.query(f'GRANT OWNERSHIP ON TABLE "{regions.schema}"."ORDERS" TO ROLE "SECURITY"')
    regions.run(schema(id=INT, region=STR, zip=STR), record(id=2, region="US", zip="x"))
    assert read(regions, "ID", "ZIP") == [(1, "12345"), (2, "x")]


@pytest.mark.parametrize("settings", [{}, {"load_method": "overwrite"}, {"hard_delete": True}], ids=str)
def test_a_key_that_is_masked_is_refused_by_name(standin: Snowflake, settings: Any) -> None:
    lines = schema(id=STR, v=INT, _sdc_deleted_at=TIME), record(id="A1", v=1)
    standin.run(*lines, state(1))
    name = masked(standin, "ID")
    with pytest.raises(SchemaError, match=rf"masking policy {name} may show our role other values of 'ID'.*exempt_policies: \[{name}\]"):
        standin.run(schema(id=STR, v=INT, _sdc_deleted_at=TIME), record(id="A1", v=2), state(2), **settings)
    assert [row[0] for row in standin.query(f'SELECT COUNT(*) FROM "{standin.schema}"."ORDERS"')] == [1]


def test_a_key_whose_policy_exempts_us_goes_on(standin: Snowflake) -> None:
    standin.run(schema(id=STR, v=INT), record(id="A1", v=1))
    name = masked(standin, "ID", "CASE WHEN CURRENT_ROLE() = 'LOADER' THEN val ELSE '***' END")
    standin.run(schema(id=STR, v=INT), record(id="A1", v=2), exempt_policies=[name])
    assert read(standin, "ID", "V") == [("A1", 2)]


def test_a_key_that_is_masked_while_we_load_is_noticed(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.run(schema(id=STR, v=INT), record(id="A1", v=1))
    prepare, names = Work._prepare, []

    def late(work: Work, load: Any) -> None:
        if load.table.name == "ORDERS" and not names:
            names.append(masked(standin, "ID"))
        prepare(work, load)

    monkeypatch.setattr(Work, "_prepare", late)
    with pytest.raises(DatabaseError, match="masking policy .* may show our role other values of the key"):
        standin.run(schema(id=STR, v=INT), record(id="A1", v=2))
    assert [row[0] for row in standin.query(f'SELECT COUNT(*) FROM "{standin.schema}"."ORDERS"')] == [1]


@pytest.mark.parametrize("exempt", [False, True])
def test_a_masked_column_keeps_its_type_its_values_and_its_policy(standin: Snowflake, exempt: bool) -> None:
    """Even for who is exempt: the column of the new type would not have the policy."""
    standin.run(schema(id=INT, ssn={"type": "string", "format": "date"}), record(id=1, ssn="2024-01-01"))
    body = "CASE WHEN CURRENT_ROLE() = 'LOADER' THEN val ELSE NULL END" if exempt else "NULL"
    name = masked(standin, "SSN", body, spelt="DATE")
    settings = {"exempt_policies": [name]} if exempt else {}
    lines = schema(id=INT, ssn=STR), record(id=2, ssn="987-65-4321")
    with pytest.raises(UpgradeError, match=f"masking policy {name} is on it.*unset it, load, and set it again"):
        standin.run(*lines, **settings)
    assert described(standin, 10)["SSN"] == name
    standin.query(f'ALTER TABLE "{standin.schema}"."ORDERS" MODIFY COLUMN "SSN" UNSET MASKING POLICY')
    assert read(standin, "ID", "SSN") == [(1, date(2024, 1, 1))]
    standin.run(*lines, **settings)
    assert read(standin, "ID", "SSN") == [(1, "2024-01-01"), (2, "987-65-4321")]


def test_columns_that_are_masked_and_no_key_are_written(standin: Snowflake) -> None:
    standin.run(schema(id=INT, ssn=STR), record(id=1, ssn="1"))
    masked(standin, "SSN")
    standin.run(schema(id=INT, ssn=STR), record(id=1, ssn="2"), record(id=2, ssn="3"))
    standin.query(f'ALTER TABLE "{standin.schema}"."ORDERS" MODIFY COLUMN "SSN" UNSET MASKING POLICY')
    assert read(standin, "ID", "SSN") == [(1, "2"), (2, "3")]


@pytest.mark.parametrize(("table", "column"), [("__STATE", "STATE"), ("__LOADS", "STREAM"), ("__STATE", "STATE_ID")])
def test_a_policy_on_a_table_of_ours_is_refused_by_name(standin: Snowflake, table: str, column: str) -> None:
    standin.run(schema(id=INT), record(id=1), state({"at": 1}), state_id="p")
    masked(standin, column, table=table)
    states: list[Any] = []
    with pytest.raises(SchemaError, match=f"{table}: the masking policy .* may show our role other values of '{column}'"):
        standin.run(schema(id=INT), record(id=2), state({"at": 2}), states=states, state_id="p")
    assert (read(standin, "ID"), states) == ([(1,)], [])


def test_a_column_that_a_policy_takes_keeps_its_type(regions: Snowflake) -> None:
    name = hidden(regions, f"{ONE_REGION} OR CURRENT_ROLE() = 'LOADER'", column="ZIP")
    with pytest.raises(UpgradeError, match=f"while the row access policy {name} depends on it; drop that, load, and create it again"):
        regions.run(schema(id=INT, region=STR, zip=STR), record(id=3, zip="x"), exempt_policies=[name])
    assert unveiled(regions, "ID", "ZIP") == [(1, 12345), (2, 90210)]
    regions.run(schema(id=INT, region=STR, zip=STR), record(id=3, zip="x"), exempt_policies=[name])
    assert read(regions, "ID", "ZIP") == [(1, "12345"), (2, "90210"), (3, "x")]


@pytest.mark.parametrize("key", ['"AT"', '"ID", "AT"', "TO_DATE(\"AT\")"])
def test_a_column_of_the_clustering_key_keeps_its_type(standin: Snowflake, key: str) -> None:
    standin.run(schema(id=INT, at=TIME), record(id=1, at="2024-01-01T00:00:00Z"))
    name = f'"{standin.schema}"."ORDERS"'
    standin.query(f"ALTER TABLE {name} CLUSTER BY ({key})")
    lines = schema(id=INT, at=STR), record(id=2, at="x")
    with pytest.raises(UpgradeError, match=rf"while the clustering key LINEAR\({re.escape(key)}\) depends on it; drop that, load"):
        standin.run(*lines)
    assert described(standin, 1)["AT"].startswith("TIMESTAMP_TZ")
    standin.query(f"ALTER TABLE {name} DROP CLUSTERING KEY")
    standin.run(*lines)
    assert read(standin, "ID", "AT") == [(1, "2024-01-01T00:00:00Z"), (2, "x")]


def test_who_is_exempt_from_all_policies_looks_none_up(regions: Snowflake) -> None:
    hidden(regions, f"{ONE_REGION} OR CURRENT_ROLE() = 'LOADER'")
    assert regions.server
    regions.server.clear()
    regions.run(schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1), exempt_policies=["*"])
    assert not [sql for sql in regions.statements() if "POLICY_REFERENCES" in sql or "COUNT(*)" in sql]
    assert unveiled(regions, "ID", "ZIP") == [(1, 12345), (2, 1)]


def test_the_database_has_the_name_that_the_server_gives_it(regions: Snowflake) -> None:
    name = hidden(regions, ONE_REGION)
    with pytest.raises(SchemaError, match=rf"row access policy {name} may hide rows"):
        regions.run(schema(id=INT, region=STR, zip=INT), record(id=2, region="US", zip=1), database="tests")


@pytest.mark.parametrize("given", [["HIDE_ID"], [1], ["a.b"]], ids=str)
def test_names_of_policies_are_whole(standin: Snowflake, given: list[Any]) -> None:
    with pytest.raises(SettingsError, match="exempt_policies: wanted .*DATABASE.SCHEMA.NAME"):
        standin.dialect(exempt_policies=given)


def test_policies_that_cannot_be_looked_up_are_told_once(standin: Snowflake) -> None:
    lines = schema(id=INT), record(id=1), schema("b", id=INT), record("b", id=1)
    standin.run(*lines)
    assert standin.server
    standin.server.fault("POLICY_REFERENCES", "error", number=3001, times=99)
    result = standin.run(*lines)
    told = [warning for warning in result.summary["warnings"] if "policies cannot be looked up" in warning]
    assert len(told) == 1
    assert "ORDERS" in told[0]
