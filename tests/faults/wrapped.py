"""The target, killed by itself at a place that a signal from outside seldom meets.

    python wrapped.py PLACE COUNT [arguments of the target]

PLACE is `before COMMIT`, `after COMMIT` (before its STATE is on stdout) or `after STATE`; the COUNT-th
time it is passed, SIGKILL comes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import target_meltano
from target_meltano import cli
from target_meltano_postgres.dialect import PostgresDialect


def killing(function: Callable[..., Any], count: int, *, after: bool = False) -> Callable[..., Any]:
    passed = 0

    def killed(*arguments: Any) -> Any:
        nonlocal passed
        passed += 1
        found = function(*arguments) if after or passed < count else None
        if passed >= count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return killed


def main(place: str, count: int, arguments: list[str]) -> int:
    if place == "before COMMIT":
        PostgresDialect.transaction_id = killing(PostgresDialect.transaction_id, count)  # type: ignore[method-assign]
    else:
        cli.emit = killing(cli.emit, count, after=place == "after STATE")
    return target_meltano.main("postgres", "target_meltano_postgres.dialect:PostgresDialect", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
