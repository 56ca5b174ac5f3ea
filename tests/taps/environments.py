"""An environment of its own for each real tap: pinned packages, made once below .venv-taps, shared by all workers."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ENVIRONMENTS = Path(__file__).parents[2] / ".venv-taps"


def environment(name: str, *requirements: str) -> Path:
    """The folder of programs of an environment with exactly these *requirements*.

    A requirement is pinned, as pip takes it: "tap-jsonl==0.1". The test is skipped, loudly, where
    the package index does not have them or they do not install on this Python.
    """
    wanted = "\n".join(requirements)
    home = ENVIRONMENTS / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    ENVIRONMENTS.mkdir(exist_ok=True)
    with open(home.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "made").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"install {' '.join(requirements)} to run {name}: pip said {made.stderr.strip()[-300:]}")
            (home / "made").write_text(wanted)
    return home / "bin"
