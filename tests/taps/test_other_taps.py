"""Taps of files and of an API, and BATCH in all forms of the Singer SDK: after each sync the tables are what the source has."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from environments import environment
from piped import Pipe

UTC = dt.timezone.utc
Records = list[dict[str, Any]]


def pipe_of(program: Path, config: dict[str, Any], db: Any, folder: Path, targets: dict[str, dict[str, Any]]) -> Pipe:
    home = folder / secrets.token_hex(3)
    home.mkdir()
    (home / "tap.json").write_text(json.dumps(config))
    return Pipe([program, "--config", home / "tap.json"], targets, db.url, home)


def stored(db: Any, table: str, fields: list[str], where: str = "true") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = db.query(f"SELECT {', '.join(fields)} FROM {table} WHERE {where} ORDER BY id")
    return found


def ways(db: Any, **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A target that upserts, one that keeps every version, and *more*."""
    return {db.schema: {}, f"{db.schema}_every": {"load_method": "append"}, **{f"{db.schema}_{name}": its for name, its in more.items()}}


@pytest.fixture(autouse=True)
def _dropped(db: Any) -> Iterator[None]:
    yield
    for (name,) in db.query("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [f"{db.schema}_"]):
        db.query(f"DROP SCHEMA {name} CASCADE")


class Files:
    """Files of JSON lines; each write is a second later than the last, as the tap looks at nothing finer."""

    def __init__(self, folder: Path):
        self.folder, self.at = folder / secrets.token_hex(3), 1_700_000_000
        self.folder.mkdir()
        self.rows: dict[int, dict[str, Any]] = {}  # the last record of each id

    def write(self, name: str, *records: dict[str, Any]) -> None:
        self.at += 1
        path = self.folder / name
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
        os.utime(path, (self.at, self.at))
        self.rows |= {record["id"]: record for record in records}

    def expected(self, fields: list[str]) -> list[tuple[Any, ...]]:
        return [tuple(row.get(field) for field in fields) for _, row in sorted(self.rows.items())]


JSONL = ["tap-jsonl==0.3.1", "singer-sdk==0.53.7", "pyarrow==26.0.1"]  # Arrow is for Parquet
FIELDS = ["id", "n", "price", "ok", "words", "place", "tags", "day::text", "at"]


def thing(key: int, **fields: Any) -> dict[str, Any]:
    given = {"n": key, "price": key + 0.25, "ok": True, "words": "ü\n\"\\", "place": {"zip": "01234", "to": [1, 2]}, "tags": ["a", "b"]}
    return {"id": key, **given, "day": "2024-02-29", "at": "2024-02-29T09:00:00.123456+02:00", **fields}


def things(files: Files) -> list[tuple[Any, ...]]:
    """The rows of the files, times as the table has them."""
    rows = files.expected([field.partition("::")[0] for field in FIELDS])
    return [(*row[:-1], row[-1] and dt.datetime.fromisoformat(row[-1]).astimezone(UTC)) for row in rows]


def test_json_lines(db: Any, folder: Path) -> None:
    """What the tap makes of a file's types changes from day to day: a date that some texts are, a number that is whole for once."""
    files = Files(folder)
    program = environment("tap-jsonl", *JSONL) / "tap-jsonl"
    pipe = pipe_of(program, {"path": f"{files.folder}/*.jsonl", "stream_name": "things", "primary_keys": ["id"]}, db, folder, ways(db, whole={"load_method": "overwrite"}))

    def synced(**settings: Any) -> None:
        pipe.load(**settings)
        assert stored(db, f"{db.schema}.things", FIELDS) == things(files)
        there = [json.loads(line)["id"] for path in files.folder.iterdir() for line in path.read_text().splitlines()]
        assert stored(db, f"{db.schema}_whole.things", FIELDS) == [row for row in things(files) if row[0] in there]
        assert db.query(f"SELECT count(*) FROM {db.schema}_every.things") == [(pipe.records,)]

    files.write("a.jsonl", thing(1), thing(2, n=None, ok=None, place={}, tags=[], words=""), thing(3, n=2**63 - 1))
    pipe.read()
    synced()
    files.write("a.jsonl", thing(1, n=5), thing(2), thing(3, words="new"))
    files.write("b.jsonl", thing(4, n=0.5, day="unknown", more="x"))
    pipe.read()
    assert len(pipe.read_records()) == 4
    # The only format among texts is a date's, so the tap says that all of them are dates.
    assert 'setting column_types: "things.day": "string" holds it' in pipe.refused()
    text = {"things.day": "string"}
    synced(column_types=text)
    for old in files.folder.iterdir():
        old.unlink()
    files.write("c.jsonl", thing(5, n=6, day="2024-03-01"), thing(1, n=7))
    pipe.read()
    assert len(pipe.read_records()) == 2 * 2  # all is sent for each file that the state knows
    assert "column 'n' is numeric and cannot become integer" in pipe.refused(column_types=text)
    synced(column_types=text, narrowing="keep")
    print(f"tap-jsonl 0.3.1 | INCREMENTAL | {pipe.syncs} | {pipe.records}")


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_batches_of_the_sdk(form: str, compression: str, db: Any, folder: Path) -> None:
    """The SDK writes gzip for jsonl whatever `compression` says, and Parquet with Snappy where it says none."""
    files = Files(folder)
    batches = folder / secrets.token_hex(3)
    program = environment("tap-jsonl", *JSONL) / "tap-jsonl"
    config = {"path": f"{files.folder}/*.jsonl", "stream_name": "things", "primary_keys": ["id"]}
    batch = {"encoding": {"format": form, "compression": compression}, "storage": {"root": f"file://{batches}", "prefix": "of-"}, "batch_size": 2}
    pipe = pipe_of(program, {**config, "batch_config": batch}, db, folder, {name: {**its, "batch_root": str(batches)} for name, its in ways(db).items()})
    sent = 0
    files.write("a.jsonl", *map(thing, range(1, 6)))
    for change in range(3):
        pipe.sync()
        assert pipe.records == 0
        sent += 5 + change
        assert stored(db, f"{db.schema}.things", FIELDS) == things(files)
        assert db.query(f"SELECT count(*) FROM {db.schema}_every.things") == [(sent,)]
        files.write("a.jsonl", *(thing(key, words=f"changed {change}", n=None if key == 2 else key) for key in range(1, 7 + change)))
    assert len(list(batches.iterdir())) == 3 + 3 + 4
    print(f"singer-sdk 0.53.7, BATCH {form} {compression} | INCREMENTAL | {pipe.syncs} | {sent}")


SHEET = """import datetime, json, openpyxl, sys
book = openpyxl.Workbook()
for row in json.loads(sys.argv[2]):
    book.active.append([datetime.datetime.fromisoformat(cell[1:]) if str(cell).startswith("@") else cell for cell in row])
book.save(sys.argv[1])
"""


def test_spreadsheets(db: Any, folder: Path) -> None:
    """A workbook and a CSV; the types of a workbook's columns are those of its first rows, and a text among numbers is lost."""
    home = folder / secrets.token_hex(3)
    home.mkdir()
    bin_ = environment("tap-spreadsheets", "tap-spreadsheets==1.1.2", "singer-sdk==0.52.5")
    excel = {"path": f"{home}/*.xlsx", "format": "excel", "worksheet": "Sheet", "table_name": "sheet", "primary_keys": ["id"]}
    config = {"files": [excel, {"path": f"{home}/*.csv", "format": "csv", "table_name": "csv", "primary_keys": ["id"]}]}
    pipe = pipe_of(bin_ / "tap-spreadsheets", config, db, folder, ways(db))
    fields = ["id", "name", "price_eur", "at", "ok", "mixed::text"]
    at = 1_700_000_000

    def write(*rows: list[Any]) -> None:
        nonlocal at
        at += 1
        book, csv = home / "a.xlsx", home / "a.csv"
        subprocess.run([bin_ / "python", "-c", SHEET, book, json.dumps([["Id", "Name", "Price (EUR)", "At", "Ok", "Mixed"], *rows])], check=True)
        csv.write_text("id,name,code\n" + "".join(f'{row[0]},"{row[1]}",00{row[0]}\n' for row in rows))
        for path in (book, csv):
            os.utime(path, (at, at))

    def synced(*rows: list[Any], mixed: list[str | None]) -> None:
        write(*rows)
        pipe.sync()
        wanted = [(*row[:3], row[3].replace("@", "").replace("T", " "), int(row[4]), text) for row, text in zip(rows, mixed, strict=True)]
        assert stored(db, f"{db.schema}.sheet", fields) == wanted
        assert stored(db, f"{db.schema}.csv", ["id", "name", "code"]) == [(str(row[0]), str(row[1]), f"00{row[0]}") for row in rows]
        assert db.query(f"SELECT (SELECT count(*) FROM {db.schema}_every.sheet) + (SELECT count(*) FROM {db.schema}_every.csv)") == [(pipe.records,)]

    first = [1, "ä, b", 1.5, "@2024-02-29T10:00:00", True, 1]
    synced(first, [2, "x", 2, "@2024-03-01T00:00:00", False, "abc"], mixed=["1.0", None])
    excel["schema_overrides"] = {"mixed": {"type": ["null", "string"]}}
    (pipe.folder / "tap.json").write_text(json.dumps(config))
    synced([*first[:1], "changed", *first[2:]], [2, "x", 2, "@2024-03-01T00:00:00", False, "abc"], [3, "y", 0, "@2024-03-01T00:00:00", True, "007"], mixed=["1", "abc", "007"])
    synced(first, [2, "x", 2.25, "@2024-03-01T00:00:00", False, 3], [3, "z", 1, "@2024-03-01T00:00:00", True, None], mixed=["1", "3", None])
    # A file that did not change is not read, nor is a row that is gone told: without the state, all is.
    pipe.state.unlink()
    whole = f"{db.schema}_whole"
    pipe.targets = {whole: {"load_method": "overwrite"}}
    for rows in ([first], [first]):
        if pipe.state.exists():
            pipe.read()
            assert not pipe.read_records()
            assert "ended without a STATE" in pipe.refused()
            pipe.state.unlink()
        write(*rows)
        pipe.sync()
        assert stored(db, f"{whole}.sheet", ["id"]) == [(1,)]
    print(f"tap-spreadsheets 1.1.2 | INCREMENTAL | {pipe.syncs} | {pipe.records}")


@contextmanager
def served(pages: list[Records]) -> Iterator[str]:
    """An API that gives *pages* one by one, and its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = int(self.path.partition("page=")[2] or 1)
            after = {"next": page + 1} if page < len(pages) else {}
            body = json.dumps({"items": pages[page - 1], **after}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_rest_api(db: Any, folder: Path) -> None:
    """The SCHEMA is that of the first page: what comes in others has other types, or none; overwrite alone sees what is gone."""
    pages: list[Records] = []
    bin_ = environment("tap-rest-api-msdk", "tap-rest-api-msdk==1.4.2", "singer-sdk==0.40.0")
    fields = ["id", "name", "price::float", "customer_name", "customer_address_zip", "tags", "mixed"]

    def order(key: int, **fields: Any) -> dict[str, Any]:
        place = {"name": "Ada", "address": {"zip": "01234"}}
        return {"id": key, "name": "ü", "price": 1.5, "ok": None, "customer": place, "tags": ["a", {"x": 1.5}], "mixed": 1, **fields}

    def rows(*orders: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [(it["id"], it["name"], it["price"], "Ada", "01234", json.dumps(it["tags"]), str(it["mixed"])) for it in orders]

    with served(pages) as url:
        stream = {"name": "orders", "path": "/orders", "records_path": "$.items[*]", "primary_keys": ["id"], "num_inference_records": 2}
        pipe = pipe_of(bin_ / "tap-rest-api-msdk", {"api_url": url, "next_page_token_path": "$.next", "streams": [stream]}, db, folder, ways(db, whole={"load_method": "overwrite"}))

        def synced(now: Records, gone: Records, **settings: Any) -> None:
            pipe.load(**settings)
            assert stored(db, f"{db.schema}_whole.orders", fields) == rows(*now)
            assert stored(db, f"{db.schema}.orders", fields) == rows(*sorted([*now, *gone], key=lambda it: int(it["id"])))
            assert db.query(f"SELECT count(*) FROM {db.schema}_every.orders") == [(pipe.records,)]

        first = [order(1), order(2, mixed="x")]
        pages[:] = [first]
        pipe.read()
        needed: dict[str, Any] = {"column_types": {"orders.ok": "boolean"}, "coerce": "lossless"}
        synced(first, [])
        second = [order(1, price=2.25), order(2, mixed="x"), order(3, mixed=1.5, ok=True)]
        pages[:] = [second[:2], second[2:]]
        pipe.read()
        # `ok` was null only in what the tap looked at; and 1.5 is neither integer nor string.
        assert 'the schema allows only null; setting column_types: "orders.ok": "boolean" holds it' in pipe.refused(coerce="lossless")
        assert "wanted integer or string, or the setting coerce: lossless" in pipe.refused(column_types={"orders.ok": "boolean"})
        synced(second, [], **needed)
        assert stored(db, f"{db.schema}.orders", ["ok"]) == [(None,), (None,), (True,)]
        third = [order(3, price=2), order(4, price=3)]
        pages[:] = [third]
        pipe.read()
        assert "column 'price' is numeric and cannot become integer" in pipe.refused(**needed)
        synced(third, second[:2], **needed, narrowing="keep")
    print(f"tap-rest-api-msdk 1.4.2 | FULL_TABLE | {pipe.syncs} | {pipe.records}")
