"""Tables with every type that users have, the changes made to them between syncs, and how their values are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postgres_source import Source

TYPES = "CREATE TYPE mood AS ENUM ('sad', 'happy', 'so-so'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN positive AS int CHECK (VALUE > 0)"
BIG = "repeat(md5('x') || chr(8364), 9000)"  # 300 kB: out of line, so that an UPDATE of others does not log it


@dataclass(frozen=True)
class Column:
    """A column of the wide table: its *type*, and the values of its rows as SQL; rows beyond them have null."""

    name: str
    type: str
    values: tuple[str, ...]


def _texts(*values: str) -> tuple[str, ...]:
    return tuple("'{}'".format(value.replace("'", "''")) for value in values)


COLUMNS = (
    Column("small", "smallint", ("-32768", "32767", "0")),
    Column("whole", "integer", ("-2147483648", "2147483647", "0")),
    Column("large", "bigint", ("-9223372036854775808", "9223372036854775807", "9007199254740993")),
    Column("exact", "numeric(12,4)", ("12345678.1234", "-0.0001", "1.5000")),
    Column("count", "numeric(15,0)", ("999999999999999", "-1", "0")),
    Column("free", "numeric", ("0.1", "123456.789", "-1e-10")),
    Column("single", "real", ("0.1", "3.4028235e38", "1e-45")),
    Column("double", "double precision", ("0.1", "1.7976931348623157e308", "5e-324")),
    Column("flag", "boolean", ("true", "false", "true")),
    Column("words", "text", _texts("é\t\"'\\ 😀\n\u2028\x01 \ufeff", "", "null")),
    Column("short", "varchar(20)", _texts("abc  ", "ÄÖÜ", "NULL")),
    Column("padded", "char(5)", _texts("ab", "", "abcde")),
    Column("folded", "citext", _texts("MiXed", "mixed", "")),
    Column("big", "text", (BIG, BIG, "'small'")),
    Column("guid", "uuid", _texts("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000")),
    Column("raw", "bytea", _texts(r"\x00ff10", r"\x", r"\xdeadbeef")),
    Column("day", "date", _texts("2024-02-29", "0001-01-01", "9999-12-31")),
    Column("clock", "time", _texts("09:05:00.123456", "23:59:59.999999", "00:00")),
    Column("clock_there", "timetz", _texts("09:05:00+02", "23:59:59+00", "00:00:00-08")),
    Column("naive", "timestamp", _texts("2024-02-29 09:05:00.123456", "0001-01-01 00:00:00", "9999-12-31 23:59:59.998")),
    Column("moment", "timestamptz", _texts("2024-02-29 09:05:00.123456+02", "1900-01-01 00:00:00+00", "9999-12-31 23:59:59.998+00")),
    Column("span", "interval", _texts("1 day 02:03:04.5", "1 year 2 mons", "-3 hours")),
    Column("doc", "json", _texts('{"a": 1.5, "b": [1, null, "é"], "c": {"d": true}}', "[1, [2], {}]", "{}")),
    Column("docb", "jsonb", _texts('{"a": 1.5, "b": [1, null, "é"], "c": {"d": true}}', "[1, [2], {}]", "{}")),
    Column("wholes", "integer[]", _texts("{1,NULL,3}", "{}", "{{1,2},{3,4}}")),
    Column("larges", "bigint[]", _texts("{9223372036854775807}", "{-1}")),
    Column("texts", "text[]", _texts(r'{a,"b c",NULL,"q\"x","{}",é}', "{}", "{NULL}")),
    Column("exacts", "numeric(12,4)[]", _texts("{1.5,2.25}")),
    Column("doubles", "double precision[]", _texts("{0.1,1e300}")),
    Column("flags", "boolean[]", _texts("{t,f,NULL}")),
    Column("guids", "uuid[]", _texts("{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}")),
    Column("moods", "mood[]", _texts("{sad,so-so}")),
    Column("feeling", "mood", _texts("happy", "so-so", "sad")),
    Column("price", "money", _texts("$1,234.56", "-$0.01", "$92,233,720,368,547,758.07")),
    Column("address", "inet", _texts("10.0.0.1/8", "::1")),
    Column("network", "cidr", _texts("10.0.0.0/8")),
    Column("card", "macaddr", _texts("08:00:2b:01:02:03")),
    Column("bit", "bit(1)", _texts("1", "0")),
    Column("bits", "bit(8)", _texts("10101010")),
    Column("varbits", "bit varying(9)", _texts("101", "")),
    Column("map", "hstore", _texts('a=>1,b=>NULL,"c d"=>"é"', "")),
    Column("place", "point", _texts("(1,2.5)")),
    Column("bounds", "int4range", _texts("[1,5)", "empty")),
    Column("markup", "xml", _texts("<a>1</a>")),
    Column("both", "pair", _texts('(1,"x, y")')),
    Column("limited", "positive", ("5",)),
    Column("object_id", "oid", ("12",)),
    Column("Mixed Case", "integer", ("1", "2")),
    Column("select", "text", _texts("a reserved word")),
)
ROWS = 4  # the last one has nothing but nulls

CREATE = f"""
    {TYPES};
    CREATE TABLE wide (id integer PRIMARY KEY, updated timestamptz NOT NULL, {", ".join(f'"{column.name}" {column.type}' for column in COLUMNS)});
    CREATE TABLE orders (region text, number bigint, updated timestamptz NOT NULL, total numeric(12,2), lines jsonb, PRIMARY KEY (region, number));
    CREATE TABLE "Odd,Name" ("Key Of" text, id uuid, updated timestamptz NOT NULL, "Größe" real, "from" date, PRIMARY KEY ("Key Of", id))"""
KEYS = {"wide": ("id",), "orders": ("region", "number"), "Odd,Name": ("Key Of", "id")}
ORDERS = 2000


def inserted(first_id: int, moment: str) -> str:
    """Return the INSERT of one row per value, with ids from *first_id* on."""
    rows = [[column.values[at] if at < len(column.values) else "NULL" for column in COLUMNS] for at in range(ROWS)]
    values = ", ".join(f"({first_id + at}, '{moment}', {', '.join(row)})" for at, row in enumerate(rows))
    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    return f'INSERT INTO wide (id, updated, {names}) SELECT id, updated::timestamptz, {_cast()} FROM (VALUES {values}) v (id, updated, {names})'


def _cast() -> str:
    return ", ".join(f'"{column.name}"::text::{column.type}' for column in COLUMNS)


def ordered(first: int, last: int, moment: str) -> str:
    return f"""INSERT INTO orders SELECT CASE n % 3 WHEN 0 THEN 'Nord' WHEN 1 THEN 'Süd, "West"' ELSE '' END, n, '{moment}', n * 1.07,
        jsonb_build_array(jsonb_build_object('sku', md5(n::text), 'n', n)) FROM generate_series({first}, {last}) n"""


def named(first: int, last: int, moment: str) -> str:
    return f"""INSERT INTO "Odd,Name" SELECT chr(64 + n), md5(n::text)::uuid, '{moment}', n / 3.0, date '2024-01-01' + n FROM generate_series({first}, {last}) n"""


# What happens at the source before each sync; a TRUNCATE is in none, since no tap sends it.
CHANGES = (
    (CREATE, inserted(1, "2024-01-01"), ordered(1, ORDERS, "2024-01-01"), named(1, 10, "2024-01-01")),
    (
        inserted(11, "2024-01-02"),
        """UPDATE wide SET updated = '2024-01-02', words = 'new', large = 5, docb = '{"b": 2}', texts = NULL, moment = '2030-01-01' WHERE id IN (1, 4)""",
        'DELETE FROM wide WHERE id = 3',
        """UPDATE orders SET updated = '2024-01-02', total = total + 0.01 WHERE number % 7 = 0""",
        "DELETE FROM orders WHERE number % 10 = 3",
        ordered(ORDERS + 1, ORDERS + 500, "2024-01-02"),
        named(11, 15, "2024-01-02"),
        'DELETE FROM "Odd,Name" WHERE "Key Of" = \'C\'',
    ),
    (
        'ALTER TABLE wide ADD COLUMN added jsonb, ADD COLUMN "added too" numeric(5,1)',
        'ALTER TABLE wide ALTER COLUMN small TYPE bigint, ALTER COLUMN whole TYPE numeric(20,2), ALTER COLUMN short TYPE text, ALTER COLUMN exact TYPE numeric(20,8)',
        inserted(21, "2024-01-03"),
        """UPDATE wide SET updated = '2024-01-03', added = '[1]', small = 9223372036854775807, whole = 0.25, short = repeat('x', 50), exact = 0.12345678 WHERE id IN (2, 21)""",
        "DELETE FROM orders WHERE number <= 100",
        ordered(50, 60, "2024-01-03"),  # rows that had been deleted come again
    ),
    (
        """UPDATE wide SET updated = '2024-01-04', big = 'no longer big' WHERE id = 1""",
        'DELETE FROM wide WHERE id BETWEEN 11 AND 13',
        """UPDATE "Odd,Name" SET updated = '2024-01-04', "Größe" = NULL WHERE "Key Of" < 'D'""",
        """UPDATE orders SET updated = '2024-01-04', lines = NULL WHERE number > 2400""",
        ordered(3000, 3005, "2024-01-04"),
        "DELETE FROM orders WHERE number = 3005",  # came and went between two syncs
    ),
)

# Every row that a table has ever had.
HISTORY = """
    CREATE SCHEMA log;
    CREATE FUNCTION log.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      EXECUTE format('INSERT INTO log.%I SELECT ($1).*', TG_TABLE_NAME) USING NEW; RETURN NEW; END $$;"""
NOTED = """
    CREATE TABLE log.{0} (LIKE {0});
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION log.note();"""


def change(shop: Source, statements: Sequence[str]) -> None:
    """Let it happen at the source, and keep each row that comes of it in the schema `log`."""
    for sql in statements:
        shop.query(sql)
        if sql == CREATE:
            shop.query(HISTORY + "".join(NOTED.format(f'"{table}"') for table in KEYS))
        elif sql.startswith("ALTER TABLE "):
            shop.query(sql.replace("TABLE ", "TABLE log.", 1))
