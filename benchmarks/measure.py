"""What a process costs: seconds, processor seconds and memory, with all its children; read from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.05
SHOWN = 1_000  # characters of stderr of a failed run
TICK = os.sysconf("SC_CLK_TCK")


class RunFailed(Exception):
    """A program under measurement ended with another exit code than 0, or left other rows than it should."""


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock; processor seconds of the program and of the server; peak bytes of memory.

    *server* is None where the server's processes are not on this machine.
    """

    wall: float
    cpu: float
    server: float | None
    peak: int


def run(
    command: Sequence[str | Path], source: Path | Iterable[bytes], env: Mapping[str, str], postmaster: int | None
) -> Cost:
    """Run *command* on a file, or on blocks of bytes that come through a pipe.

    Raises:
        RunFailed: with the end of what it wrote to stderr.
    """
    before = server_seconds(postmaster)
    with tempfile.TemporaryFile("w+") as errors, ExitStack() as opened:
        stdin = opened.enter_context(source.open("rb")) if isinstance(source, Path) else subprocess.PIPE
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=errors, env=dict(env))
        memory = Memory(process.pid)
        memory.start()
        if not isinstance(source, Path):
            threading.Thread(target=_feed, args=(process, source), daemon=True).start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.stop()
        if process.returncode:
            errors.seek(0)
            raise RunFailed(f"{Path(command[0]).name}: exit code {process.returncode}: {errors.read()[-SHOWN:]}")
    after = server_seconds(postmaster)
    server = None if before is None or after is None else after - before
    return Cost(wall, used.ru_utime + used.ru_stime, server, memory.peak(used))


def _feed(process: subprocess.Popen[bytes], blocks: Iterable[bytes]) -> None:
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as pipe:  # whoever ended early has its exit code looked at
        for block in blocks:
            pipe.write(block)


class Memory(threading.Thread):
    """Looks at a process and its descendants while they run; the kernel keeps the peak of each."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid = pid
        self.peaks: dict[int, int] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            for pid in family(self.pid):
                self.peaks[pid] = max(self.peaks.get(pid, 0), peak_bytes(pid))

    def stop(self) -> None:
        self.ended.set()
        self.join()

    def peak(self, used: resource.struct_rusage) -> int:
        """Return the sum of all peaks, given what the kernel says of the process that has ended."""
        children = sum(peak for pid, peak in self.peaks.items() if pid != self.pid)
        return children + max(used.ru_maxrss * 1024, self.peaks.get(self.pid, 0))


def family(pid: int) -> list[int]:
    """Return *pid* and its descendants."""
    found = [pid]
    for member in found:  # it grows meanwhile
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{member}/task"):
                found.extend(map(int, Path(f"/proc/{member}/task/{thread}/children").read_text().split()))
    return found


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had so far, 0 where it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def server_seconds(postmaster: int | None) -> float | None:
    """Return the processor seconds of a server so far: of its processes, and of those that have ended."""
    if postmaster is None:
        return None
    own, ended = _seconds(postmaster)
    return own + ended + sum(_seconds(pid)[0] for pid in family(postmaster)[1:])


def _seconds(pid: int) -> tuple[float, float]:
    """Return the processor seconds of a process, and of its children that have ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = stat_of(pid)
        utime, stime, of_children, of_children_in_kernel = map(int, fields[11:15])
        return (utime + stime) / TICK, (of_children + of_children_in_kernel) / TICK
    return 0.0, 0.0


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name; see proc(5), which counts from 3 there."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def parent_of(pid: int) -> int:
    return int(stat_of(pid)[1])
