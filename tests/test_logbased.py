"""Log-based streams: deleted rows, positions in a log, and fields that a change does not have."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from on_postgres import dialect, make_table, rows, run

from target_meltano import RecordError, SchemaError, load
from target_meltano import rows as slow_path
from target_meltano.report import Report
from target_meltano.samples import INT, STR, UTC, record, schema, state
from target_meltano.tables import Plan
from target_meltano.target import Target

GONE = "2025-03-01T10:00:00Z"
GONE_AT = dt.datetime(2025, 3, 1, 10, tzinfo=UTC)
PETS = schema("t", id=INT, name=STR, owner=STR)
ADA, BOB = record("t", id=1, name="Ada", owner="x"), record("t", id=2, name="Bob", owner="y")
UNKNOWN = pytest.mark.parametrize("unknown", ["warn", "keep", "fail"])


@UNKNOWN
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_delete_is_known_though_the_schema_does_not_name_its_field(db: Any, unknown: str, batch_rows: int) -> None:
    result = run(db, PETS, ADA, BOB, record("t", id=1, _sdc_deleted_at=GONE), unknown_fields=unknown, batch_rows=batch_rows)
    assert rows(db, "id, name, owner, _sdc_deleted_at") == [(1, "Ada", "x", GONE_AT), (2, "Bob", "y", None)]
    assert result.summary["warnings"] == []
    if unknown == "keep":
        assert rows(db, "__extra") == [(None,), (None,)]


@UNKNOWN
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_its_row_is_deleted_with_hard_delete(db: Any, unknown: str, batch_rows: int) -> None:
    settings: Any = dict(unknown_fields=unknown, batch_rows=batch_rows, hard_delete=True)
    run(db, PETS, ADA, BOB, **settings)
    run(db, PETS, record("t", id=2, _sdc_deleted_at=GONE), record("t", id=3, name="Cy"), state(1), **settings)
    assert rows(db, "id, name") == [(1, "Ada"), (3, "Cy")]


def test_a_deleted_row_that_comes_again_in_another_run_is_there(db: Any) -> None:
    """Neither SCHEMA nor record of that run says anything of deletions."""
    run(db, PETS, ADA, record("t", id=1, _sdc_deleted_at=GONE))
    run(db, PETS, record("t", id=1, name="Ada II", owner="x"))
    assert rows(db, "id, name, _sdc_deleted_at") == [(1, "Ada II", None)]


def test_each_field_has_its_type(db: Any) -> None:
    fields: Any = dict(_sdc_extracted_at=GONE, _sdc_batched_at=GONE, _sdc_lsn=7, _sdc_sequence=8, _sdc_table_version=9)
    run(db, PETS, record("t", id=1, **fields))
    assert rows(db, ", ".join(fields)) == [(GONE_AT, GONE_AT, 7, 8, 9)]


def test_a_position_may_be_text(db: Any) -> None:
    run(db, PETS, record("t", id=1, _sdc_lsn="0/16B3748"), record("t", id=2, _sdc_lsn=5))
    assert rows(db, "id, _sdc_lsn") == [(1, "0/16B3748"), (2, "5")]


def test_a_field_of_the_schema_stays_what_it_says(db: Any) -> None:
    """As of meltanolabs' tap-postgres, whose time of deletion is any string."""
    run(db, schema("t", id=INT, name=STR, _sdc_deleted_at={"type": ["string"]}), record("t", id=1, _sdc_deleted_at="long ago"))
    assert rows(db, "id, _sdc_deleted_at") == [(1, "long ago")]
    run(db, PETS, record("t", id=1, _sdc_deleted_at="just now"))
    assert rows(db, "id, _sdc_deleted_at") == [(1, "just now")]


def test_the_schema_may_name_it_later_and_come_again(db: Any) -> None:
    named = schema("t", id=INT, name=STR, owner=STR, _sdc_deleted_at={"type": ["null", "string"], "format": "date-time"})
    deleted = record("t", id=1, _sdc_deleted_at=GONE)
    run(db, PETS, ADA, deleted, PETS, BOB, named, record("t", id=2, _sdc_deleted_at=GONE), PETS, record("t", id=3))
    assert rows(db, "id, name, _sdc_deleted_at") == [(1, "Ada", GONE_AT), (2, "Bob", GONE_AT), (3, None, None)]


def test_names_that_are_taken_stay_as_they_are(db: Any) -> None:
    """Of a property with the same name in capitals, and of our own column."""
    taken = schema("t", id=INT, _SDC_DELETED_AT=STR)
    run(db, taken, record("t", id=1, _SDC_DELETED_AT="a", _sdc_deleted_at=GONE, _sdc_extracted_at=GONE), timestamp_column="_sdc_extracted_at")
    ((deleted, stamp),) = rows(db, "_sdc_deleted_at, _sdc_extracted_at")
    assert (deleted, stamp > GONE_AT) == ("a", True)


def test_a_nested_field_of_that_name_is_none_of_them(db: Any) -> None:
    nested = schema("t", id=INT, o={"type": "object", "properties": {"a": INT}})
    result = run(db, nested, record("t", id=1, o={"a": 1, "_sdc_deleted_at": GONE}))
    assert "$.o._sdc_deleted_at" in result.summary["warnings"][0]
    assert rows(db, "id, o__a") == [(1, 1)]


def test_the_setting_column_names_is_for_them_too(db: Any) -> None:
    settings: Any = dict(column_names={"t._sdc_deleted_at": "gone"}, hard_delete=True)
    run(db, PETS, ADA, BOB, record("t", id=1, _sdc_deleted_at=GONE), **settings)
    assert rows(db, "id, gone") == [(2, None)]


def test_policies_hold_for_their_columns(db: Any) -> None:
    states: list[Any] = []
    run(db, PETS)
    lines = [PETS, ADA, state(1), record("t", id=1, _sdc_deleted_at=GONE), state(2)]
    with pytest.raises(SchemaError, match=r"^line 4: stream 't': .*'_sdc_deleted_at' is missing.*schema_changes is fail"):
        load(dialect(db, schema_changes="fail"), lines, on_state=lambda text: states.append(json.loads(text)))
    assert (rows(db, "id, name"), states) == ([(1, "Ada")], [1])
    run(db, *lines, schema_changes="add")
    assert rows(db, "id, _sdc_deleted_at") == [(1, GONE_AT)]


def test_plan_shows_them_and_does_nothing(db: Any) -> None:
    run(db, PETS, ADA)
    shown: list[str] = []
    lines = [PETS, record("t", id=1, _sdc_deleted_at=GONE)]
    Target(dialect(db), print, Report(quiet=True), plan=Plan(shown.append)).run(lines)
    assert [line for line in shown if "COMMENT" not in line] == [
        f'ALTER TABLE "{db.schema}"."t" ADD COLUMN "_sdc_deleted_at" TIMESTAMP WITH TIME ZONE'
    ]
    assert len(rows(db)[0]) == 4


def test_every_keyword_of_a_schema_but_for_them(db: Any) -> None:
    closed = schema("t", id=INT)
    closed["schema"]["additionalProperties"] = False
    run(db, closed, record("t", id=1), record("t", id=1, _sdc_deleted_at=GONE), record("t", id=2), validation="schema")
    assert rows(db, "id, _sdc_deleted_at") == [(1, GONE_AT), (2, None)]


def test_an_invalid_one_is_an_invalid_record(db: Any) -> None:
    lines = [PETS, ADA, record("t", id=1, _sdc_deleted_at="soon"), record("t", id=2, _sdc_deleted_at=GONE)]
    run(db, *lines, invalid_records="quarantine")
    assert rows(db, "id, name, _sdc_deleted_at") == [(1, "Ada", None), (2, None, GONE_AT)]
    assert rows(db, "path, source", "__rejected")[0][0] == "$._sdc_deleted_at"


def test_a_record_with_both_a_version_and_a_deletion(db: Any) -> None:
    for _ in range(2):
        run(db, PETS, {**ADA, "version": 5}, {**record("t", id=1, _sdc_deleted_at=GONE), "version": 5}, {**BOB, "version": 5})
        assert rows(db, "id, name, _sdc_deleted_at, __version") == [(1, "Ada", GONE_AT, 5), (2, "Bob", None, 5)]


def test_with_a_state_id_nothing_is_committed_before_a_state(db: Any) -> None:
    states: list[Any] = []
    lines = [PETS, ADA, record("t", id=1, _sdc_deleted_at=GONE), BOB, state(1), record("t", id=2, _sdc_deleted_at=GONE)]
    with pytest.raises(RecordError, match="line 7"):
        load(dialect(db, state_id="p", hard_delete=True), [*lines, record("t", id="x")], on_state=states.append)
    assert (rows(db, "id, name"), len(states)) == ([(2, "Bob")], 1)


def test_they_take_the_fast_path(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[int] = []
    slow_row = slow_path.slow_row
    monkeypatch.setattr(slow_path, "slow_row", lambda *its: (slow.append(its[2]), slow_row(*its))[1])
    run(db, PETS, *(record("t", id=i, name="x", _sdc_deleted_at=None, _sdc_lsn=i) for i in range(1000)))
    assert len(rows(db)) == 1000
    assert slow == [2]


def test_a_table_of_others_may_have_the_field(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text, owner text, _sdc_deleted_at uuid, __loaded_at timestamptz")
    run(db, PETS, ADA)
    assert rows(db, "id, _sdc_deleted_at") == [(1, None)]
    with pytest.raises(SchemaError, match=r"^line 2: stream 't': .*'_sdc_deleted_at' is uuid"):
        run(db, PETS, record("t", id=1, _sdc_deleted_at=GONE))
