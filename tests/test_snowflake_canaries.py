"""Nothing leaks on the way to Snowflake: statements and what is bound to them, staged files, tables, what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from canary_attempts import Attempt, raw
from canary_messages import PREAMBLE, RULES, attempts
from canary_places import Places
from canary_runs import SEEN, Runner, overheard
from on_snowflake import Snowflake

from target_meltano import Dialect
from target_meltano.samples import INT, STR
from target_meltano_snowflake.stage import Sender

PLACES = ("statements", "bindings", "staged files", "tables", "__REJECTED", "__LOADS", "__STATE", "comments", "STATEs", "log, text", "summary", "errors", "debug log", "rejected list", "rejected replay")
QUARANTINE = {"invalid_records": "quarantine", "invalid_schemas": "quarantine", "max_rejected": 10**6}
SEEN_LINES = [  # of a stream without rules, whose values have to be found at each place
    raw({"type": "SCHEMA", "stream": "orders", "key_properties": ["id"], "schema": {"properties": {"id": INT, "note": STR, SEEN: STR}}}),
    raw({"type": "RECORD", "stream": "orders", "record": {"id": 1, "note": SEEN, SEEN: SEEN}}),
    raw({"type": "RECORD", "stream": "orders", "record": {"id": SEEN, "note": SEEN}}),
    raw({"type": "STATE", "value": {"orders": SEEN}}),
]
REFUSED = {"type": "RECORD", "stream": "orders", "record": {"id": SEEN}}


@dataclass
class OnSnowflake(Runner):
    of: Snowflake | None = None

    def dialect(self, schema: str, rules: Sequence[Any], **more: Any) -> Dialect[Any]:
        assert self.of
        given = self.settings(schema, rules, **more)
        return self.of.dialect(**{name: value for name, value in given.items() if name not in ("url", "schema")})


@pytest.mark.parametrize("method", ["upsert", "append"])
def test_no_canary_is_found_anywhere(standin: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """What may be seen is found at each place, so that each is looked into."""
    made = attempts(tmp_path)
    bulk = [one for one in made if not one.ends]
    places = loaded(standin, tmp_path, monkeypatch, bulk, method)
    names = {one.number: one.name for one in made}
    leaks = {place: [(names.get(hit.number or 0, "?"), hit.form, hit.around) for hit in places.hits_at(place)[:5]] for place in places}
    assert {place: some for place, some in leaks.items() if some} == {}
    assert [place for place in PLACES if SEEN.encode() not in b"".join(places.get(place, [])).lower()] == []


def test_without_rules_it_is_found(standin: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = [one for one in attempts(tmp_path) if one.name.endswith((", in hash", ", in any", ", in open.phone"))]
    places = loaded(standin, tmp_path, monkeypatch, bulk, "upsert", is_guarded=False)
    numbers = {hit.number for place in ("staged files", "tables", "__REJECTED") for hit in places.hits_at(place)}
    missed = {one.name.rpartition(",")[0] for one in bulk if one.number not in numbers}
    assert missed <= {"escapes", "marks", "time", "integer too large"}  # their forms do not tell which one it is


def loaded(standin: Snowflake, folder: Path, monkeypatch: pytest.MonkeyPatch, bulk: list[Attempt], method: str, *, is_guarded: bool = True) -> Places:
    """Load attempts, a record that ends a run, and what the commands for invalid records print; return all places."""
    places = Places()
    note_staged(places, monkeypatch)
    runner = OnSnowflake("", folder, places, is_guarded, standin)
    sent = [*PREAMBLE, *SEEN_LINES, *(line for one in bulk for line in one.lines), SEEN_LINES[-1]]
    rules = [*RULES, *(rule for one in bulk for rule in one.rules)]
    with overheard(places):
        error = runner.load(standin.schema, sent, rules, load_method=method, state_id="p", unknown_fields="keep", **QUARANTINE)
        assert not error or "SCHEMA that is refused" in error
        assert SEEN in runner.load(standin.schema, [*SEEN_LINES, raw(REFUSED)], rules, load_method=method)
        runner.note_rejected(standin.schema, rules)
    look_into(places, standin)
    return places


def note_staged(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Sender._put

    def noting(self: Sender, path: Path, folder: str) -> None:
        table = pq.read_table(path)
        places.add("staged files", str(table.schema), *(value if isinstance(value, bytes) else str(value) for column in table.columns for value in column.to_pylist()))
        put(self, path, folder)

    monkeypatch.setattr(Sender, "_put", noting)


def look_into(places: Places, standin: Snowflake) -> None:
    assert standin.server
    for entry in standin.server.log():
        places.add("statements", entry.get("sql"))
        places.add("bindings", json.dumps(entry.get("bindings"), ensure_ascii=False))
    for row in standin.query(f'SHOW OBJECTS IN SCHEMA "{standin.schema}"'):
        name = row[1]
        place = name if name in PLACES else "tables"
        places.add(place, name, *(str(cell) if not isinstance(cell, bytes) else cell for one in standin.rows(name) for cell in one.values()))
        places.add("comments", *(str(one) for one in standin.query(f'DESCRIBE TABLE "{standin.schema}"."{name}"')))
