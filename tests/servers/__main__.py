"""Run a command beside throw-away servers: `python -m tests.servers --postgres --redis --s3 -- COMMAND …`.

The command finds them in LETHE_DATABASE_URL, LETHE_BROKER_URL and LETHE_S3_…, and the tests' fixtures in the same
variables with LETHE_TEST_ before the name. Whatever ends this, Ctrl-C and SIGTERM included, ends the servers; the exit
status is the command's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from types import FrameType

from tests.servers import KINDS, missing
from tests.servers.process import ends_with_us


def main() -> int:
    """Return the command's exit status, or 2 when a server is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__.splitlines()[0])
    for name in KINDS:
        parser.add_argument(f"--{name}", action="store_true", help=f"start {name}")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    chosen = parser.parse_args()
    names = [name for name in KINDS if getattr(chosen, name)]
    absent = missing(*names)
    if absent is not None:
        sys.stderr.write(absent + "\n")
        return 2
    signal.signal(signal.SIGTERM, _leave)
    environment = dict(os.environ)
    with ExitStack() as stack:
        for name in names:
            variables = stack.enter_context(KINDS[name]()).variables()
            environment |= variables
            environment |= {
                variable.replace("LETHE_", "LETHE_TEST_", 1): value for variable, value in variables.items()
            }
        return _run(chosen.command, environment)


def _run(command: list[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(ends_with_us(command), env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()  # Ctrl-C reached the command too, and it may have something to put away
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's shape
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
