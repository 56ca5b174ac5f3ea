"""A tap for tests of the wrapper: stream `events` has the ids that come after its STATE.

Its config: `ids`, how many there are; `every`, of which a STATE comes after each; `pause`, seconds
before each STATE; `keys`; `end`, how it ends: a number is an exit status, "kill" a SIGKILL, "hang"
never; `say`, lines for stderr; `seen`, a file that is given the STATE that it starts from; `wait`, files
that have to be there before it sends anything; `hold`, files that have to be there before a STATE; `catalog`,
a file with what its discovery gives.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PROPERTIES = {"id": {"type": "integer"}, "text": {"type": "string"}, "madeAt": {"type": "string", "format": "date-time"}}


def main() -> int:
    parser = argparse.ArgumentParser()
    for option in ("--config", "--state", "--catalog", "--properties"):
        parser.add_argument(option)
    parser.add_argument("--discover", action="store_true")
    options = parser.parse_args()
    config: dict[str, Any] = json.loads(Path(options.config).read_text())
    for line in config.get("say", ()):
        print(line, file=sys.stderr)
    keys = config.get("keys", ["id"])
    schema = {"properties": PROPERTIES}
    if options.discover and "catalog" in config:
        sys.stdout.buffer.write(Path(config["catalog"]).read_bytes())
        return 0
    if options.discover:
        entry = {"breadcrumb": [], "metadata": {"table-key-properties": keys}}
        print(json.dumps({"streams": [{"stream": "events", "tap_stream_id": "events", "schema": schema, "metadata": [entry]}]}))
        return int(config.get("discovery", 0))
    state = json.loads(Path(options.state).read_text()) if options.state else {}
    if "seen" in config:  # as it is, to its last digit
        Path(config["seen"]).write_text(Path(options.state).read_text() if options.state else "{}")
    wait(config.get("wait", ()))
    write({"type": "SCHEMA", "stream": "events", "key_properties": keys, "schema": schema})
    every = config.get("every", 10)
    for number in range(state.get("id", 0) + 1, config.get("ids", 10) + 1):
        record = {"id": number, "text": f"event {number}", "madeAt": "2026-01-01T00:00:00Z"}
        write({"type": "RECORD", "stream": "events", "record": record})
        if number % every == 0:
            sys.stdout.flush()
            time.sleep(config.get("pause", 0))
            wait(config.get("hold", ()))
            write({"type": "STATE", "value": {"id": number}})
    sys.stdout.flush()
    return end(config.get("end", 0))


def wait(files: list[str]) -> None:
    until = time.monotonic() + 60
    while not all(map(os.path.exists, files)):
        if time.monotonic() > until:
            sys.exit(9)
        time.sleep(0.02)


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


def end(how: int | str) -> int:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while how == "hang":
        time.sleep(1)
    return int(how)


if __name__ == "__main__":
    sys.exit(main())
