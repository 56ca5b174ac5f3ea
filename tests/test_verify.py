"""`verify`: the command, its processes and its memory. What it finds is in the conformance suite (`planted.py`)."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import TIMESTAMP, RecordError, load, make, times
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano.verify import cells, program, records, runs
from target_meltano.verify.program import Options, Verdict, Verification

COMMAND = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]
MANY = [schema(id=INT, a=STR, n=NUM), *(record(id=i % 4000, a=f"a{i}", n=i / 4) for i in range(5000))]


@pytest.fixture
def dialect(tmp_path: Path) -> Any:
    def made(**more: Any) -> SqliteDialect:
        return SqliteDialect(make(SqliteSettings, path=str(tmp_path / "test.db"), **more))

    return made


def verdicts(dialect: Any, messages: Any, options: Options = Options()) -> list[Verdict]:
    return Verification(dialect, messages, options).run()


def differences(found: list[Verdict]) -> list[str]:
    return [str(one) for verdict in found for one in verdict.found.differences]


@pytest.fixture
def run(db: Any, tmp_path: Path) -> Any:
    def run(messages: Any, *options: str, load: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"url": db.url, "schema": db.schema, **more}))
        lines = "".join(json.dumps(message) + "\n" for message in messages)
        arguments = [*COMMAND, *([] if load else ["verify"]), *options, "--config", str(path)]
        return subprocess.run(arguments, input=lines, capture_output=True, text=True, check=False)

    return run


# --- the command


def test_it_says_equal_and_ends_with_0(run: Any, db: Any) -> None:
    assert run(MANY, load=True).returncode == 0
    done = run(MANY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{db.schema}.orders: equal: 5,000 records, 4,000 rows as they say\n"


@pytest.mark.parametrize("processes", ["0", "2"])
def test_it_shows_the_first_differences_and_ends_with_1(run: Any, db: Any, tmp_path: Path, processes: str) -> None:
    run(MANY, load=True)
    db.query(f"UPDATE {db.schema}.orders SET n = n + 1 WHERE id BETWEEN 10 AND 29")
    db.query(f"DELETE FROM {db.schema}.orders WHERE id = 3000")
    summary = tmp_path / "summary.json"
    done = run(MANY, "--processes", processes, "--differences", "3", "--summary", str(summary))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{db.schema}.orders: 21 differences: 5,000 records, 3,979 rows as they say",
        "  line 3002: stream 'orders': its row is not there",
        "  line 4012: stream 'orders': $.n: column 'n' has another value: sent 1002.5, stored 1003.5",
        "  line 4013: stream 'orders': $.n: column 'n' has another value: sent 1002.75, stored 1003.75",
        "  … 18 more",
    ]
    assert done.stderr == f"CRITICAL not equal: {db.schema}.orders\n"
    told = json.loads(summary.read_text())
    assert (told["equal"], told["streams"][0]["differences"], len(told["streams"][0]["first"])) == (False, 21, 21)


def test_an_input_without_a_schema_is_no_proof(run: Any) -> None:
    done = run([state(1)])
    assert (done.returncode, done.stderr) == (1, "CRITICAL the input has no SCHEMA, so there is nothing to compare\n")


def test_a_database_that_is_not_there_is_one_line(run: Any) -> None:
    done = run(MANY, url="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (3, "")
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["WARNING", "CRITICAL"]


def test_no_value_of_a_stream_with_rules_is_shown(run: Any, db: Any) -> None:
    rules = {"pii": [{"stream": "orders", "columns": ["a"], "method": "redact"}]}
    messages = [schema(id=INT, a=STR, n=NUM), record(id=1, a="canary", n=5)]
    assert run(messages, load=True, **rules).returncode == 0
    assert run(messages, **rules).returncode == 0
    db.query(f"UPDATE {db.schema}.orders SET a = 'canary', n = 777")
    done = run(messages, **rules)
    assert done.returncode == 1
    assert "$.a: column 'a' has another value" in done.stdout
    assert "canary" not in done.stdout + done.stderr
    assert "777" not in done.stdout


def test_what_others_have_in_the_table_does_not_count(run: Any, db: Any) -> None:
    run(MANY[:5], load=True)
    db.query(f"ALTER TABLE {db.schema}.orders ADD COLUMN theirs text DEFAULT 'x'")
    db.query(f"INSERT INTO {db.schema}.orders (id, a) VALUES (-1, 'y')")
    done = run(MANY[:5])
    assert (done.returncode, done.stdout) == (0, f"{db.schema}.orders: equal: 4 records, 4 rows as they say, 1 rows of others\n")
    assert run(MANY[:5], "--whole").returncode == 1


def test_rows_of_tables_that_inherit_and_words_on_columns_are_of_others(run: Any, db: Any) -> None:
    run(MANY[:5], load=True)
    db.query(f"COMMENT ON COLUMN {db.schema}.orders.a IS 'what was paid'")
    db.query(f"CREATE TABLE {db.schema}.more () INHERITS ({db.schema}.orders)")
    db.query(f"INSERT INTO {db.schema}.more (id) VALUES (77)")
    done = run(MANY[:5], "--whole")
    assert (done.returncode, done.stdout) == (0, f"{db.schema}.orders: equal: 4 records, 4 rows as they say\n")
    db.query(f"UPDATE {db.schema}.orders SET a = 'x' WHERE id = 2")
    assert "line 4: stream 'orders': $.what was paid: column 'a'" in run(MANY[:5]).stdout


def test_times_that_python_does_not_have_are_shown(run: Any, db: Any) -> None:
    its = {"type": "string", "format": "date-time"}
    messages = [schema(id=INT, t=its), record(id=1, t="9999-12-31T23:59:59Z")]
    run(messages, load=True)
    db.query(f"UPDATE {db.schema}.orders SET t = 'infinity'")
    assert "sent 9999-12-31T23:59:59Z, stored infinity" in run(messages).stdout


# --- the input


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_it_does_not_matter_how_the_input_is_cut(dialect: Any, monkeypatch: pytest.MonkeyPatch, size: int, tmp_path: Path) -> None:
    messages = [schema(id=INT, a=STR), *(record(id=i, a="SCHEMA BATCH \u017f") for i in range(20)), schema(id=INT, b=STR), *(record(id=i, b="x") for i in range(30))]
    load(dialect(), messages)
    monkeypatch.setattr(program, "CHUNK", size)
    path = tmp_path / "input"
    path.write_text("\n".join(json.dumps(message) for message in messages))
    with open(path, "rb") as file:
        (found,) = verdicts(dialect(), file)
    assert (found.is_equal, found.records, found.found.equal) == (True, 50, 30)


def test_the_load_ends_at_an_invalid_record_and_so_does_the_comparison(dialect: Any) -> None:
    messages = [*MANY[:3], record(id="x"), *MANY[3:5]]
    with pytest.raises(RecordError):
        load(dialect(), messages)
    found = verdicts(dialect(), messages)
    assert [verdict.is_equal for verdict in found] == [True, False]
    assert differences(found) == ["line 4: stream 'orders': $.id: 'x' is a string, wanted integer; setting column_types: \"orders.id\": \"string\" holds it; the load ends there, and so does this comparison"]


def test_records_in_quarantine_are_accounted_for(dialect: Any) -> None:
    messages = [*MANY[:3], record(id="x"), record(id=1, a=5), *MANY[3:5]]
    load(dialect(invalid_records="quarantine"), messages)
    (found,) = verdicts(dialect(invalid_records="quarantine"), messages)
    assert (found.is_equal, found.rejected, found.found.equal) == (True, 2, 4)


@pytest.mark.parametrize("form", ["jsonl", "gzip", "parquet"])
def test_records_of_a_batch_are_read_from_its_files(dialect: Any, tmp_path: Path, form: str) -> None:
    rows = [{"id": i, "a": f"a{i}", "n": i / 4} for i in range(3000)]
    path = tmp_path / "rows"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)
    else:
        lines = "\n".join(map(json.dumps, rows)).encode()
        path.write_bytes(gzip.compress(lines) if form == "gzip" else lines)
    batch = {"type": "BATCH", "stream": "orders", "encoding": {"format": "jsonl" if form == "gzip" else form}, "manifest": [path.as_uri()]}
    messages = [MANY[0], record(id=5, a="old"), batch, record(id=7, a="last")]
    its = {"batch_root": str(tmp_path)}
    load(dialect(**its), messages)
    (found,) = verdicts(dialect(**its), messages)
    assert (found.is_equal, found.records, found.found.equal) == (True, 3002, 3000)
    connection = dialect().connect()
    connection.exec_driver_sql("UPDATE orders SET a = 'b' WHERE id = 2000")
    connection.commit()
    assert differences(verdicts(dialect(**its), messages)) == ["line 3, record 2001: stream 'orders': a: column 'a' has another value: sent \"a2000\", stored \"b\""]


def test_a_table_that_is_gone_is_missed_without_a_record(dialect: Any) -> None:
    load(dialect(), MANY[:1])
    assert differences(verdicts(dialect(), MANY[:1])) == []
    connection = dialect().connect()
    connection.exec_driver_sql("DROP TABLE orders")
    connection.commit()
    assert differences(verdicts(dialect(), MANY[:1])) == ["line 1: stream 'orders': the SCHEMA names columns, and there is no table"]


# --- memory


def test_a_row_that_came_and_is_marked_where_the_input_activates_no_version(dialect: Any) -> None:
    versioned = [schema(id=INT), {**record(id=1), "version": 1}, {**record(id=2), "version": 1}]
    load(dialect(), [*versioned, {"type": "ACTIVATE_VERSION", "stream": "orders", "version": 1}])
    assert all(one.is_equal for one in verdicts(dialect(), versioned))
    connection = dialect().connect()
    connection.exec_driver_sql("UPDATE orders SET __deleted_at = '2024-01-01T00:00:00Z' WHERE id = 2")
    connection.commit()
    (found,) = differences(verdicts(dialect(), versioned))
    assert ("line 3" in found, "its row is marked as deleted, and no newer version was activated" in found) == (True, True)


def test_records_without_a_place_are_counted_where_more_are_than_are_shown(dialect: Any) -> None:
    many = [schema("a", id=INT), *(record("a", id=i) for i in range(records.MOST + 100)), schema("b", id=INT), *(record("b", id=i) for i in range(3))]
    load(dialect(), [schema("a", id=INT), schema("b", id=INT)])
    connection = dialect().connect()
    connection.exec_driver_sql("DROP TABLE a")
    connection.exec_driver_sql("DROP TABLE b")
    connection.commit()
    found = {one.stream: (one.found.count, one.is_equal) for one in verdicts(dialect(), many)}
    assert found == {"a": (records.MOST + 100, False), "b": (3, False)}


def test_more_runs_than_are_merged_at_once(dialect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_RUNS", 4)
    load(dialect(), MANY)
    (found,) = verdicts(dialect(), MANY, Options(memory=50_000))
    assert (found.is_equal, found.found.equal) == (True, 4000)


def test_a_million_records_take_bounded_memory(tmp_path: Path, dialect: Any) -> None:
    code = """
import resource, sys
sys.path.insert(0, "tests")
from sqlite_dialect import SqliteDialect, SqliteSettings
from target_meltano import make
from target_meltano.samples import INT, STR, record, schema
from target_meltano.verify.program import Options, Verification
count = int(sys.argv[2])
lines = (line for lines in ([schema(id=INT, a=STR)], (record(id=i, a="x" * 100) for i in range(count))) for line in lines)
Verification(SqliteDialect(make(SqliteSettings, path=sys.argv[1])), lines, Options(memory=2_000_000)).run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    load(dialect(), [schema(id=INT, a=STR)])
    sizes = [
        int(subprocess.run([sys.executable, "-c", code, str(tmp_path / "test.db"), count], capture_output=True, text=True, check=True).stdout)
        for count in ("20000", "200000")
    ]
    assert sizes[1] < sizes[0] * 1.3


@given(st.integers(times.FIRST, times.LAST), st.sampled_from([1, 1000, 1_000_000]))
def test_times_of_postgres_are_read_as_the_grammar_reads_them(us: int, step: int) -> None:
    us = us // step * step
    found = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=us)
    text = found.isoformat(" ")
    text = f"{text.rstrip('0') if '.' in text else text}+00"
    assert cells.stored(TIMESTAMP)(text) == us == times.timestamp(text)[0]


@pytest.mark.parametrize("text", ["infinity", "0044-03-15 12:00:00+00 BC", "10000-01-01 00:00:00+00"])
def test_times_that_no_tap_can_send_stay_texts(text: str) -> None:
    assert cells.stored(TIMESTAMP)(text) == text


# --- what records do to rows

STEPS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"id": st.integers(1, 3)}, optional={"a": st.sampled_from([None, "x", "y"]), "_sdc_deleted_at": st.sampled_from([None, "2024-01-01T00:00:00Z"])}),
        st.integers(1, 4),  # a version that is activated
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=STEPS,
    more=STEPS,
    versions=st.lists(st.integers(1, 3) | st.none(), min_size=24, max_size=24),
    absent=st.sampled_from(["auto", "keep", "null"]),
    hard=st.booleans(),
    activate=st.sampled_from(["soft", "hard", "ignore"]),
    method=st.sampled_from(["upsert", "append"]),
    named=st.booleans(),
)
def test_whatever_records_do_the_rows_are_as_they_say(
    tmp_path_factory: Any, steps: Any, more: Any, versions: Any, absent: str, hard: bool, activate: str, method: str, named: bool
) -> None:
    path = str(tmp_path_factory.mktemp("db") / "test.db")
    its: Any = {"absent_fields": absent, "hard_delete": hard, "activate_version": activate, "load_method": method, "path": path}
    deleted = {"_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}} if named else {}
    for part, numbers in ((steps, versions[:12]), (more, versions[12:])):
        messages: list[Any] = [schema(id=INT, a=STR, **deleted)]
        for step, version in zip(part, numbers, strict=False):
            if isinstance(step, int):
                messages.append({"type": "ACTIVATE_VERSION", "stream": "orders", "version": step})
            else:
                messages.append({**record(**step), **({} if version is None else {"version": version})})
        load(SqliteDialect(make(SqliteSettings, **its)), messages)
        assert differences(verdicts(SqliteDialect(make(SqliteSettings, **its)), messages)) == []
