"""A process that waits for a line on stdin, and then becomes the command it is for; its pid stays the same.

It is no shell: a shell drops variables whose names it does not like, as `api.key`, and runs whatever is no program as a script.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence

CANNOT_START = 126  # exit status, as of a shell
COERCED = "LC_CTYPE"  # Python itself sets it where the locale is C


def command(wanted: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that waits, and then is *wanted* with this *environment*."""
    return [sys.executable, "-I", "-S", __file__, "" if COERCED in environment else COERCED, *wanted]


def main() -> None:
    """Wait, and be the command; where nobody writes a line, end."""
    unwanted, *wanted = sys.argv[1:]
    if not os.read(0, 1):
        sys.exit(CANNOT_START)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(wanted[0], wanted, {name: value for name, value in os.environ.items() if name != unwanted})
    except OSError as error:
        print(f"{wanted[0]} cannot be started: {error.strerror}{_hint(error, wanted[0])}", file=sys.stderr)
    sys.exit(CANNOT_START)


def _hint(error: OSError, program: str) -> str:
    if error.errno == errno.ENOEXEC:
        return "; a script needs a first line that names what runs it, as #!/usr/bin/env python3"
    return "; what its first line names is not there" if error.errno == errno.ENOENT and os.path.exists(program) else ""


if __name__ == "__main__":
    main()
