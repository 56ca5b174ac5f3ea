"""Measure, print the tables, and write them into docs/performance.md.

What is compared runs in turns, forwards and backwards, so that a machine that grows slower or
faster meanwhile does it to all alike.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from . import cases, loads, report, samples, workloads
from .bench import Bench
from .database import database
from .growth import growth
from .peers import ENVIRONMENTS, OURS, PEERS, ROOT, installed
from .samples import Sample
from .to_snowflake import to_snowflake

RESULTS = ROOT / ".bench"
PARTS = ("startup", "loads", "disturbed", "snowflake", "growth")
ALONE = ["snowflake"]  # needs no start-up beside it


def main() -> int:
    options = arguments()
    if options.report:
        report.publish(*samples.read(Path(options.report)), ROOT / "docs")
        return 0
    if not Path("/proc/self/stat").exists():
        sys.exit("the benchmark reads processor time and memory from /proc: it runs on Linux only")
    if not OURS.exists():
        sys.exit(f"{OURS} is not there: install the target beside this Python, as `make bench` does")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server and no folder is left, as on Ctrl-C
    measured: list[Sample] = []
    about: dict[str, str] = {}
    with bench(options) as running:
        about |= description(running)
        for part in options.part:
            for sample in PART[part](running, options.full):
                measured.append(sample)
                print(report.line(sample), flush=True)
            samples.save(RESULTS / "results.json", measured, about)
    for section in report.sections(measured, about).values():
        print(f"\n{section}")
    if options.write:
        report.publish(measured, about, ROOT / "docs")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more workloads, and the growth of the costs")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; can be given again")
    parser.add_argument("--workload", action="append", choices=[load.name for load in cases.LOADS], help="of the part loads")
    parser.add_argument("--rounds", type=int, help="how often each thing is run; 3, or 5 with --full")
    parser.add_argument("--scale", type=float, default=1.0, help="rows, as a factor: 0.1 is a tenth")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="names with commas between; or none")
    parser.add_argument("--write", action="store_true", help="put the tables and the chart into docs/")
    parser.add_argument("--report", metavar="FILE", help="measure nothing, write docs/ from a results.json")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.full else 3)
    wanted = options.part or [part for part in PARTS if options.full or part != "growth"]
    starts = [] if wanted == ALONE else ["startup"]  # which the others take off
    options.part = [part for part in PARTS if part in wanted + starts]
    return options


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Lend a server, the peers and a folder."""
    # Outside of the checkout, and quick to remove. Settings of databases that the user works with are not for us.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "TARGET_MELTANO_", "PYTHON"))}
    wanted = [peer for peer in PEERS if peer.name in options.peers.split(",")]
    ENVIRONMENTS.mkdir(exist_ok=True)
    inputs = input_folder()
    peers = tuple((peer, found) for peer in wanted if (found := installed(peer)))
    with database() as made, tempfile.TemporaryDirectory(prefix="target-meltano-bench-") as folder:
        yield Bench(made, peers, inputs, Path(folder), env, options.rounds, options.scale, options.workload)


def input_folder() -> Path:
    """Return the folder of the workloads' files, emptied when what makes them is not the same any more."""
    makers = b"".join(Path(module.__file__ or "").read_bytes() for module in (workloads, cases))
    folder = RESULTS / f"inputs-{hashlib.sha256(makers).hexdigest()[:8]}"
    for old in set(RESULTS.glob("inputs-*")) - {folder}:
        shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def description(running: Bench) -> dict[str, str]:
    """Say on what, when and with what it is measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, Python {platform.python_version()}",
        "server": running.database.description(),
        "rounds": str(running.rounds),
        "scale": str(running.scale),
        "peers": ", ".join(peer.requirements[0] for peer, _ in running.peers) or "none",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


PART = {
    "startup": loads.startup,
    "loads": loads.loads,
    "disturbed": loads.disturbed,
    "snowflake": to_snowflake,
    "growth": growth,
}

if __name__ == "__main__":
    sys.exit(main())
