"""A network that fails where a test wants it to: between a target and PostgreSQL, in this process.

A `Plan` says when a connection fails, and how. "freeze" is a network that swallows everything: a
filter on our socket drops what comes before the kernel sees it, so that nothing is acknowledged.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
SO_ATTACH_FILTER = 26  # of Linux
PIECE = 1 << 16


@dataclass
class Plan:
    """What goes wrong once: at the *commits*-th COMMIT, or after so many bytes in one direction.

    *how*: "before": no COMMIT reaches the server; "during": it does, and nobody waits for the answer;
    "after": the answer came and is kept back.
    """

    commits: int | None = None
    up: int | None = None  # bytes to the server
    down: int | None = None  # bytes from it
    how: str = "before"
    freeze: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Passes connections on to the server of *url*; its own address is in `url`."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))
        self.plan = Plan(up=None)
        self._lock = threading.Lock()
        self._links: list[Link] = []

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    client.close()
                    continue
                self._links.append(Link(self, client, server))

    def cut(self) -> None:
        """Cut all connections now."""
        for link in list(self._links):
            link.cut()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def is_due(self, **passed: int) -> bool:
        """Tell whether it is time for the plan, which happens once only."""
        with self._lock:
            for name, count in passed.items():
                wanted = getattr(self.plan, name)
                if wanted is not None and not self.plan.done.is_set():
                    setattr(self.plan, name, wanted - count)
                    if wanted - count <= 0:
                        self.plan.done.set()
                        return True
        return False


class Link:
    """One connection, in both directions."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket):
        self.proxy, self.client, self.server = proxy, client, server
        self.plan: Plan | None = None  # that has begun: the answer of a COMMIT is still to come
        self.is_frozen = False
        for function in (self._up, self._down):
            threading.Thread(target=function, daemon=True).start()

    def _up(self) -> None:
        with suppress(OSError):
            while piece := self.client.recv(PIECE):
                if piece == COMMIT and self.proxy.is_due(commits=1):
                    if self.proxy.plan.how == "after":
                        self.plan = self.proxy.plan
                    if self.proxy.plan.how != "before":
                        self.server.sendall(piece)
                    if self.proxy.plan.how != "after":
                        self._fail()
                    if self.proxy.plan.how == "before" or self.is_frozen:
                        continue
                elif self.proxy.is_due(up=len(piece)):
                    self.server.sendall(piece[: len(piece) // 2])
                    self._fail()
                else:
                    self.server.sendall(piece)
        if not self.is_frozen:
            self.cut()

    def _down(self) -> None:
        with suppress(OSError):
            while piece := self.server.recv(PIECE):
                if self.plan or self.proxy.is_due(down=len(piece)):
                    if not self.plan:
                        self.client.sendall(piece[: len(piece) // 2])
                    self.plan = None
                    self._fail()
                elif not self.is_frozen:
                    self.client.sendall(piece)
        if not self.is_frozen:
            self.cut()

    def _fail(self) -> None:
        if self.proxy.plan.freeze:
            self.is_frozen = True
            swallow(self.client)
        else:
            self.cut()

    def cut(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def swallow(end: socket.socket) -> None:
    """Let the kernel drop all that comes for a socket, unseen."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # return 0: keep no byte
    program = struct.pack("HP", 1, ctypes.addressof(code))
    end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@contextmanager
def between(url: str) -> Iterator[Proxy]:
    proxy = Proxy(url)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
