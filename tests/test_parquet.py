"""Parquet of any writer: each value exactly, or refused by file, row group, row, column and type."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from on_postgres import dialect, rows, run
from test_batches import batch

from target_meltano import MessageError, load, parquet
from target_meltano.commands import replay
from target_meltano.samples import INT, STR, record, schema, state


def texts(array: pa.Array, longest: int = 1 << 30, **options: Any) -> list[str]:
    """Return the JSON of each row's value, or why it is refused."""
    file = io.BytesIO()
    pq.write_table(pa.table({"x %s": array}), file, **options)
    found = [row for _, part in parquet.read(file, "s", longest) for row in part]
    start = len('{"type": "RECORD", "stream": "s", "record": {"x %s": ')
    return [row[start:-2].decode() if isinstance(row, bytes) else row.fault for row in found]


def at(*moments: str) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(moment) for moment in moments]


DAY = 86_400_000_000
TEXT_MAP = pa.map_(pa.string(), pa.int8())
VALUES: dict[str, tuple[Any, list[str]]] = {
    "integers": (pa.array([1, None, -(2**63)]), ["1", "null", "-9223372036854775808"]),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    "half": (pa.array([np.float16(0.5), None], pa.float16()), ["0.5", "null"]),
    "float": (pa.array([0.25, float("nan"), float("-inf")], pa.float32()), ["0.25", "NaN", "-Infinity"]),
    "double": (pa.array([1e300, float("inf"), -0.0]), ["1e+300", "Infinity", "-0.0"]),
    "boolean": (pa.array([True, False, None]), ["true", "false", "null"]),
    "decimal": (pa.array([Decimal("1.10"), Decimal("-0.00")], pa.decimal128(38, 2)), ["1.10", "0.00"]),
    "decimal of 76 digits": (pa.array([Decimal(f"{'9' * 70}.123456")], pa.decimal256(76, 6)), [f"{'9' * 70}.123456"]),
    "decimal, small": (pa.array([Decimal("1e-10")], pa.decimal128(12, 10)), ["0.0000000001"]),
    "text": (pa.array(['a"\n\0%s', "é", None]), ['"a\\"\\n\\u0000%s"', '"é"', "null"]),
    "bytes": (pa.array([b"\0\xff"]), ['"AP8="']),
    "date": (pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]), ['"0001-01-01"', '"9999-12-31"']),
    "date, infinite": (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), ["the date 2147483647 is not within the years 1 to 9999 (DuckDB's infinity)"]),
    "time": (pa.array([1, DAY], pa.int64()).view(pa.time64("us")), ['"00:00:00.000001"', '"24:00:00"']),
    "time, ns": (pa.array([1], pa.time64("ns")), ['"00:00:00.000000001"']),
    "time, ms": (pa.array([1500, 0], pa.time32("ms")), ['"00:00:01.500"', '"00:00:00"']),
    "time, beyond": (pa.array([DAY + 1, -1], pa.int64()).view(pa.time64("us")), [f"the time64[us] {n} is not within a day" for n in (DAY + 1, -1)]),
    "timestamp": (pa.array(at("0001-01-01", "9999-12-31T23:59:59.999999"), pa.timestamp("us")), ['"0001-01-01T00:00:00"', '"9999-12-31T23:59:59.999999"']),
    "timestamp, s": (pa.array([0], pa.timestamp("s")), ['"1970-01-01T00:00:00"']),
    "timestamp, ns": (pa.array([1_500_000_001], pa.timestamp("ns")), ['"1970-01-01T00:00:01.500000001"']),
    "timestamp, zone": (pa.array([0], pa.timestamp("us", "Asia/Tokyo")), ['"1970-01-01T00:00:00+00:00"']),
    "timestamp, infinite": (
        pa.array([1 - 2**63], pa.timestamp("us")),
        ["the timestamp[us] -9223372036854775807 is not within the years 1 to 9999 (DuckDB's infinity)"],
    ),
    "year 10000": (pa.array([253402300800], pa.timestamp("s")), ["the timestamp[ms] 253402300800000 is not within the years 1 to 9999"]),
    "list": (pa.array([[[1], None], None, []]), ["[[1], null]", "null", "[]"]),
    "list of a fixed size": (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), ["[1, 2]", "null"]),
    "struct": (pa.array([{"a": {"t": dt.time(1)}}, None, {"a": None}]), ['{"a": {"t": "01:00:00"}}', "null", '{"a": null}']),
    "list of structs": (pa.array([[{"a %": 1}, None], []]), ['[{"a %": 1}, null]', "[]"]),
    "map": (pa.array([[("a", 1), ("b", None)], None, []], TEXT_MAP), ['{"a": 1, "b": null}', "null", "{}"]),
    "map, a key twice": (pa.array([[("a", 1), ("a", 2)], [("a", 3)]], TEXT_MAP), ["a MAP has a key twice, of which an object could have one", '{"a": 3}']),
    "map, other keys": (pa.array([[(1, "x")]], pa.map_(pa.int8(), pa.string())), ['[[1, "x"]]']),
    "map in a list": (pa.array([[[("k", 1)]], [[], [("l", 2)]]], pa.list_(TEXT_MAP)), ['[{"k": 1}]', '[{}, {"l": 2}]']),
    "dictionary": (pa.array(["a", None, "b", "a"]).dictionary_encode(), ['"a"', "null", '"b"', '"a"']),
    "no values": (pa.nulls(1), ["null"]),
    "bytes in a text": (pa.array([b"\xc3\xa9"], pa.binary()).view(pa.string()), ['"é"']),
}


@pytest.mark.parametrize(("array", "wanted"), VALUES.values(), ids=VALUES)
def test_each_value_has_one_text(array: pa.Array, wanted: list[str]) -> None:
    assert texts(array) == wanted


@pytest.mark.parametrize("at_once", [1, 3])
def test_slices_do_not_matter(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may begin anywhere in what Arrow has read, and be cut into parts."""
    for array, _ in VALUES.values():
        whole = texts(pa.concat_arrays([array] * 5))
        with monkeypatch.context() as patch:
            patch.setattr(parquet, "ROWS", at_once)
            patch.setattr(parquet, "BYTES", 16)
            assert texts(pa.concat_arrays([array] * 5)) == whole


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_int96_keeps_all_digits_and_years(unit: str) -> None:
    """Nanoseconds of Impala, and years that nanoseconds of 64 bits do not have."""
    moments = {"us": ["0001-01-01", "2024-02-29T01:02:03.000004", "9999-12-31T23:59:59.999999"], "ns": ["1969-12-31T23:59:59.123456"]}[unit]
    array = pa.array(at(*moments), pa.timestamp(unit))
    if unit == "ns":
        array = pa.array([number.value + 789 for number in array], pa.timestamp("ns"))
    digits = "789" if unit == "ns" else ""
    nested = pa.StructArray.from_arrays([pa.array([[moment] for moment in array.to_pylist()], pa.list_(array.type))], ["l"]) if not digits else array
    wanted = [f'"{moment}{digits}"' if "T" in moment else f'"{moment}T00:00:00"' for moment in moments]
    assert texts(array, use_deprecated_int96_timestamps=True) == wanted
    if not digits:
        assert texts(nested, use_deprecated_int96_timestamps=True) == [f'{{"l": [{text}]}}' for text in wanted]


def test_a_uuid_is_its_text() -> None:
    one = uuid.UUID("12345678-1234-5678-1234-567812345678")
    if not hasattr(pa, "uuid"):
        pytest.skip("needs pyarrow 18 or later")
    assert texts(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes, None], pa.binary(16)))) == [f'"{one}"', "null"]


REFUSED = {
    "duration": (pa.field("x", pa.duration("us")), "duration[us]"),
    "within": (pa.field("x", pa.list_(pa.struct([pa.field("d", pa.duration("s"))]))), "duration[s]"),
    "a vendor's": (pa.field("x", pa.list_(pa.binary()), metadata={"ARROW:extension:name": "geoarrow.box"}), "geoarrow.box"),
}


@pytest.mark.parametrize(("field", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_json_is_refused_by_its_type(db: Any, tmp_path: Path, field: pa.Field, kind: str) -> None:
    """By row group, row and column, too; a row without such a value is loaded."""
    path = tmp_path / "f.parquet"
    value: Any = [{"d": 5}] if "list<item: struct" in str(field.type) else [b"x"] if "list" in str(field.type) else 5
    columns = [pa.array([1, 2, 3]), pa.array([None, None, value], field.type), pa.array([7, 8, 9])]
    pq.write_table(pa.table(columns, schema=pa.schema([("id", pa.int64()), field, ("y", pa.int64())])), path, row_group_size=2)
    lines = [schema("t", id=INT, y=INT), batch(path, form="parquet")]
    with pytest.raises(MessageError) as caught:
        run(db, *lines, batch_root=str(tmp_path))
    fault = f"a value of the type {kind} has no exact JSON; write it as text or a number"
    assert str(caught.value) == f"line 2, record 3 of the BATCH: stream 't': $.x: {fault}; the setting invalid_records: quarantine loads the others (f.parquet, row group 2, row 1)"
    assert rows(db, "id, y") == [(1, 7), (2, 8)]


@pytest.mark.parametrize("within", [False, True], ids=["columns", "in a struct"])
def test_columns_of_one_name_are_refused(db: Any, tmp_path: Path, within: bool) -> None:
    path = tmp_path / "f.parquet"
    two: Any = [pa.array([1]), pa.array([2])]
    table = pa.table({"s": pa.StructArray.from_arrays(two, ["same", "same"])}) if within else pa.Table.from_arrays(two, ["same", "same"])
    pq.write_table(table, path)
    with pytest.raises(MessageError, match=f"{path}: two columns.* have the name 'same'"):
        run(db, schema("t"), batch(path, form="parquet"), batch_root=str(tmp_path))


def test_a_value_that_cannot_be_written_is_an_invalid_record(db: Any, tmp_path: Path) -> None:
    """Told by file, row group, row, column and type; the others of its file are loaded."""
    path = tmp_path / "f.parquet"
    moments = pa.array([0, 2**63 - 1, 1, 2**63 - 1], pa.timestamp("us"))
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "at": moments}), path, row_group_size=3)
    lines = [schema("t", id=INT, at=STR), batch(path, form="parquet"), state(1)]
    with pytest.raises(MessageError) as caught:
        run(db, *lines, batch_root=str(tmp_path))
    assert str(caught.value).startswith("line 2, record 2 of the BATCH: stream 't': $.at: the timestamp[us] 9223372036854775807 is not")
    assert str(caught.value).endswith("(f.parquet, row group 1, row 2)")
    assert run(db, *lines, batch_root=str(tmp_path), invalid_records="quarantine").state == "1"
    assert rows(db, "id") == [(1,), (3,)]
    found = rows(db, "record, stream, path, file", "__rejected")
    assert run(db, *(one for one in replay(dialect(db), None, None, print)), invalid_records="quarantine").summary["streams"]["t"]["rejected"] == 2
    assert found == [(2, "t", "$.at", "f.parquet, row group 1, row 2"), (4, "t", "$.at", "f.parquet, row group 2, row 1")]


@pytest.mark.parametrize("word", ["snappy", "gzip", "zstd", "none"])
def test_the_word_for_parquets_own_compression_does_not_matter(db: Any, tmp_path: Path, word: str) -> None:
    path = tmp_path / "f"
    pq.write_table(pa.table({"id": [1]}), path, compression="gzip")
    run(db, schema("t"), batch(path, form="parquet", compression=word), batch_root=str(tmp_path))
    assert rows(db, "id") == [(1,)]


def test_records_have_the_limit_of_messages(db: Any, tmp_path: Path) -> None:
    """Also where a file of a few bytes has it a thousand times."""
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "t": ["x", "y" * 100_000, "z"]}), path)
    lines = [schema("t", id=INT, t=STR), batch(path, form="parquet")]
    with pytest.raises(MessageError, match=rf"^line 2: stream 't': {path}: record 2: longer than 50,000 bytes \(setting max_message_bytes\)"):
        load(dialect(db, batch_root=str(tmp_path), max_message_bytes=50_000), lines)
    run(db, *lines, batch_root=str(tmp_path), max_message_bytes=101_000)
    assert rows(db, "id, length(t)") == [(1, 1), (2, 100_000), (3, 1)]


@pytest.mark.parametrize("dictionary", [True, False])
def test_no_more_than_a_few_megabytes_are_lines_at_once(tmp_path: Path, dictionary: bool) -> None:
    """1,000 rows of 100 kB are a file of a few kB, once as the texts of a column, and once within lists."""
    path = tmp_path / "f.parquet"
    big = ["x" * 100_000] * 1000
    pq.write_table(pa.table({"t": big, "l": [[one] for one in big]}), path, use_dictionary=dictionary)
    with path.open("rb") as file:
        sizes = [sum(map(len, part)) for _, part in parquet.read(file, "s", 1 << 30)]  # type: ignore[arg-type]
    assert sum(sizes) > 200_000_000
    assert max(sizes) < 5 << 20


@pytest.mark.parametrize("cut", [0, 4, 40, -1, -20])
def test_a_damaged_file_is_refused_in_one_line(db: Any, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"id": list(range(100))}), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:cut])
    with pytest.raises(MessageError, match=f"^line 2: stream 't': {path}: [^\n]+$"):
        run(db, schema("t"), batch(path, form="parquet"), batch_root=str(tmp_path))
    data[60] ^= 1  # in the first page
    path.write_bytes(data)
    with pytest.raises(MessageError, match=f"^line 2: stream 't': {path}: [^\n]+$"):
        run(db, schema("t"), batch(path, form="parquet"), batch_root=str(tmp_path))


def test_names_that_look_like_messages_are_fields(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"id": [1], "type": ["STATE"], "value": [7], 'x"}, "type": "STATE", "y': [8]}), path)
    states: list[str] = []
    load(dialect(db, batch_root=str(tmp_path)), [schema("t"), batch(path, form="parquet"), record("t", id=2)], on_state=states.append)
    assert (states, rows(db, "id")) == ([], [(1,), (2,)])


def test_a_row_of_a_group_is_read_before_its_metadata_is_asked_for() -> None:
    """Reading tells of damage; the other way round pyarrow ends the process."""
    file = io.BytesIO()
    pq.write_table(pa.table({"t": ["a", "b", "a"], "n": [1, 2, 3]}), file, row_group_size=2)
    asked: list[str] = []

    class Metadata:
        def __init__(self, found: Any):
            self.found = found

        def row_group(self, group: int) -> Any:
            asked.append(f"metadata of {group}")
            return self.found.row_group(group)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.found, name)

    class File(pq.ParquetFile):  # type: ignore[misc]
        metadata = property(lambda self: Metadata(super().metadata))

        def iter_batches(self, rows: int, groups: list[int]) -> Any:
            asked.append(f"a row of {groups[0]}")
            return super().iter_batches(rows, groups)

    assert parquet._dictionaries(File(file)) == ["t"]
    assert asked == ["a row of 0", "metadata of 0", "a row of 1", "metadata of 1"]
