"""load_method overwrite by processes that overlap, are killed, or go through a pooler that shares sessions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from on_postgres import rows
from pooler import needs_pgbouncer, pooled

from target_meltano.samples import STR, record, schema, state


class Run:
    """A target that is given one line after the other; its rows have the *name* of the run."""

    def __init__(self, db: Any, folder: Path, name: str, url: str | None = None):
        config = folder / f"{name}.json"
        config.write_text(json.dumps({"url": url or db.url, "schema": db.schema, "load_method": "overwrite", "batch_rows": 1}))
        code = "from target_meltano_postgres import main; main()"
        command = [sys.executable, "-c", code, "--config", str(config)]
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.send(schema("t", id={"type": "integer"}, run=STR))

    def send(self, message: Any) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has been refused

    def row(self, number: int) -> None:
        self.send(record("t", id=number, run=self.name))

    def end(self) -> tuple[int, str, str]:
        """Send a STATE, and return exit code, stdout and stderr."""
        self.send(state(self.name))
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.strip(), err

    def wait_for_rows(self, db: Any, count: int) -> None:
        """Wait until so many rows of this run are committed beside the table."""
        until = time.monotonic() + 30
        query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' AND starts_with(relname, '__new_t_')"
        while time.monotonic() < until:
            for (name,) in db.query(query, (db.schema,)):
                with suppress(psycopg2.errors.UndefinedTable):  # another run's, which has just been dropped
                    if db.query(f'SELECT count(*) FROM "{db.schema}"."{name}" WHERE run = %s', (self.name,))[0][0] >= count:
                        return
            time.sleep(0.05)
        pytest.fail("no rows came")


def beside(db: Any) -> int:
    query = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' AND starts_with(relname, '__new')"
    return int(db.query(query, (db.schema,))[0][0])


def test_the_second_run_is_refused_while_the_first_is_silent(db: Any, tmp_path: Path) -> None:
    first = Run(db, tmp_path, "a")
    first.row(1)
    first.wait_for_rows(db, 1)
    second = Run(db, tmp_path, "b")
    second.row(2)
    code, out, err = second.end()
    assert (code, out) == (3, "")
    assert f"is replacing the rows of {db.schema}.t; wait for it, or end it" in err
    first.row(3)
    assert first.end()[:2] == (0, '"a"')
    assert rows(db, "id, run") == [(1, "a"), (3, "a")]
    assert beside(db) == 0


def test_what_a_killed_run_has_left_goes_with_the_next(db: Any, tmp_path: Path) -> None:
    first = Run(db, tmp_path, "a")
    first.row(1)
    assert first.end()[0] == 0
    for name in "bc":
        killed = Run(db, tmp_path, name)
        killed.row(2)
        killed.wait_for_rows(db, 1)
        killed.process.kill()
        killed.process.communicate()
        assert (rows(db, "id, run"), beside(db)) == ([(1, "a")], 1)
    last = Run(db, tmp_path, "d")
    last.row(4)
    code, out, err = last.end()
    assert (code, out) == (0, '"d"'), err
    assert "ended before it replaced the rows of t; what it has left is dropped" in err
    assert (rows(db, "id, run"), beside(db)) == ([(4, "d")], 0)


@needs_pgbouncer
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_through_a_pooler_by_transaction_one_run_is_whole_and_the_other_says_so(db: Any, tmp_path: Path, order: str) -> None:
    """None sees that the other is alive, but nothing is ever mixed."""
    with pooled(db.url, "transaction") as pooler:
        runs = {name: Run(db, tmp_path, name, pooler.url) for name in "a"}
        runs["a"].row(1)
        runs["a"].wait_for_rows(db, 1)
        runs["b"] = Run(db, tmp_path, "b", pooler.url)
        runs["b"].row(2)
        runs["b"].wait_for_rows(db, 1)
        for name in order:
            runs[name].row(3)
        ended = {name: runs[name].end() for name in order}
    assert sorted(code for code, _, _ in ended.values()) == [0, 3]
    (winner,) = [name for name, (code, _, _) in ended.items() if code == 0]
    (loser,) = set("ab") - {winner}
    assert ended[winner][1] == f'"{winner}"'
    assert ended[loser][1] == ""
    assert f"{db.schema}." in ended[loser][2].splitlines()[-1]
    assert {run for _, run in rows(db, "id, run")} == {winner}
    assert beside(db) == 0
