"""What a load asks of Snowflake, in which order, and what it leaves there."""

from __future__ import annotations

import re
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from on_snowflake import MAJOR, Snowflake
from snowflake import connector

from target_meltano import DatabaseError, RecordError, SettingsError, UpgradeError
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_snowflake import faults

TIME = {"type": "string", "format": "date-time"}
DDL = re.compile("^(CREATE|ALTER|DROP|GRANT|COMMENT)")
NAMES = re.compile(r"\b(INTO|UPDATE|TABLE|SCHEMA|STAGE|ON COLUMN|COLUMN|JOIN)\s+(IF (NOT )?EXISTS\s+)?(?P<name>\S+)")


def activate(version: int, stream: str = "orders") -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


def versioned(version: int, **fields: Any) -> dict[str, Any]:
    return {**record(**fields), "version": version}


def read(here: Snowflake, *columns: str, table: str = "ORDERS") -> list[tuple[Any, ...]]:
    return sorted(tuple(row[column] for column in columns) for row in here.rows(table))


# --- in which order


@pytest.fixture
def busy(standin: Snowflake) -> list[str]:
    """The statements of a run with everything in it: several streams, DDL in between, versions, a refused row."""
    standin.run(schema(id=INT, v=INT), record(id=1, v=1), state(1))
    lines = [
        schema(id=INT, v=INT),
        *(versioned(2, id=i, v=i) for i in range(5)),
        schema("log", keys=(), id=INT),
        record("log", id=1),
        activate(2),
        schema("late", keys=("id",), id=INT, note=STR),
        record("late", id=1),
        schema(id=INT, v=STR),
        versioned(2, id=7, v="x"),
        state(2),
    ]
    standin.run(*lines, state_id="p", invalid_records="quarantine")
    return standin.statements()


def test_no_ddl_comes_into_an_open_transaction(busy: list[str]) -> None:
    is_open = False
    for statement in busy:
        is_open = statement.startswith("BEGIN") or (is_open and not re.match("COMMIT|ROLLBACK", statement))
        assert not (is_open and DDL.match(statement)), statement
    assert sum(map(bool, map(DDL.match, busy))) > 5


def test_rows_are_changed_in_transactions_only(busy: list[str]) -> None:
    is_open = False
    for statement in busy:
        is_open = statement.startswith("BEGIN") or (is_open and not re.match("COMMIT|ROLLBACK", statement))
        if re.match("COPY|MERGE|INSERT|UPDATE|DELETE|TRUNCATE", statement):
            assert is_open, statement


def test_every_name_is_quoted(busy: list[str]) -> None:
    found = [match["name"] for statement in busy for match in NAMES.finditer(re.sub(r"'[^']*'", "''", statement))]
    assert found
    assert [name for name in found if not name.startswith(('"', "@", "SET"))] == []


def test_every_copy_stops_at_an_error_and_no_file_has_the_name_of_another(busy: list[str]) -> None:
    copies = [statement for statement in busy if statement.startswith("COPY")]
    assert copies
    assert all(" ON_ERROR = ABORT_STATEMENT" in statement for statement in copies)
    puts = re.findall(r"PUT 'file://\S*/(\S+)'", "\n".join(busy))
    assert len(puts) == len(set(puts)) > 2


def test_what_was_done_before_ddl_is_done_again_after_it(busy: list[str], standin: Snowflake) -> None:
    assert read(standin, "ID", "V") == [(0, "0"), (1, "1"), (2, "2"), (3, "3"), (4, "4"), (7, "x")]
    assert read(standin, "ID", table="LATE") == [(1,)]
    assert all(row["__DELETED_AT"] is None for row in standin.rows("ORDERS"))
    assert [row["STATE"] for row in standin.rows("__STATE")] == ["2"]


def test_nothing_permanent_is_left_but_tables(busy: list[str], standin: Snowflake) -> None:
    made = re.findall(r'CREATE (.*?) "', "\n".join(busy))
    assert set(made) == {"SCHEMA IF NOT EXISTS", "TABLE IF NOT EXISTS", "OR REPLACE TEMPORARY STAGE", "OR REPLACE TEMPORARY TABLE"}
    folders = set(re.findall(r"^PUT \S+ \S+/(\w+) ", "\n".join(busy), re.MULTILINE))
    assert folders == set(re.findall(r"^REMOVE \S+/(\w+)/$", "\n".join(busy), re.MULTILINE))


def test_queries_are_tagged_with_run_and_stream(standin: Snowflake) -> None:
    result = standin.run(schema(), record(id=1))
    assert standin.server
    (merge,) = [entry for entry in standin.server.log() if entry.get("sql", "").startswith("MERGE")]
    tag = merge["parameters"]["QUERY_TAG"]
    assert result.summary["run_id"] in tag
    assert '"stream": "orders"' in tag


# --- rows


def test_a_flush_is_one_transaction_however_many_batches(standin: Snowflake) -> None:
    standin.run(schema(id=INT, v=INT), *(record(id=i % 100, v=i) for i in range(30_000)))
    statements = standin.statements()
    assert [sum(one.startswith(word) for one in statements) for word in ("BEGIN", "MERGE", "COMMIT")] == [1, 1, 1]
    assert read(standin, "ID", "V") == [(i, 29_900 + i) for i in range(100)]


def test_a_large_flush_goes_in_several_files(standin: Snowflake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("target_meltano.target.SETTLE_BYTES", 1 << 16)
    monkeypatch.setattr("target_meltano.lines.CHUNK", 1 << 16)
    monkeypatch.setattr("target_meltano.outbox.SEND_BYTES", 1 << 16)
    monkeypatch.setattr("target_meltano_snowflake.stage.FILE_BYTES", 1 << 16)
    monkeypatch.setattr("target_meltano_snowflake.stage.GROUP_BYTES", 1 << 16)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    standin.run(schema("log", keys=(), id=INT), *(record("log", id=i * 7919 % 100_003) for i in range(50_000)))
    assert sum(statement.startswith("PUT 'file:///") for statement in standin.statements()) > 1
    assert standin.query(f'SELECT COUNT(*), COUNT(DISTINCT "ID") FROM "{standin.schema}"."LOG"') == [(50_000, 50_000)]
    assert list(tmp_path.iterdir()) == []


def test_versions_end_and_a_table_can_be_overwritten(snowflake: Snowflake) -> None:
    snowflake.run(schema(), versioned(1, id=1), versioned(1, id=2), activate(1), state(1))
    snowflake.run(schema(), versioned(2, id=2), activate(2), state(2))
    assert [(row["ID"], row["__DELETED_AT"] is None) for row in snowflake.rows("ORDERS")] in ([(1, False), (2, True)], [(2, True), (1, False)])
    snowflake.run(schema("other"), record("other", id=1), state(1))
    snowflake.run(schema("other"), record("other", id=5), state(2), load_method="overwrite")
    assert read(snowflake, "ID", table="OTHER") == [(5,)]


def test_invalid_records_go_into_quarantine(snowflake: Snowflake) -> None:
    lines = [schema(id=INT, n=NUM), record(id=1, n=1.5), record(id="x"), record(id=2, n=Decimal("0.1234567890123456789")), record(id=3, n=2)]
    snowflake.run(*lines, state(1), invalid_records="quarantine")
    assert read(snowflake, "ID", "N") == [(1, Decimal("1.5")), (3, Decimal("2.0"))]
    reasons = sorted(row["REASON"] for row in snowflake.rows("__REJECTED"))
    assert len(reasons) == 2
    assert "decfloat" in reasons[1]


def test_a_line_too_long_for_the_quarantine_ends_the_run_there(snowflake: Snowflake) -> None:
    """A BINARY has 8 MiB."""
    states: list[Any] = []
    lines = [schema(id=INT, a=STR), record(id=1, a="x"), state(1), record(id="bad", a="y" * (8 << 20)), record(id=2), state(2)]
    with pytest.raises(RecordError, match=r"line 4: .*wanted.*; it cannot be kept in quarantine: column 'SOURCE'"):
        snowflake.run(*lines, states=states, invalid_records="quarantine")
    assert (read(snowflake, "ID"), states) == ([(1,)], [1])


# --- types


def test_a_number_that_float_would_change_names_the_settings_that_keep_it(snowflake: Snowflake) -> None:
    with pytest.raises(RecordError, match=r"line 2: .*FLOAT would change '0\.1234567890123456789'.*decfloat .* decimal\(p,s\)"):
        snowflake.run(schema(id=INT, n=NUM), record(id=1, n=Decimal("0.1234567890123456789")))


def test_numbers_may_be_decimals(snowflake: Snowflake) -> None:
    settings = {"number": "decimal(38,20)"}
    number = Decimal("123456789012345678.12345678901234567890")
    snowflake.run(schema(id=INT, n=NUM), record(id=1, n=number), record(id=2, n=Decimal("-1e-20")), **settings)
    assert read(snowflake, "ID", "N") == [(1, number), (2, Decimal("-1e-20"))]
    with pytest.raises(RecordError, match=r"is no NUMBER\(38,20\)"):
        snowflake.run(schema(id=INT, n=NUM), record(id=1, n=Decimal("1e-21")), **settings)


DECFLOATS = ["12345678901234567890123456789012345678", "0.1234567890123456789", "1e-300", "-1e300", "0", "19.90"]


def test_numbers_may_be_decfloats_and_a_column_of_floats_becomes_one(snowflake: Snowflake) -> None:
    numbers = [Decimal(text) for text in DECFLOATS]
    snowflake.run(schema(id=INT, n=NUM), record(id=-1, n=0.1))
    for _ in range(2):
        rows = [record(id=i, n=number) for i, number in enumerate(numbers)]
        snowflake.run(schema(id=INT, n=NUM), *rows, number="decfloat")
    found = [(i, Decimal(value)) for i, value in read(snowflake, "ID", "N")]
    assert found == [(-1, Decimal("0.1")), *enumerate(numbers)]
    described = snowflake.query(f'DESCRIBE TABLE "{snowflake.schema}"."ORDERS"')
    assert [row[1] for row in described if row[0] == "N"] == ["DECFLOAT(38)"]
    with pytest.raises(RecordError, match="more than 38 digits"):
        snowflake.run(schema(id=INT, n=NUM), record(id=1, n=Decimal("0." + "1" * 39)), number="decfloat")


def test_integers_beyond_64_bits_have_the_same_column_as_others(snowflake: Snowflake) -> None:
    large = {"type": "integer", "maximum": 10**37}
    snowflake.run(schema(id=INT, n=INT), record(id=1, n=1))
    snowflake.run(schema(id=INT, n=large), record(id=2, n=10**37))
    result = snowflake.run(schema(id=INT, n=INT), record(id=3, n=3))
    assert (read(snowflake, "ID", "N"), result.summary["streams"]["orders"]["ddl"]) == ([(1, 1), (2, 10**37), (3, 3)], [])


def test_times_may_be_without_a_zone(snowflake: Snowflake) -> None:
    for _ in range(2):
        snowflake.run(schema(id=INT, t=TIME), record(id=1, t="2024-01-01T00:00:00.123456+02:00"), timestamps="ntz")
    (row,) = snowflake.query(f'SELECT "T" FROM "{snowflake.schema}"."ORDERS"')
    assert row[0].isoformat() == "2023-12-31T22:00:00.123456"


TEXTS = ["", "\\N", "NULL", "null", " a ", "it's", "\\", '"', "\u2028", "e\u0301", "\U0001f600"]


def test_texts_that_look_like_something_else_are_texts(snowflake: Snowflake) -> None:
    rows = [record(id=i, a=text, b=[text]) for i, text in enumerate(TEXTS)]
    snowflake.run(schema(id=INT, a=STR, b={"type": "array"}), *rows)
    assert read(snowflake, "ID", "A", "B") == [(i, text, [text]) for i, text in enumerate(TEXTS)]


KEYS = {
    "integer": (INT, 2**53 + 1, 2**53),
    "number": (NUM, Decimal("0.1"), Decimal("0.2")),
    "decimal": ({"type": "number", "multipleOf": 0.01}, Decimal("19.90"), Decimal("19.91")),
    "string": (STR, "\\N", "\\n"),
    "boolean": ({"type": "boolean"}, True, False),
    "date": ({"type": "string", "format": "date"}, "0001-01-01", "9999-12-31"),
    "time": ({"type": "string", "format": "time"}, "12:00:00.000001", "12:00:00"),
    "date-time": (TIME, "2024-01-01T00:00:00.000001+02:00", "2024-01-01T00:00:00+02:00"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_any_kind_finds_its_row(snowflake: Snowflake, kind: str) -> None:
    """To replace it, and to delete it."""
    spelt, one, other = KEYS[kind]
    columns = schema(k=spelt, v=INT, _sdc_deleted_at={"type": ["null", "string"], "format": "date-time"}, keys=("k",))
    snowflake.run(columns, record(k=one, v=1), record(k=other, v=1))
    snowflake.run(columns, record(k=one, v=2))
    assert read(snowflake, "V") == [(1,), (2,)]
    snowflake.run(columns, record(k=one, v=3, _sdc_deleted_at="2024-01-01T00:00:00Z"), hard_delete=True)
    assert read(snowflake, "V") == [(1,)]


def test_a_change_of_type_sees_the_rows_that_ddl_has_rolled_back(snowflake: Snowflake) -> None:
    """With state_id they are done again after the DDL, into a column that would change them."""
    snowflake.run(schema(id=INT, n=INT), record(id=1, n=1), state(1), state_id="p")
    lines = [
        schema(id=INT, n=INT),
        versioned(1, id=2, n=2**53 + 1),
        activate(1),
        schema("late"),
        schema(id=INT, n=NUM),
        record(id=3, n=0.5),
        state(2),
    ]
    with pytest.raises(UpgradeError, match="a value in it would change"):
        snowflake.run(*lines, state_id="p")
    assert read(snowflake, "ID", "N") == [(1, 1)]


def test_integers_that_float_would_change_forbid_the_upgrade(snowflake: Snowflake) -> None:
    snowflake.run(schema(id=INT, n=INT), record(id=1, n=2**53 + 1))
    with pytest.raises(UpgradeError, match="a value in it would change"):
        snowflake.run(schema(id=INT, n=NUM), record(id=2, n=0.5))
    assert read(snowflake, "ID", "N") == [(1, 2**53 + 1)]


def check_cut_off(here: Snowflake, column: str, step: int, last: int) -> None:
    """Let a change of type be cut off before its statement *step*, of so many that *last* is behind all; then go on."""
    assert here.server
    here.run(schema(id=INT, v=INT), record(id=1, v=41), record(id=2, v=None))
    here.server.clear()
    here.server.fault(r"^(ALTER TABLE|/\*)", "error", skip=step, number=3001)
    kinds = {"id": INT, "v": INT, column: STR}
    new = {"id": "x" if column == "id" else 3, "v": "y" if column == "v" else 42}
    lines = [schema(**kinds), record(**new)]
    with pytest.raises(DatabaseError) if step < last else nullcontext():
        here.run(*lines)
    here.run(*lines)
    first = [(1, "41"), (2, None)] if column == "v" else [("1", 41), ("2", None)]
    assert read(here, "ID", "V") == [*first, tuple(new.values())]
    described = here.query(f'DESCRIBE TABLE "{here.schema}"."ORDERS"')
    assert sorted(row[0] for row in described) == ["ID", "V", "__LOADED_AT"]
    assert [row[0] for row in described if row[5] == "Y"] == ["ID"]
    assert len([sql for sql in here.statements() if sql.startswith(("ALTER", "/*"))]) >= last


@pytest.mark.parametrize(("spelt", "kept"), [("TIME", "12:00:00.123456"), ("TIMESTAMP_NTZ", "2024-01-01T00:00:00.123456Z")])
def test_times_of_others_are_looked_at_for_nanoseconds(snowflake: Snowflake, spelt: str, kept: str) -> None:
    """The stand-in has none; so this only shows that it can be asked."""
    name = f'"{snowflake.schema}"."ORDERS"'
    snowflake.query(f'CREATE SCHEMA "{snowflake.schema}"')
    snowflake.query(f'CREATE TABLE {name} ("ID" NUMBER(38,0) NOT NULL, "T" {spelt}, PRIMARY KEY ("ID"))')
    snowflake.query(f"INSERT INTO {name} SELECT 1, '{kept.rstrip('Z')}'::{spelt}")
    snowflake.run(schema(id=INT, t=STR), record(id=2, t="x"), naive_timestamps="utc")
    assert read(snowflake, "ID", "T") == [(1, kept), (2, "x")]


@pytest.mark.parametrize("step", range(7), ids=lambda step: f"step {step + 1}")
def test_a_change_of_type_that_was_cut_off_is_finished_by_the_next_run(standin: Snowflake, step: int) -> None:
    check_cut_off(standin, "v", step, last=6)


@pytest.mark.parametrize("step", range(11), ids=lambda step: f"step {step + 1}")
def test_so_is_that_of_a_key(standin: Snowflake, step: int) -> None:
    check_cut_off(standin, "id", step, last=9)


def test_a_key_that_others_refer_to_stays(snowflake: Snowflake) -> None:
    snowflake.run(schema(id=INT), record(id=1))
    name = f'"{snowflake.schema}"."ORDERS"'
    snowflake.query(f'CREATE TABLE "{snowflake.schema}"."LINES" ("O" NUMBER(38,0), FOREIGN KEY ("O") REFERENCES {name} ("ID"))')
    with pytest.raises(UpgradeError, match=r"while a foreign key of TEST_\w+\.LINES depends on it"):
        snowflake.run(schema(id=STR), record(id="x"))
    assert read(snowflake, "ID") == [(1,)]


def test_a_key_does_not_become_json(snowflake: Snowflake) -> None:
    snowflake.run(schema(id=INT), record(id=1))
    with pytest.raises(UpgradeError, match="belongs to the key"):
        snowflake.run(schema(id={"type": ["integer", "array"]}), record(id=1))


# --- what else is wanted of tables


def test_readers_get_their_grants_once(standin: Snowflake) -> None:
    for _ in range(2):
        standin.run(schema(), record(id=1), grants={"select": ["analyst"]})
    grants = [statement for statement in standin.statements() if statement.startswith("GRANT")]
    assert grants == [
        f'GRANT USAGE ON SCHEMA "{standin.schema}" TO ROLE "ANALYST"',
        f'GRANT SELECT ON TABLE "{standin.schema}"."ORDERS" TO ROLE "ANALYST"',
    ]


def test_a_view_is_no_table(snowflake: Snowflake) -> None:
    snowflake.run(schema(), record(id=1))
    snowflake.query(f'CREATE VIEW "{snowflake.schema}"."SEEN" AS SELECT 1 AS "ID"')
    with pytest.raises(DatabaseError, match=r"SEEN is a view.*table_names"):
        snowflake.run(schema("seen"), record("seen", id=1))


@pytest.mark.parametrize(("given", "placed"), [("raw", "RAW"), ('"raw"', "raw"), ("RAW", "RAW")])
def test_a_schema_is_named_as_in_sql(snowflake: Snowflake, given: str, placed: str) -> None:
    assert snowflake.dialect(schema=given).settings.schema == placed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"number": "decimal(39,2)"}, "number: wanted"),
        ({"indexes": {"orders": [["id"]]}}, "indexes: Snowflake has none"),
        ({"token": "x"}, "token, password: give one way"),
        ({"password": None}, "no way to sign in"),
        ({"database": None}, "database: missing"),
        ({"authenticator": "oauth"}, "takes token or token_file"),
    ],
)
def test_settings_that_are_wrong_are_named(snowflake: Snowflake, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        snowflake.dialect(**settings)


def test_garbage_collection_closes_no_connection(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of connector 5 would set context variables, which may crash Python before 3.12."""
    dialect = snowflake.dialect()
    connection = dialect.connect()
    raw = connection.connection.dbapi_connection
    dialect.close(connection)
    if MAJOR >= 5:
        asked: list[Any] = []
        monkeypatch.setattr(type(raw), "is_closed", lambda self: asked.append(self) or True)
        for collected, cleanup in ((0, raw.auto_cleanup), (1, True)):
            raw.auto_cleanup = cleanup
            type(raw).__del__(raw)
            assert len(asked) == collected


def test_a_connection_that_is_of_no_use_is_closed(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    connect = connector.connect

    def connected(**parameters: Any) -> Any:
        made.append(connect(**parameters))
        return made[-1]

    def still_there(*_: Any) -> None:
        raise DatabaseError("still under way")

    dialect = snowflake.dialect()
    dialect._note_transaction("1")
    monkeypatch.setattr(connector, "connect", connected)
    monkeypatch.setattr(faults, "end_transaction", still_there)
    with pytest.raises(DatabaseError, match="still under way"):
        dialect.connect()
    assert [raw.is_closed() for raw in made] == [True]


def test_a_property_does_not_get_into_the_column_that_was_made_for_another(snowflake: Snowflake) -> None:
    """The column's comment tells which it is of, also where a schema allows members that it does not name."""
    snowflake.run(schema(id=INT, Total=INT, o={"type": "object", "properties": {"extra": STR}}), record(id=1, Total=1, o={"extra": "mine"}))
    rest = {"type": "object", "properties": {"a": STR}, "additionalProperties": True}
    snowflake.run(schema(id=INT, total=INT, o=rest), record(id=2, total=2, o={"b": 1}))
    rows = sorted(snowflake.rows("ORDERS"), key=lambda row: row["ID"])
    assert [(row["TOTAL"], row["O__EXTRA"]) for row in rows] == [(1, "mine"), (None, None)]
    assert sorted(name for name, value in rows[1].items() if value is not None and name not in ("ID", "__LOADED_AT")) == [
        name for name in sorted(rows[1]) if name.startswith(("TOTAL_", "O__EXTRA_"))
    ]


@pytest.mark.parametrize("other", ["total", "Total.x"])
def test_the_column_that_an_earlier_run_added_is_of_its_property(snowflake: Snowflake, other: str) -> None:
    """Its comment tells so, also where ALTER TABLE made it, or its type was changed."""
    name = "Total" if other == "total" else "Total__x"
    described = {"total": STR} if other == "total" else {"Total": {"type": "object", "properties": {"x": STR}}}
    sent = {"total": "c"} if other == "total" else {"Total": {"x": "c"}}
    snowflake.run(schema(id=INT), record(id=0))
    snowflake.run(schema(id=INT, **{name: INT}), record(id=1, **{name: 5}))
    snowflake.run(schema(id=INT, **{name: STR}), record(id=2, **{name: "b"}))
    snowflake.run(schema(id=INT, **described), record(id=1, **sent))
    (found,) = [row for row in snowflake.rows("ORDERS") if row["ID"] == 1]
    assert found.pop(name.upper()) == "5"
    assert "c" in found.values()
