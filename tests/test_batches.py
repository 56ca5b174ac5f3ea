"""BATCH messages: records in files are loaded as if each were a line."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from on_postgres import dialect, rows, run

from target_meltano import MessageError, batches, load
from target_meltano.commands import replay
from target_meltano.errors import Stopped
from target_meltano.kept import Lines
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano.target import Target
from target_meltano.worker import Signals

DATE = {"type": ["string", "null"], "format": "date"}


SURROGATE = b'"\\ud83d"'


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
    place = r"\(x, record 2\)$"
    with pytest.raises(MessageError, match=rf"^line 4, record 2 of the BATCH: stream 't': \$\.id: 'x' is a string.* {place}"):
        load(dialect(db, batch_root=str(tmp_path)), lines, on_state=states.append)
    assert states == ["1"]
    good = jsonl(tmp_path / "y", *({"id": i} for i in range(50)))
    with pytest.raises(MessageError, match=r"^line 4: stream 't': \$\.id: 'x'"):
        run(db, schema("t"), batch(good), batch(good), record("t", id="x"), batch_root=str(tmp_path))


def test_quarantine_leaves_out_the_one_record(db: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", {"id": 1}, {"id": "x"}, {"id": 3})
    run(db, schema("t"), batch(path), record("t", id=None), batch_root=str(tmp_path), invalid_records="quarantine")
    assert rows(db, "id") == [(1,), (3,)]
    assert rows(db, "line, path, record, file", "__rejected") == [(2, "$.id", 2, "x, record 2"), (3, "$.id", None, None)]


def test_places_are_told_file_by_file(db: Any, tmp_path: Path) -> None:
    """Also where the same file is named twice, and where blank lines are between."""
    one, two = jsonl(tmp_path / "one", {"id": 1}, {"id": "x"}), jsonl(tmp_path / "two", {"id": "y"})
    lines = [schema("t"), batch(one, two), record("t", id=3), batch(two), record("t", id="z")]
    run(db, *lines, batch_root=str(tmp_path), invalid_records="quarantine")
    found = rows(db, "line, record, file", "__rejected")
    assert found == [(2, 2, "one, record 2"), (2, 3, "two, record 1"), (4, 1, "two, record 1"), (5, None, None)]


COMPRESSIONS = {"said": {"compression": "gzip"}, "none": {"compression": "none"}, "unset": {}}


@pytest.mark.parametrize("more", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_the_file_tells_how_it_is_compressed(db: Any, tmp_path: Path, more: Any, packed: bool) -> None:
    path = jsonl(tmp_path / "x", {"id": 1}, packed=packed)
    run(db, schema("t"), batch(path, **more), batch_root=str(tmp_path))
    assert rows(db, "id") == [(1,)]


HOSTILE = {
    "a STATE": b'{"type": "STATE", "value": {"x": %b}}' % SURROGATE,
    "a STATE behind": b'{"id": 7}, "type": "STATE", "value": 9',
    "another stream behind": b'{"id": 7}, "stream": "other"',
    "another record": b'{"type": "RECORD", "stream": "other", "record": {"id": 8, "t": %b}}' % SURROGATE,
    "a SCHEMA": b'{"type": "SCHEMA", "stream": "other", "key_properties": ["id"], "schema": {"properties": {"id": {"type": %b}}}}' % SURROGATE,
    "ACTIVATE_VERSION": b'{"type": "ACTIVATE_VERSION", "stream": "other", "version": 99, "x": %b}' % SURROGATE,
    "a BATCH": b'{"type": "BATCH", "stream": "t", "encoding": {"format": "jsonl"}, "manifest": [%b]}' % SURROGATE,
    "closed twice": b'{"id": 7}} {"type": "STATE", "value": 9}',
    "bytes": b'{"type": "STATE", "value": "\xff"}',
    "a NUL": b'{"id": 7}\0, "type": "STATE", "value": 9}',
    "NaN": b'{"type": "STATE", "value": NaN}',
    "deep": b'{"type": "STATE", "value": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    "an escape": b'{"id": 7, "x": "\\u"}, "type": "STATE", "value": "9"}',
}


@pytest.mark.parametrize("keep", [True, False], ids=["quarantine", "fail"])
@pytest.mark.parametrize("text", ["fail", "replace"])
@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_no_line_of_a_file_is_a_message(db: Any, tmp_path: Path, line: bytes, text: str, keep: bool) -> None:
    """Each is a record of its stream: loaded (without fields that its table has), or invalid as one."""
    path = tmp_path / "x"
    path.write_bytes(b'{"id": 1}\n' + line + b'\n{"id": 3}\n')
    lines = [schema("other"), record("other", id=5), schema("t", (), id=INT, t=STR), batch(path), state("true one")]
    states: list[str] = []
    settings = {"batch_root": str(tmp_path), "on_bad_text": text, "invalid_records": "quarantine" if keep else "fail"}
    try:
        load(dialect(db, **settings), lines, on_state=states.append)
    except MessageError as error:
        assert (keep, str(error)[: len(START)]) == (False, START)
    found = rows(db, "id")
    rejected = rows(db, "stream, line, record", "__rejected") if keep else []
    assert rows(db, "id", "other") == [(5,)]
    assert set(states) <= {'"true one"'}
    if keep:
        assert states == ['"true one"']
        assert {(1,), (3,)} <= set(found)
        assert len(found) + len(rejected) == 3
        assert rejected in ([], [("t", 4, 2)])
        replayed = b"".join(replay(dialect(db, **settings), None, None, print)).splitlines()
        assert [one[:32] for one in replayed[1:]] == [b'{"type": "RECORD", "stream": "t"'] * len(rejected)


START = "line 4, record 2 of the BATCH: stream 't': $"


def test_bad_text_in_a_file_is_replaced(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"id": 1, "t": "a%b"}\n{"id": 2, "t": "\xffz"}\n' % SURROGATE.strip(b'"'))
    run(db, schema("t", (), id=INT, t=STR), batch(path), batch_root=str(tmp_path), on_bad_text="replace")
    assert rows(db, "id, t") == [(1, "a\ufffd"), (2, "\ufffdz")]


def test_a_file_that_cannot_be_read_is_no_invalid_record(db: Any, tmp_path: Path) -> None:
    """It may have many: so the run ends, and no STATE is emitted that covers them."""
    states: list[str] = []
    lines = [schema("t"), record("t", id=1), state(1), batch(tmp_path / "gone"), state(2)]
    with pytest.raises(MessageError, match=r"^line 4: stream 't': .*gone: No such file"):
        load(dialect(db, batch_root=str(tmp_path), invalid_records="quarantine"), lines, on_state=states.append)
    assert (states, rows(db, "id")) == (["1"], [(1,)])


def test_a_signal_ends_a_batch_before_its_end(db: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before is committed, and the STATE is the one before the BATCH."""
    monkeypatch.setattr("target_meltano.lines.CHUNK", 1000)
    path = jsonl(tmp_path / "x", *({"id": i} for i in range(5000)))
    signals, states = Signals(), list[str]()
    target = Target(dialect(db, batch_root=str(tmp_path)), states.append, signals=signals)
    read = batches.read_records

    def stopped(*arguments: Any) -> Any:
        for at, part in enumerate(read(*arguments)):
            signals.received = 15 if at == 3 else None
            yield part

    monkeypatch.setattr(batches, "read_records", stopped)
    with pytest.raises(Stopped):
        target.run([json.dumps(line) for line in (schema("t"), record("t", id=-1), state(1), batch(path), state(2))])
    assert states == ["1"]
    ((count,),) = rows(db, "count(*)")
    assert 1 < count < 1000
    assert rows(db, "max(id) + 2") == [(count,)]


def test_a_batch_larger_than_batch_rows_is_committed_in_parts(db: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", *({"id": i} for i in range(2500)))
    run(db, schema("t"), batch(path), batch_root=str(tmp_path), batch_rows=1000)
    assert rows(db, "count(*)") == [(2500,)]


FAULTS = {
    "missing": ("none.jsonl", {}, "No such file"),
    "truncated": ("cut.gz", {"compression": "gzip"}, "ended before the end"),
    "trailing": ("trailing.gz", {}, "Not a gzipped file"),
    "no parquet": ("plain", {"form": "parquet"}, "it is no Parquet"),
    "another one": ("zst", {}, "zst: it is zstd; wanted jsonl"),
    "zstd": ("plain", {"compression": "zstd"}, "compression 'zstd', wanted none or gzip"),
    "a number": ("plain", {"compression": 7}, "compression 7, wanted none or gzip"),
    "a folder": ("folder", {}, "folder: no regular file"),
    "a FIFO": ("fifo", {}, "fifo: no regular file"),
    "a FIFO, Parquet": ("fifo", {"form": "parquet"}, "fifo: no regular file"),
    "no file name": ("file:///x%00", {}, "wanted file:///"),
    "a query": ("file:{root}/plain?x", {}, "%3F"),
    "a fragment": ("file:{root}/plain#1", {}, "%23"),
    "outside": ("../outside", {}, "not below"),
    "another scheme": ("s3://bucket/x", {}, "wanted file:///"),
    "another host": ("file://elsewhere/x", {}, "wanted file:///"),
    "unknown format": ("plain", {"form": "avro"}, "format 'avro', wanted jsonl or parquet"),
}


@pytest.mark.parametrize(("name", "more", "words"), FAULTS.values(), ids=FAULTS)
def test_files_that_cannot_be_read(db: Any, tmp_path: Path, name: str, more: Any, words: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    jsonl(root / "plain", {"id": 1})
    (root / "cut.gz").write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:40])
    (root / "trailing.gz").write_bytes(gzip.compress(b'{"id": 1}\n') + b"more")
    (root / "zst").write_bytes(b"\x28\xb5\x2f\xfd\x04\x00")
    (root / "folder").mkdir()
    os.mkfifo(root / "fifo")
    path = name.format(root=root) if ":" in name else root / name
    with pytest.raises(MessageError, match=rf"^line 2: stream 't': .*{words}"):
        run(db, schema("t"), batch(path, **more), batch_root=str(root))


def test_links_do_not_lead_outside(db: Any, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    link = tmp_path / "root/link"
    link.symlink_to(jsonl(tmp_path / "secret", {"id": 1}))
    with pytest.raises(MessageError, match="not below"):
        run(db, schema("t"), {**batch(), "manifest": [f"file://{link}"]}, batch_root=str(tmp_path / "root"))


def test_without_a_root_no_file_is_read(db: Any, tmp_path: Path) -> None:
    with pytest.raises(MessageError, match="setting batch_root"):
        run(db, schema("t"), batch(jsonl(tmp_path / "x", {"id": 1})))


def test_places_are_right_while_another_thread_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's thread asks for the lines of records while the next ones come."""
    lines, count, wrong = Lines(), 4000, list[int]()
    lines.add(4, 3, "a")
    lines.add(10, 4, "b")
    right = {12: (7, 2), 15: (8, 0), 1: (1, 0), 5: (4, 1), 9: (6, 0)}

    def ask() -> None:
        wrong.extend(number for number in [*right] * count if lines.of(number) != right[number])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asking = threading.Thread(target=ask)
        asking.start()
        for more in range(1, count):
            lines.add(20 * more, more % 19, "c")
            lines.add(20 * more, more % 19 + 1, "d")
        asking.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert (lines.place(12), lines.place(15), lines.place(7)) == ("b, record 2", "", "a, record 3")
