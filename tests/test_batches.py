"""BATCH messages: records in files are loaded as if each were a line."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from on_postgres import dialect, rows, run

from target_meltano import MessageError, load
from target_meltano.samples import INT, NUM, STR, record, schema, state

DATE = {"type": ["string", "null"], "format": "date"}


def batch(*paths: Path | str, form: str = "jsonl", **more: str) -> dict[str, Any]:
    manifest = [path.as_uri() if isinstance(path, Path) else path for path in paths]
    return {"type": "BATCH", "stream": "t", "encoding": {"format": form, **more}, "manifest": manifest}


def jsonl(path: Path, *records: Any, packed: bool = False) -> Path:
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def test_records_of_files_are_loaded(db: Any, tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "a b.jsonl", {"id": 1, "d": "2024-01-01"}, {"id": 2})
    packed = jsonl(tmp_path / "c.gz", {"id": 2, "d": "2024-02-02"}, packed=True)
    lines = [schema("t", id=INT, d=DATE), batch(plain), batch(packed, compression="gzip"), record("t", id=3)]
    result = run(db, *lines, state(4), batch_root=str(tmp_path))
    assert rows(db, "id, d::text") == [(1, "2024-01-01"), (2, "2024-02-02"), (3, None)]
    assert (result.state, result.summary["streams"]["t"]["written"]) == ("4", 4)


def test_parquet_keeps_its_values(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = {"id": [1, 2], "n": [Decimal("1.10"), None], "d": [dt.date(2024, 1, 1), None], "b": [b"\0\xff", None]}
    pq.write_table(pa.table(table), path)
    run(db, schema("t", id=INT, n=NUM, d=DATE, b=STR), batch(path, form="parquet"), batch_root=str(tmp_path))
    assert rows(db, "id, n::text, d::text, b") == [(1, "1.10", "2024-01-01", "AP8="), (2, None, None, None)]


def test_an_invalid_record_is_told_by_its_place(db: Any, tmp_path: Path) -> None:
    """What came before the BATCH is committed; lines behind a BATCH keep their numbers."""
    path = jsonl(tmp_path / "x", {"id": 1}, {"id": "x"})
    lines = [schema("t"), record("t", id=7), state(1), batch(path), state(2)]
    states: list[str] = []
    with pytest.raises(MessageError, match=r"^line 4, record 2 of the BATCH: stream 't': \$\.id: 'x' is a string"):
        load(dialect(db, batch_root=str(tmp_path)), lines, on_state=states.append)
    assert states == ["1"]
    good = jsonl(tmp_path / "y", *({"id": i} for i in range(50)))
    with pytest.raises(MessageError, match=r"^line 4: stream 't': \$\.id: 'x'"):
        run(db, schema("t"), batch(good), batch(good), record("t", id="x"), batch_root=str(tmp_path))


def test_quarantine_leaves_out_the_one_record(db: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", {"id": 1}, {"id": "x"}, {"id": 3})
    run(db, schema("t"), batch(path), record("t", id=None), batch_root=str(tmp_path), invalid_records="quarantine")
    assert rows(db, "id") == [(1,), (3,)]
    assert rows(db, "line, path", "__rejected") == [(2, "$.id"), (3, "$.id")]


def test_a_batch_larger_than_batch_rows_is_committed_in_parts(db: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", *({"id": i} for i in range(2500)))
    run(db, schema("t"), batch(path), batch_root=str(tmp_path), batch_rows=1000)
    assert rows(db, "count(*)") == [(2500,)]


FAULTS = {
    "missing": ("none.jsonl", {}, "No such file"),
    "truncated": ("cut.gz", {"compression": "gzip"}, "ended before the end"),
    "no gzip": ("plain", {"compression": "gzip"}, "Not a gzipped file"),
    "no parquet": ("plain", {"form": "parquet"}, "[Pp]arquet"),
    "outside": ("../outside", {}, "not below"),
    "another scheme": ("s3://bucket/x", {}, "wanted file:///"),
    "another host": ("file://elsewhere/x", {}, "wanted file:///"),
    "unknown format": ("plain", {"form": "avro"}, "jsonl/none, jsonl/gzip, parquet/none"),
}


@pytest.mark.parametrize(("name", "more", "words"), FAULTS.values(), ids=FAULTS)
def test_files_that_cannot_be_read(db: Any, tmp_path: Path, name: str, more: Any, words: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    jsonl(root / "plain", {"id": 1})
    (root / "cut.gz").write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:40])
    path = name if ":" in name else root / name
    with pytest.raises(MessageError, match=rf"^line 2: stream 't': .*{words}"):
        run(db, schema("t"), batch(path, **more), batch_root=str(root))


def test_a_line_that_is_no_json_makes_no_other_message(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('{"id": 1}\n{"id": 2}, "type": "STATE", "value": 9\n')
    states: list[str] = []
    with pytest.raises(MessageError, match="^line 2, record 2 of the BATCH: not JSON"):
        load(dialect(db, batch_root=str(tmp_path)), [schema("t"), batch(path)], on_state=states.append)
    assert (states, rows(db, "id")) == ([], [(1,)])


def test_links_do_not_lead_outside(db: Any, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    link = tmp_path / "root/link"
    link.symlink_to(jsonl(tmp_path / "secret", {"id": 1}))
    with pytest.raises(MessageError, match="not below"):
        run(db, schema("t"), {**batch(), "manifest": [f"file://{link}"]}, batch_root=str(tmp_path / "root"))


def test_without_a_root_no_file_is_read(db: Any, tmp_path: Path) -> None:
    with pytest.raises(MessageError, match="setting batch_root"):
        run(db, schema("t"), batch(jsonl(tmp_path / "x", {"id": 1})))
