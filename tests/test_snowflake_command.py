"""The command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano.samples import INT, STR, record, schema, state

COMMAND = (sys.executable, "-c", "from target_meltano_snowflake import main; main()")
PACKAGE = Path(__file__).parent.parent


@pytest.fixture
def config(snowflake: Snowflake, tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**snowflake.settings, "schema": snowflake.schema, "state_id": "shop"}))
    return path


def run(config: Path, *arguments: str, lines: Any = ()) -> subprocess.CompletedProcess[str]:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [*COMMAND, *arguments, "--config", str(config)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)


def test_a_pipe_a_plan_and_the_state(snowflake: Snowflake, config: Path) -> None:
    done = run(config, lines=[schema(), record(id=1), state({"a": 1})])
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n'), done.stderr
    plan = run(config, "--plan", lines=[schema(id=INT, note=STR)])
    assert plan.stdout == f'ALTER TABLE "{snowflake.schema}"."ORDERS" ADD COLUMN "NOTE" VARCHAR COMMENT \'note\';\n', plan.stderr
    assert run(config, "state", "get").stdout == '{"a":1}\n'
    assert [row["ID"] for row in snowflake.rows("ORDERS")] == [1]


def test_a_fault_is_one_line_and_a_code(standin: Snowflake, config: Path) -> None:
    done = run(config, lines=[schema(), record(id="x")])
    assert (done.returncode, done.stdout) == (1, "")
    assert [line for line in done.stderr.splitlines() if not line.startswith("INFO")] == [
        "CRITICAL line 2: stream 'orders': $.id: 'x' is a string, wanted integer; setting column_types: \"orders.id\": \"string\" holds it; the setting invalid_records: quarantine loads the others"
    ]
    assert standin.server
    standin.server.fault("^SHOW", "error", number=3001)
    refused = run(config, lines=[schema()])
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    assert "003001: as planned" in refused.stderr


def test_invalid_records_are_listed_replayed_marked_and_cleared(snowflake: Snowflake, config: Path) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), "invalid_records": "quarantine"}))
    assert run(config, lines=[schema(), record(id="x"), record(id=1), state(1)]).returncode == 0
    assert run(config, "rejected", "list").stdout.splitlines()[0].split("\t")[2:4] == ["orders", "2"]
    assert '"id": "x"' in run(config, "rejected", "replay").stdout
    listed = run(config, "rejected", "list")
    assert "\treplayed 2" in listed.stdout, listed.stderr
    assert run(config, "rejected", "clear", "--replayed").stdout == "1 deleted\n"
    assert run(config, "rejected", "list").stderr == "WARNING nothing is in quarantine\n"
