"""A PostgreSQL that taps read, for all tests of this folder, and a database of it for each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_source import Source, source, source_server

from target_meltano_postgres import embedded


@pytest.fixture(scope="session")
def source_of_taps() -> Iterator[embedded.Server]:
    home = Path(tempfile.mkdtemp(dir=os.environ["TARGET_MELTANO_TESTS"]))
    home.chmod(0o755)
    with source_server(home) as made:
        yield made
    shutil.rmtree(home)


@pytest.fixture
def shop(source_of_taps: embedded.Server) -> Iterator[Source]:
    with source(source_of_taps) as made:
        yield made
