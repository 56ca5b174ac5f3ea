"""How long the fault suite runs: FAULTS is how often each thing goes wrong, FAULT_ROWS how much is loaded."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Iterator

import pytest
from running import Run, Tables, tap_command

FAULTS = int(os.environ.get("FAULTS", "0"))  # 0: the short form


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of the test's own; FAULT_SEED makes others."""
    return random.Random(f"{os.environ.get('FAULT_SEED', '1')} {request.node.name}")


@pytest.fixture
def tables(postgres_url: str) -> Iterator[Callable[[], Tables]]:
    """Makes names of schemas, each with a view into it; they are dropped afterwards."""
    made: list[Tables] = []

    def make(url: str = postgres_url) -> Tables:
        made.append(Tables(url, f"faults_{secrets.token_hex(4)}"))
        return made[-1]

    yield make
    for one in made:
        one.drop()
        one.close()


@pytest.fixture(scope="module")
def undisturbed(postgres_url: str) -> Iterator[Callable[[int, int], str]]:
    """Return the schema into which so many rows of a seed were loaded with nothing in the way."""
    made: dict[tuple[int, int], Tables] = {}

    def loaded(rows: int, seed: int) -> str:
        if (rows, seed) not in made:
            here = made[rows, seed] = Tables(postgres_url, f"faults_{secrets.token_hex(4)}")
            with Run({"url": postgres_url, "schema": here.schema}, tap_command(rows, seed, None)) as run:
                assert run.ended() == 0, run.errors()
        return made[rows, seed].schema

    yield loaded
    for one in made.values():
        one.drop()
        one.close()
