"""Processes that do tasks. Without any, tasks are done here, one after the other."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from .. import errors
from ..errors import TargetError
from .work import Chunk, Setup, Task, Worker

WAITING = 2  # tasks that a process has at once: one to do, one to go on with


class Here:
    """Does all tasks in this process."""

    def __init__(self, setup: Setup):
        self.worker = Worker(setup, "w0")
        self.begun: list[Any] = []

    def chunk(self, chunk: Chunk) -> None:
        self.worker.do(chunk)

    def each(self, task: Task) -> list[Any]:
        return [self.worker.do(task)]

    def all(self, tasks: Iterable[Task]) -> list[Any]:
        return [self.worker.do(task) for task in tasks]

    def begin(self, task: Task) -> None:
        self.begun.append(self.worker.do(task))

    def ended(self) -> list[Any]:
        """Return the results of what was begun, in order."""
        return self.begun

    def close(self) -> None:
        pass


class Pool:
    """Processes for chunks, and one that reads tables meanwhile.

    Raises, from any method:
        TargetError: as a process has raised it.
    """

    def __init__(self, setup: Setup, size: int):
        context = multiprocessing.get_context("spawn")
        self.processes, self.connections = [], []
        for number in range(size + 1):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(setup, f"w{number}", theirs), daemon=True)
            with _without_interrupts():
                process.start()
            theirs.close()
            self.processes.append(process)
            self.connections.append(ours)
        self.tables = self.connections.pop()
        self.open = dict.fromkeys(self.connections, 0)  # tasks that are not done
        self.controls: dict[Connection, list[Any]] = {connection: [] for connection in self.connections}
        self.begun = 0
        self.later: deque[Task] = deque()  # tasks for tables
        self.read: list[Any] = []  # the results of those that are done
        self.is_reading = False

    def chunk(self, chunk: Chunk) -> None:
        """Have a chunk read by whichever process has time."""
        while min(self.open.values()) >= WAITING:
            self._receive()
        chosen = min(self.open, key=self.open.__getitem__)
        for connection, waiting in self.controls.items():
            if connection is not chosen:
                waiting.extend(chunk.controls)
        controls = (*self.controls[chosen], *chunk.controls)
        self.controls[chosen] = []
        _send(chosen, Chunk(chunk.lines, chunk.order, chunk.line, controls, chunk.of, chunk.record))
        self.open[chosen] += 1
        self._go_on()

    def _receive(self) -> None:
        for connection in _ready(self.open):
            _result(connection)
            self.open[connection] -= 1

    def each(self, task: Task) -> list[Any]:
        """Have each process do a task, after its chunks."""
        while any(self.open.values()):
            self._receive()
        for connection in self.connections:
            _send(connection, task)
        return [_result(connection) for connection in self.connections]

    def all(self, tasks: Iterable[Task]) -> list[Any]:
        """Have tasks done by whichever process has time; return their results in order."""
        waiting = deque(enumerate(tasks))
        done: dict[int, Any] = {}
        busy: dict[Any, int] = {}
        free = list(self.connections)
        while waiting or busy:
            while waiting and free:
                connection = free.pop()
                busy[connection], task = waiting.popleft()
                _send(connection, task)
            for connection in _ready(busy):
                done[busy.pop(connection)] = _result(connection)
                free.append(connection)
        return [done[at] for at in sorted(done)]

    def begin(self, task: Task) -> None:
        """Have the process for tables do a task, after those that it has."""
        self.later.append(task)
        self.begun += 1
        self._go_on()

    def _go_on(self) -> None:
        """Give the process for tables its next task once it has done the last: with many in the pipe each would wait for the other."""
        if self.is_reading and self.tables.poll():
            self.read.append(_result(self.tables))
            self.is_reading = False
        if self.later and not self.is_reading:
            _send(self.tables, self.later.popleft())
            self.is_reading = True

    def ended(self) -> list[Any]:
        """Return the results of what was begun, in order."""
        while len(self.read) < self.begun:
            wait([self.tables])
            self._go_on()
        return self.read

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Have a process that is started ignore Ctrl-C from its first instruction on: the first process ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ready(connections: Iterable[Any]) -> list[Any]:
    """Wait until some of the connections can be read, and return those."""
    return list(wait(list(connections)))


def _send(connection: Connection, task: Task) -> None:
    """Give a process a task. One that has ended may have said why before."""
    try:
        connection.send(task)
    except (BrokenPipeError, ConnectionResetError):
        while True:
            _result(connection)


def _result(connection: Connection) -> Any:
    try:
        kind, found = connection.recv()
    except (EOFError, ConnectionResetError):
        raise errors.SpoolError("a process of verify ended; there may be no memory left") from None
    if kind == "done":
        return found
    if kind == "error":
        name, text = found
        made: TargetError = getattr(errors, name)(text)
        raise made
    raise RuntimeError(found)


def _serve(setup: Setup, owner: str, connection: Connection) -> None:
    gc.disable()  # rows wait by the hundred thousand, and none refers to itself
    try:
        worker = Worker(setup, owner)
        while True:
            task = connection.recv()
            connection.send(("done", worker.do(task)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the first process is gone
    except TargetError as error:
        name = type(error).__name__ if type(error).__name__ in ("DatabaseError", "SettingsError", "SpoolError", "SchemaError") else "DatabaseError"
        connection.send(("error", (name, str(error))))
    except BaseException:
        connection.send(("bug", traceback.format_exc()))
