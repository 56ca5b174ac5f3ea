"""The wrapper that runs whole pipelines. Not in this version: only its name is taken."""

from __future__ import annotations

import sys

from target_meltano import __version__


def main() -> None:
    """Run the command `target-meltano`."""
    if sys.argv[1:] == ["--version"]:
        print(f"target-meltano {__version__}")
        return
    print("CRITICAL target-meltano is not available in this version; target-meltano-postgres is", file=sys.stderr)
    sys.exit(2)
