"""The target beside the limit and the peers; beside itself on disturbed streams; and with nothing to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from . import limit, workloads
from .bench import Bench, Entry, once, rounds, tell_left_out
from .cases import CLEAN, DISTURBED, DISTURBED_ROWS, LOADS, NEW_TABLE, OLD_TABLE, PEER_PART, Load
from .database import SCHEMA
from .measure import RunFailed
from .peers import Peer
from .samples import LIMIT, OURS, Sample

REFERENCE, BASE = "bench_reference", "bench_base"


def loads(bench: Bench, full: bool) -> Iterator[Sample]:
    for load in LOADS:
        if load.name in bench.workloads if bench.workloads else full or load.is_short:
            entries = [entry for number in load.numbers for entry in _ours_and_limit(bench, load, number)]
            if load.has_peers:
                entries += [entry for peer, at in bench.peers for entry in _peer(bench, load, peer, at)]
            yield from rounds(bench, entries)
            for schema in bench.database.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bench%'"):
                bench.database.drop(*schema)


def _ours_and_limit(bench: Bench, load: Load, number: str) -> Iterator[Entry]:
    rows = bench.scaled(load.rows)
    path = bench.input(load.name, rows, load.messages)
    ours = partial(bench.ours, path, number=number)
    database, reference = bench.database, f"{REFERENCE}_{number}"
    database.fresh()
    ours()
    files = limit.save(database, SCHEMA, bench.folder / reference / load.name)
    database.keep(SCHEMA, reference)
    prepare, prepare_limit = database.fresh, partial(database.fresh, empty=reference)
    if load.known is not None:
        base = f"{BASE}_{number}"
        database.fresh()
        bench.ours(bench.input("narrow", rows, workloads.narrow), number=number)
        database.keep(SCHEMA, base)
        prepare = prepare_limit = partial(database.fresh, filled=base)
    the_limit = partial(limit.load, database, files, upsert=load.known is not None)
    for program, before, run in ((LIMIT, prepare_limit, the_limit), (OURS, prepare, ours)):
        yield Entry("loads", load.name, program, number, rows, _found(load, rows), before, run)


def _peer(bench: Bench, load: Load, peer: Peer, environment: Path) -> Iterator[Entry]:
    if peer.records and load.streams > 1:
        return
    rows = bench.scaled(load.rows // PEER_PART)
    path = bench.input(load.name, rows, load.messages)
    prepare = bench.database.fresh
    if load.known is not None:
        base = f"{BASE}_{peer.name}"
        bench.database.fresh()
        try:
            bench.peer(peer, environment, bench.input("narrow", rows, workloads.narrow), keyed=True)
        except RunFailed as fault:
            tell_left_out(peer.name, load.name, fault)
            return
        bench.database.keep(SCHEMA, base)
        prepare = partial(bench.database.fresh, filled=base)
    run = partial(bench.peer, peer, environment, path, keyed=load.is_keyed)
    yield Entry("loads", load.name, peer.name, "", rows, _found(load, rows), prepare, run)


def _found(load: Load, rows: int) -> int:
    return rows if load.known is None else 2 * rows - round(rows * load.known)


def disturbed(bench: Bench, full: bool) -> Iterator[Sample]:
    """The narrow workload, clean and disturbed; no more of it in the full run."""
    rows = bench.scaled(DISTURBED_ROWS)
    entries = []
    for case in DISTURBED:
        path = bench.input("narrow" if case.name == CLEAN else case.name, rows, case.messages)
        entries.append(Entry("disturbed", case.name, OURS, "exact", rows, rows, bench.database.fresh, partial(bench.ours, path)))
    yield from rounds(bench, entries)


def startup(bench: Bench, full: bool) -> Iterator[Sample]:
    """No record for us, one for a peer: some do nothing at all without one."""
    path = bench.input("narrow", 0, workloads.narrow)
    database = bench.database
    database.fresh()
    bench.ours(path)
    database.keep(SCHEMA, BASE)
    there = partial(database.fresh, filled=BASE)
    entries = [
        Entry("startup", NEW_TABLE, OURS, "", 0, 0, database.fresh, partial(bench.ours, path)),
        Entry("startup", OLD_TABLE, OURS, "", 0, 0, there, partial(bench.ours, path)),
    ]
    one = bench.input("narrow", 1, workloads.narrow)
    for peer, at in bench.peers:
        entries.append(
            Entry("startup", NEW_TABLE, peer.name, "", 1, 1, database.fresh, partial(bench.peer, peer, at, one, keyed=True))
        )
    for entry in entries:  # what is installed a moment ago has its byte code made now
        with suppress(RunFailed):
            once(bench, entry)
    yield from rounds(bench, entries)
    database.drop(BASE)
