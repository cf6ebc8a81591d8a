"""One entry in the Merkle log against one bare row: what gap-free, provable order costs.

Ours is `Database.transaction` with one `audit.note`: an advisory lock, the tree's frontier, the entry and its hashes.
The rival inserts a row of the same columns under the same indexes, with its index from a sequence, in a transaction of
its own on the same engine. Threads of one process; rounds alternate.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from benchmarks.service.report import Run, arguments, finish, spread, table, verdict, warn_if_busy
from benchmarks.service.scratch import scratch
from core.audit.entry import Action, Actor, ActorKind
from core.audit.log import leaf_hash, nodes_completed_by, root
from core.domain.identifiers import new_identifier
from core.persistence import audit
from core.persistence.database import Database
from core.use_cases.doors import DEFAULT_TENANT

THREADS = (1, 8, 32)
ACTOR = Actor(ActorKind.SYSTEM, "benchmark")
MAKE_BARE = (
    "CREATE TABLE bare_entries (LIKE audit_entries INCLUDING ALL)",
    "CREATE SEQUENCE bare_index",
    "ALTER TABLE bare_entries ALTER COLUMN index SET DEFAULT nextval('bare_index')",
)
INSERT_BARE = text(
    "INSERT INTO bare_entries (tenant_id, action, actor, object, body) VALUES (:tenant, :action, :actor, :object, :body)"
)
BODY = b"x" * 330
"""As long as an entry of this kind."""


def main() -> None:
    """Measure with 1, 8 and 32 threads and print the ratios."""
    run = arguments("log_append", "one entry in the Merkle log against one bare row")
    warn_if_busy()
    with scratch() as ours:
        database = Database(ours.url, pool_size=max(THREADS))
        try:
            with database.engine.begin() as session:
                for statement in MAKE_BARE:
                    session.execute(text(statement))
            levels = [_level(run, database, threads) for threads in THREADS]
            _check(database)
        finally:
            database.close()
        rows = [row for level in levels for row in level["rows"]]
        table(rows)
        print()
        ratios = {f"{level['threads']} threads": level["ratio"] for level in levels}
        fastest = max(level["rows"][0]["appends/s"] for level in levels)
        goals = [verdict(f"more appends a second than intake can ask for, 500 ({fastest:,.0f})", met=fastest >= 500)]
        finish(run, {"server": ours.server, "ratio": ratios, "levels": levels, "goals": goals})


def _level(run: Run, database: Database, threads: int) -> dict[str, Any]:
    sides = {"Merkle log": lambda: _append(database), "bare row": lambda: _insert(database)}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    latencies: dict[str, list[float]] = {name: [] for name in sides}
    for once in sides.values():
        _round(once, threads, 0.3)
    for _ in range(run.pick(5, 2)):
        for name, once in sides.items():
            taken, seconds = _round(once, threads, run.pick(3.0, 0.7))
            rates[name].append(len(taken) / seconds)
            latencies[name] += taken
    medians = {name: statistics.median(found) for name, found in rates.items()}
    rows = []
    for name in sides:
        times = spread(latencies[name])
        rows.append(
            {
                "": f"{name}, {threads} threads",
                "appends/s": round(medians[name], 1),
                "least": round(min(rates[name]), 1),
                "p50 ms": times["median"],
                "p99 ms": times["p99"],
                "appends": int(times["samples"]),
                "ratio": round(medians["Merkle log"] / medians[name], 3),
            }
        )
    return {"threads": threads, "ratio": rows[1]["ratio"], "rows": rows}


def _append(database: Database) -> None:
    with database.transaction(ACTOR, shared_flush=True) as session:
        audit.note(session, Action.LOG_CHECKPOINT, tenant=DEFAULT_TENANT, object=new_identifier("aud"), records=1)


def _insert(database: Database) -> None:
    row = {"tenant": DEFAULT_TENANT, "action": Action.LOG_CHECKPOINT, "actor": ACTOR.id, "body": BODY}
    with database.engine.begin() as session:
        session.execute(INSERT_BARE, {**row, "object": new_identifier("aud")})


def _round(once: Callable[[], None], threads: int, seconds: float) -> tuple[list[float], float]:
    """Return the milliseconds of every append, and how long the round took."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        while (began := time.perf_counter()) < end:
            once()
            taken.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return taken, time.perf_counter() - began


def _check(database: Database) -> None:
    """Refuse to report a log that is not one: its head must be that of its entries."""
    with database.engine.connect() as session:
        entries, head = audit.head(session)
        grown: dict[tuple[int, int], bytes] = {}
        for index, body in enumerate(audit.bodies(session)):
            for level, place, value in nodes_completed_by(index, leaf_hash(body), lambda *at: grown[at]):
                grown[level, place] = value
    assert root(entries, lambda *at: grown[at]) == head


if __name__ == "__main__":
    main()
