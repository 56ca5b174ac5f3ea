"""The stand-in's process: `python main.py` prints its port and serves until its stdin ends."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import warnings

import fakesnow.server as engine
import results
import strict
import uvicorn
import uvicorn.protocols.http.h11_impl as protocol
import wire


async def _run(cycle: protocol.RequestResponseCycle, app: object) -> None:
    """Answer a request, or cut its connection where a test wants that, or where the stand-in fails."""
    try:
        await app(cycle.scope, cycle.receive, cycle.send)  # type: ignore[operator]
    except BaseException as error:
        if not isinstance(error, wire.Cut):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        cycle.transport.abort()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    warnings.simplefilter("ignore")
    for name in ("fakesnow.server", "sqlglot"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    strict.install(engine.shared_fs.duck_conn)
    results.install()
    protocol.RequestResponseCycle.run_asgi = _run
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms
    port = listening.getsockname()[1]
    app = wire.Wire(f"http://127.0.0.1:{port}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(port, flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http="h11", lifespan="off"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
