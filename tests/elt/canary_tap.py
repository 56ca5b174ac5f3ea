"""A tap for tests of what is seen of it: it sends a file, and copies what lies open while it runs.

Its config: `messages`, the file; `catalog`, what discovery gives; `watched`, folders whose files are copied to the
folder `copies` when all is sent, while the target still runs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
if "--discover" in sys.argv:
    print(json.dumps(config["catalog"]))
    sys.exit()
with open(config["messages"], "rb") as messages:
    shutil.copyfileobj(messages, sys.stdout.buffer)
sys.stdout.flush()
for number, folder in enumerate(config["watched"]):
    for path in Path(folder).rglob("*"):
        if path.is_file():
            copy = Path(config["copies"], f"{os.getpid()}-{number}", path.relative_to(folder))
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, copy)
            except OSError:  # it is gone meanwhile
                continue
