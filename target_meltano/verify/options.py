"""What `target-meltano-NAME verify` takes: apart from what it does, which takes long to import."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", action="append", default=[], metavar="ID", help="whose rejected records count, may be given again; default: the last run of the schema")
    parser.add_argument("--whole", action="store_true", help="the input is all that the tables should have: rows of which it says nothing are differences")
    parser.add_argument("--differences", type=int, default=10, metavar="N", help="how many are shown of a stream (10)")
    parser.add_argument("--processes", type=int, metavar="N", help="that read the input; default: as many as there are cores, 0: none but this one")
    parser.add_argument("--tap-status-fd", type=int, metavar="N", help="inherited descriptor on which the tap's exit status comes, as digits")
    parser.add_argument("--summary", metavar="FILE", help="write what was found as JSON")
