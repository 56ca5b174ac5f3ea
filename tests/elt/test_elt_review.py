"""Reviews as a user has them: made from a project, loaded into, dropped; production stays as it is."""

from __future__ import annotations

import fcntl
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from elt_project import TARGET, TestProject
from on_snowflake import Snowflake
from psycopg2.extensions import make_dsn, parse_dsn

from target_meltano.elt import reviewed, warehouse
from target_meltano.elt.errors import ProjectError
from target_meltano.elt.project import Project, Tap, Transform, Warehouse

PLAIN = {"plain": ["*"]}


@pytest.fixture
def own(postgres_url: str, tmp_path: Path) -> Iterator[TestProject]:
    """A project in a database of its own, which has nobody else in it; its reviews go with it."""
    admin = psycopg2.connect(postgres_url)
    admin.autocommit = True
    name = f"own_{secrets.token_hex(4)}"
    parts = parse_dsn(postgres_url)
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield TestProject(tmp_path, f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{name}", name, admin)
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,))
        for (one,) in cursor.fetchall():
            cursor.execute(f'DROP DATABASE "{one}" WITH (FORCE)')
    admin.close()


def ask(project: TestProject, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of a query in the project's database, or another one, with no session left."""
    connection = psycopg2.connect(make_dsn(project.url, **({"dbname": database} if database else {})))
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def done(project: TestProject, *arguments: str, **variables: str) -> str:
    """Run a command that must not fail, and return what it told."""
    ended = project.run(*arguments, **variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def said(project: TestProject) -> dict[str, str]:
    """Return the variables of review.env."""
    return dict(line.split("=", 1) for line in (project.folder / "review.env").read_text().splitlines())


def ids(project: TestProject, database: str | None = None) -> list[int]:
    return [id_ for (id_,) in ask(project, f"SELECT id FROM {project.schema()}.events ORDER BY id", database)]


def bookmarks(project: TestProject, database: str | None = None) -> list[Any]:
    return [json.loads(state) for (state,) in ask(project, f"SELECT state::text FROM {project.schema()}.__state", database)]


def test_a_load_in_a_review_moves_its_own_bookmark_and_not_productions(own: TestProject) -> None:
    own.write({"a": {"ids": 20}}, pii=PLAIN)
    done(own, "extract-load")
    assert "by TEMPLATE" in done(own, "review", "create", "feature/one")
    review = said(own)["ELT_DATABASE"]
    assert review.startswith(f"{own.name}_review_feature_one_")
    seen = str(own.folder / "seen")
    own.write({"a": {"ids": 30, "seen": seen}}, pii=PLAIN)
    done(own, "run", **said(own))
    assert json.loads(Path(seen).read_text()) == {"id": 20}  # it goes on from production's
    assert (ids(own, review), bookmarks(own, review)) == (list(range(1, 31)), [{"id": 30}])
    assert (ids(own), bookmarks(own)) == (list(range(1, 21)), [{"id": 20}])
    assert json.loads(done(own, "state", "get", "a")) == {"id": 20}
    assert json.loads(done(own, "state", "get", "a", **said(own))) == {"id": 30}
    assert f"{review}: dropped" in done(own, "review", "drop", "feature/one", **said(own))
    assert not (own.folder / "review.env").exists()
    assert ids(own) == list(range(1, 21))


def test_review_and_production_load_at_the_same_time(own: TestProject) -> None:
    """A state_id has an owner in each database."""
    go = own.folder / "go"
    own.write({"a": {"ids": 20, "hold": [str(go)]}}, pii=PLAIN)
    done(own, "review", "create", "b")
    other = own.folder / "other"  # a checkout of its own: the locks of one checkout are by tap
    other.mkdir()
    (other / "elt.yml").write_text((own.folder / "elt.yml").read_text())
    production = own.start("extract-load")
    in_review = own.start("extract-load", "--project", str(other), **said(own))
    runs = "SELECT count(DISTINCT datname) FROM pg_stat_activity WHERE starts_with(datname, %s) AND application_name LIKE 'target-meltano-postgres 2%%'"
    try:
        for _ in range(600):
            if own.query(runs, (own.name,)) == [(2,)]:
                break
            time.sleep(0.05)
            assert [one.poll() for one in (production, in_review)] == [None, None]
        assert own.query(runs, (own.name,)) == [(2,)]
    finally:
        go.touch()
        told = [process.communicate(timeout=60) for process in (production, in_review)]
    assert (production.returncode, in_review.returncode) == (0, 0), told
    assert ids(own) == ids(own, said(own)["ELT_DATABASE"]) == list(range(1, 21))


def test_rows_of_which_nobody_said_whether_they_are_personal_are_not_copied(own: TestProject) -> None:
    own.write({"a": {}, "b": {}}, pii={"rules": [{"tap": "a", "stream": "events", "columns": ["text"], "method": "redact"}]})
    refused = own.run("review", "create", "x")
    assert (refused.returncode, "personal data of b," in refused.stderr) == (2, True), refused.stderr
    assert own.query("SELECT count(*) FROM pg_database WHERE starts_with(datname, %s)", (own.name,)) == [(1,)]
    done(own, "review", "create", "x", "--allow-pii")
    own.write({"a": {}, "b": {}}, review={"allow_pii": True})
    done(own, "review", "create", "x")


def test_what_is_older_than_is_kept_goes(own: TestProject) -> None:
    """All that elt.yml says of taps and dbt is not needed for that."""
    own.write({"a": {}}, pii=PLAIN)
    names = []
    for branch in ("old", "new"):
        done(own, "review", "create", branch)
        names.append(said(own)["ELT_DATABASE"])
    tap = {"executable": "${NOT_SET}", "pip_url": "${NOT_SET}", "config": {"password": "${NOT_SET}"}}
    own.write({"a": tap}, transform={"executable": "${NOT_SET}"}, pii={"key": "${NOT_SET}"}, review={"keep": "1h"})
    marker = json.dumps({"target_meltano_review": "old", "source": own.name, "created": "2026-01-01T00:00:00Z"})
    own.query(f"COMMENT ON DATABASE {names[0]} IS '{marker}'")
    assert [one["branch"] for one in json.loads(done(own, "review", "list", "--json"))] == ["old", "new"]
    assert done(own, "review", "gc") == f"{names[0]}: dropped\n"
    heading, line = (line.split() for line in done(own, "review", "list").splitlines())
    assert (heading, line[:2], line[3]) == (["name", "kind", "created", "branch"], [names[1], "database"], "new")
    assert done(own, "review", "gc", "--older-than", "2d") == "nothing is older than 2d\n"
    assert own.run("review", "gc", "--older-than", "soon").returncode == 1
    assert done(own, "review", "drop", "never") == "there is nothing for never\n"
    assert done(own, "review", "drop", "new") == f"{names[1]}: dropped\n"


def test_the_embedded_server_has_reviews_too(tmp_path: Path, folder: Path) -> None:
    made = TestProject(tmp_path, "", "s", None)
    made.write({"a": {"ids": 10}}, pii=PLAIN, warehouse={"type": "embedded", "executable": TARGET})
    home = {"TARGET_MELTANO_HOME": str(folder / "home")}
    done(made, "extract-load", **home)
    assert "by TEMPLATE" in done(made, "review", "create", "x", **home)
    made.write({"a": {"ids": 20}}, pii=PLAIN, warehouse={"type": "embedded", "executable": TARGET})
    done(made, "extract-load", **said(made), **home)
    states = [json.loads(done(made, "state", "get", "a", **home, **review)) for review in ({}, said(made))]
    assert states == [{"id": 10}, {"id": 20}]
    assert done(made, "review", "drop", "x", **said(made), **home).endswith(": dropped\n")


def test_snowflake_is_cloned(standin: Snowflake, tmp_path: Path) -> None:
    made = TestProject(tmp_path, "", standin.schema, None)
    target = [TARGET[0], "-c", "from target_meltano_snowflake import main; main()"]
    made.write({"a": {"schema": standin.schema}}, pii=PLAIN)
    section = json.loads((tmp_path / "elt.yml").read_text())
    settings = {**standin.settings, "password": "${SECRET}"}
    section["warehouse"] = {"type": "snowflake", "executable": target, "settings": settings}
    (tmp_path / "elt.yml").write_text(json.dumps(section))
    variables = {"SECRET": standin.settings["password"]}
    done(made, "review", "create", "feature/one", **variables)
    name = said(made)["ELT_DATABASE"]
    assert name.startswith("TESTS_REVIEW_FEATURE_ONE_")
    done(made, "extract-load", **said(made), **variables)
    assert standin.query(f'SELECT count(*) FROM "{name}"."{made.schema().upper()}"."EVENTS"') == [(10,)]
    assert standin.query("SELECT 1 FROM information_schema.tables WHERE table_name = 'EVENTS'") == []
    assert done(made, "review", "drop", "feature/one", **said(made), **variables) == f"{name}: dropped\n"


# --- what says where the warehouse is


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40w@h:1/d?sslmode=require",
        "postgresql://u@h1:1,h2:2",
        "postgresql:///d?host=/run/pg&dbname=e",
        "postgresql:///d?host=/run/pg&db%6eame=e",
        "host=h dbname=d password='it\\'s'",
        "postgresql://u:p?w@h/d?user=x/y",
    ],
)
def test_a_url_leads_to_the_reviews_database(url: str) -> None:
    for name in ("r", "r v?x=1&dbname='wh\\#%20"):
        assert parse_dsn(reviewed.with_database(url, name)) == {**parse_dsn(url), "dbname": name}


def test_a_url_that_says_nothing_is_refused_without_it() -> None:
    with pytest.raises(ProjectError, match=r"warehouse\.settings\.url: wanted") as raised:
        reviewed.with_database("host=h password='canary", "r")
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ({"url": "postgresql://u:p@h:1/d"}, {}),
        ({"host": "h", "database": "d"}, {}),
        ({"host": "h", "dbname": "d"}, {"TARGET_MELTANO_POSTGRES_DBNAME": "e"}),
        ({}, {"PGHOST": "h", "PGDATABASE": "d"}),
        ({}, {"TARGET_MELTANO_POSTGRES_URL": "postgresql://u@h/d"}),
    ],
)
def test_target_and_dbt_use_the_reviews_database(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    taps = {"a": Tap("a", ("x",), "a"), "b": Tap("b", ("x",), "b", settings={"dbname": "elsewhere"})}
    made = Project(Path(), "dev", Warehouse("postgres", ("x",), settings), taps, Transform(Path(), ""))
    inside = reviewed.within(made, {"ELT_DATABASE": "r"})
    assert warehouse.variables(inside, inside.warehouse.settings)["PGDATABASE"] == "r"
    for tap in inside.taps.values():
        given = warehouse.settings(inside, tap)
        url = given.get("url")
        assert (parse_dsn(url)["dbname"] if url else given["dbname"]) == "r"
        assert not (url and {"dbname", "database", "host"} & set(given))
    assert reviewed.within(made, {}) == made


def test_snowflake_too() -> None:
    made = Project(Path(), "dev", Warehouse("snowflake", ("x",), {"account": "a", "dbname": "d"}), {}, Transform(Path(), ""))
    inside = reviewed.within(made, {"ELT_DATABASE": "R"})
    assert inside.warehouse.settings == {"account": "a", "database": "R"}
    assert warehouse.variables(inside, inside.warehouse.settings)["SNOWFLAKE_DATABASE"] == "R"


def test_a_schema_of_models_without_models_is_refused() -> None:
    made = Project(Path(), "dev", Warehouse("postgres", ("x",)), {}, None)
    with pytest.raises(ProjectError, match="ELT_SCHEMA"):
        reviewed.within(made, {"ELT_SCHEMA": "r"})


def test_branches_with_line_breaks_are_one_line_of_the_list(own: TestProject) -> None:
    own.write({"a": {}}, pii=PLAIN)
    branch = "a\nb\tc\x85d\u2028e\x1b[1m"
    done(own, "review", "create", branch)
    (head, line) = done(own, "review", "list").splitlines()
    assert head.split() == ["name", "kind", "created", "branch"]
    assert line.endswith(r"  a\nb\tc\x85d\u2028e\x1b[1m")
    (one,) = json.loads(done(own, "review", "list", "--json"))
    assert one["branch"] == branch
    assert done(own, "review", "drop", branch).splitlines() == [f"{one['name']}: dropped"]
    assert done(own, "review", "drop", branch).splitlines() == [r"there is nothing for a\nb\tc\x85d\u2028e\x1b[1m"]


def test_of_two_creates_of_a_checkout_one_waits_for_the_other(own: TestProject) -> None:
    own.write({"a": {}}, pii=PLAIN)
    done(own, "extract-load")
    both = [own.start("review", "create", branch) for branch in ("one", "one")]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert len(json.loads(done(own, "review", "list", "--json"))) == 1
    lock = own.folder / ".elt/locks/review.list.lock"
    with open(lock, "a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waits = own.start("review", "list")
        assert waits.stderr
        assert waits.stderr.readline().startswith("another run of review.list is under way; waiting for its end")
        assert waits.poll() is None
    waits.communicate(timeout=30)
    assert waits.returncode == 0


@pytest.mark.parametrize("state", ["a b", "a'b", "a$b", "a\nb", "~", "a;b", "a#b"])
def test_what_review_env_cannot_say_to_all_of_its_readers_is_refused(state: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="review.env: DBT_STATE would be"):
        reviewed.write(tmp_path, {"DBT_STATE": state})
    assert not list(tmp_path.iterdir())
