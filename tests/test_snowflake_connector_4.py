"""The other major of the connector passes the same tests, in the stand-in's environment, which has it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from on_snowflake import LIVE, MAJOR
from snowflake_server import client

HERE = Path(__file__).parent
TESTS = ["beside", "conformance", "faults", "load", "numbers", "operations", "redone", "refusals", "sign_in"]
PASSED_BY_BOTH = "not any_other_change and not step and not wrong and not wherever and not remedy"  # what the connector has no part in


@pytest.mark.skipif(LIVE or MAJOR < 5, reason="connector 4 is tested already")
@pytest.mark.parametrize("name", TESTS)
def test_connector_4_passes(name: str) -> None:
    try:
        python = client.environment()
    except client.Unavailable as error:
        pytest.skip(str(error))
    command = [python, "-m", "pytest", "-q", "-p", "on_snowflake", "-p", "no:cacheprovider", "--noconftest", "-k", PASSED_BY_BOTH]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "CONFORMANCE_EXAMPLES": "3"}
    done = subprocess.run([*command, HERE / f"test_snowflake_{name}.py"], cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout
