"""A needle that a rule covers, or nobody has named, is found nowhere: in no table, log, STATE, or what is replayed."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from mask_rules import lines
from needles import NEEDLE, ORDERS, Case, assert_hidden, case_of, pii
from on_postgres import dialect

from target_meltano import TargetError, commands, load, masking
from target_meltano.masked_stream import Withheld
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema

TIMES = int(os.environ.get("NEEDLES", "1"))
SETTINGS = {
    "invalid_records": ["fail", "quarantine", "quarantine", "quarantine"],
    "unknown_fields": ["warn", "fail", "keep"],
    "additional_properties": ["keep", "unknown"],
    "invalid_schemas": ["fail", "quarantine"],
    "validation": ["types", "schema"],
    "coerce": ["strict", "lossless"],
    "flatten_depth": [None, 0, 1],
    "absent_fields": ["auto", "keep"],
    "state_id": [None, "p"],
    "on_bad_text": ["fail", "replace"],
    "activate_version": ["soft", "ignore"],
}


def after_stage(case: Case, **more: Any) -> tuple[str, int]:
    """Return all that comes out of the stage, with its errors, and how many records of the stream come through."""
    at = masking.stage(pii(case), **more)
    assert at
    found = lines(at, *ORDERS, *case.messages)
    errors = [str(line.error(1, 1)) for line in found if isinstance(line, Withheld)]
    told: list[str] = []
    at.tell(lambda *words: told.append(str(words)))
    passed = [line for line in found if not isinstance(line, Withheld) and b'"stream":"users","record"' in line]
    return "\n".join([*(line.decode("utf-8", "replace") for line in found), *errors, *told, *at.unmatched()]), len(passed)


@pytest.mark.parametrize("part", range(4))
def test_the_stage_lets_no_needle_through(part: int) -> None:
    """What fits the SCHEMA comes through all the same."""
    for seed in range(500 * part * TIMES, 500 * (part + 1) * TIMES):
        case = case_of(seed)
        found, passed = after_stage(case, unknown=Random(seed).choice(["warn", "fail"]))
        assert_hidden(found, f"{seed}: {case.where}")
        assert passed >= 2 or not case.is_in_records, found


@pytest.mark.parametrize("part", range(4))
def test_no_needle_is_found_after_a_load(db: Any, part: int) -> None:
    for seed in range(50 * part * TIMES, 50 * (part + 1) * TIMES):
        chance = Random(-seed - 1)
        assert_hidden_after_load(db, case_of(seed), {name: chance.choice(values) for name, values in SETTINGS.items()})


def assert_hidden_after_load(db: Any, case: Case, settings: dict[str, Any]) -> None:
    db.query(f'DROP SCHEMA IF EXISTS "{db.schema}" CASCADE')
    log, states, errors = io.StringIO(), [], []
    report = Report(log)
    made = dialect(db, pii=pii(case), **settings)
    try:
        load(made, [*ORDERS, *case.messages], on_state=states.append, report=report)
    except TargetError as error:
        errors.append(str(error))
    said = [log.getvalue(), json.dumps(report.summary()), *states, *errors, *_stored(db), *map(str, commands.rejected(made, None, None))]
    said += [line.decode("utf-8", "replace") for line in commands.replay(made, None, None, said.append)]
    assert_hidden("\n".join(said), f"{case.where} {settings}")


def _stored(db: Any) -> list[str]:
    """Return all that is in the schema: rows, names of tables and columns, comments."""
    found = []
    for (table,) in db.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [db.schema]):
        found += [repr(row) for row in db.query(f'SELECT to_jsonb(t)::text FROM "{db.schema}"."{table}" t')]
        if table == "__rejected":
            found += [bytes(row[0]).decode("utf-8", "replace") for row in db.query(f'SELECT source FROM "{db.schema}"."{table}"')]
    described = "SELECT table_name, column_name, col_description((quote_ident(table_schema) || '.' || quote_ident(table_name))::regclass, ordinal_position) FROM information_schema.columns WHERE table_schema = %s"
    return [*found, *map(repr, db.query(described, [db.schema]))]


@pytest.mark.parametrize("seed", range(10))
def test_no_needle_comes_out_of_the_filter(tmp_path: Path, seed: int) -> None:
    case = case_of(seed)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"pii": pii(case)}))
    text = "".join((message if isinstance(message, str) else json.dumps(message)) + "\n" for message in [*ORDERS, *case.messages])
    command = [sys.executable, "-c", "from target_meltano.elt import main; main()", "mask", "--config", str(config)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, cwd=root)
    assert_hidden((done.stdout + done.stderr).decode(), case.where)


BATCHED = [
    json.dumps({"id": 1, "email": NEEDLE, "other": NEEDLE}),
    json.dumps({"id": "x", "email": "a", "addr": {"zip": "1", "other": NEEDLE}}),
    json.dumps({"id": 2, "email": "a", "addr": json.dumps({"zip": "1", "other": NEEDLE})}),
    json.dumps({"id": 3, "email": "a", "items": [{"sku": "1", "other": NEEDLE}]}),
    json.dumps({"id": 4, "email": NEEDLE})[:-2],
    json.dumps({"id": 5, "_sdc_deleted_at": NEEDLE}),
    json.dumps([NEEDLE]),
    NEEDLE,
]
ADDRESS = {"type": ["object", "null"], "properties": {"zip": STR}}
ITEMS = {"type": ["array", "null"], "items": {"type": "object", "properties": {"sku": STR}}}


@pytest.mark.parametrize("line", BATCHED)
@pytest.mark.parametrize("unknown", ["warn", "fail", "keep"])
def test_no_needle_is_found_after_a_batch(db: Any, tmp_path: Path, line: str, unknown: str) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(f"{line}\n".encode()))
    users = schema("users", id=INT, email=STR, addr=ADDRESS, items=ITEMS)
    batch = {"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": [path.as_uri()]}
    case = Case([{"stream": "users", "columns": ["email"], "method": "hash"}], [users, batch, record("users", id=9, email="a")], line)
    assert_hidden_after_load(db, case, {"batch_root": str(tmp_path), "unknown_fields": unknown, "invalid_records": "quarantine"})


def test_records_of_a_batch_are_of_the_schema_before_it(db: Any, tmp_path: Path) -> None:
    """Also where the next one comes in the same chunk."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": 1, "email": "a", "note": "fits", "other": NEEDLE}))
    batch = {"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": [path.as_uri()]}
    case = Case([{"stream": "users", "columns": ["email"], "method": "hash"}], [], "")
    sent = [schema("users", id=INT, email=STR, note=STR), batch, schema("users", id=INT, email=STR), batch]
    load(dialect(db, pii=pii(case), batch_root=str(tmp_path), load_method="append"), sent)
    assert sorted(db.query(f'SELECT note FROM "{db.schema}".users'), key=repr) == [("fits",), (None,)]
