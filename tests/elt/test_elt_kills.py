"""kill -9 of the wrapper, the tap or the target at any moment: nothing lost, nothing doubled, nothing left.

FAULTS is how often each is killed; 0, the default, is the short form.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from elt_project import TestProject

KILLS = int(os.environ.get("FAULTS", "0")) or 3
IDS = 400
TAP = {"ids": IDS, "every": 20, "pause": 0.05, "keys": []}  # a second, with twenty STATEs


@pytest.fixture(autouse=True)
def written(project: TestProject) -> None:
    project.write({"a": TAP})


def running(wrapper: subprocess.Popen[str], name: str) -> psutil.Process | None:
    """Return the tap or the target of a wrapper, None where there is none yet."""
    word = {"tap": "elt_tap.py", "target": "--tap-status-fd"}[name]
    for child in psutil.Process(wrapper.pid).children():
        try:
            if word in " ".join(child.cmdline()) and "--discover" not in child.cmdline():
                return child
        except psutil.Error:
            pass
    return None


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return it


@pytest.mark.parametrize("victim", ["wrapper", "tap", "target"])
def test_killed_runs_end_and_the_next_one_goes_on(project: TestProject, victim: str) -> None:
    """The table has no key: what came twice would be there twice."""
    chance = random.Random(f"{os.environ.get('FAULT_SEED', '1')} {victim}")
    for _ in range(KILLS):
        with project.start("extract-load") as wrapper:
            target = wait_for(lambda: running(wrapper, "target") or wrapper.poll() is not None)
            if target is True:  # all is loaded already
                break
            tap = wait_for(lambda: running(wrapper, "tap") or wrapper.poll() is not None)
            time.sleep(chance.uniform(0, 2.5))
            killed = {"wrapper": psutil.Process(wrapper.pid) if wrapper.poll() is None else None, "tap": tap, "target": target}[victim]
            try:
                killed.send_signal(signal.SIGKILL)
            except (psutil.Error, AttributeError):
                pass  # it has ended
            out, _ = wrapper.communicate(timeout=60)
        if victim == "wrapper":
            psutil.wait_procs([target], timeout=20)
            assert not target.is_running(), "the target loads on without a wrapper"
            assert not isinstance(tap, psutil.Process) or not psutil.wait_procs([tap], timeout=20)[1]
        elif wrapper.returncode:
            assert wrapper.returncode == 1
            assert f"the {victim} ended with exit status 137" in out
        assert project.ids() == list(range(1, len(project.ids()) + 1)), "a run is a whole number of STATEs"
        assert len(project.ids()) % 20 == 0
    done = project.run("extract-load")
    assert done.returncode == 0, done.stdout
    assert project.ids() == list(range(1, IDS + 1))


def test_a_target_that_outlives_its_wrapper_keeps_others_out(project: TestProject) -> None:
    """It is stopped here, so that it cannot see that its input has ended."""
    with project.start("extract-load") as wrapper:
        target = wait_for(lambda: running(wrapper, "target"))
        wait_for(lambda: running(wrapper, "tap"))
        target.suspend()
        wrapper.kill()
        wrapper.communicate()
    refused = project.run("extract-load")
    assert (refused.returncode, "another run of a is under way" in refused.stdout) == (1, True)
    target.resume()
    psutil.wait_procs([target], timeout=20)
    assert project.run("extract-load").returncode == 0
    assert project.ids() == list(range(1, IDS + 1))
