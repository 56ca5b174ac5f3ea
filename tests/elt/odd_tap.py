"""A tap that misbehaves in one of many ways: its config's `does`. Stream `events` has the ids behind its STATE.

Its config: `does`, one of WAYS; `ids`, how many there are; `every`, of which a STATE comes after each; `pause`, seconds
before each STATE; `odds`, how often it
misbehaves where it does so now and then; `at`, the file that is written as soon as it hangs, or has left a child behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCHEMA = {"properties": {"id": {"type": "integer"}, "text": {"type": "string"}}}
SECONDS = 120  # that it hangs
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({seconds})"
IN_DISCOVERY = ("discovery hangs", "discovery is deaf", "discovery leaves a child with stdout")
# How it does what it should, or ends: these come to their end by themselves, and all rows are loaded by run upon run.
ENDS = (
    "well",
    "tells much",
    "tells much in one line",
    "writes bytes one by one",
    "sends one long line",
    "closes stderr",
    "reads stdin",
    "fails now and then",
    "kills itself now and then",
    "leaves a child with stderr",
    "leaves a deaf child",
    "leaves a child in a session of its own",
)
# These stop in the middle, or never end.
STAYS = (
    "hangs",
    "hangs after the last line",
    "is deaf and hangs",
    "stops itself",
    "leaves a child with stdout",
    "closes stdout and hangs",
    "cuts a line and hangs",
    "cuts its last line",
)
HANGS = STAYS[:-1]  # for ever
REFUSED = ("prints a text first", "prints bytes in the middle")
WAYS = (*ENDS, *STAYS, *IN_DISCOVERY, *REFUSED)


def main() -> int:
    parser = argparse.ArgumentParser()
    for option in ("--config", "--state", "--catalog"):
        parser.add_argument(option)
    parser.add_argument("--discover", action="store_true")
    options = parser.parse_args()
    config: dict[str, Any] = json.loads(Path(options.config).read_text())
    does, at = config["does"], config.get("at")
    if options.discover:
        return discovery(does, at)
    before(does)
    state = json.loads(Path(options.state).read_text()) if options.state else {}
    write({"type": "SCHEMA", "stream": "events", "key_properties": [], "schema": SCHEMA})
    last, every, chance = config.get("ids", 100), config.get("every", 10), random.SystemRandom()
    for number in range(state.get("id", 0) + 1, last + 1):
        text = f"event {number}" if does != "sends one long line" or number != last // 2 else "long" * 2_000_000
        write({"type": "RECORD", "stream": "events", "record": {"id": number, "text": text}}, slowly=does == "writes bytes one by one")
        if number % every:
            continue
        time.sleep(config.get("pause", 0))
        write({"type": "STATE", "value": {"id": number}})
        if number < last:
            between(does, chance.random() < config.get("odds", 0.3), at)
    return after(does, at)


def discovery(does: str, at: str | None) -> int:
    if does == "discovery is deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if does in ("discovery hangs", "discovery is deaf"):
        hang(at)
    entry = {"breadcrumb": [], "metadata": {"table-key-properties": []}}
    print(json.dumps({"streams": [{"stream": "events", "tap_stream_id": "events", "schema": SCHEMA, "metadata": [entry]}]}), flush=True)
    if does == "discovery leaves a child with stdout":
        child(SECONDS)
        sign(at)
    return 0


def before(does: str) -> None:
    """Do what is done before the first message."""
    if does == "closes stderr":
        os.close(2)
    elif does == "reads stdin":
        assert sys.stdin.read() == ""
    elif does == "prints a text first":
        os.write(1, b"Welcome\n")
    elif does == "tells much":
        sys.stderr.write("working on it\n" * 200_000)
    elif does == "tells much in one line":
        sys.stderr.write("working on it " * 200_000)
    elif does == "is deaf and hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif does == "leaves a child with stderr":
        child(2, stdout=subprocess.DEVNULL)
    elif does == "leaves a deaf child":
        child(SECONDS, DEAF, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    elif does == "leaves a child in a session of its own":
        child(1, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def between(does: str, now: bool, at: str | None) -> None:
    """Do what is done in the middle, behind a STATE."""
    if does == "fails now and then" and now:
        sys.exit(3)
    elif does == "prints bytes in the middle" and now:
        os.write(1, b"\x00\xff\xfe\n")
    elif does == "kills itself now and then" and now:
        os.kill(os.getpid(), signal.SIGKILL)
    elif does in ("hangs", "is deaf and hangs") and now:
        hang(at)
    elif does == "stops itself" and now:
        sign(at)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif does == "closes stdout and hangs" and now:
        os.close(1)
        hang(at)
    elif does == "cuts a line and hangs" and now:
        os.write(1, b'{"type": "RECORD", "stream": "events", "rec')
        hang(at)


def after(does: str, at: str | None) -> int:
    """Do what is done behind the last message."""
    if does == "hangs after the last line":
        hang(at)
    elif does == "leaves a child with stdout":
        child(SECONDS)
        sign(at)
    elif does == "cuts its last line":
        os.write(1, b'{"type": "RECORD", "stream": "events", "rec')
    return 0


def hang(at: str | None) -> None:
    sign(at)
    time.sleep(SECONDS)


def sign(at: str | None) -> None:
    if at:
        Path(at).touch()


def child(seconds: float, code: str = "import time; time.sleep({seconds})", **options: Any) -> None:
    subprocess.Popen([sys.executable, "-c", code.format(seconds=seconds)], **options)


def write(message: dict[str, Any], slowly: bool = False) -> None:
    line = (json.dumps(message) + "\n").encode()
    size = 1 if slowly else len(line)
    for at in range(0, len(line), size):
        rest = line[at : at + size]
        while rest:
            rest = rest[os.write(1, rest) :]


if __name__ == "__main__":
    sys.exit(main())
