"""How fast rows become files for Snowflake: the whole target, with nothing where the server would be."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator

from . import measure, workloads
from .bench import Bench
from .peers import ROOT
from .samples import OURS, Sample

FILES = "Parquet"  # the program of the samples that have the share of the second thread
WORKLOADS = (("narrow", 5_000_000, workloads.narrow), ("wide", 1_000_000, workloads.wide))  # more than 1 GB each


def to_snowflake(bench: Bench, full: bool) -> Iterator[Sample]:
    """Two samples a run: of the whole process, and of what its second thread does to the rows."""
    if importlib.util.find_spec("snowflake") is None:
        print("LEFT OUT: snowflake: pip install 'target-meltano[snowflake]'", file=sys.stderr, flush=True)
        return
    report = bench.folder / "report.json"
    for name, rows, messages in WORKLOADS:
        path = bench.input(name, bench.scaled(rows), messages)
        for _ in range(bench.rounds):
            command = [sys.executable, "-m", "benchmarks.no_snowflake", str(report)]
            cost = measure.run(command, path, {**bench.env, "PYTHONPATH": str(ROOT)}, None)
            found = json.loads(report.read_text("utf-8"))
            sizes = [size / 1e6 for size in found["sizes"]]
            files = f"{len(sizes)} of up to {max(sizes):.0f} MB"
            head = ("snowflake", name)
            yield Sample(*head, OURS, "", bench.scaled(rows), cost.wall, cost.cpu, None, cost.peak)
            yield Sample(*head, FILES, files, bench.scaled(rows), cost.wall, found["seconds"], None, cost.peak)
