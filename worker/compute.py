"""The subprocess that trains: loads torch, waits for one job on its standard input, does it, and ends.

It dies when its parent does, because its standard input ends; no orphan goes on training.
"""

from __future__ import annotations

import json
import os
import sys
import threading

NICENESS = 10
"""Training gives way to deletions and answers on the same machine."""


def main() -> None:
    """Warm up, wait for one job, do it."""
    os.nice(NICENESS)
    from core.logging import configure_logging
    from core.modelling.determinism import pinned
    from core.settings import Settings
    from core.use_cases.doors import open_doors
    from core.use_cases.run_computation import run_computation

    configure_logging()
    doors = open_doors(Settings())
    # Loading torch and pinning it takes two seconds, which no job should wait for.
    pinned(doors.settings.trainer_threads)
    line = sys.stdin.readline()
    if not line:
        return
    threading.Thread(target=_die_with_parent, daemon=True).start()
    order = json.loads(line)
    run_computation(order["job"], order["fence"], doors=doors)


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    main()
