"""target-meltano-postgres: Singer streams into PostgreSQL."""

from __future__ import annotations

import sys

import target_meltano


def main() -> None:
    """Run the command `target-meltano-postgres`."""
    if sys.argv[1:2] == ["db"]:
        from . import db

        sys.exit(db.main(sys.argv[2:]))
    sys.exit(target_meltano.main("postgres", "target_meltano_postgres.dialect:PostgresDialect", sys.argv[1:]))
