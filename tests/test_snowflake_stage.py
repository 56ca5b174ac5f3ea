"""Rows become files of the right size, which are gone once they are sent or not wanted any more."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snowflake.connector.errors import ProgrammingError

from target_meltano_snowflake import faults, stage


def batch(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"C0": np.random.default_rng(1).random(rows)})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "GROUP_BYTES", 10_000)
    monkeypatch.setattr(stage, "FILE_BYTES", 50_000)


@pytest.mark.usefixtures("small")
def test_files_have_the_size_that_loads_well_and_all_rows_in_order(tmp_path: Path) -> None:
    sent: list[Path] = []

    def send(path: Path, folder: str) -> Future[None]:
        sent.append(path)
        assert folder in path.name
        done: Future[None] = Future()
        done.set_result(None)
        return done

    spool = stage.Spool(tmp_path, send)
    whole = batch(30_000)
    for start in range(0, 30_000, 500):
        spool.add(whole.slice(start, 500))
    spool.complete()
    assert len(sent) > 3
    assert all(50_000 <= path.stat().st_size < 80_000 for path in sent[:-1])
    assert len({path.name for path in sent}) == len(sent)
    back = pa.concat_tables(pq.read_table(path) for path in sent)
    assert back.column(0).combine_chunks().equals(whole.column(0))
    assert spool.rows == 30_000


@pytest.mark.usefixtures("small")
def test_rows_that_are_not_wanted_any_more_leave_no_files(tmp_path: Path) -> None:
    spool = stage.Spool(tmp_path, lambda path, folder: Future())
    for _ in range(10):
        spool.add(batch(1000))
    assert list(tmp_path.iterdir())
    spool.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_sent_is_told_when_all_is_to_be_there(tmp_path: Path) -> None:
    failed: Future[None] = Future()
    failed.set_exception(ProgrammingError("no stage"))
    spool = stage.Spool(tmp_path, lambda path, folder: failed)
    spool.add(batch(1))
    with pytest.raises(ProgrammingError, match="no stage"):
        spool.complete()


@pytest.mark.parametrize(
    ("error", "words", "transient"),
    [
        (ProgrammingError(msg="Numeric value 'secret' is not recognized", errno=100038, sqlstate="22018"), "100038: Numeric value … is not recognized", False),
        (ProgrammingError(msg="Statement has locked table", errno=625, sqlstate="57014"), "000625: Statement has locked table", True),
        (ProgrammingError(msg="Insufficient privileges", errno=3001, sqlstate="42501"), "003001: Insufficient privileges", False),
        (ProgrammingError(msg="gone", errno=390114, sqlstate="08001"), "390114: gone", True),
    ],
)
def test_errors_are_known_by_their_numbers(error: Exception, words: str, transient: bool) -> None:
    assert (faults.words(error), faults.is_transient(error)) == (words, transient)
