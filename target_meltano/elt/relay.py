"""A program that somebody works with, its stdin ours and its output passed on without secrets."""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

from .guard import guard
from .redaction import Lines, Redactor

CHUNK = 1 << 16  # bytes
PROMPT_SECONDS = 0.1  # of silence, after which an unfinished line is shown: it may be a question


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], redact: Redactor) -> int:
    """Run *command* in *folder* to its end and return its exit status, 128+n for signal n.

    Raises:
        OutputError, BrokenPipeError: of our stdout; it is ended then.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout
        assert process.stderr
        guard().begins(process.pid)
        errors = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr, redact), daemon=True)
        errors.start()
        try:
            _pass_on(process.stdout, sys.stdout, redact)
            errors.join()
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            guard().has_ended(process.pid)
    return code if code >= 0 else 128 - code


def _pass_on(source: IO[bytes], taker: TextIO, redact: Redactor) -> None:
    """Write what comes from *source* to *taker* line by line, and what stands behind the last one when nothing more comes."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    shown, text = Lines(redact), ""
    while True:
        ready, _, _ = select.select([source], [], [], PROMPT_SECONDS if text else None)
        if not ready:
            if shown.is_open or redact.begun([text]):  # what comes may make it a secret
                continue
            taker.write(redact(text))
            text = ""
        elif chunk := os.read(source.fileno(), CHUNK):
            *lines, text = (text + decode(chunk)).split("\n")
            for line in lines:
                _write(taker, shown.more(line))
        else:
            break
        taker.flush()
    lines = [*shown.more(text + decode(b"", True)), *shown.rest()]
    taker.write("\n".join(lines))
    taker.flush()


def _write(taker: TextIO, lines: list[str]) -> None:
    for line in lines:
        taker.write(f"{line}\n")
