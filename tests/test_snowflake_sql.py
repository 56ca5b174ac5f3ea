"""The SQL of whole runs is as it is kept in tests/snowflake_sql, and is Snowflake's grammar.

Mend by: UPDATE_SQL=1 pytest tests/test_snowflake_sql.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_snowflake import MAJOR, Snowflake

from target_meltano.samples import INT, NUM, STR, record, schema, state

sqlfluff = pytest.importorskip("sqlfluff", reason='pip install "sqlfluff>=4.5,<5" to check the grammar')
HERE = Path(__file__).parent / "snowflake_sql"
EVERY = {
    "flag": {"type": "boolean"},
    "n": NUM,
    "large": {"type": "integer", "maximum": 10**30},
    "exact": {"type": "number", "multipleOf": 0.01},
    "text": STR,
    "day": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "at": {"type": "string", "format": "date-time"},
    "list": {"type": "array"},
}


def versioned(version: int, **fields: Any) -> dict[str, Any]:
    return {**record(**fields), "version": version}


def append(here: Snowflake) -> None:
    here.run(schema("log", keys=(), id=INT, **EVERY), record("log", id=1), state(1))


def upsert(here: Snowflake) -> None:
    here.run(schema(keys=("id", "text"), id=INT, **EVERY), record(id=1, text="it's"), state(1), grants={"select": ["analyst"]})


def changes(here: Snowflake) -> None:
    here.run(schema(id=INT, a=INT, b={"type": "string", "format": "date-time"}, c=INT), record(id=1))
    here.run(schema(id=STR, a=NUM, b=STR, c={}, d=STR), record(id="1"))


def kept_state(here: Snowflake) -> None:
    here.run(schema(), versioned(1, id=1), {"type": "ACTIVATE_VERSION", "stream": "orders", "version": 1}, state(1), state_id="shop")


def overwrite(here: Snowflake) -> None:
    here.run(schema(), record(id=1), state(1), load_method="overwrite")


RUNS: list[Callable[[Snowflake], None]] = [append, upsert, changes, kept_state, overwrite]


def plain(statement: str, here: Snowflake) -> str:
    """Return a statement without what is another in each run."""
    statement = statement.replace(here.schema, "SHOP")
    statement = re.sub(r"\d{8}T\d{12}-[0-9a-f]{8}", "RUN", statement)
    statement = re.sub(r"(staged rows \d+) of run RUN", r"\1", statement)
    statement = re.sub(r"(_|\((?:new|old) )[0-9a-f]{8}(?=[\"')])", r"\1RUN", statement)
    statement = re.sub(r"TARGET_MELTANO_\w+", "TARGET_MELTANO_RUN", statement)
    statement = re.sub(r"file://\S*?[0-9a-f]{16}-(\d)", r"file:///tmp/folder-\1", statement)
    return re.sub(r"/[0-9a-f]{16}(/|\b)", r"/folder\1", statement)


@pytest.mark.skipif(MAJOR < 5, reason="connector 4 asks twice for the place of a file on this stand-in")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_the_sql_of_a_run_is_as_it_was_and_is_snowflakes(run: Callable[[Snowflake], None], standin: Snowflake) -> None:
    run(standin)
    found = "".join(f"{plain(statement, standin)};\n" for statement in standin.statements())
    file = HERE / f"{run.__name__}.sql"
    if os.environ.get("UPDATE_SQL"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, "utf-8")
    assert found == file.read_text("utf-8")
    assert faults(found) == []


def faults(sql: str) -> list[str]:
    """Return what is not Snowflake's grammar, as far as sqlfluff knows it: it lacks ? for a value, an empty NULL_IF, SHOW and RESTRICT of keys."""
    sql = sql.replace("NULL_IF = ()", "NULL_IF = ('x')").replace("SHOW EXPORTED KEYS", "SHOW COLUMNS").replace("PRIMARY KEY RESTRICT", "PRIMARY KEY")
    linted = sqlfluff.lint(sql.replace("?", "'?'"), dialect="snowflake", rules=["LT12"])
    return [f"line {one['start_line_no']}: {one['description']}" for one in linted if one["code"] == "PRS"]


@pytest.mark.parametrize(
    "sql",
    [
        'INSERT INTO "T" VALUES (1) ON CONFLICT DO NOTHING;\n',
        'ALTER TABLE "T" ALTER COLUMN "A" TYPE VARCHAR USING "A"::VARCHAR;\n',
        'COPY INTO "T" FROM @"S" FILE_FORMAT = (TYPE = PARQUETT);\n',
        'CREATE INDEX "I" ON "T" ("A");\n',
    ],
)
def test_the_check_finds_what_is_not(sql: str) -> None:
    assert faults(sql)
