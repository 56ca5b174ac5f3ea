"""The tap's exit status over an inherited descriptor: the end of the input is not by itself success."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from on_postgres import rows

from target_meltano.samples import record, schema, state

LINES = [schema("t"), record("t", id=1), state(1), record("t", id=2)]
COMMAND = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]


def target(db: Any, tmp_path: Any, status: bytes | None, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a wrapper would, which writes *status* when the tap has ended."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"url": db.url, "schema": db.schema, **settings}))
    reading, writing = os.pipe()
    options = [] if status is None else ["--tap-status-fd", str(reading)]
    os.write(writing, status or b"")
    os.close(writing)
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    command = [*COMMAND, "--config", str(config), *options]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, pass_fds=[reading])
    os.close(reading)
    return done


@pytest.mark.parametrize(("status", "ids"), [(b"0", [1, 2]), (None, [1, 2]), (b"1", [1]), (b"", [1])], ids=str)
def test_rows_behind_the_last_state_of_a_tap_that_failed_are_not_committed(
    db: Any, tmp_path: Any, status: bytes | None, ids: list[int]
) -> None:
    """With `state_id`; no status at all, but a descriptor: the wrapper died."""
    done = target(db, tmp_path, status, state_id="p")
    assert [row[0] for row in rows(db, "id")] == ids
    assert done.stdout == "1\n"
    assert (done.returncode == 0) == (2 in ids)
    assert ("the tap ended with exit status 1" in done.stderr) == (2 not in ids)


@pytest.mark.parametrize(("status", "ids"), [(b"0", [1, 2]), (b"1", []), (None, [])], ids=str)
def test_an_overwrite_is_swapped_only_if_the_tap_ended_well(
    db: Any, tmp_path: Any, status: bytes | None, ids: list[int]
) -> None:
    target(db, tmp_path, status, load_method="overwrite")
    assert [row[0] for row in rows(db, "id")] == ids
