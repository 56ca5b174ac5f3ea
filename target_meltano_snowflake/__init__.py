"""target-meltano-snowflake: Singer streams into Snowflake. Not in this version."""

from __future__ import annotations

import sys

from target_meltano import __version__


def main() -> None:
    """Run the command `target-meltano-snowflake`."""
    if sys.argv[1:] == ["--version"]:
        print(f"target-meltano-snowflake {__version__}")
        return
    print("CRITICAL target-meltano-snowflake is not available in this version; target-meltano-postgres is", file=sys.stderr)
    sys.exit(2)
