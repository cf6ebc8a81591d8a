"""What Prometheus may know of the whole deployment: read from the database when it is scraped, by the API alone.

    gauges     how much is open, how long the oldest of it waits, what the log and its checkpoints look like
    counters   what the audit log has told since the first scrape: each scrape reads on from where the last one ended

The log holds every change of state, whoever made it: a worker, or a subprocess that is gone. So nobody else counts jobs
and deletions. All questions use an index over what is open or new, and answers are kept for `CACHE_SECONDS`, so their
cost does not grow with what has piled up. Of several API replicas each shows the same values: take the maximum.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from core.persistence.database import Database
from core.persistence.requests import OPEN_STATES
from core.use_cases.doors import Doors

CACHE_SECONDS = 5.0
LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
log = structlog.get_logger()


@dataclass(frozen=True)
class Gauge:
    """One statement that returns its labels and, last, a value."""

    name: str
    sentence: str
    sql: str
    labels: tuple[str, ...] = ()


GAUGES = (
    Gauge(
        "lethe_requests",
        "Deletion requests that have not ended, by state.",
        f"""
        SELECT s.state, coalesce(n.requests, 0) FROM unnest(ARRAY[{OPEN_STATES}]) AS s (state)
        LEFT JOIN (
          SELECT state, count(*) AS requests FROM deletion_requests WHERE state IN ({OPEN_STATES}) GROUP BY state
        ) n ON n.state = s.state
        """,  # noqa: S608 - the words above
        ("state",),
    ),
    Gauge(
        "lethe_oldest_request_seconds",
        "Age of the oldest deletion request that has not ended.",
        f"""
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)
        FROM deletion_requests WHERE state IN ({OPEN_STATES})
        """,  # noqa: S608 - the words above
    ),
    Gauge(
        "lethe_jobs",
        "Jobs that have not ended, by lane, kind and state.",
        """
        SELECT lane, kind, state, count(*) FROM jobs WHERE state IN ('waiting', 'running', 'verifying')
        GROUP BY lane, kind, state
        """,
        ("lane", "kind", "state"),
    ),
    Gauge(
        "lethe_oldest_waiting_job_seconds",
        "For how long the oldest job that could be taken has waited.",
        """
        SELECT l.lane, coalesce(extract(epoch FROM clock_timestamp() - min(j.run_after)), 0)
        FROM (VALUES ('deactivate'), ('compute')) AS l (lane)
        LEFT JOIN jobs j ON j.lane = l.lane AND j.state = 'waiting' AND j.run_after < clock_timestamp()
        GROUP BY l.lane
        """,
        ("lane",),
    ),
    Gauge(
        "lethe_artifacts_pending_deletion",
        "Keys that were ordered destroyed and are not yet.",
        "SELECT count(*) FROM erasures WHERE destroyed_at IS NULL",
    ),
    Gauge(
        "lethe_models",
        "Models, by state.",
        "SELECT state, count(*) FROM models GROUP BY state",
        ("state",),
    ),
    Gauge(
        "lethe_repair_waiting_shards",
        "Shards whose next node their model's repair budget does not pay for yet.",
        "SELECT count(*) FROM repair_shards WHERE wanted IS NOT NULL",
    ),
    Gauge(
        "lethe_audit_entries",
        "Entries of the audit log.",
        "SELECT coalesce(max(index) + 1, 0) FROM audit_entries",
    ),
    Gauge(
        "lethe_audit_unpublished_entries",
        "Entries of the audit log that no signed checkpoint covers yet.",
        """
        SELECT coalesce((SELECT max(index) + 1 FROM audit_entries), 0)
          - coalesce((SELECT max(size) FROM audit_checkpoints), 0)
        """,
    ),
    Gauge(
        "lethe_audit_checkpoint_age_seconds",
        "Age of the newest signed checkpoint; nothing signs while nothing is added.",
        """
        SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - signed_at) FROM audit_checkpoints
                         ORDER BY size DESC LIMIT 1), 0)
        """,
    ),
    Gauge(
        "lethe_webhook_deliveries_waiting",
        "Deliveries to webhooks that have not arrived yet.",
        "SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'",
    ),
    Gauge(
        "lethe_outbox_lag_seconds",
        "For how long the delivery that is most overdue has been due; disabled endpoints only collect.",
        """
        SELECT greatest(coalesce(extract(epoch FROM clock_timestamp() - min(d.next_at)), 0), 0)
        FROM webhook_deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
        WHERE d.state = 'waiting' AND w.state = 'enabled'
        """,
    ),
)
TOLD = """
SELECT e.action, coalesce(j.kind, '') AS kind, count(*) AS entries FROM audit_entries e
LEFT JOIN jobs j ON e.action LIKE 'job.%' AND j.id = e.object
WHERE e.index >= :from AND e.index < :to GROUP BY 1, 2
"""
JOB_SECONDS = """
SELECT j.kind, extract(epoch FROM j.finished_at - j.started_at) AS seconds FROM audit_entries e
JOIN jobs j ON j.id = e.object WHERE e.action = 'job.done' AND e.index >= :from AND e.index < :to
  AND j.started_at IS NOT NULL AND j.finished_at IS NOT NULL
"""
DELETION_SECONDS = """
SELECT e.action, extract(epoch FROM
  CASE e.action WHEN 'deletion_request.completed' THEN r.completed_at ELSE r.influence_free_at END - r.received_at
) AS seconds FROM audit_entries e JOIN deletion_requests r ON r.id = e.object
WHERE e.action IN ('deletion_request.completed', 'deletion_request.influence_free') AND e.index >= :from AND e.index < :to
"""
ENDS = {"job.done": "done", "job.failed": "failed", "job.dead": "dead", "job.cancelled": "cancelled"}
ATTEMPTS = ENDS | {
    "job.lease_lost": "lease_lost",
    "job.retried": "retried",
    "job.handed_back": "handed_back",
}
"""How an attempt at a job ended, by the log's word for it."""


def measure_service(doors: Doors) -> Collector:
    """Return what collects the deployment's metrics. Keep it: it counts on from scrape to scrape."""
    return _Service(doors.database)


class _Counted:
    """Counters that follow the log."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.entries = self._counter("lethe_audit_entries_appended", "Entries of the audit log, by action.", "action")
        self.ended = self._counter("lethe_jobs_ended", "Jobs that ended, by kind and outcome.", "kind", "outcome")
        self.attempts = self._counter(
            "lethe_job_attempts", "Attempts at jobs, by kind and how they ended.", "kind", "outcome"
        )
        self.expired = self._counter("lethe_lease_expired", "Leases that ran out: their workers fell silent.")
        self.job_seconds = self._histogram(
            "lethe_job_duration_seconds", "From a job's first claim to its good end.", "kind"
        )
        self.influence_free_seconds = self._histogram(
            "lethe_deletion_influence_free_seconds",
            "From taking a request in until nothing served is a function of the deleted records (E1).",
        )
        self.certificate_seconds = self._histogram(
            "lethe_deletion_certificate_seconds", "From taking a request in until it is completed and certified."
        )

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        return Counter(name, sentence, labels, registry=self.registry)

    def _histogram(self, name: str, sentence: str, *labels: str) -> Histogram:
        return Histogram(name, sentence, labels, buckets=LONG_SECONDS, registry=self.registry)

    def follow(self, session: Connection, begin: int, end: int) -> None:
        """Count the entries begin ≤ index < end; all are read before one is counted, so a failure counts nothing."""
        span = {"from": begin, "to": end}
        told = session.execute(text(TOLD), span).all()
        jobs = session.execute(text(JOB_SECONDS), span).all()
        deletions = session.execute(text(DELETION_SECONDS), span).all()
        for row in told:
            self.entries.labels(row.action).inc(row.entries)
            if row.action in ENDS:
                self.ended.labels(row.kind, ENDS[row.action]).inc(row.entries)
            if row.action in ATTEMPTS:
                self.attempts.labels(row.kind, ATTEMPTS[row.action]).inc(row.entries)
            if row.action == "job.lease_lost":
                self.expired.inc(row.entries)
        for row in jobs:
            self.job_seconds.labels(row.kind).observe(float(row.seconds))
        for row in deletions:
            whole = row.action == "deletion_request.completed"
            histogram = self.certificate_seconds if whole else self.influence_free_seconds
            if row.seconds is not None:
                histogram.observe(float(row.seconds))


@dataclass(eq=False)
class _Service(Collector):
    """Collects once in `CACHE_SECONDS`, however often it is asked."""

    database: Database
    counted: _Counted = field(default_factory=_Counted)
    _followed: int | None = None
    _gauges: list[Metric] = field(default_factory=list)
    _collected: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges, and the counters as far as the log has been followed."""
        with self._lock:
            if time.monotonic() - self._collected >= CACHE_SECONDS:
                self._gauges = self._ask()
                self._collected = time.monotonic()
            return [*self._gauges, *self.counted.registry.collect()]

    def _ask(self) -> list[Metric]:
        try:
            with self.database.transaction() as session:
                gauges = [_gauge(one, session) for one in GAUGES]
                self._follow(session)
        except SQLAlchemyError as error:
            log.error("metrics.trouble", kind=type(error).__name__)
            return [_is_up(0)]
        return [*gauges, _is_up(1)]

    def _follow(self, session: Connection) -> None:
        size = int(session.execute(text("SELECT coalesce(max(index) + 1, 0) FROM audit_entries")).scalar_one())
        if self._followed is not None and size > self._followed:
            self.counted.follow(session, self._followed, size)
        self._followed = size


def _gauge(one: Gauge, session: Connection) -> Metric:
    family = GaugeMetricFamily(one.name, one.sentence, labels=one.labels)
    for labels, value in _values(session.execute(text(one.sql)).all()):
        family.add_metric(labels, value)
    return family


def _values(rows: Iterable[Any]) -> Iterator[tuple[list[str], float]]:
    for row in rows:
        *labels, value = row
        yield [str(label) for label in labels], float(value)


def _is_up(value: float) -> Metric:
    family = GaugeMetricFamily("lethe_database_up", "Whether the database answered this scrape.")
    family.add_metric([], value)
    return family
