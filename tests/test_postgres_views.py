"""Views on a column whose type changes are afterwards as they were before, or nothing has changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from on_postgres import dialect, needs, role, run
from psycopg2.extensions import make_dsn

from target_meltano import TargetError, UpgradeError, load
from target_meltano.report import Report
from target_meltano.tables import Plan
from target_meltano.target import Target


def schema(n: str, **others: Any) -> dict[str, Any]:
    properties = {"id": {"type": "integer"}, "n": {"type": n}, "m": {"type": "integer"}, **others}
    return {"type": "SCHEMA", "stream": "t", "key_properties": ["id"], "schema": {"properties": properties}}


def record(**values: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": "t", "record": values}


@pytest.fixture
def table(db: Any) -> Any:
    """A database with a table t (id, n, m), n an integer, in the search path."""
    run(db, schema("integer"), record(id=1, n=1, m=1))
    db.query(f"SET search_path TO {db.schema}")
    return db


def upgrade(db: Any, **settings: Any) -> None:
    """Make n numeric, and load a value that shows it."""
    run(db, schema("number"), record(id=2, n=2.5, m=2), **settings)


VIEWS = """
SELECT c.relname, c.relkind, pg_get_viewdef(c.oid), c.reloptions, c.relispopulated, pg_get_userbyid(c.relowner),
  ARRAY(SELECT x.*::text FROM aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) x ORDER BY 1) AS grants,
  obj_description(c.oid, 'pg_class'),
  ARRAY(SELECT pg_get_indexdef(indexrelid) || indisclustered || COALESCE(obj_description(indexrelid, 'pg_class'), '')
    FROM pg_index WHERE indrelid = c.oid ORDER BY 1) AS indexes,
  ARRAY(SELECT concat_ws(' ', attname, attacl::text, col_description(attrelid, attnum), NULLIF(attstattarget, -1))
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 ORDER BY attnum) AS columns
FROM pg_class c WHERE c.relkind IN ('v', 'm') AND c.relnamespace = %s::regnamespace ORDER BY 1
"""


def views(db: Any) -> list[Any]:
    """Return the views as they are, but for the casts that their expressions need for the new type."""
    found = db.query(VIEWS, (db.schema,))
    return [re.sub(r"\((\d+)\)::numeric", r"\1", repr(row)) for row in found]


@pytest.fixture
def reader(db: Any) -> Iterator[str]:
    with role(db) as (name, _):
        yield name


SURVIVORS = {
    "view": "CREATE VIEW v AS SELECT n, m FROM t",
    "where": "CREATE VIEW v AS SELECT m FROM t WHERE n > 0",
    "odd names": 'CREATE VIEW "V 100%% ""x""" AS SELECT n AS "ä :b" FROM t',
    "options": "CREATE VIEW v WITH (security_barrier) AS SELECT id, n FROM t WHERE n > 0 WITH LOCAL CHECK OPTION",
    "on views": """
        CREATE VIEW a AS SELECT n FROM t; CREATE VIEW c AS SELECT n + 1 AS n FROM a;
        CREATE VIEW b AS SELECT c.n, a.n AS o, t.m FROM c, a, t; CREATE MATERIALIZED VIEW d AS SELECT * FROM b""",
    "materialized": """
        CREATE MATERIALIZED VIEW v WITH (fillfactor = 70, autovacuum_enabled = false) AS SELECT id, n FROM t;
        CREATE UNIQUE INDEX ON v (id); CREATE INDEX partial ON v ((n + 1)) WHERE n > 0;
        ALTER MATERIALIZED VIEW v CLUSTER ON v_id_idx; COMMENT ON INDEX partial IS 'it''s partial';
        ALTER MATERIALIZED VIEW v ALTER n SET STATISTICS 7; COMMENT ON MATERIALIZED VIEW v IS 'kept'""",
    "not populated": "CREATE MATERIALIZED VIEW v AS SELECT n FROM t WITH NO DATA",
    "comments": "CREATE VIEW v AS SELECT n FROM t; COMMENT ON VIEW v IS '100%% \\'; COMMENT ON COLUMN v.n IS 'it''s'",
    "grants": """
        CREATE VIEW v AS SELECT n, m FROM t; GRANT SELECT, INSERT ON v TO {reader} WITH GRANT OPTION;
        GRANT UPDATE ON v TO {reader}; GRANT SELECT ON v TO PUBLIC; REVOKE TRUNCATE ON v FROM CURRENT_USER""",
    "column grants": "CREATE VIEW v AS SELECT n, m FROM t; GRANT SELECT (n), UPDATE (n, m) ON v TO {reader}",
    "only defaults": "CREATE VIEW v AS SELECT n FROM t; ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT ALL ON TABLES TO {reader}",
}


@pytest.mark.parametrize("make", SURVIVORS.values(), ids=SURVIVORS)
def test_views_survive(table: Any, reader: str, make: str) -> None:
    table.query(make.format(reader=reader, schema=table.schema).replace("%%", "%"))
    before = views(table)
    upgrade(table)
    assert views(table) == before
    assert len(before) >= 1


def test_views_have_the_new_type(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT n FROM t; CREATE MATERIALIZED VIEW m AS SELECT n FROM v")
    upgrade(table)
    assert table.query("SELECT n, pg_typeof(n)::text FROM v ORDER BY 1") == [(1, "numeric"), (2.5, "numeric")]
    assert table.query("SELECT n, pg_typeof(n)::text FROM m") == [(1, "numeric")]


def test_a_view_on_other_columns_is_not_touched(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT m FROM t")
    before = table.query("SELECT 'v'::regclass::oid")
    upgrade(table)
    assert table.query("SELECT 'v'::regclass::oid") == before


def test_several_columns_drop_a_view_once(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT n, m FROM t")
    before = views(table)
    result = run(table, schema("number", m={"type": "string"}), record(id=2, n=2.5, m="x"))
    ddl = result.summary["streams"]["t"]["ddl"]
    assert [statement.split()[0] for statement in ddl] == ["DROP", "ALTER", "ALTER", "CREATE", "--", "--"]
    assert views(table) == before


def test_plan_shows_and_does_nothing(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT n FROM t")
    before, shown = table.query("SELECT 'v'::regclass::oid"), []
    Target(dialect(table), print, Report(quiet=True), plan=Plan(shown.append)).run([schema("number")])
    assert [statement.split()[0] for statement in shown] == ["DROP", "ALTER", "CREATE"]
    assert table.query("SELECT 'v'::regclass::oid") == before


def test_views_survive_within_an_open_transaction(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT n FROM t")
    state = {"type": "STATE", "value": 1}
    lines = [schema("integer"), record(id=2, n=2, m=2), schema("number"), record(id=3, n=3.5, m=3), state]
    run(table, *lines, state_id="x")
    assert table.query("SELECT n FROM v ORDER BY 1") == [(1,), (2,), (3.5,)]


# --- views of others


@pytest.fixture
def dbt(table: Any) -> Iterator[tuple[Any, str, str]]:
    """The database, with t owned by a role that loads, and a view v on it owned by another one, in a schema of its own."""
    marts = f"test_{secrets.token_hex(4)}"
    with role(table) as (dbt, _), role(table) as (loader, _):
        table.query(
            f"""
            ALTER SCHEMA {table.schema} OWNER TO {loader}; ALTER TABLE t OWNER TO {loader};
            ALTER TABLE __loads OWNER TO {loader}; GRANT USAGE ON SCHEMA {table.schema} TO {dbt};
            GRANT SELECT ON t TO {dbt}; CREATE SCHEMA {marts} AUTHORIZATION {dbt}; SET ROLE {dbt};
            CREATE MATERIALIZED VIEW {marts}.v AS SELECT n FROM t; CREATE INDEX ON {marts}.v (n);
            GRANT SELECT ON {marts}.v TO PUBLIC; RESET ROLE; REVOKE CREATE ON SCHEMA {marts} FROM {dbt}
            """
        )
        try:
            yield table, dbt, loader
        finally:
            table.query(f"DROP SCHEMA IF EXISTS {marts} CASCADE; DROP SCHEMA {table.schema} CASCADE")


def upgrade_as(db: Any, user: str) -> None:
    url = make_dsn(db.url, user=user, password="secret")
    load(dialect(db, url), [schema("number"), record(id=2, n=2.5, m=2)])


def test_views_of_others_need_grants_and_survive_with_them(dbt: tuple[Any, str, str]) -> None:
    """The error names each GRANT that is missing; with these, all of it is as it was, and still theirs."""
    db, owner, loader = dbt
    marts = db.query(f"SELECT nspname FROM pg_namespace WHERE nspowner = '{owner}'::regrole")[0][0]
    before = db.query(VIEWS, (marts,))
    with pytest.raises(UpgradeError) as refused:
        upgrade_as(db, loader)
    wanted = [f'GRANT "{owner}" TO "{loader}"', f'GRANT CREATE ON SCHEMA "{marts}" TO "{owner}"']
    assert f'materialized view "{marts}"."v" (to have it made again, run: {"; ".join(wanted)})' in str(refused.value)
    assert db.query(VIEWS, (marts,)) == before
    db.query("; ".join(wanted))
    upgrade_as(db, loader)
    assert db.query(VIEWS, (marts,)) == before
    assert db.query(f"SELECT n FROM {marts}.v") == [(1,)]


def test_the_role_of_the_session_is_ours_again(dbt: tuple[Any, str, str]) -> None:
    """What is made after the views belongs to us."""
    db, owner, loader = dbt
    marts = db.query(f"SELECT nspname FROM pg_namespace WHERE nspowner = '{owner}'::regrole")[0][0]
    db.query(f"GRANT {owner} TO {loader}; GRANT CREATE ON SCHEMA {marts} TO {owner}")
    url = make_dsn(db.url, user=loader, password="secret")
    load(dialect(db, url), [schema("number"), {**schema("number"), "stream": "u"}])
    assert db.query("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'u'::regclass") == [(loader,)]


# --- what is in the way


OBSTACLES = {
    "function": ("CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT n FROM t; END", "function {schema}.f()"),
    "function on a view": (
        "CREATE VIEW v AS SELECT n FROM t; CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT n FROM v; END",
        "function {schema}.f()",
    ),
    "function of a row": (
        "CREATE VIEW v AS SELECT n FROM t; CREATE FUNCTION f(v) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function {schema}.f({schema}.v)",
    ),
    "policy": ("CREATE POLICY p ON t USING (n > 0)", "policy p on table {schema}.t"),
    "generated column": (
        "ALTER TABLE t ADD twice bigint GENERATED ALWAYS AS (n * 2) STORED",
        "default value for column twice of table {schema}.t",
    ),
    "rule": ("CREATE RULE r AS ON UPDATE TO t WHERE NEW.n > 9 DO INSTEAD NOTHING", "rule r on table {schema}.t"),
    "trigger": (
        "CREATE TRIGGER g BEFORE UPDATE OF n ON t EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "trigger g on table {schema}.t",
    ),
    "trigger on a view": (
        """CREATE VIEW v AS SELECT n FROM t; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE TRIGGER g INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION f()""",
        "trigger g on view {schema}.v",
    ),
    "rule on a view": (
        "CREATE VIEW v AS SELECT n FROM t; CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING",
        "rule r on view {schema}.v",
    ),
    "default of a view": (
        "CREATE VIEW v AS SELECT n FROM t; ALTER VIEW v ALTER n SET DEFAULT 5",
        "default value for column n of view {schema}.v",
    ),
    "statistics": (
        "CREATE MATERIALIZED VIEW v AS SELECT n, m FROM t; CREATE STATISTICS s ON n, m FROM v",
        "statistics object {schema}.s",
    ),
    "temporary view": ("CREATE TEMPORARY VIEW v AS SELECT n FROM t", "temporary view"),
}


@pytest.mark.parametrize(("make", "named"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_is_in_the_way_is_named(table: Any, make: str, named: str) -> None:
    """Before anything is changed; the views stay the same ones."""
    if "ATOMIC" in make:
        needs(table, 14, "functions with bodies that PostgreSQL knows")
    table.query(make)
    before = table.query("SELECT oid FROM pg_class WHERE relnamespace = %s::regnamespace", (table.schema,))
    with pytest.raises(UpgradeError) as refused:
        upgrade(table)
    assert named.format(schema=table.schema) in str(refused.value)
    assert "column 'n' cannot change from bigint to number while" in str(refused.value)
    assert table.query("SELECT oid FROM pg_class WHERE relnamespace = %s::regnamespace", (table.schema,)) == before
    assert table.query("SELECT n, pg_typeof(n)::text FROM t") == [(1, "bigint")]


def test_constraints_and_indexes_are_not_in_the_way(table: Any) -> None:
    table.query("ALTER TABLE t ADD CHECK (n < 9); CREATE INDEX ON t (n); CREATE STATISTICS s ON n, m FROM t")
    upgrade(table)
    assert table.query("SELECT n FROM t ORDER BY id") == [(1,), (2.5,)]


def test_a_view_that_cannot_be_made_with_the_new_type_stays(table: Any) -> None:
    """All is rolled back, and the error shows the statement that was refused."""
    table.query("CREATE VIEW a AS SELECT m FROM t WHERE n > 0; CREATE VIEW v AS SELECT n & 1 AS odd FROM t")
    before = views(table)
    with pytest.raises(TargetError, match=r'operator does not exist: numeric & bigint; No operator matches .*, in: CREATE VIEW "\w+"."v" AS SELECT'):
        upgrade(table)
    assert views(table) == before
    assert table.query("SELECT pg_typeof(n)::text FROM t") == [("bigint",)]


def test_a_large_table_is_refused_with_all_that_is_to_be_run(table: Any) -> None:
    table.query("CREATE VIEW v AS SELECT n FROM t")
    with pytest.raises(UpgradeError, match=r"max_rewrite_rows.*DROP VIEW .*; ALTER TABLE .*; CREATE VIEW ") as refused:
        upgrade(table, max_rewrite_rows=0)
    by_hand = str(refused.value).split("when that suits: ")[1]
    table.query(by_hand)
    upgrade(table, max_rewrite_rows=0)
    assert table.query("SELECT n FROM v ORDER BY 1") == [(1,), (2.5,)]
