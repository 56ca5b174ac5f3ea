"""Who may commit for a `state_id`: the run whose name is in `__state`.

A run takes over by writing its name there, and each COMMIT checks that it still is the owner: that
decides. What is here comes before, so that nobody ends another run by mistake, and so that a STATE is
not read while the transaction of a run that has died may still be committed.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from .dialect import Dialect
from .errors import DatabaseError
from .ledger import Ledger

PAUSE = 0.05  # seconds between two looks


def lock_name(ledger: Ledger, state_id: str) -> str:
    """Return the name of the lock of which each transaction of a run with *state_id* has a share."""
    return f"{ledger.states.schema}/{state_id}"


def wait_for_others(
    dialect: Dialect[Any], connection: sa.Connection, ledger: Ledger, state_id: str, patience: float, who: str = "a run"
) -> None:
    """Return once no other run with *state_id* is at work, with a transaction open in which none can begin one.

    One is at work that has a transaction open or whose session is there; where sessions are a
    pooler's, the owner is looked at twice. After *patience* seconds it is refused;
    *who* is what the message calls it.

    Raises:
        DatabaseError: another run is under way.
    """
    until = time.monotonic() + patience
    before = None
    while True:
        is_free = dialect.try_lock(connection, lock_name(ledger, state_id))
        owner = ledger.owner(connection, state_id)
        if is_free and (owner is None or owner[0] == ledger.run_id):
            return
        is_there = dialect.is_connected(connection, owner[0]) if owner else False
        if is_free and (is_there is False or (is_there is None and owner == before)):
            return
        connection.rollback()
        if before is not None and time.monotonic() >= until:
            raise DatabaseError(
                f"{who} with the state_id {state_id!r} is under way; wait for it, or end it{_told(owner)}"
            )
        before = owner or ()
        time.sleep(PAUSE)


def _told(owner: tuple[str, Any] | None) -> str:
    """Say which one it is."""
    return f" (run {owner[0]}; __state was last written at {owner[1]})" if owner else ""
