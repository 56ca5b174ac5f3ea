"""The two MySQL taps on a real MariaDB: after each sync the tables are what the source has, read by SQL on both sides."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from environments import environment
from mariadb import Source, needs_mariadb, started
from piped import Pipe, run
from syncs import Row, differences

pytestmark = [
    needs_mariadb,
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="needs Python 3.11: both taps use ssl.match_hostname, which is gone since"),
]

PIPELINEWISE, SINGER_IO = "pipelinewise-tap-mysql", "tap-mysql"
VERSIONS = {PIPELINEWISE: "1.6.0", SINGER_IO: "1.17.7"}
TAPS = pytest.mark.parametrize("tap", [PIPELINEWISE, SINGER_IO])
METHODS = pytest.mark.parametrize("method", ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"])
# Without these it is utf8mb3, in which an emoji is a question mark.
LONG = bool(os.environ.get("TAPS"))
SESSION = ["SET NAMES utf8mb4", "SET @@session.time_zone = '+0:00'"]

FLAG = "CASE WHEN {0} THEN 'true' WHEN NOT {0} THEN 'false' END", "{0}::text"
NUMBER = "CAST({0} AS CHAR)", "{0}::text"
DOUBLE = "CAST(CAST({0} AS DOUBLE) AS CHAR)", "{0}::float8::text"
TEXT = "{0}", "{0}"
BINARY = "HEX({0})", "upper({0})"
MOMENT = "DATE_FORMAT({0}, '%Y-%m-%d %H:%i:%s.%f')", "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
TIME = "TIME_FORMAT({0}, '%H:%i:%s.%f')", "to_char('1970-01-01'::date + {0}, 'HH24:MI:SS.US')"
TIME_OF_1970 = TIME[0], "to_char({0} AT TIME ZONE 'UTC', 'HH24:MI:SS.US')"
READ: dict[Any, Callable[[str], Any]] = {NUMBER: Decimal, DOUBLE: float}  # how texts are equal that are not the same

# name: type, how it is compared, its smallest, its largest and another value
KINDS = {
    "Id": ("int PRIMARY KEY", NUMBER, "-2147483648", "2147483647", "7"),
    "Flag": ("tinyint(1)", FLAG, "0", "1", "1"),
    "tiny": ("tinyint", NUMBER, "-128", "127", "1"),
    "smallU": ("smallint unsigned", NUMBER, "0", "65535", "1"),
    "medium": ("mediumint", NUMBER, "-8388608", "8388607", "1"),
    "big": ("bigint", NUMBER, "-9223372036854775808", "9223372036854775807", "1"),
    "BigU": ("bigint unsigned", NUMBER, "0", "18446744073709551615", "9223372036854775808"),
    "one_bit": ("bit(1)", FLAG, "b'0'", "b'1'", "b'1'"),
    "dec_10": ("decimal(30,10)", NUMBER, "-99999999999999999999.9999999999", "99999999999999999999.9999999999", "0.1"),
    "dec_0": ("decimal(20)", NUMBER, "-99999999999999999999", "99999999999999999999", "1"),
    "single": ("float", DOUBLE, "-0.5", "16384", "1.25"),
    "twice": ("double", DOUBLE, "-1.7976931348623157e308", "1.7976931348623157e308", "0.1"),
    "chars": ("char(5)", TEXT, "''", "'abcde'", "'ä'"),
    "some": ("varchar(50)", TEXT, "''", r"'ü\\n\"\\\\\t\'\n'", "'null'"),
    "long": ("longtext", TEXT, "''", "REPEAT('ö\\n', 40000)", "'x'"),
    "doc": ("json", TEXT, "'null'", """'{"a": [1.10, {"b": null}], "ü": "\\\\\\\\n"}'""", "'[]'"),
    "choice": ("enum('a','B','ü')", TEXT, "'a'", "'ü'", "'B'"),
    "day": ("date", MOMENT, "'1000-01-01'", "'9999-12-31'", "'2024-02-29'"),
    "at": ("datetime", MOMENT, "'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'2024-02-29 09:00:00'"),
    "at6": ("datetime(6)", MOMENT, "'1970-01-01 00:00:00.000001'", "'2037-12-31 23:59:59.999999'", "'2024-02-29 12:00:00.5'"),
    "stamp": ("timestamp NULL", MOMENT, "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-02-29 12:00:00'"),
    "time_of": ("time", TIME, "'00:00:00'", "'23:59:59'", "'09:05:01'"),
    "time6": ("time(6)", TIME, "'00:00:00.000001'", "'23:59:59.999999'", "'12:00:00.5'"),
    "changed": ("datetime(6) DEFAULT now(6) ON UPDATE now(6)", MOMENT, "DEFAULT", "DEFAULT", "DEFAULT"),
}
# Only PipelineWise's tap has these.
MORE = {
    "small_text": ("tinytext", TEXT, "''", "'😀'", "'x'"),
    "fixed": ("binary(4)", BINARY, "x'00000001'", "x'ffffffff'", "x'61'"),
    "bytes": ("varbinary(20)", BINARY, "''", "x'00ff0100'", "'a'"),
}


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    with started() as server:
        yield server


@pytest.fixture
def database(source: Source) -> Iterator[str]:
    name = f"Shop_{secrets.token_hex(3)}"
    source.run(f"CREATE DATABASE {name}")
    yield name
    source.run(f"DROP DATABASE {name}")


class MySqlPipe(Pipe):
    """Syncs of all tables of a *database*, read by one *method*; *config* is the tap's besides."""

    def __init__(self, tap: str, method: str, source: Source, database: str, url: str, folder: Path, targets: dict[str, dict[str, Any]], **config: Any):
        home = folder / secrets.token_hex(3)
        home.mkdir()
        self.config, self.catalog = home / "tap.json", home / "catalog.json"
        where = {"host": "127.0.0.1", "port": source.port, "user": source.user, "password": source.password}
        self.config.write_text(json.dumps({**where, "filter_dbs": database, "engine": "mariadb", "session_sqls": SESSION, **config}))
        self.program = environment(tap, f"{tap}=={VERSIONS[tap]}") / "tap-mysql"
        self.method = method
        super().__init__([self.program, "--config", self.config, "--catalog", self.catalog], targets, url, home)

    def read(self) -> None:
        """Read the tables as they are now, with the columns that they have now."""
        found = json.loads(run([self.program, "--config", self.config, "--discover"]))
        for stream in found["streams"]:
            own = next(its["metadata"] for its in stream["metadata"] if not its["breadcrumb"])
            own |= {"selected": True, "replication-method": self.method, "replication-key": "changed"}
            if own["is-view"]:
                # No log of changes has a view.
                own |= {"view-key-properties": ["Id"], "selected": self.method != "LOG_BASED"}
        self.catalog.write_text(json.dumps(found))
        super().read()


def compared(kinds: dict[str, Any], tap: str) -> dict[str, tuple[str, str]]:
    """How columns are compared, by name: as *kinds* says, but for what this tap has in another type."""
    return {name: TIME_OF_1970 if tap == SINGER_IO and how == TIME else how for name, (_, how, *_) in kinds.items()}


def equal(source: Source, database: str, table: str, db: Any, found: str, columns: dict[str, tuple[str, str]], where: str = "true") -> int:
    """Compare all values of a table of the source with those of the newest rows that are not deleted, and count the rows."""
    at_source = source.texts(database, table, [sql.format(f"`{name}`") for name, (sql, _) in columns.items()])
    gone = [name for (name,) in db.query("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attname IN ('__deleted_at', '_sdc_deleted_at')", [found])]
    alive = " AND ".join(f"{name} IS NULL" for name in gone) or "true"
    sql = ", ".join(how.format(f'"{name.lower().replace(" ", "_")}"') for name, (_, how) in columns.items())
    newest = f"SELECT DISTINCT ON (id) * FROM {found} ORDER BY id, __loaded_at DESC"
    loaded = db.query(f"SELECT {sql} FROM ({newest}) AS newest WHERE {alive} AND {where}")

    def values(rows: list[Any]) -> list[Row]:
        reads = [READ.get(how, str) for how in columns.values()]
        return [tuple(None if cell is None else read(cell) for read, cell in zip(reads, row, strict=True)) for row in rows]

    assert differences(values(at_source), values(loaded), list(columns)) == []
    return len(loaded)


def table_of(tap: str, database: str, table: str) -> str:
    """The name that *table* gets: PipelineWise's tap puts the database in front."""
    return (f"{database}_{table}" if tap == PIPELINEWISE else table).lower()


def insert(kinds: dict[str, Any], which: int | None, key: str = "") -> str:
    """A row of the smallest, largest or other values (0, 1, 2), or of nulls."""
    values = ["NULL" if which is None else values[which] for _, _, *values in kinds.values()]
    values[0] = key or values[0]
    return f"INSERT INTO Kinds ({', '.join(f'`{name}`' for name in kinds)}) VALUES ({', '.join(values)});"


@TAPS
@METHODS
def test_what_is_in_the_tables_is_what_the_source_has(tap: str, method: str, source: Source, database: str, db: Any, folder: Path) -> None:
    """Four syncs with changes between them, into tables of three kinds: upserts, every version kept, deleted rows deleted."""
    kinds = {**KINDS, **(MORE if tap == PIPELINEWISE else {})}
    soft, every, hard = db.schema, f"{db.schema}_every", f"{db.schema}_hard"
    targets = {soft: {}, every: {"load_method": "append"}, hard: {"hard_delete": True, "activate_version": "hard"}}
    pipe = MySqlPipe(tap, method, source, database, db.url, folder, targets)
    columns = compared(kinds, tap)

    def synced(kept: str = "true") -> None:
        pipe.sync()
        for schema in targets:
            equal(source, database, "Kinds", db, f"{schema}.{table_of(tap, database, 'Kinds')}", columns, kept)
        ((stored,),) = db.query(f"SELECT count(*) FROM {every}.{table_of(tap, database, 'Kinds')}")
        assert stored == pipe.records

    source.run(f"CREATE TABLE Kinds ({', '.join(f'`{name}` {type_}' for name, (type_, *_) in kinds.items())})", database)
    source.run("".join(insert(kinds, which) for which in range(3)) + insert(kinds, None, "0"), database)
    source.run("".join(insert(kinds, 2, str(key)) for key in range(10, 20)), database)
    synced()
    source.run("UPDATE Kinds SET some = 'new', `BigU` = 5 WHERE `Id` IN (7, 10); DELETE FROM Kinds WHERE `Id` IN (13, 14);" + insert(kinds, 1, "14"), database)
    # A DELETE is never seen by a tap that asks for what is new.
    kept = "true" if method != "INCREMENTAL" else "id <> 13"
    synced(kept)
    source.run("ALTER TABLE Kinds ADD COLUMN `Added On` varchar(20), MODIFY medium decimal(12,3), MODIFY some text", database)
    columns["Added On"] = TEXT
    source.run("UPDATE Kinds SET `Added On` = 'ü', medium = 1.125, some = REPEAT('a', 60) WHERE `Id` IN (7, 15);" + insert(kinds, 0, "20"), database)
    synced(kept)
    synced(kept)
    deleted = db.query(f"SELECT 1 FROM {hard}.{table_of(tap, database, 'Kinds')} WHERE id = 13")
    assert deleted == ([(1,)] if method == "INCREMENTAL" else [])
    for schema in (every, hard):
        db.query(f"DROP SCHEMA {schema} CASCADE")
    print(f"{tap} {VERSIONS[tap]} | {method} | {pipe.syncs} | {pipe.records}")


# name: type, two values, and what taps make of them, by tap and method: the first, the second
ODD = {
    "flag": ("tinyint(1)", "2", "0"),
    "bits": ("bit(8)", "3", "0"),
    "single": ("float", "16777216", "0.1"),
    "some": ("varchar(9)", "'😀'", "'b'"),
    "at6": ("datetime(6)", "'2999-12-31 23:59:59.999999'", "NULL"),
    "day": ("date", "'0000-00-00'", "'2024-05-00'"),
    "stamp": ("timestamp NULL", "'0000-00-00'", "NULL"),
    "long": ("time", "'838:59:59'", "'-00:00:01'"),
}
EPOCH = "1970-01-01 00:00:00"
CHANGED = {
    (PIPELINEWISE, "FULL_TABLE"): {
        "single": ["16777200.0", "0.1"], "some": ["😀", "b"], "at6": ["2999-12-31 23:59:59.999999", None],
        "day": ["0000-00-00", "2024-05-00"], "stamp": [None, None], "long": ["34 days, 22:59:59", "-1 day, 23:59:59"],
    },
    (PIPELINEWISE, "LOG_BASED"): {
        "single": ["16777216.0", "0.10000000149011612"], "some": ["😀", "b"], "at6": ["2999-12-31 23:59:59.999999", None],
        "day": [None, None], "stamp": [EPOCH, None], "long": ["34 days, 22:59:59", "-1 day, 23:59:59"],
    },
    (SINGER_IO, "FULL_TABLE"): {
        "single": ["16777200.0", "0.1"], "some": ["?", "b"], "at6": ["3000-01-01 00:00:00", None],
        "day": [None, None], "stamp": [None, None], "long": ["1970-02-04 22:59:59", "1969-12-31 23:59:59"],
    },
    (SINGER_IO, "LOG_BASED"): {
        "single": ["16777216.0", "0.10000000149011612"], "some": ["😀", "b"], "at6": ["3000-01-01 00:00:00", None],
        "day": [None, None], "stamp": [EPOCH, None], "long": ["1970-02-04 22:59:59", "1970-01-01 00:00:01"],
    },
}
# A view that says what these taps cannot read as it is; the other columns of ODD are texts there.
READABLE = """CREATE VIEW Readable AS SELECT Id, flag + 0 AS flag, bits + 0 AS bits, single + 0e0 AS single, HEX(some) AS some, CAST(at6 AS CHAR) AS at6,
 CAST(day AS CHAR) AS day, CAST(stamp AS CHAR) AS stamp, CAST(`long` AS CHAR) AS `long`, CAST(written AS INT) AS written, CAST(sizes AS CHAR) AS sizes, HEX(picture) AS picture FROM Odd"""


@TAPS
def test_what_the_taps_change_and_a_view_does_not(tap: str, source: Source, database: str, db: Any, folder: Path) -> None:
    """It is changed before we see it; docs/taps.md tells of it. Types that the taps leave out are in the view, too."""
    source.run(f"CREATE TABLE Odd (Id int PRIMARY KEY, {', '.join(f'`{name}` {its[0]}' for name, its in ODD.items())}, written year, sizes set('s','m'), picture blob); {READABLE}", database)
    logged, full = f"{db.schema}_logged", db.schema
    stream = f"{database}-Odd" if tap == PIPELINEWISE else "Odd"
    settings = {"column_types": {f"{stream}.day": "string", f"{stream}.long": "string"}, "zero_dates": "null"} if tap == PIPELINEWISE else {}
    log = MySqlPipe(tap, "LOG_BASED", source, database, db.url, folder, {logged: settings})
    log.sync()
    for key in (1, 2):
        source.run(f"INSERT INTO Odd VALUES ({key}, {', '.join(its[key] for its in ODD.values())}, 1901, 's,m', x'00ff')", database)
    log.sync()
    table = MySqlPipe(tap, "FULL_TABLE", source, database, db.url, folder, {full: settings})
    table.read()
    if tap == PIPELINEWISE:
        long = {f"{stream}.long": "string"}
        assert f'setting column_types: "{stream}.long": "string" holds it' in table.refused(column_types={})
        assert "(setting zero_dates: null)" in table.refused(zero_dates="fail", column_types=long)
        assert f'setting column_types: "{stream}.day": "string" holds it' in table.refused(column_types=long)
    table.load()
    for method, schema in (("FULL_TABLE", full), ("LOG_BASED", logged)):
        expected = CHANGED[tap, method]
        texts = [f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')" if name in ("at6", "stamp") else f'"{name}"::text' for name in expected]
        found = db.query(f"SELECT flag, bits, {', '.join(texts)} FROM {schema}.{table_of(tap, database, 'Odd')} ORDER BY id")
        assert [row[:2] for row in found] == [(True, True), (False, False)]
        for number, row in enumerate(found):
            for (name, values), cell in zip(expected.items(), row[2:], strict=True):
                assert (cell or "").removesuffix(".000000").removesuffix("+00") == (values[number] or ""), (tap, method, name)
    columns = dict.fromkeys(["flag", "bits", "single", "some", "at6", "day", "stamp", "long", "written", "sizes", "picture"], TEXT)
    equal(source, database, "Readable", db, f"{full}.{table_of(tap, database, 'Readable')}", {"Id": NUMBER, **columns, **dict.fromkeys(["flag", "bits", "written"], NUMBER), "single": DOUBLE})
    db.query(f"DROP SCHEMA {logged} CASCADE")


@TAPS
def test_an_alter_names_what_was_logged_before_it(tap: str, source: Source, database: str, db: Any, folder: Path) -> None:
    """The log has no names of columns, and the taps take those of today; nor has it TRUNCATE as rows, and changed keys leave rows.

    A sync right before the ALTER is whole; after it, one that starts without a STATE.
    """
    source.run("CREATE TABLE T (Id int PRIMARY KEY, a varchar(9), b varchar(9)); INSERT INTO T VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2')", database)
    pipe = MySqlPipe(tap, "LOG_BASED", source, database, db.url, folder, {db.schema: {}})
    found, columns = f"{db.schema}.{table_of(tap, database, 'T')}", {"Id": NUMBER, "a": TEXT, "b": TEXT}
    pipe.sync()
    source.run("INSERT INTO T VALUES (3, 'a3', 'b3')", database)
    pipe.sync()
    assert equal(source, database, "T", db, found, columns) == 3
    source.run("INSERT INTO T VALUES (4, 'a4', 'b4'); ALTER TABLE T ADD COLUMN c varchar(9) AFTER Id, ADD COLUMN d varchar(9) DEFAULT 'd'; UPDATE T SET Id = 20 WHERE Id = 2", database)
    pipe.sync()
    assert db.query(f"SELECT id, c, a, b FROM {found} WHERE id IN (2, 4, 20) ORDER BY id") == [(2, None, "a2", "b2"), (4, "a4", "b4", None), (20, None, "a2", "b2")]
    assert db.query(f"SELECT id, d FROM {found} WHERE id IN (1, 20) ORDER BY id") == [(1, None), (20, "d")]  # only the second one is in the log
    columns |= {"c": TEXT, "d": TEXT}
    pipe.state.unlink()
    pipe.sync()
    assert equal(source, database, "T", db, found, columns) == 4
    source.run("TRUNCATE T; INSERT INTO T (Id) VALUES (9)", database)
    pipe.sync()
    assert db.query(f"SELECT count(*) FROM {found} WHERE __deleted_at IS NULL") == [(5,)]
    pipe.state.unlink()
    pipe.sync()
    assert equal(source, database, "T", db, found, columns) == 1


@TAPS
@METHODS
def test_a_flag_that_becomes_a_number(tap: str, method: str, source: Source, database: str, db: Any, folder: Path) -> None:
    """`tinyint(1)` is a boolean to the taps; an ALTER to int ends the run, until the column is told to be a text, which is what the taps sent."""
    if method != "LOG_BASED" and not LONG:
        pytest.skip("the long form: make taps")
    source.run("CREATE TABLE T (Id int PRIMARY KEY, flag tinyint(1), changed datetime(6) DEFAULT now(6) ON UPDATE now(6)); INSERT INTO T (Id, flag) VALUES (1, 1), (2, 0), (3, NULL)", database)
    pipe = MySqlPipe(tap, method, source, database, db.url, folder, {db.schema: {}})
    pipe.sync()
    source.run("ALTER TABLE T MODIFY flag int; INSERT INTO T (Id, flag) VALUES (4, 17); UPDATE T SET flag = 5 WHERE Id = 2", database)
    pipe.read()
    stream = f"{database}-T" if tap == PIPELINEWISE else "T"
    remedy = {f"{stream}.flag": "string"}
    assert f"with `column_types: {json.dumps(remedy)}` it becomes string" in pipe.refused()
    pipe.load(column_types=remedy)
    first = "true" if method == "LOG_BASED" else "1"  # INCREMENTAL sends the rows of the bookmark's own time again, FULL_TABLE all
    assert db.query(f"SELECT flag FROM {db.schema}.{table_of(tap, database, 'T')} ORDER BY id") == [(first,), ("5",), (None,), ("17",)]


def test_no_key_and_mixed_case(source: Source, database: str, db: Any, folder: Path) -> None:
    """Equal rows of a table without a key stay as many as there are, sync after sync; names that differ in case only need a name each."""
    source.run("CREATE TABLE Things (A int, `a B` varchar(9)); CREATE TABLE things LIKE Things", database)
    rows = ["(1, 'x'), (1, 'x'), (NULL, NULL)", "(1, 'x')", "(2, '')"]
    pipe = MySqlPipe(SINGER_IO, "FULL_TABLE", source, database, db.url, folder, {db.schema: {}})
    pipe.read()
    assert "setting table_names" in pipe.refused()
    for row in rows:
        source.run(f"INSERT INTO Things VALUES {row}; DELETE FROM Things WHERE A = 2; INSERT INTO things VALUES {row}", database)
        pipe.sync(table_names={"things": "things_too"})
        for table, name in (("Things", "things"), ("things", "things_too")):
            texts = source.texts(database, table, ["A", "`a B`"])
            assert sorted(texts, key=str) == sorted(db.query(f"SELECT a::text, a_b FROM {db.schema}.{name} WHERE __deleted_at IS NULL"), key=str)
