"""Why a server takes no connection, by its code: words may be in any language, and libpq tells nothing else.

A server that starts, stops or is full says so in answer to the first packet, before TLS and passwords
matter: https://www.postgresql.org/docs/current/protocol-flow.html
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg2

_CODES = ("57P03", "53300")  # it starts, stops or recovers; it has too many connections
SECONDS = 5
_WHERE = re.compile(r'connection to server (?:at "([^"]+)"(?: \(([^)]+)\))?, port (\d+)|on socket "([^"]+)") failed: ')
_PROTOCOL = 3 << 16


class Passing(psycopg2.OperationalError):
    """The server takes nobody for a while."""


def passes(error: Exception, parameters: Mapping[str, Any]) -> bool:
    """Tell whether the server that refused us, as *error* of libpq says, would not take anybody just now.

    It is asked anew, so of a server that has started meanwhile it is not told.
    """
    return any(_code(found, parameters) in _CODES for found in _WHERE.finditer(str(error)))


def _code(where: re.Match[str], parameters: Mapping[str, Any]) -> str | None:
    """Return the code of the error with which a server answers our first packet."""
    name, address, port, path = where.groups()
    with suppress(OSError, struct.error), _connected(address or name, port, path) as asking:
        asking.settimeout(SECONDS)
        asking.sendall(_first_packet(str(parameters.get("user") or "postgres")))
        with asking.makefile("rb") as answer:
            kind, size = struct.unpack("!cI", answer.read(5))
            if kind == b"E":
                fields = answer.read(min(size, 10_000) - 4).split(b"\0")
                return next((field[1:].decode() for field in fields if field.startswith(b"C")), None)
    return None


def _connected(host: str | None, port: str | None, path: str | None) -> socket.socket:
    if path:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(SECONDS)
        made.connect(path)
        return made
    return socket.create_connection((host, int(port or 5432)), timeout=SECONDS)


def _first_packet(user: str) -> bytes:
    said = struct.pack("!I", _PROTOCOL) + b"user\0" + user.encode() + b"\0\0"
    return struct.pack("!I", len(said) + 4) + said
