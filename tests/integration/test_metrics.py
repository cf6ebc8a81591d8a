"""What Prometheus sees of a deployment: what is open now, and what the log has told since the first scrape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.testclient import TestClient

from api.app import create_app
from core.use_cases import measure_service
from core.use_cases.doors import Doors
from core.use_cases.manage_webhooks import Change, change_endpoint
from core.use_cases.resend_webhook import send_test_event
from tests.integration.callers import client
from tests.integration.webhook_world import ALLOWED, hear
from tests.integration.world import ADMIN, NOTHING, OTHER, address, ask, built, deactivate, drain


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_service, "CACHE_SECONDS", 0.0)


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors, create_app(doors)) as opened:
        yield opened


def scrape(caller: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    answer = caller.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_is_open_is_a_gauge_and_what_happened_a_counter(doors: Doors, caller: TestClient) -> None:
    built(doors, approval_required=False)
    first = scrape(caller)
    assert first["lethe_database_up", ()] == 1
    assert first["lethe_models", ("live",)] == 1
    assert first["lethe_requests", ("scheduled",)] == 0
    assert ("lethe_audit_entries_appended_total", ("deletion_request.completed",)) not in first
    ask(doors, 5)
    asked = scrape(caller)
    assert asked["lethe_requests", ("scheduled",)] == 1
    assert asked["lethe_jobs", ("deactivate", "deactivate", "waiting")] == 1
    assert asked["lethe_oldest_waiting_job_seconds", ("deactivate",)] > 0
    assert asked["lethe_oldest_request_seconds", ()] > 0
    assert asked["lethe_audit_entries_appended_total", ("deletion_request.received",)] == 1
    assert asked["lethe_audit_unpublished_entries", ()] > 0
    deactivate(doors)
    drain(doors)
    done = scrape(caller)
    assert done["lethe_requests", ("scheduled",)] == done["lethe_requests", ("verifying",)] == 0
    assert done["lethe_oldest_request_seconds", ()] == 0
    assert done["lethe_artifacts_pending_deletion", ()] == 0
    assert done["lethe_jobs_ended_total", ("deactivate", "done")] == 1
    assert done["lethe_job_attempts_total", ("deactivate", "done")] == 1
    assert done["lethe_jobs_ended_total", ("train_node", "done")] > 0
    assert done["lethe_job_duration_seconds_count", ("deactivate",)] == 1
    assert done["lethe_deletion_influence_free_seconds_count", ()] == 1
    assert done["lethe_deletion_certificate_seconds_count", ()] == 1
    assert done["lethe_audit_entries", ()] > asked["lethe_audit_entries", ()]
    again = scrape(caller)
    ours = ("lethe_audit", "lethe_job", "lethe_lease")
    counters = {name for name in done if name[0].startswith(ours) and name[0].endswith("_total")}
    assert {name: again[name] for name in counters} == {name: done[name] for name in counters}, "nothing counts twice"


def test_a_scrape_names_nobody(doors: Doors, caller: TestClient) -> None:
    model = built(doors)
    request = ask(doors, 5)["id"]
    caller.get(f"/v1/models/{model}")
    caller.get(f"/v1/models/{address(5)}")
    scrape(caller)
    told = caller.get("/metrics").text
    for name in (model, request, address(5), "classifier", OTHER.tenant_id, OTHER.key_id):
        assert name not in told
    assert 'route="/v1/models/{model}"' in told


def test_answers_are_kept_for_a_moment_so_that_many_scrapers_cost_no_more_than_one(
    doors: Doors, caller: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scrape(caller)
    monkeypatch.setattr(measure_service, "CACHE_SECONDS", 3600.0)
    ask(doors, 5)
    assert scrape(caller)["lethe_requests", ("scheduled",)] == 0
    monkeypatch.setattr(measure_service, "CACHE_SECONDS", 0.0)
    assert scrape(caller)["lethe_requests", ("scheduled",)] == 1


def test_a_database_that_is_gone_is_a_gauge_not_an_error(doors: Doors, caller: TestClient) -> None:
    with doors.database.engine.begin() as session:
        session.execute(text("ALTER TABLE models RENAME TO gone"))
    told = scrape(caller)
    assert told["lethe_database_up", ()] == 0
    assert ("lethe_models", ("live",)) not in told


def test_no_gauge_reads_what_has_ended(doors: Doors) -> None:
    """With many ended requests and jobs, every gauge is answered from an index; the log's size from its last entry."""
    with doors.database.engine.begin() as session:
        session.execute(
            text("""
            INSERT INTO deletion_requests (tenant_id, id, state, created_by, copies_policy, copies, records, in_backbone,
                                           row_version)
            SELECT 'ten_default', 'dr_' || n, 'completed', 'ak_x', 'report', 0, 0, false, 1
            FROM generate_series(1, 20000) n
            """)
        )
        session.execute(
            text("""
            INSERT INTO jobs (tenant_id, id, kind, lane, subject, state, priority, attempt, max_attempts, fence)
            SELECT 'ten_default', 'job_' || n, 'deactivate', 'deactivate', 'dr_' || n || '/-', 'done', 0, 1, 5, 1
            FROM generate_series(1, 20000) n
            """)
        )
        session.execute(text("ANALYZE deletion_requests; ANALYZE jobs; ANALYZE audit_entries"))
        for gauge in measure_service.GAUGES:
            plan = "\n".join(session.execute(text(f"EXPLAIN {gauge.sql}")).scalars())
            for table in ("deletion_requests", "jobs"):
                assert f"Seq Scan on {table}" not in plan, f"{gauge.name}\n{plan}"


def test_what_a_disabled_endpoint_collects_is_not_overdue(doors: Doors, caller: TestClient) -> None:
    local = replace(doors, settings=doors.settings.model_copy(update={"webhook_allowed": ALLOWED}))
    endpoint = hear(local, "http://127.0.0.1:9/")
    send_test_event(endpoint["id"], caller=ADMIN, once=NOTHING, doors=doors)
    with doors.database.transaction() as session:
        session.execute(text("UPDATE webhook_deliveries SET next_at = clock_timestamp() - interval '1 hour'"))
    assert scrape(caller)["lethe_outbox_lag_seconds", ()] >= 3600
    change_endpoint(endpoint["id"], Change(enabled=False), caller=ADMIN, doors=doors)
    assert scrape(caller)["lethe_outbox_lag_seconds", ()] == 0
