"""`target-meltano state`: the STATE that the warehouse keeps of a tap's pipeline, read and written."""

from __future__ import annotations

from . import options, pipeline, processes, warehouse
from .errors import RunError
from .redaction import Redactor

DOES = {"get": "print it", "set": "keep what is in FILE, or comes from stdin, instead", "clear": "forget it: the next run starts anew"}


def command(arguments: list[str]) -> int:
    """Let the target do it, and return its exit code."""
    parser = options.parser("state", "Read and write the STATE of a tap's pipeline.")
    parser.add_argument("does", choices=DOES, help="; ".join(f"{name}: {does}" for name, does in DOES.items()))
    parser.add_argument("taps", nargs=1, metavar="TAP")
    parser.add_argument("file", nargs="?", metavar="FILE", help="of set; default: stdin")
    chosen = parser.parse_args(arguments)
    project = options.project(chosen)
    if project.transform and project.transform.review and chosen.does != "get":
        raise RunError(f"state {chosen.does}: the variable ELT_SCHEMA is set, and the STATE is that of production; unset it if that is meant")
    (tap,) = project.taps.values()
    with pipeline.locked(project, tap.name, project.work / "logs") as place:
        config = place.write("target.json", warehouse.settings(project, tap))
        given = [chosen.file] if chosen.file else []
        call = [*warehouse.command(project), "state", chosen.does, "--config", config, *given]
        code, _ = processes.relayed(call, warehouse.environment(project), Redactor(project.secrets))
    return code
