"""A tap whose output is worked out from a seed, so that it can start again after any line.

    python tap.py ROWS SEED [STATE]

Three streams, interleaved: `orders` (its keys come again), `people` (two keys), `events` (no key).
A STATE {"line": n} tells that n records have been sent. How far apart STATEs are changes every 10,000
records: from every 20 to every 10,000 or so.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator

SCHEMAS = {
    "orders": (["id"], {"id": "integer", "n": "integer", "note": "string", "price": "number"}),
    "people": (["town", "id"], {"town": "string", "id": "integer", "n": "integer", "data": "object"}),
    "events": ([], {"n": "integer", "what": "string"}),
}
STREAMS = tuple(SCHEMAS)
DISTANCES = (20, 300, 1000, 4000, 10_000)
ZONE = 10_000


def main(rows: int, seed: int, state: str = "{}") -> None:
    out = sys.stdout.buffer
    for line in lines(rows, seed, json.loads(state).get("line", 0)):
        out.write(line)
    out.flush()


def lines(rows: int, seed: int, start: int = 0) -> Iterator[bytes]:
    """Yield the tap's output after *start* records."""
    for stream, (keys, columns) in SCHEMAS.items():
        properties = {name: {"type": ["null", kind]} for name, kind in columns.items()}
        schema = {"type": "SCHEMA", "stream": stream, "key_properties": keys, "schema": {"properties": properties}}
        yield json.dumps(schema).encode() + b"\n"
    for n in range(start + 1, rows + 1):
        yield record(n, rows, seed)
        if is_state(n, seed) or n == rows:
            yield b'{"type":"STATE","value":{"line":%d}}\n' % n


def record(n: int, rows: int, seed: int) -> bytes:
    mixed = (n * 2654435761 + seed * 40503) & 0xFFFFFFFF
    stream = stream_of(n, seed)
    key = mixed % (rows // 4 + 1)
    if stream == "orders":
        return b'{"type":"RECORD","stream":"orders","record":{"id":%d,"n":%d,"note":"note %d","price":%d.%02d}}\n' % (
            key, n, mixed, mixed % 1000, mixed % 100,
        )  # fmt: skip
    if stream == "people":
        return b'{"type":"RECORD","stream":"people","record":{"town":"t%d","id":%d,"n":%d,"data":{"a":[%d,null]}}}\n' % (
            key % 7, key, n, mixed,
        )  # fmt: skip
    return b'{"type":"RECORD","stream":"events","record":{"n":%d,"what":"event %d"}}\n' % (n, mixed)


def stream_of(n: int, seed: int) -> str:
    return STREAMS[((n * 7919 + seed) >> 3) % 3]  # some in a row, then another one


def is_state(n: int, seed: int) -> bool:
    zone = random.Random(seed * 1_000_003 + n // ZONE)
    distance = zone.choice(DISTANCES)
    return n % distance == zone.randrange(distance)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
