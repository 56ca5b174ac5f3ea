"""Load a file of Singer messages with dlt, whose Python runs this.

Arguments: the file, the database's url, the schema, a folder for dlt's own files. The records are
upserted by the SCHEMA's keys, or appended where it has none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import dlt  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    path, url, schema, folder = sys.argv[1:]
    keys: dict[str, list[str]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            message = json.loads(line)
            if message["type"] == "SCHEMA":
                keys[message["stream"]] = message["key_properties"]
            elif message["type"] == "RECORD":
                records.setdefault(message["stream"], []).append(message["record"])
    pipeline = dlt.pipeline(
        schema, destination=dlt.destinations.postgres(url), dataset_name=schema, pipelines_dir=folder
    )
    pipeline.run([resource(stream, rows, keys[stream]) for stream, rows in records.items()])


def resource(stream: str, rows: list[dict[str, Any]], keys: list[str]) -> Any:
    def pages() -> Iterator[list[dict[str, Any]]]:
        for at in range(0, len(rows), 1000):
            yield rows[at : at + 1000]

    how: dict[str, Any] = {"write_disposition": "append"}
    if keys:
        how = {"write_disposition": {"disposition": "merge", "strategy": "upsert"}, "primary_key": keys}
    return dlt.resource(pages, name=stream, max_table_nesting=0, **how)


if __name__ == "__main__":
    main()
