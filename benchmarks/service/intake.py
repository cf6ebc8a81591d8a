"""Intake: POST /v1/deletion-requests against a bare ORM insert, over HTTP at 16 connections.

Each application is one uvicorn process with the same settings; rounds alternate, so that whatever disturbs the machine
disturbs all. Every request is about another person, who has two records in one model's data set (the usual case: a
request about somebody unknown is cheaper), and carries a new Idempotency-Key. No worker runs: what is measured is the
taking in. Ours authenticates, finds the records, checks for copies and relatives, and stores request, job, suppression,
answer and three log entries; the rivals store one row.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import psycopg

from benchmarks.service import load
from benchmarks.service.bare import make_table
from benchmarks.service.declared import Declared, add_past, declare, past_summary
from benchmarks.service.report import Run, arguments, finish, table, verdict, warn_if_busy
from benchmarks.service.scratch import Scratch, Web, scratch, web
from cli.processes import lethe

OURS, SYNC, ASYNC = "lethe", "bare ORM, sync", "bare ORM, async"
ROWS_EACH = 2


@dataclass
class Side:
    """One application and what its rounds gave."""

    web: Web
    path: str
    sent: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def drive(self, key: str, seconds: float) -> dict[str, Any]:
        before = self.web.processor_seconds()
        found = load.drive(self.web.url, self.path, key=key, first=self.sent, seconds=seconds)
        # What was cut off at the end may have been accepted too; no number is used twice.
        self.sent += found["requests"] + 100
        used = self.web.processor_seconds() - before
        return found | {
            "rate": found["requests"] / found["seconds"],
            "processor_ms": 1000 * used / found["requests"],
        }


def main() -> None:
    """Measure at every level and print the ratios."""
    run = arguments("intake", "POST /v1/deletion-requests against a bare ORM insert")
    warn_if_busy()
    owners = run.pick(60_000, 4_000)
    with scratch() as ours, ExitStack() as stack:
        declared = declare(ours, owners=owners, rows_each=ROWS_EACH)
        make_table(ours.url)
        sides = _start(ours, stack)
        for side in sides.values():
            side.drive(ours.admin_key, 1)
        levels = [
            _level(run, ours, declared, sides, *span) for span in run.pick([(0, 10**3), (10**3, 10**6)], [(0, 10**3)])
        ]
        if any(side.sent > owners for side in sides.values()):
            raise SystemExit("there were not enough people to ask about; raise `owners`")
        finish(run, _result(ours, levels))


def _start(ours: Scratch, stack: ExitStack) -> dict[str, Side]:
    bare = {"BENCHMARK_DATABASE_URL": ours.url}
    command = [sys.executable, "-m", "benchmarks.service.bare"]
    api = stack.enter_context(web(lethe("api"), ours.variables, port="LETHE_PORT", ready="/readyz"))
    sync = stack.enter_context(web([*command, "sync"], bare, port="BENCHMARK_PORT", ready="/openapi.json"))
    sides = {OURS: Side(api, "/v1/deletion-requests"), SYNC: Side(sync, "/requests")}
    if find_spec("greenlet") is None:
        print("SQLAlchemy's coroutines need `pip install greenlet`; the async rival is left out.", file=sys.stderr)
        return sides
    other = stack.enter_context(web([*command, "async"], bare, port="BENCHMARK_PORT", ready="/openapi.json"))
    return sides | {ASYNC: Side(other, "/requests")}


def _level(  # noqa: PLR0913, PLR0917
    run: Run, ours: Scratch, declared: Declared, sides: dict[str, Side], begin: int, end: int
) -> dict[str, Any]:
    add_past(ours, declared, begin, end, whole=False)
    _fill_bare(ours, begin, end)
    for side in sides.values():
        side.rounds.clear()
    for _ in range(run.pick(4, 2)):
        for side in sides.values():
            side.rounds.append(side.drive(ours.admin_key, run.pick(3, 1)))
    print(f"\nstored requests: {end:,} and what the rounds add")
    rows = [{"": name, **_summed(side.rounds)} for name, side in sides.items()]
    for row in rows:
        row["ratio"] = round(rows[0]["requests/s"] / row["requests/s"], 3)
        row["cpu ratio"] = round(row["cpu ms/request"] / rows[0]["cpu ms/request"], 3)
    table(rows)
    return {"stored": end, "rows": rows, "rounds": {name: list(side.rounds) for name, side in sides.items()}}


def _summed(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "requests/s": round(statistics.median(one["rate"] for one in rounds), 1),
        "least": round(min(one["rate"] for one in rounds), 1),
        "most": round(max(one["rate"] for one in rounds), 1),
        "p50 ms": round(statistics.median(one["p50_ms"] for one in rounds), 2),
        "p99 ms": round(statistics.median(one["p99_ms"] for one in rounds), 2),
        "worst p99 ms": round(max(one["p99_ms"] for one in rounds), 2),
        "cpu ms/request": round(statistics.median(one["processor_ms"] for one in rounds), 2),
        "requests": sum(one["requests"] for one in rounds),
    }


def _fill_bare(ours: Scratch, begin: int, end: int) -> None:
    with psycopg.connect(ours.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO bare_requests SELECT md5(n::text), 'received', 'email', 'past-' || n || '@example.org', 'gdpr',"
            " NULL, clock_timestamp() FROM generate_series(%s::bigint, %s::bigint) n",
            (begin, end - 1),
        )
        connection.execute("VACUUM ANALYZE bare_requests")
        connection.execute("CHECKPOINT")


def _result(ours: Scratch, levels: list[dict[str, Any]]) -> dict[str, Any]:
    ours_last, *rivals = levels[-1]["rows"]
    print()
    goals = [
        verdict(
            f"at {level['stored']:,} stored: at least 0.5 of the sync ORM insert, as ours is ({level['rows'][1]['ratio']})",
            met=level["rows"][1]["ratio"] >= 0.5,
        )
        for level in levels
    ]
    goals += [
        verdict(
            f"at {level['stored']:,} stored: p99 at most 50 ms ({level['rows'][0]['p99 ms']})",
            met=level["rows"][0]["p99 ms"] <= 50,
        )
        for level in levels
    ]
    steady = round(ours_last["requests/s"] / levels[0]["rows"][0]["requests/s"], 3)
    goals.append(
        verdict(
            f"steady: at {levels[-1]['stored']:,} stored at least 0.8 of the rate at {levels[0]['stored']:,} ({steady})",
            met=steady >= 0.8,
        )
    )
    return {
        "server": ours.server,
        "generator": load.generator(),
        "connections": load.CONNECTIONS,
        "past_request": past_summary(whole=False),
        "subjects": f"each request about another owner with {ROWS_EACH} records in one live model's data set; no worker runs",
        "ratio": {row[""]: row["ratio"] for row in rivals},
        "levels": levels,
        "goals": goals,
    }


if __name__ == "__main__":
    main()
