"""Counts are the server's: what a trigger or a rule leaves out is told, not counted as written."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import make_table, rows, run

from target_meltano.samples import INT, record, schema

LEAVES_OUT = """
CREATE FUNCTION "{schema}".even() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF NEW.id % 2 = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER even BEFORE INSERT ON "{schema}".t FOR EACH ROW EXECUTE FUNCTION "{schema}".even()
"""


@pytest.mark.parametrize("there", [False, True], ids=["copy", "upsert"])
def test_what_a_trigger_leaves_out_is_not_written(db: Any, there: bool) -> None:
    make_table(db, "id bigint PRIMARY KEY, v bigint, __loaded_at timestamptz")
    db.query(LEAVES_OUT.format(schema=db.schema))
    if there:
        db.query(f'INSERT INTO "{db.schema}".t VALUES (2, 0)')
    messages = [schema("t", id=INT, v=INT), *(record("t", id=i, v=i) for i in range(1, 6))]
    summary = run(db, *messages).summary
    assert rows(db, "id") == [(2,), (4,)]
    counts = summary["streams"]["t"]
    assert (counts["read"], counts["written"], counts["rejected"]) == (5, 2, 0)
    (warning,) = [words for words in summary["warnings"] if "did not store" in words]
    assert "stream 't'" in warning
    assert "trigger" in warning
    assert [odd["count"] for odd in summary["notices"] if "did not store" in odd["what"]] == [3]
    assert db.query(f'SELECT rows_read, rows_written FROM "{db.schema}".__loads') == [(5, 2)]


def test_rows_of_a_key_that_comes_again_are_none_that_were_left_out(db: Any) -> None:
    summary = run(db, schema("t", id=INT, v=INT), *(record("t", id=1, v=i) for i in range(4))).summary
    assert summary["streams"]["t"]["written"] == 4
    assert summary["notices"] == []
