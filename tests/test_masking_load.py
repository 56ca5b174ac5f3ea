"""Personal data under rules shows nowhere: not in a table, a log, an error, a summary, a STATE."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from on_postgres import dialect, rows, run

from target_meltano import MaskingError, MessageError, SettingsError, commands, load
from target_meltano.samples import INT, STR, record, schema, state

KEY = "v7:a secret of enough characters"
CANARY = "canary"  # a part of every value that nobody may see
HASHED = "email", "addr.zip", "items[].ssn", "json.phone", "text.phone", "number", "any"
PII = {
    "key_env": "CANARY_KEY",
    "rules": [
        {"stream": "users", "columns": list(HASHED), "method": "hash"},
        {"stream": "users", "columns": ["name"], "method": "keep-first:1"},
        {"stream": "users", "columns": ["born"], "method": "truncate-date:year"},
        {"stream": "users", "columns": ["note"], "method": "drop"},
        {"stream": "users", "columns": ["phone"], "method": "mask"},
        {"stream": "users", "columns": ["blob"], "method": "redact"},
        {"stream": "users", "columns": ["gone"], "method": "nullify"},
    ],
}
ZIP = {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"zip": STR, "city": STR}}]}
USERS = schema(
    "users",
    id=INT,
    email=STR,
    name=STR,
    born={"type": ["string", "null"], "format": "date-time"},
    note={"type": "string", "default": "canary-default"},
    phone={"type": ["string", "null"], "examples": ["canary-example"]},
    blob={"type": ["object", "null"], "properties": {"a": STR}},
    gone=STR,
    addr=ZIP,
    items={"type": ["array", "null"]},
    json={"type": ["object", "null"]},
    text=STR,
    number=INT,
    any={},
    seen=INT,
)
NUMBER = 8675309867530986753  # a canary, too
BORN = "1985-10-26T01:21:07Z"
WHOLE = dict(
    email="canary-1@x.org",
    name="canary-2",
    born=BORN,
    note="canary-3",
    phone="canary-4",
    blob={"a": "canary-5"},
    gone="canary-6",
    addr={"zip": "canary-7", "city": "Bern"},
    items=[{"ssn": "canary-8", "kind": 1}],
    json={"phone": "canary-9", "kind": 1.50},
    text='{"phone": "canary-10"}',
    number=NUMBER,
    any="canary-11",
)
BAD = {  # lines that are refused, each for another reason
    "no JSON": json.dumps(record("users", id=2, **WHOLE))[:-9],
    "no UTF-8": json.dumps(record("users", id=3, **WHOLE)).encode().replace(b"Bern", b"B\xff"),
    "a wrong type": record("users", id="x", **WHOLE),
    "NUL in text": record("users", id=4, **{**WHOLE, "addr": {"zip": "canary\0", "city": "\0"}}),
    "a value that cannot be masked": record("users", id=5, **{**WHOLE, "email": ["canary-12"]}),
    "a string that is no JSON": record("users", id=6, **{**WHOLE, "text": "canary-13"}),
    "no date": record("users", id=7, **{**WHOLE, "born": "canary-14"}),
    "no key": record("users", **WHOLE),
    "an integer too large": record("users", id=8, **{**WHOLE, "seen": 10**30}),
    "no such stream": {**record("users", id=9, **WHOLE), "stream": "usres"},
    "no stream": {"type": "RECORD", "record": WHOLE},
    "no type": {"canary": "canary-15"},
    "no object": '["canary-16"]',
    "no record": {"type": "RECORD", "stream": "users", "record": "canary-17"},
    "a row that the database refuses": record("users", id=9, seen=666, **WHOLE),
    "another spelling": '{"type": "record", "stream": "\\u0075sers", "record": {"id": [], "\\u0065mail": "canary-18", "email": "canary-19"}}',
}
ODD = [  # that are loaded
    record("users", id=1, **WHOLE),
    '{"type": "RECORD", "stream": "users", "record": {"id": 20, "email": "canary-20", "email": "canary-21"}, "note": "canary-22"}',
    record("users", id=21.0, **WHOLE),
    record("users", id=22, **WHOLE, unknown=1),
    record("users", id=23, seen=10**20, **{**WHOLE, "email": None}),
]
COMMAND = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]


def target(db: Any, folder: Path, *lines: Any, options: tuple[str, ...] = (), **settings: Any) -> tuple[int, str]:
    """Run the target on *lines*; return its exit code, and all that it has written anywhere but into tables."""
    config, summary = folder / "config.json", folder / "summary.json"
    config.write_text(json.dumps({"url": db.url, "schema": db.schema, "pii": PII, **settings}))
    data = b"".join(_bytes(line) + b"\n" for line in lines)
    environment = {"CANARY_KEY": KEY, "PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "HOME": str(folder)}
    command = [*COMMAND, "--config", str(config), "--summary", str(summary), *options]
    done = subprocess.run(command, input=data, capture_output=True, check=False, env=environment, cwd=Path(__file__).parent.parent)
    return done.returncode, done.stdout.decode() + done.stderr.decode() + summary.read_text()


def _bytes(line: Any) -> bytes:
    line = json.dumps(line) if isinstance(line, dict) else line
    return line.encode() if isinstance(line, str) else line


def stored(db: Any) -> str:
    """Return all that is in the schema's tables: as text, and bytes as they are; names of columns and comments."""
    found = []
    for (table,) in db.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [db.schema]):
        found += [repr(row) for row in db.query(f'SELECT to_jsonb(t)::text FROM "{db.schema}"."{table}" t')]
        if table == "__rejected":
            found += [bytes(source).decode("utf-8", "replace") for (source,) in rows(db, "source", table)]
    return "\n".join(found)


def refuse_some(db: Any) -> None:
    """Make the table, and let the database refuse rows: its errors print them whole."""
    run(db, USERS, pii={"key": KEY, "rules": PII["rules"]}, column_types={"users.seen": "number"})
    db.query(f'ALTER TABLE "{db.schema}".users ADD CHECK (seen <> 666)')


def assert_hidden(*texts: str) -> None:
    for text in texts:
        for canary in (CANARY, str(NUMBER), BORN[:10], BORN[11:], "Y2FuYXJ5", CANARY.encode().hex()):  # base64, hex
            at = text.find(canary)
            assert at < 0, text[max(0, at - 200) : at + 80]


@pytest.mark.parametrize("log", ["text", "json"])
def test_no_canary_shows_where_invalid_records_are_kept(db: Any, tmp_path: Path, log: str) -> None:
    refuse_some(db)
    sent = [USERS, *ODD, *BAD.values(), state({"users": 1}), record("users", id=30, **WHOLE)]
    settings = {"invalid_records": "quarantine", "state_id": "p", "column_types": {"users.seen": "number"}}
    code, said = target(db, tmp_path, *sent, options=("--log-format", log), **settings)
    assert code == 0, said
    assert_hidden(said, stored(db))
    assert [row[0] for row in rows(db, "id", "users")] == [1, 8, 20, 21, 22, 23, 30]
    assert len(rows(db, "line", "__rejected")) == len(BAD) - 1  # 10^30 is a number
    assert {row[1][:3] for row in rows(db, "id, email", "users") if row[1]} == {"v7:"}
    assert rows(db, "name, born, phone, blob, gone, addr__city, number", "users")[0][1].isoformat() == "1985-01-01T00:00:00+00:00"


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_no_canary_shows_in_the_error_that_ends_a_run(db: Any, tmp_path: Path, line: Any) -> None:
    refuse_some(db)
    code, said = target(db, tmp_path, USERS, *ODD, line, column_types={"users.seen": "number"})
    assert code == ("10000000" not in str(line)), said
    assert_hidden(said, stored(db))


def test_no_canary_shows_in_unknown_fields_that_others_keep_nor_from_files(db: Any, tmp_path: Path) -> None:
    """The files of a BATCH go through the same rules; a line of them that is no JSON is withheld."""
    path = tmp_path / "x.gz"
    good = json.dumps({"id": 1, **WHOLE, "more": "canary-more"}).encode()
    path.write_bytes(gzip.compress(good + b"\n" + good[:-3] + b"\n"))
    manifest = {"encoding": {"format": "jsonl", "compression": "gzip"}, "manifest": [path.as_uri()]}
    batch = {"type": "BATCH", "stream": "users", **manifest}
    settings = {"unknown_fields": "keep", "invalid_records": "quarantine", "batch_root": str(tmp_path)}
    code, said = target(db, tmp_path, USERS, batch, **settings)
    assert code == 0, said
    assert_hidden(said, stored(db))
    assert rows(db, "id, addr__city", "users") == [(1, "Bern")]
    assert [json.loads(source)["withheld"]["bytes"] for (source,) in rows(db, "convert_from(source, 'UTF8')", "__rejected")] == [len(good) - 3]


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("s"), pa.time64("ns"), pa.duration("ns")], ids=str)
def test_no_value_shows_where_parquet_has_what_python_has_not(db: Any, tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "x.parquet"
    value = NUMBER if str(kind) in ("timestamp[ns]", "duration[ns]") else NUMBER // 10**6
    number = pa.array([value], pa.int64())
    pq.write_table(pa.table({"id": [1], "number": number.cast(kind)}), path, version="2.6")
    batch = {"type": "BATCH", "stream": "users", "encoding": {"format": "parquet"}, "manifest": [path.as_uri()]}
    settings = {"batch_root": str(tmp_path), "invalid_records": "quarantine"}
    code, said = target(db, tmp_path, USERS, batch, record("users", id=30, **WHOLE), **settings)
    assert code == 0, said
    assert_hidden(said, stored(db))
    assert str(NUMBER)[:9] not in said + stored(db)
    is_text = str(kind) in ("timestamp[ns]", "time64[ns]")  # of a year that is, or within a day: masked
    assert len(rows(db, "line", "__rejected")) == (not is_text)
    assert len(rows(db, "id", "users")) == 1 + is_text


def test_no_canary_shows_in_the_error_of_a_bookmark(db: Any, tmp_path: Path) -> None:
    """Nothing more is committed, and no STATE goes out."""
    lines = [USERS, *ODD, state({"bookmarks": {"users": {"email": "canary-1@x.org"}}})]
    code, said = target(db, tmp_path, *lines, column_types={"users.seen": "number"})
    assert (code, "line 7: pii: a STATE has a bookmark of 'email'" in said) == (1, True), said
    assert_hidden(said)
    assert rows(db, "id", "users") == []


# --- what is loaded


def pii(*rules: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """Return the setting for rules of (stream, column, method)."""
    found = [{"stream": stream, "columns": [column], "method": method, **more} for stream, column, method in rules]
    return {"pii": {"key": KEY, "rules": found}}


def test_joins_survive_hashes_of_the_same_name(db: Any) -> None:
    rules = pii(("users", "id", "hash"), ("orders", "user_id", "hash"), **{"as": "user"})
    sent = [schema("users", id=INT), record("users", id=1), record("users", id=2)]
    sent += [schema("orders", id=INT, user_id=STR), record("orders", id=7, user_id="2"), record("users", id=2.0)]
    run(db, *sent, **rules)
    joined = db.query(f'SELECT o.id FROM "{db.schema}".orders o JOIN "{db.schema}".users u ON u.id = o.user_id')
    assert (joined, len(rows(db, "id", "users"))) == ([(7,)], 2)
    run(db, *sent, **rules)
    assert len(rows(db, "id", "users")) == 2


def test_a_column_that_is_masked_from_now_on_becomes_one_of_strings(db: Any) -> None:
    run(db, schema("t", id=INT, n=INT), record("t", id=1, n=5))
    run(db, schema("t", id=INT, n=INT), record("t", id=2, n=6), **pii(("t", "n", "redact")))
    assert rows(db, "id, n") == [(1, "5"), (2, "redacted")]


def test_rejected_records_are_replayed_without_being_masked_twice(db: Any) -> None:
    """A line that was withheld cannot be."""
    settings: dict[str, Any] = {**pii(("t", "email", "hash"), ("t", "note", "drop")), "invalid_records": "quarantine"}
    sent = [schema("t", id=INT, email=STR, note=STR), record("t", id=1, email="a", note="x"), record("t", id="2", email="a", note="x")]
    run(db, *sent, record("t", id=3, email=["a"]), **settings)
    warnings: list[str] = []
    replayed = list(commands.replay(dialect(db, **settings), None, None, warnings.append))
    assert warnings == ["1 lines are left out, of which the setting pii kept only length and hash; only the tap can send them again"]
    run(db, *(line.replace(b'"2"', b"2") for line in replayed), **settings)
    (first, second) = rows(db, "id, email")
    assert (first[0], second[0], first[1]) == (1, 2, second[1])


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ([schema("others", id=INT), record("others", id=1), state(1)], "stream 't' did not come"),
        ([schema("t", id=INT, mail=STR), record("t", id=1, mail="x"), state(1)], "its SCHEMA has no column email"),
        ([schema("T", id=INT), record("T", id=1), state(1)], "'T' has no rule, but there is one for 't'"),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"state_id": "p"}, {"invalid_records": "quarantine"}], ids=str)
def test_what_rules_do_not_fit_is_not_committed(db: Any, sent: list[Any], fault: str, settings: dict[str, Any]) -> None:
    states: list[str] = []
    with pytest.raises(MaskingError, match=fault):
        load(dialect(db, **pii(("t", "email", "hash")), **settings), sent, on_state=states.append)
    assert states == []
    tables = db.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [db.schema])
    assert all(rows(db, "*", table) == [] for (table,) in tables if not table.startswith("__"))


def test_what_came_before_a_value_that_cannot_be_masked_is_committed(db: Any) -> None:
    sent = [schema("t", id=INT, email=STR), record("t", id=1, email="a"), state(1), record("t", id=2, email={"a": 1})]
    states: list[str] = []
    with pytest.raises(MessageError, match=r"^line 4: stream 't': \$\.email: it cannot be masked: an object"):
        load(dialect(db, **pii(("t", "email", "hash"))), sent, on_state=states.append)
    assert (states, rows(db, "id")) == (["1"], [(1,)])


def test_a_rule_needs_its_key_before_anything_is_read(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"stream": "t", "columns": ["email"], "method": "hash"}]
    with pytest.raises(SettingsError, match="variable TARGET_MELTANO_PII_KEY is missing"):
        run(db, schema("t"), pii=rules)
    monkeypatch.setenv("TARGET_MELTANO_PII_KEY", KEY)
    run(db, schema("t", id=INT, email=STR), record("t", id=1, email="a"), pii=rules)
    assert rows(db, "email")[0][0].startswith("v7:")


NEEDLE = "needle-4711"


def hidden_in(message: dict[str, Any], place: str) -> dict[str, Any]:
    """Return a message with the needle where no SCHEMA and no rule has a name for it, or where words show values."""
    message = json.loads(json.dumps(message))
    described, found = message.get("schema", {}), message.get("record", {})
    if place == "member":
        message["note"] = NEEDLE
    elif place == "field":
        found["mail"] = NEEDLE
    elif place == "inner field":
        found["addr"] = {**(found.get("addr") or {}), "street": NEEDLE}
    elif place == "annotation":
        described.get("properties", {}).get("email", {}).update(examples=[NEEDLE], description=NEEDLE, default=NEEDLE, enum=[NEEDLE, None])
        described.update(title=NEEDLE, patternProperties={NEEDLE: {}}, **{"x-note": NEEDLE, "not": {"const": NEEDLE}})
    elif place == "definition":
        described["definitions"] = {"mail": {"type": ["null", "string"], "examples": [NEEDLE], "const": NEEDLE, "pattern": NEEDLE}}
        described["$defs"] = {"m": {"enum": [NEEDLE], "$comment": NEEDLE}}
        described.get("properties", {})["email"] = {"$ref": "#/definitions/mail"}
    return message


@pytest.mark.parametrize("place", ["member", "field", "inner field", "annotation", "definition"])
@pytest.mark.parametrize("settings", [{}, {"unknown_fields": "keep"}, {"absent_fields": "keep", "state_id": "p"}], ids=str)
def test_what_nobody_has_named_is_nowhere(db: Any, tmp_path: Path, place: str, settings: dict[str, Any]) -> None:
    """In good records, in invalid ones of either kind, and in their SCHEMA."""
    messages = [hidden_in(USERS, place)]
    messages += [hidden_in(record("users", id=1, **WHOLE), place), hidden_in(record("users", id="x", **WHOLE), place)]
    messages += [hidden_in(record("users", id=4, **{**WHOLE, "addr": {"zip": "1", "city": "\0"}}), place)]
    messages += [hidden_in({"type": "ACTIVATE_VERSION", "stream": "users", "version": 1}, place), hidden_in(state(1), "")]
    code, said = target(db, tmp_path, *messages, invalid_records="quarantine", **settings)
    assert code == 0, said
    assert [row[0] for row in rows(db, "id", "users")] == [1]
    assert len(rows(db, "line", "__rejected")) == 2
    assert NEEDLE not in said + stored(db)
    assert_hidden(said, stored(db))


def test_a_row_that_the_database_refuses_is_kept_without_what_nobody_has_named(db: Any, tmp_path: Path) -> None:
    db.query(f'CREATE SCHEMA "{db.schema}"; CREATE TABLE "{db.schema}".users (id bigint, seen bigint CHECK (seen < 5))')
    plain = {**USERS, "key_properties": []}
    code, said = target(db, tmp_path, plain, record("users", id=1, seen=9, **WHOLE, mail=NEEDLE), invalid_records="quarantine")
    assert code == 0, said
    assert [reason for (reason,) in rows(db, "reason", "__rejected")] != []
    assert NEEDLE not in said + stored(db)


def test_a_stream_that_nobody_has_listed_ends_the_run_at_its_schema(db: Any, tmp_path: Path) -> None:
    """A tap that renames its stream beyond likeness."""
    customers = {**USERS, "stream": "customers"}
    rows_of = [{**record("users", id=i, **WHOLE), "stream": "customers"} for i in range(5)]
    code, said = target(db, tmp_path, customers, *rows_of, pii_unlisted="fail", batch_rows=1)
    assert code == 1
    assert "stream 'customers' has no rule and is not in plain" in said
    assert db.query("SELECT to_regclass(%s)", (f'"{db.schema}".customers',)) == [(None,)]


def test_a_stream_that_nobody_has_listed_ends_the_run_where_there_is_no_rule(db: Any, tmp_path: Path) -> None:
    """Only `plain` is given: what it names is loaded."""
    given = {"pii": {"plain": ["ord*"]}, "pii_unlisted": "fail", "batch_rows": 1}
    listed = [schema("orders", id=INT), record("orders", id=1)]
    assert target(db, tmp_path, *listed, **given)[0] == 0
    code, said = target(db, tmp_path, *listed, USERS, record("users", id=1, **WHOLE), **given)
    assert code == 1
    assert "stream 'users' has no rule and is not in plain" in said
    assert rows(db, "id", "orders") == [(1,)]
    assert db.query("SELECT to_regclass(%s)", (f'"{db.schema}".users',)) == [(None,)]


@pytest.mark.parametrize("pii", [{}, [], {"rules": []}, {"key_env": "K"}], ids=str)
def test_that_nobody_has_listed_a_stream_is_refused_at_once(db: Any, pii: Any) -> None:
    """It would do nothing, or let no stream come at all."""
    with pytest.raises(SettingsError, match="pii_unlisted: fail lets no stream come, as pii has neither rules nor plain"):
        run(db, USERS, record("users", id=1, **WHOLE), pii=pii, pii_unlisted="fail")
    assert db.query("SELECT to_regclass(%s)", (f'"{db.schema}".users',)) == [(None,)]


@pytest.mark.parametrize("text", ["\u0928\u093f\u0930\u094d\u092e\u0932\u093e", "Jose\u0301", "na\u0308\u0300", "\u05e9\u05b8\u05c1"], ids=ascii)
def test_marks_on_letters_are_masked_too(text: str) -> None:
    from target_meltano import masks

    masked = masks.compiled(masks.read_method("mask"), None, "x")(text)
    assert set(masked) == {"*"}


@pytest.mark.parametrize(
    "messages",
    [
        [{**record("users", id=7, **WHOLE, mail=NEEDLE), "note": NEEDLE}, USERS],
        [{**USERS, "schema": [NEEDLE]}, {**USERS, "schema": NEEDLE}, {"type": "SCHEMA", "stream": "users", "note": NEEDLE}, USERS],
        [{**USERS, "key_properties": [{"a": NEEDLE}]}, {**USERS, "bookmark_properties": {"a": NEEDLE}}, USERS],
    ],
    ids=["a record before its SCHEMA", "no schema in it", "no names in it"],
)
def test_what_is_no_message_of_a_stream_with_rules_is_kept_as_a_hash(db: Any, tmp_path: Path, messages: list[Any]) -> None:
    code, said = target(db, tmp_path, *messages, record("users", id=1, **WHOLE), invalid_records="quarantine")
    assert code == 0, said
    assert [row[0] for row in rows(db, "id", "users")] == [1]
    assert len(rows(db, "line", "__rejected")) == len(messages) - 1
    assert NEEDLE not in said + stored(db)
    assert_hidden(said, stored(db))
