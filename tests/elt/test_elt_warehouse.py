"""What dbt connects by: the settings of the target, spelt as libpq and Snowflake's profile have them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from target_meltano.elt import warehouse
from target_meltano.elt.errors import ProjectError
from target_meltano.elt.project import Project, Transform, Warehouse


def variables(type_: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], **environment: str) -> dict[str, str]:
    """Return the variables that are ours: those of PostgreSQL, Snowflake and dbt."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    made = Project(Path(), "dev", Warehouse(type_, ("x",), settings), {}, Transform(Path(), ""))
    found = warehouse.variables(made, settings)
    return {name: value for name, value in found.items() if name.startswith(("PG", "SNOWFLAKE", "DBT"))}


@pytest.mark.parametrize(
    ("settings", "environment", "wanted"),
    [
        ({"url": "postgresql://u:p%40w@h:1/d?sslmode=require"}, {}, {"PGHOST": "h", "PGPORT": "1", "PGUSER": "u", "PGPASSWORD": "p@w", "PGDATABASE": "d", "PGSSLMODE": "require"}),
        ({"host": "h", "username": "u", "database": "d", "port": 7}, {}, {"PGHOST": "h", "PGPORT": "7", "PGUSER": "u", "PGDATABASE": "d"}),
        ({"host": "h"}, {"PGUSER": "e", "PGPASSWORD": "x"}, {"PGHOST": "h", "PGPORT": "5432", "PGUSER": "e", "PGPASSWORD": "x", "PGDATABASE": "e"}),
        ({}, {"PGHOST": "h"}, {"PGHOST": "h", "PGPORT": "5432", "PGUSER": "me", "PGDATABASE": "me"}),
        ({}, {"TARGET_MELTANO_POSTGRES_URL": "postgresql://u@h/d"}, {"PGHOST": "h", "PGPORT": "5432", "PGUSER": "u", "PGDATABASE": "d"}),
        ({"host": "h"}, {"TARGET_MELTANO_POSTGRES_HOST": "no", "TARGET_MELTANO_POSTGRES_USER": "u"}, {"PGHOST": "h", "PGPORT": "5432", "PGUSER": "u", "PGDATABASE": "u"}),
        ({"url": "host=h port=7 user=u password='p\\'w x' dbname=d sslmode = require"}, {}, {"PGHOST": "h", "PGPORT": "7", "PGUSER": "u", "PGPASSWORD": "p'w x", "PGDATABASE": "d", "PGSSLMODE": "require"}),
        ({"url": "postgresql://u:p@/d?host=/run/pg&options=-csearch_path%3Da&keepalives_idle=9&application_name=x"}, {}, {"PGHOST": "/run/pg", "PGPORT": "5432", "PGUSER": "u", "PGPASSWORD": "p", "PGDATABASE": "d", "PGOPTIONS": "-csearch_path=a"}),
        ({"url": "postgresql://u@h1:6,h2:6/d?target_session_attrs=read-write"}, {}, {"PGHOST": "h1,h2", "PGPORT": "6", "PGUSER": "u", "PGDATABASE": "d", "PGTARGETSESSIONATTRS": "read-write"}),
        ({"url": "postgresql://u@h1,h2/d"}, {}, {"PGHOST": "h1,h2", "PGPORT": "5432", "PGUSER": "u", "PGDATABASE": "d"}),
        ({"url": "hostaddr=10.0.0.1 user=u dbname=d"}, {}, {"PGHOST": "", "PGHOSTADDR": "10.0.0.1", "PGPORT": "5432", "PGUSER": "u", "PGDATABASE": "d"}),
        ({"url": "postgresql:///d"}, {}, {"PGHOST": "", "PGPORT": "5432", "PGUSER": "me", "PGDATABASE": "d"}),
    ],
    ids=["url", "parts", "libpq's", "libpq's alone", "the target's", "the file first", "pairs", "a socket", "hosts", "hosts, no port", "an address", "no host"],
)
def test_postgres(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], environment: dict[str, str], wanted: dict[str, str]) -> None:
    found = variables("postgres", monkeypatch, settings, **environment)
    assert {name: value for name, value in found.items() if name.startswith("PG")} == wanted
    assert (found["DBT_TARGET"], found["DBT_SCHEMA"], found["DBT_SEND_ANONYMOUS_USAGE_STATS"]) == ("postgres", "analytics", "False")


def test_nothing_leads_from_the_embedded_server_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"PGHOST": "no", "PGSSLMODE": "require", "PGSERVICE": "no", "TARGET_MELTANO_POSTGRES_HOST": "no"}
    found = variables("embedded", monkeypatch, {"url": "postgresql://u:p@h:1/d"}, **elsewhere)
    assert {name for name in found if name.startswith("PG")} == {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}
    assert found["PGHOST"] == "h"


def test_snowflake(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"account": "a", "username": "u", "private_key_path": "k.pem", "dbname": "d"}
    found = variables("snowflake", monkeypatch, given, TARGET_MELTANO_SNOWFLAKE_ROLE="r")
    wanted = {"ACCOUNT": "a", "USER": "u", "PRIVATE_KEY_FILE": "k.pem", "DATABASE": "d", "ROLE": "r"}
    assert {name.removeprefix("SNOWFLAKE_"): value for name, value in found.items() if name.startswith("SNOW")} == wanted
    assert found["DBT_TARGET"] == "snowflake"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nothing says where the database is"),
        ({"url": "postgresql://h:x/d"}, "wanted postgresql://"),
        ({"url": "postgresql://u:p@w@h/d"}, "%40 for @"),
        ({"url": "wh"}, "wanted postgresql://"),
        ({"url": "host=h password='x"}, "wanted postgresql://"),
        ({"url": "service=wh"}, "cannot connect by a service of pg_service.conf"),
        ({"url": "host=h sslpassword=x"}, "dbt cannot connect by sslpassword; take it away"),
        ({"url": "postgresql://h1:1,h2:2/d"}, "one for each: 1,2; let them be the same"),
    ],
)
def test_what_does_not_say_where_is_told(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        variables("postgres", monkeypatch, settings)


def test_a_service_of_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt would connect to localhost; where all is said, it counts for neither of them."""
    with pytest.raises(ProjectError, match="service"):
        variables("postgres", monkeypatch, {"dbname": "d"}, PGSERVICE="s")
    assert variables("postgres", monkeypatch, {"url": "postgresql://u@h/d"}, PGSERVICE="s")["PGHOST"] == "h"


def test_secrets_that_are_long_keep_no_program_from_starting() -> None:
    """Those that are shorter are hidden first, as the lines of a key are."""
    long = [f"{number} ' {'x' * 90_000}" for number in range(20)]
    made = warehouse._scrubbed(["hunter2!", "line one\nline two", *long])
    assert {"hunter2!", "line one", "line two"} <= set(made.values())
    assert set(long) & set(made.values())
    assert subprocess.run(["true"], env={**os.environ, **made}, check=False).returncode == 0
