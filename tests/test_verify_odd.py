"""`verify`, on inputs that are loaded right and are odd, and on differences that hide well."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect as on_postgres
from on_postgres import run as load_into
from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import load, make
from target_meltano.kinds import STRING
from target_meltano.naming import Naming, lower
from target_meltano.samples import INT, NUM, STR, record, schema
from target_meltano.settings import Settings
from target_meltano.verify import history, pool, runs
from target_meltano.verify.layout import Facts, StoredColumn
from target_meltano.verify.program import Options, Verdict, Verification
from target_meltano.verify.work import Finish, Setup, Table

BOOL = {"type": ["null", "boolean"]}
TIME = {"type": ["null", "string"], "format": "date-time"}
ANY: Any = {}
MOMENT = "2024-01-01T00:00:00+02:00"


@pytest.fixture
def target(tmp_path: Path) -> Any:
    """Return a dialect of one database."""

    def made(**more: Any) -> SqliteDialect:
        return SqliteDialect(make(SqliteSettings, path=str(tmp_path / "test.db"), **more))

    return made


def execute(dialect: Any, sql: str) -> None:
    connection = dialect.connect()
    connection.exec_driver_sql(sql)
    connection.commit()
    dialect.close(connection)


def told(verdicts: list[Verdict]) -> list[str]:
    return [*(str(one) for verdict in verdicts for one in verdict.found.differences), *(str(verdict) for verdict in verdicts if not verdict.is_equal)]


def check(dialect: Any, messages: Any, **options: Any) -> list[str]:
    return told(Verification(dialect, messages, Options(**options)).run())


def _line(number: str) -> str:
    return json.dumps(record(id=1, n="N", j=["N"])).replace('"N"', number)


# --- what is right, and odd


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keyed", "keyless"])
@pytest.mark.parametrize("number", ["1e399", "1e400", "123e400", "-1e-399", "1e-400", "1e-401", "0." + "0" * 450 + "12", "1" + "0" * 450])
def test_numbers_of_hundreds_of_digits_are_equal_however_they_are_written(db: Any, keys: Any, number: str) -> None:
    lines = [json.dumps(schema(keys=keys, id=INT, n=NUM, j={"type": "array"})), _line(number)]
    load_into(db, *lines)
    assert check(on_postgres(db), lines) == []


def test_a_key_whose_columns_a_later_schema_names_in_another_order(target: Any) -> None:
    messages = [schema(keys=("a", "b"), a=INT, b=STR), record(a=1, b="x"), schema(keys=("b", "a"), a=INT, b=STR), record(a=2, b="y"), record(a=1, b="x")]
    load(target(), messages)
    assert check(target(), messages) == []


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keyed", "keyless"])
@pytest.mark.parametrize(
    ("its", "value"),
    [(INT, 5), (NUM, 1.50), (BOOL, True), (TIME, MOMENT), (TIME, "2024-01-01 00:00:00")],
    ids=["integer", "number", "boolean", "date-time", "midnight"],
)
def test_values_that_became_texts_and_then_json(target: Any, keys: Any, its: Any, value: Any) -> None:
    messages = [part for number, one in enumerate([(its, value), (STR, "x"), (ANY, [1])]) for part in (schema(keys=keys, id=INT, a=one[0]), record(id=number, a=one[1]))]
    load(target(), messages)
    assert check(target(), messages) == []
    execute(target(), "UPDATE orders SET a = '\"7\"' WHERE id = 0")
    assert len(check(target(), messages)) == 2


@pytest.mark.parametrize("later", [STR, ANY], ids=["text", "json"])
@pytest.mark.parametrize(("its", "value"), [(TIME, MOMENT), (NUM, 1.5), (INT, 5)], ids=["date-time", "number", "integer"])
def test_keys_that_became_texts(db: Any, its: Any, value: Any, later: Any) -> None:
    """Rows whose keys are other spellings of one time, or number, are told apart all the same."""
    messages = [schema(keys=("a",), a=its, b=INT), record(a=value, b=1), schema(keys=("a",), a=later, b=INT), record(a=f"{value}0", b=2), record(a="x", b=3)]
    load_into(db, *messages)
    assert check(on_postgres(db), messages) == []
    db.query(f'DELETE FROM "{db.schema}".orders WHERE b = 2')
    assert len(check(on_postgres(db), messages)) == 2


def test_texts_as_keys_that_are_spellings_of_one_number(target: Any) -> None:
    messages = [schema(keys=("a",), a=STR, b=INT), *(record(a=text, b=at) for at, text in enumerate(["1", "1.0", "1.00", "1", "1e0"]))]
    load(target(), messages)
    assert check(target(), messages) == []
    execute(target(), "UPDATE orders SET b = 7 WHERE a = '1.0'")
    assert [one for one in check(target(), messages) if one.startswith("line")] == ["line 3: stream 'orders': b: column 'b' has another value: sent 1, stored 7"]


@pytest.mark.parametrize("bad", [{"id": {"type": "no"}}, {"id": {"type": [["a"]]}}, {"id": {"type": "object", "properties": 5}}, {"id": 5}], ids=json.dumps)
@pytest.mark.parametrize("stream", ["others", "orders"])
def test_streams_that_are_put_aside_are_accounted_for(target: Any, bad: Any, stream: str) -> None:
    its: Any = {"invalid_schemas": "quarantine", "invalid_records": "quarantine"}
    refused = {"type": "SCHEMA", "stream": stream, "schema": {"properties": bad}, "key_properties": ["id"]}
    messages = [schema(id=INT, a=STR), record(id=1, a="x"), refused, record(stream, id=1), record(stream, id=2)]
    with pytest.raises(Exception, match="refused|put aside"):
        load(target(**its), messages)
    assert check(target(**its), messages) == []
    execute(target(), "DELETE FROM __rejected WHERE line = 5")
    assert check(target(**its), messages) != []


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keyed", "keyless"])
def test_columns_of_others_that_fill_themselves(target: Any, keys: Any) -> None:
    messages = [schema(keys=keys, id=INT, a=STR), record(id=2, a="y"), schema(keys=keys, id=INT, a=STR, b=STR), record(id=3, a="z", b="b")]
    load(target(), messages[:1])
    execute(target(), "ALTER TABLE orders ADD COLUMN theirs TEXT DEFAULT 'x'")
    load(target(), messages)
    assert check(target(), messages) == []
    execute(target(), "UPDATE orders SET b = 'c' WHERE id = 3")
    assert "$.b" in "".join(check(target(), messages)) or "column 'b'" in "".join(check(target(), messages))


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keyed", "keyless"])
def test_members_that_nobody_names_beside_a_property_of_their_column(target: Any, keys: Any) -> None:
    its = {"type": "object", "properties": {"b": STR}, "additionalProperties": True}
    messages = [schema(keys=keys, id=INT, o=its, o__extra=STR), record(id=1, o={"b": "x", "c": 1}, o__extra="y")]
    load(target(), messages)
    assert check(target(), messages) == []


def test_a_version_that_is_activated_behind_the_end_of_the_load(target: Any) -> None:
    messages = [schema(id=INT), {**record(id=1), "version": 1}, record(id="x"), {"type": "ACTIVATE_VERSION", "stream": "orders", "version": 2}]
    with pytest.raises(Exception, match="wanted integer"):
        load(target(), messages)
    assert len(check(target(), messages)) == 2  # that the load ended, and that this is not equal


def test_values_of_invalid_records_are_not_shown_where_there_are_rules(target: Any) -> None:
    messages = [schema(id=INT, a=STR), record(id="canary", a="x")]
    rules: Any = [{"stream": "orders", "columns": ["a"], "method": "redact"}]
    assert "canary" not in "".join(check(target(pii=rules), messages))
    execute(target(), "CREATE TABLE orders (id BIGINT PRIMARY KEY, a TEXT)")
    assert "line 2: stream 'orders': $.id: the value is invalid" in "".join(check(target(pii=rules), messages))
    assert 'column_types: "orders.id"' in "".join(check(target(), messages))


@pytest.mark.parametrize("value", [5, "id", {}])
def test_a_schema_without_a_list_of_keys_is_a_line_like_others(target: Any, value: Any) -> None:
    found = check(target(), [{**schema(id=INT), "key_properties": value}, record(id=1)])
    assert "a SCHEMA has a schema, an object, and key_properties, a list" in found[0]


# --- what hides well


def test_a_row_that_is_there_twice_where_no_key_is_enforced(target: Any) -> None:
    """On Snowflake a key is a word only."""
    messages = [schema(id=INT, a=STR), record(id=1, a="x"), record(id=2, a="y")]
    load(target(), messages)
    for sql in ("ALTER TABLE orders RENAME TO old", "CREATE TABLE orders AS SELECT * FROM old", "INSERT INTO orders SELECT * FROM old WHERE id = 2"):
        execute(target(), sql)
    assert check(target(), messages)[0] == "line 3: stream 'orders': 2 rows have its key"


def test_long_values_that_differ_in_their_ends(target: Any) -> None:
    long = "x" * 300_000
    messages = [schema(id=INT, a=STR, j={"type": "array"}), record(id=1, a=long + "y", j=[long + "y"]), record(id=2, a=long + "z", j=[long + "z"])]
    load(target(), messages)
    assert check(target(), messages) == []
    execute(target(), "UPDATE orders SET a = (SELECT a FROM orders WHERE id = 2), j = (SELECT j FROM orders WHERE id = 2) WHERE id = 1")
    (of_a, of_j, _) = check(target(), messages)
    assert of_a.count("… (300001 characters)") == of_j.count("… (300005 characters)") == 2


def test_a_hundred_thousand_updates_of_fields_that_may_be_kept_take_no_memory() -> None:
    column = StoredColumn("a", STRING, "a")
    facts = Facts("orders", (column,), Settings(), Naming(), {}, lower, False)
    rules = history.Rules(facts, (0,))
    records: Any = ((b"x" * 16, at, at, 0, [frozenset()] if at else ["x"], None, False) for at in range(100_000))
    told_of = history._History(rules)
    for one in records:
        told_of.take(one)
    assert told_of.row.cells == [("x", None)]


# --- processes


def _setup(path: Path) -> Setup:
    (path / "spool").mkdir()
    return Setup("sqlite_dialect:SqliteDialect", make(SqliteSettings, path=str(path / "test.db")), path / "spool", 1)


def test_a_thousand_tables_do_not_fill_the_pipes(tmp_path: Path) -> None:
    setup = _setup(tmp_path)
    execute(setup.made(), "CREATE TABLE orders (a TEXT)")
    execute(setup.made(), "INSERT INTO orders VALUES ('x')")
    dialect = setup.made()
    connection = dialect.connect()
    found = dialect.found(connection, "main", "orders")
    dialect.close(connection)
    its = pool.Pool(setup, 1)
    try:
        facts = Facts.of("orders" * 1000, found, dialect, False)  # a long name makes both tasks and results large
        for _ in range(200):
            its.begin(Table(facts.stream, facts, ("main", "orders"), (), frozenset()))
        assert len(list(its.ended())) == 200
    finally:
        its.close()


@pytest.mark.parametrize("what", ["a table that cannot be read", "no room"])
def test_why_a_process_has_ended_is_told(tmp_path: Path, what: str) -> None:
    setup = _setup(tmp_path)
    facts = Facts("orders", (StoredColumn("a", STRING, ""),), setup.settings, Naming(), {}, lower, False)
    its = pool.Pool(setup, 1)
    try:
        with pytest.raises(Exception, match="orders|verify sorts there"):
            if what == "no room":
                setup.folder.rmdir()
                execute(setup.made(), "CREATE TABLE orders (a TEXT)")
                execute(setup.made(), "INSERT INTO orders VALUES ('x')")
            for _ in range(50):
                its.begin(Table("orders", facts, ("main", "orders"), (), frozenset()))
            its.each(Finish())
            list(its.ended())
    finally:
        its.close()


def test_no_room_is_one_line(db: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"url": db.url, "schema": db.schema}))
    lines = json.dumps(schema(id=INT)) + "\n" + json.dumps(record(id=1)) + "\n"
    load_into(db, *lines.splitlines())
    code = "import tempfile; tempfile.TemporaryDirectory = lambda **_: open('/dev/full/x'); from target_meltano_postgres import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "verify", "--config", str(config)], input=lines, capture_output=True, text=True, check=False)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert len(done.stderr.splitlines()) == 1
    assert "verify sorts in TMPDIR" in done.stderr


def test_what_cannot_be_written_is_a_fault_in_words(tmp_path: Path) -> None:
    with pytest.raises(runs.SpoolError, match="set TMPDIR"), runs.room(tmp_path), open(tmp_path / "no" / "file", "wb"):
        pass


def test_a_value_where_no_record_had_one(target: Any) -> None:
    """Where the input is all that the table should have, a field that is kept is NULL before the first record that has it."""
    messages = [schema(id=INT, a=STR), record(id=1, a="x"), record(id=2), schema(id=INT, a=STR, b=STR), record(id=3, b="y")]
    load(target(absent_fields="keep"), messages)
    for column, row in (("b", 1), ("a", 2)):
        execute(target(), f"UPDATE orders SET {column} = 'planted' WHERE id = {row}")
        assert check(target(absent_fields="keep"), messages) == []
        (found, _) = check(target(absent_fields="keep"), messages, whole=True)
        assert f"column '{column}' has another value: sent NULL, stored \"planted\"" in found
        execute(target(), f"UPDATE orders SET {column} = NULL WHERE id = {row}")
    assert check(target(absent_fields="keep"), messages, whole=True) == []


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
@pytest.mark.parametrize("wait", ["a process", "two processes", "all"])
def test_what_is_ended_leaves_nothing_and_says_nothing(db: Any, tmp_path: Path, which: signal.Signals, wait: str) -> None:
    """Ctrl-C reaches all processes at once, also those that only begin."""
    config, folder = tmp_path / "config.json", tmp_path / "spool"
    config.write_text(json.dumps({"url": db.url, "schema": db.schema}))
    folder.mkdir()
    arguments = [sys.executable, "-c", "from target_meltano_postgres import main; main()", "verify", "--processes", "2", "--config", str(config)]
    its = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}, start_new_session=True
    )
    assert its.stdin
    assert its.stdout
    assert its.stderr
    its.stdin.write(json.dumps(schema(id=INT)) + "\n" + (json.dumps(record(id=1)) + "\n") * 300_000)
    its.stdin.flush()
    most = {"a process": 2, "two processes": 3, "all": 5}[wait]  # with the first one, and the one that the library starts
    while len(_group(its.pid)) < most:
        time.sleep(0.005)
    os.killpg(its.pid, which) if which == signal.SIGINT else its.send_signal(which)
    with contextlib.suppress(BrokenPipeError):
        its.stdin.close()
    assert (its.wait(60), its.stdout.read(), its.stderr.read()) == (128 + which, "", "")
    assert list(folder.iterdir()) == []
    until = time.monotonic() + 20
    while _group(its.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert _group(its.pid) == []


def _group(leader: int) -> list[str]:
    """Return the processes of a group that have not ended."""
    found = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    return [pid for group, stat, pid in map(str.split, found.splitlines()) if group == str(leader) and stat[0] != "Z"]
