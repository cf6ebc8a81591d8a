from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from core.audit.entry import Action
from core.persistence.requests import ENTRIES
from core.webhooks.delivery import PAUSES, Outcome, Trouble, outcome_of, pause_after
from core.webhooks.event import DEFAULT_TYPES, Event, EventType, cloud_event

EVENT = Event(
    id="evt_1",
    type=EventType.DELETION_REQUEST_COMPLETED,
    subject="dr_1",
    sequence=5,
    at=datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC),
    data={"id": "dr_1", "state": "completed"},
)


def test_an_event_is_a_cloud_event_of_the_same_bytes_each_time() -> None:
    written = cloud_event(EVENT, source="https://lethe.example.org")
    assert written == cloud_event(EVENT, source="https://lethe.example.org")
    assert json.loads(written) == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "https://lethe.example.org",
        "type": "org.lethe.deletion_request.completed.v1",
        "subject": "dr_1",
        "time": "2026-11-20T12:00:00.123456Z",
        "datacontenttype": "application/json",
        "data": {"id": "dr_1", "state": "completed", "sequence": 5},
    }


def test_every_move_of_a_request_can_be_heard_and_every_type_stands_in_the_log() -> None:
    assert {action.value for action in ENTRIES.values()} <= set(EventType)
    assert set(EventType) <= {action.value for action in Action}


def test_without_a_choice_every_end_is_heard_and_whatever_needs_a_person() -> None:
    ends = {"completed", "denied", "cancelled", "needs_attention"}
    assert set(DEFAULT_TYPES) == {f"deletion_request.{end}" for end in ends}


@pytest.mark.parametrize(
    ("status", "trouble"),
    [(200, None), (204, None), (299, None), (301, "redirect"), (304, "redirect"), (307, "redirect"), (400, "status"),
     (404, "status"), (410, "gone"), (429, "status"), (500, "status"), (199, "status")],
)  # fmt: skip
def test_only_2xx_is_a_success(status: int, trouble: str | None) -> None:
    assert outcome_of(status) == Outcome(status, Trouble(trouble) if trouble else None)


def test_ten_attempts_are_spread_over_three_days() -> None:
    assert [pause_after(attempt) for attempt in range(11)] == [*PAUSES, None]
    assert 3 < sum(PAUSES) / 86400 < 4
