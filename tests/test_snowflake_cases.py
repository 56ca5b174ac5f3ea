"""A tenth of a corpus of tap outputs, where it is there, ends in Snowflake as its authors want it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from on_snowflake import LIVE
from snowflake_server import client

ROOT = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("CASES", ROOT.parent / "shared/cases"))  # as in the Makefile


@pytest.mark.skipif(LIVE, reason="only on the stand-in: unset SNOWFLAKE_LIVE")
@pytest.mark.skipif(
    not (CORPUS / "run_cases.py").exists(), reason=f"no corpus of tap outputs at {CORPUS}; CASES may say where it is"
)
def test_each_tenth_case_passes_and_those_that_are_left_out_do_not() -> None:
    try:
        client.environment()
    except client.Unavailable as error:
        pytest.skip(str(error))
    command = [sys.executable, ROOT / ".ci/snowflake-cases", CORPUS, "--every", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "not as expected: none" in done.stdout
