"""A tap, a target or dbt that tells secrets and breaks off, for tests of what is hidden: `canary_teller.py tap|target|dbt ...`.

$TELL is when: about, discover, state, review, sync or dbt, which tells on stdout, too. $TOLD is the file of what it tells on stderr; in the folder
$NOTED it notes the arguments of its parent and of all children of that, and its own environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

role, *words = sys.argv[1:]
phase = next((word.lstrip("-") for word in words if word in ("--about", "--discover", "state", "review")), role if role == "dbt" else "sync")
if phase == "about" and os.environ["TELL"] != "about":
    sys.exit(subprocess.call([sys.executable, "-c", "from target_meltano_postgres import main; main()", "--about"]))
if role == "tap" and phase == "sync":
    time.sleep(0.3)  # the target is there
noted = Path(os.environ["NOTED"], f"{os.environ['TELL']}-{role}-{phase}-{os.getpid()}")
noted.with_suffix(".environment").write_text(json.dumps(dict(os.environ)))
family = {os.getpid(), os.getppid()}
for place in Path("/proc").glob("[0-9]*"):
    try:
        parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        if parent == os.getppid() or int(place.name) in family:
            with noted.with_suffix(".arguments").open("ab") as file:
                file.write((place / "cmdline").read_bytes() + b"\n")
    except OSError:  # it has ended
        continue
if phase == os.environ["TELL"]:
    for stream in (sys.stdout, sys.stderr) if role == "dbt" else (sys.stderr,):
        stream.write(Path(os.environ["TOLD"]).read_text())
    sys.exit(3)
if phase == "discover":
    print(json.dumps({"streams": [{"stream": "s", "tap_stream_id": "s", "schema": {"properties": {}}, "metadata": []}]}))
elif phase == "review":
    print(json.dumps({"name": "s", "kind": "schema"}))
elif phase == "sync" and role == "target":
    sys.stdin.read()
