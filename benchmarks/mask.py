"""What masking costs: masked values per second of CPU, in the stage, in the filter and in the target.

    python benchmarks/mask.py [--rows 500000] [--url postgresql://...]

Each record has 6 fields. CPU is that of the processes measured, children and threads included, not the database's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from target_meltano import masking
from target_meltano_postgres import embedded

KEY = "v1:a key of the benchmark, no secret"
TEXT = {"type": ["string", "null"]}
PROPERTIES = {"id": {"type": "integer"}, "email": TEXT, "name": TEXT, "phone": TEXT, "at": {**TEXT, "format": "date-time"}, "n": {"type": "number"}}
SCHEMA = {"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"properties": PROPERTIES}}
CASES: dict[str, dict[str, list[str]]] = {
    "hash of 1 column": {"hash": ["email"]},
    "hash of 3 columns": {"hash": ["email", "name", "phone"]},
    "mask of 3 columns": {"mask": ["email", "name", "phone"]},
    "keep-first:2 of 3": {"keep-first:2": ["email", "name", "phone"]},
    "truncate-date of 1": {"truncate-date:month": ["at"]},
}


def record(i: int) -> bytes:
    fields = {"id": i, "email": f"user{i}@example.com", "name": f"Name {i}", "phone": f"+49 {i}", "at": f"2024-01-01T00:00:{i % 60:02}Z", "n": i / 8}
    return json.dumps({"type": "RECORD", "stream": "users", "record": fields}).encode()


def rules(case: dict[str, list[str]]) -> dict[str, Any]:
    return {"key": KEY, "rules": [{"stream": "users", "columns": columns, "method": method} for method, columns in case.items()]}


def in_stage(lines: list[bytes], pii: dict[str, Any]) -> float:
    stage = masking.stage(pii)
    assert stage
    started = time.process_time()
    for start in range(0, len(lines), 5000):
        stage.lines(lines[start : start + 5000])
    return time.process_time() - started


def of_process(code: str, arguments: list[str], data: Path) -> float:
    """Return the CPU seconds of a command that reads *data*."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with data.open("rb") as file:
        subprocess.run([sys.executable, "-c", code, *arguments], stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--url")
    options = parser.parse_args()
    lines = [json.dumps(SCHEMA).encode(), *map(record, range(options.rows))]
    with tempfile.TemporaryDirectory() as folder, embedded.running() as server:
        data, config = Path(folder, "data"), Path(folder, "config.json")
        data.write_bytes(b"\n".join(lines) + b"\n")

        def target(pii: dict[str, Any]) -> float:
            schema = f"bench_{os.getpid()}_{time.monotonic_ns()}"
            config.write_text(json.dumps({"url": options.url or server.url, "schema": schema, "pii": pii}))
            return of_process("from target_meltano_postgres import main; main()", ["--config", str(config)], data)

        plain = target({})
        print(f"{options.rows:,} records; the target without rules: {options.rows / plain:,.0f} records per CPU second\n")
        print(f"{'masked values per CPU second':20}  {'stage':>10} {'filter':>10} {'target: all its CPU':>20} {'what masking adds':>18}")
        for name, case in CASES.items():
            values = options.rows * sum(map(len, case.values()))
            pii = rules(case)
            config.write_text(json.dumps({"pii": pii}))
            filtered = of_process("from target_meltano.elt import main; main()", ["mask", "--config", str(config)], data)
            staged, loaded = in_stage(lines, pii), target(pii)
            added = values / max(loaded - plain, 0.001)
            print(f"{name:28}  {values / staged:10,.0f} {values / filtered:10,.0f} {values / loaded:20,.0f} {added:18,.0f}")


if __name__ == "__main__":
    main()
