"""In every form a PostgreSQL is the same: the suite of all dialects passes, and odd values arrive equal."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import odd_days
import psycopg2.extras
import pytest
from forms import FORMS, looking
from on_postgres import Watched, database, role
from psycopg2.extensions import make_dsn
from test_beside_others import blocks
from test_conformance import _plain, exact

from target_meltano import DatabaseError, Dialect, Result, TargetError, load, make
from target_meltano.testing import Conformance
from target_meltano_postgres import PostgresDialect, PostgresSettings


@pytest.fixture(scope="module")
def admin(postgres_url: str) -> Iterator[Watched]:
    with looking(postgres_url) as connection:
        yield Watched(postgres_url, connection)


# The suite in one form is enough for every day; `make test-postgres-versions` has it in all, on all versions.
OF_SUITE = FORMS if os.environ.get("EVERY_POSTGRES") else ["no superuser"]


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest, admin: Watched) -> Iterator[Watched]:
    with FORMS[request.param](admin) as made:
        yield made


@pytest.fixture(scope="module", params=OF_SUITE)
def form_of_suite(request: pytest.FixtureRequest, admin: Watched) -> Iterator[Watched]:
    with FORMS[request.param](admin) as made:
        psycopg2.extras.register_default_jsonb(made.connection, loads=exact)
        yield made


def remedied(form: Watched, act: Callable[[], Result]) -> Result:
    """What row-level security forbids is refused before the first row; its remedy, done as it is told, lets it."""
    try:
        return act()
    except TargetError as refusal:
        remedy = re.search(r'ALTER ROLE "?(\w+)"? BYPASSRLS', str(refusal))
        if not remedy:
            raise
        form.query(remedy[0])
        try:
            return act()
        finally:
            form.query(f"ALTER ROLE {remedy[1]} NOBYPASSRLS")


class TestForms(Conformance):
    @pytest.fixture(autouse=True)
    def _schema(self, form_of_suite: Watched) -> Iterator[None]:
        self.form, self.schema = form_of_suite, f"test_{secrets.token_hex(4)}"
        yield
        self.form.query(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")

    def load(self, *messages: Any, **settings: Any) -> Result:
        return remedied(self.form, lambda: super(TestForms, self).load(*messages, **settings))

    def make_dialect(self, **settings: Any) -> Dialect[Any]:
        return PostgresDialect(make(PostgresSettings, url=self.form.url, schema=self.schema, **settings))

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.form.connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{self.schema}"."{table}"')
            names = [column.name for column in cursor.description]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor]


# --- odd values for three days, by every way, and by a role that may do no more than it has to


@pytest.fixture
def name(form: Watched) -> Iterator[str]:
    made = f"test_{secrets.token_hex(4)}"
    yield made
    form.query(f"DROP SCHEMA IF EXISTS {made} CASCADE")


def target(url: str, name: str, **settings: Any) -> PostgresDialect:
    return PostgresDialect(make(PostgresSettings, url=url, schema=name, **settings))


def test_three_days_of_odd_values(form: Watched, name: str) -> None:
    def run(lines: Any, **settings: Any) -> Result:
        return remedied(form, lambda: load(target(form.url, name, **settings), lines))

    odd_days.three_days(run, partial(target, form.url, name), form.query, name)
    odd_days.overwrites(run, partial(target, form.url, name), form.query, name)


def run_at(url: str, lines: Any, **settings: Any) -> Result:
    return load(target(url, "shop", **settings), lines)


@pytest.mark.parametrize("is_secured", [False, True], ids=["rights on rows only", "rights on rows only, forced row security"])
def test_rights_on_rows_are_enough_for_three_days(admin: Watched, is_secured: bool) -> None:
    """Its tables are another's, who has made them by the same three days; their columns are as wide as they will be."""
    with database(admin) as url, looking(url) as connection, role(admin) as (loader, _):
        owner = Watched(url, connection)
        odd_days.three_days(partial(run_at, url), partial(target, url, "shop"), owner.query, "shop")
        for (table,) in owner.query("SELECT tablename FROM pg_tables WHERE schemaname = 'shop'"):
            owner.query(f"TRUNCATE shop.{table}")
            if is_secured and not table.startswith("__"):
                owner.query(f"ALTER TABLE shop.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY everything ON shop.{table} USING (true)")
        owner.query(f"REVOKE ALL ON DATABASE {connection.info.dbname} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        owner.query(re.sub(r"\bloader\b", loader, blocks()["rows"]).replace("warehouse", connection.info.dbname))
        theirs = make_dsn(url, user=loader, password="secret")
        try:
            odd_days.three_days(partial(run_at, theirs, narrowing="keep"), partial(target, theirs, "shop"), owner.query, "shop")
            with pytest.raises(DatabaseError, match="GRANT CREATE ON SCHEMA"):
                run_at(theirs, odd_days.THIRD, load_method="overwrite")
        finally:
            owner.query(f"DROP SCHEMA shop CASCADE; DROP OWNED BY {loader}")
