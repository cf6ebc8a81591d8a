"""E1 in this process, as the data and the past grow: the real use cases on a real PostgreSQL, nodes declared, none trained.

A sample is one deletion of one owner with ten records: `accept_deletion`, then the claim and `deactivate_slices`, whose
commit makes the new version live (E1 but for the predictor's swap, which knows nothing of these numbers), then
`conclude_deletion`, which erases, destroys keys and certifies. The databases stand side by side and take turns, one
sample each. Between two samples, untimed, the nodes come back to life. Every statement is counted as the driver gets it.
Each is also timed by itself, so that whatever grows is named; those that travel in a pipeline are in their step's time only.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import Row, event, text

from benchmarks.service.declared import Declared, add_past, address, analyse, declare, past_summary
from benchmarks.service.report import arguments, finish, spread, table, verdict, warn_if_busy
from benchmarks.service.scratch import Scratch, scratch, server
from core.domain.access import Caller, Scope
from core.domain.job import Lane
from core.persistence import jobs, nodes
from core.persistence.wire import Wire
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.answer_once import OnceKey
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import DEFAULT_TENANT
from core.use_cases.resolve_subjects import DeletionOrder, Identity

ROWS_EACH = 10
STEPS = ("accept", "deactivate", "conclude")
CALLER = Caller(tenant_id=DEFAULT_TENANT, key_id="ak_benchmark", scopes=frozenset(Scope))
FLAT = 1.5
"""A ratio of medians up to this is called flat; one run on a shared machine differs from the next by as much."""
GREW_MILLISECONDS = 0.3


@dataclass
class World:
    """One database and what was measured in it."""

    label: str
    ours: Scratch
    declared: Declared
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statements: dict[str, int] = field(default_factory=dict)
    by_statement: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    watched: list[tuple[str, float]] = field(default_factory=list)
    job: Row[Any] | None = None

    def watch(self) -> None:
        """Time every statement that is sent by itself from now on."""
        engine = self.ours.doors.database.engine

        def before(connection: Any, *_: Any) -> None:
            connection.info["benchmark_began"] = time.perf_counter()

        def after(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.watched.append((statement, 1000 * (time.perf_counter() - connection.info["benchmark_began"])))

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)

    def sample(self, owner: int) -> None:
        """Delete one owner and note how long each step took."""
        self._revive()
        moments, counts = [time.perf_counter()], []
        steps: tuple[Callable[[int], None], ...] = (self._accept, self._deactivate, self._conclude)
        for step in steps:
            self.watched.clear()
            with counted() as statements:
                step(owner)
            moments.append(time.perf_counter())
            counts.append(len(statements))
            for statement, milliseconds in self.watched:
                self.by_statement[statement].append(milliseconds)
        for place, step_name in enumerate(STEPS):
            self.times[step_name].append(1000 * (moments[place + 1] - moments[place]))
            self.statements[step_name] = counts[place]
        self.times["E1"].append(1000 * (moments[2] - moments[0]))

    def _accept(self, owner: int) -> None:
        order = DeletionOrder(identities=(Identity("email", address(owner)),), regulation="gdpr")
        once = OnceKey(route="POST /v1/deletion-requests", key=uuid4().hex, body=str(owner).encode())
        accept_deletion(order, caller=CALLER, once=once, doors=self.ours.doors)

    def _deactivate(self, _owner: int) -> None:
        with self.ours.doors.database.transaction() as session:
            self.job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="benchmark", lease=60)
        assert self.job is not None
        deactivate_slices(self.job, doors=self.ours.doors)

    def _conclude(self, _owner: int) -> None:
        assert self.job is not None
        assert conclude_deletion(self.job, doors=self.ours.doors)

    def _revive(self) -> None:
        """Bring the dead nodes of the lattice back, under fresh keys that lie in the key store."""
        doors = self.ours.doors
        with doors.database.engine.begin() as session:
            # The past's nodes are dead for good: their requests are not of this run.
            session.execute(
                text(
                    "UPDATE nodes SET state = 'live', died_at = NULL, died_for = NULL, "
                    "data_key_id = 'nod_' || md5(random()::text), object_digest = md5(random()::text) || md5(random()::text) "
                    "WHERE model_id = :model AND state = 'dead' AND job_id = 'job_declared'"
                ),
                {"model": self.declared.model_id},
            )
            live = nodes.live_nodes(session, self.declared.model_id)
        for row in live:
            doors.keys.get_or_create(row.data_key_id)


@contextmanager
def counted() -> Iterator[list[None]]:
    """Collect one element for each statement that the driver is given."""
    found: list[None] = []
    execute, carry = psycopg.Cursor.execute, Wire.carry

    def noted(*args: Any, **kwargs: Any) -> Any:
        found.append(None)
        return execute(*args, **kwargs)

    def carried(wire: Wire, statements: Any) -> Any:
        found.extend([None] * len(statements))
        return carry(wire, statements)

    psycopg.Cursor.execute = noted  # type: ignore[method-assign]
    Wire.carry = carried  # type: ignore[assignment, method-assign]
    try:
        yield found
    finally:
        psycopg.Cursor.execute = execute  # type: ignore[method-assign]
        Wire.carry = carry  # type: ignore[method-assign]


def main() -> None:
    """Measure both kinds of growth and print the ratios."""
    run = arguments("deletion_growth", "E1 as records and past requests grow")
    warn_if_busy()
    samples = run.pick(40, 5)
    with server() as address_of_server:
        by_records = _grow(
            address_of_server, samples, [(n, 10) for n in run.pick((10**3, 10**4, 10**5, 10**6), (10**3, 10**4))]
        )
        by_past = _grow(address_of_server, samples, [(10**4, n) for n in run.pick((10, 10**3, 10**5), (10, 10**3))])
        print()
        goals = [
            _goal("records", by_records),
            _goal("past requests", by_past),
        ]
        finish(
            run,
            {
                "server": by_records["server"],
                "lattice": "5 shards x 4 slices, 75 nodes declared and untrained; 10 records an owner; repair jobs are asked for and wait",
                "past_request": past_summary(whole=True),
                "samples": samples,
                "ratio": {
                    "records": by_records["rows"][-1]["E1 ratio"],
                    "past_requests": by_past["rows"][-1]["E1 ratio"],
                },
                "by_records": by_records,
                "by_past": by_past,
                "goals": goals,
            },
        )


def _grow(on: str, samples: int, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    with ExitStack() as stack:
        worlds = [_world(stack.enter_context(scratch(on)), records, past) for records, past in sizes]
        for owner in range(samples + 3):
            if owner == 3:  # the first ones prepare statements and fill caches
                for world in worlds:
                    world.times.clear()
                    world.by_statement.clear()
            for world in worlds:
                world.sample(owner)
        rows = [_row(world, worlds[0]) for world in worlds]
        print()
        table(rows)
        grown = _grown(worlds[0], worlds[-1])
        for line in grown:
            print(
                f"  grew: {line['milliseconds_first']:.2f} -> {line['milliseconds_last']:.2f} ms  {line['statement'][:140]}"
            )
        return {
            "server": worlds[0].ours.server,
            "rows": rows,
            "spread": {world.label: {step: spread(times) for step, times in world.times.items()} for world in worlds},
            "statements_that_grew": grown,
        }


def _world(ours: Scratch, records: int, past: int) -> World:
    declared = declare(ours, owners=records // ROWS_EACH, rows_each=ROWS_EACH)
    add_past(ours, declared, 0, past, whole=True)
    analyse(ours)
    world = World(f"{records:,} records, {past:,} past requests", ours, declared)
    world.watch()
    return world


def _row(world: World, first: World) -> dict[str, Any]:
    medians = {step: statistics.median(world.times[step]) for step in (*STEPS, "E1")}
    return {
        "": world.label,
        **{f"{step} ms": round(medians[step], 2) for step in STEPS},
        "E1 ms": round(medians["E1"], 2),
        "E1 p99": spread(world.times["E1"])["p99"],
        "E1 ratio": round(medians["E1"] / statistics.median(first.times["E1"]), 3),
        "certificate ratio": round(medians["conclude"] / statistics.median(first.times["conclude"]), 3),
        "statements": "+".join(str(world.statements[step]) for step in STEPS),
    }


def _grown(first: World, last: World) -> list[dict[str, Any]]:
    """Return the statements that take much longer in the last world than in the first."""
    found = []
    for statement, times in last.by_statement.items():
        # The quickest quarter: whatever else runs on the machine slows some, a scan slows all.
        before, after = (sorted(some)[len(some) // 4] for some in (first.by_statement.get(statement, times), times))
        if after > 2 * before and after - before > GREW_MILLISECONDS:
            found.append(
                {
                    "statement": " ".join(statement.split()),
                    "milliseconds_first": round(before, 3),
                    "milliseconds_last": round(after, 3),
                }
            )
    return sorted(found, key=lambda line: -line["milliseconds_last"])


def _goal(what: str, grown: dict[str, Any]) -> dict[str, Any]:
    worst = max(row["E1 ratio"] for row in grown["rows"])
    return verdict(f"E1 flat as {what} grow: ratio at most {FLAT} ({worst})", met=worst <= FLAT)


if __name__ == "__main__":
    main()
