"""The subprocess that trains: loads torch, then does one job per line of its standard input, one after another.

    in    {"job": "job_…", "fence": 3}      one line a job
    out   {"ready": true}                   once, when torch is loaded
          {"done": "job_…", "fence": 3}     when a job has ended and its end is in the database

What a job leaves on its bench (opened rows, activations) serves the next one of the same shard. The process ends with
its standard input: at once when a job is in work, because then its parent is gone. No orphan goes on training.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

NICENESS = 10
"""Training gives way to deletions and answers on the same machine."""


def main() -> None:
    """Warm up, then do what the lines say."""
    os.nice(NICENESS)
    # The parent reads what we answer; whatever a library prints must not get between the lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from core.domain.errors import StaleFence
    from core.logging import about, configure_logging
    from core.modelling.determinism import pinned
    from core.settings import Settings
    from core.use_cases.doors import open_doors
    from core.use_cases.run_computation import run_computation
    from core.use_cases.workbench import Workbench

    configure_logging()
    doors = open_doors(Settings())
    # Loading torch and pinning it takes two seconds, which no job should wait for.
    pinned(doors.settings.trainer_threads)
    orders: SimpleQueue[Any] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(orders, busy), name="orders", daemon=True).start()
    bench = Workbench()
    _say(answers, {"ready": True})
    while (order := orders.get()) is not None:
        with about(job_id=order["job"]), suppress(StaleFence):
            run_computation(order["job"], order["fence"], doors=doors, bench=bench)
        busy.clear()
        _say(answers, {"done": order["job"], "fence": order["fence"]})


def _read(orders: SimpleQueue[Any], busy: threading.Event) -> None:
    for line in sys.stdin:
        busy.set()
        orders.put(json.loads(line))
    if busy.is_set():
        os._exit(3)
    orders.put(None)


def _say(answers: Any, words: dict[str, Any]) -> None:
    answers.write(json.dumps(words) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
