"""Meltano runs a real tap and the target, and keeps the STATE from one run to the next; the long form, `make taps`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from environments import environment
from piped import TARGET
from postgres_forms import WAYS, Compared
from postgres_source import KEYS as REPLICATION_KEYS
from postgres_source import PACKAGES, PostgresPipe, Source, needs_wal2json
from postgres_tables import CHANGES, KEYS, change

KINDS = {bool: "boolean", int: "integer", list: "array"}


def plugin(name: str, executable: Path, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = [{"name": key, "kind": KINDS.get(type(value), "string")} for key, value in config.items()]
    return {"name": name, "namespace": name.replace("-", "_"), "executable": str(executable), "settings": settings, "config": config, **more}


@needs_wal2json
@pytest.mark.skipif("TAPS" not in os.environ, reason="the long form: make taps")
@pytest.mark.parametrize("tap", PACKAGES)
def test_meltano_carries_the_state_and_the_tables_are_equal(tap: str, shop: Source, db: Any, postgres_url: str, tmp_path: Path) -> None:
    way = WAYS[tap, "LOG_BASED"]
    own = tmp_path / "tap"
    own.mkdir()
    pipe = PostgresPipe(tap, "LOG_BASED", shop, KEYS, postgres_url, own, {})
    metadata = {"*": {"replication-method": "LOG_BASED", "replication-key": REPLICATION_KEYS["LOG_BASED"]}}
    extractor = plugin("tap-postgres", pipe.program, json.loads(pipe.config.read_text()), capabilities=["discover", "catalog", "state"], select=["shop-*.*"], metadata=metadata)
    loader = plugin("target-meltano-postgres", TARGET, {"url": postgres_url, "schema": db.schema, **way.settings})
    project = {"version": 1, "default_environment": "dev", "environments": [{"name": "dev"}], "plugins": {"extractors": [extractor], "loaders": [loader]}}
    (tmp_path / "meltano.yml").write_text(json.dumps(project))  # JSON is YAML
    meltano = environment("meltano", "meltano==4.4.1") / "meltano"
    compared = Compared(shop, db, way)
    for changes in CHANGES:
        change(shop, changes)
        # Meltano keeps the catalog, in which a new column is not.
        command = [meltano, "run", "--no-install", "--refresh-catalog", "tap-postgres", "target-meltano-postgres"]
        quiet = {**os.environ, "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"}
        done = subprocess.run(command, cwd=tmp_path, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        for table in KEYS:
            assert compared.differences(table, compared.wanted(table, f'"{table}"'), compared.found(table, db.schema, live=True)) == []
    runs = [int(rows) for (rows,) in db.query(f'SELECT sum(rows_read) FROM "{db.schema}".__loads GROUP BY run_id ORDER BY min(started_at)')]
    print(tap, "LOG_BASED", runs, "records")
    assert len(runs) == len(CHANGES)
    assert max(runs[1:]) < runs[0]  # by the STATE
