"""Delivery: at least once, on schedule, each attempt by one sender, and one slow receiver is nobody else's trouble."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.persistence import deliveries as outbox
from core.persistence.webhooks import webhook_deliveries, webhook_events
from core.use_cases import deliver_webhooks, send_webhook
from core.use_cases.deliver_webhooks import deliver_due
from core.use_cases.doors import Doors
from core.use_cases.manage_webhooks import Change, change_endpoint, delete_endpoint, rotate_secret
from core.use_cases.resend_webhook import resend_delivery, send_test_event
from core.webhooks.delivery import PAUSES, Outcome, Trouble
from core.webhooks.event import EventType
from tests.integration import world
from tests.integration.callers import service
from tests.integration.receiver import Answer, Received, Receiver, fine, receiving, with_status
from tests.integration.webhook_world import ALLOWED, count, deliver, deliveries, endpoint_row, hear, make_due

PATIENCE = 120.0


@pytest.fixture
def doors(server_url: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    """A service that is patient with a machine under load."""
    monkeypatch.setattr(send_webhook, "LIMIT_SECONDS", 60.0)
    monkeypatch.setattr(deliver_webhooks, "PATIENCE_SECONDS", PATIENCE)
    with service(server_url, template, tmp_path / "lethe", webhook_allowed=ALLOWED) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


def ping(doors: Doors, endpoint: dict[str, Any], times: int = 1) -> list[str]:
    """Put test events on their way; return the deliveries' identifiers."""
    return [
        send_test_event(endpoint["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors).body["id"]
        for _ in range(times)
    ]


def clock(doors: Doors) -> datetime:
    with doors.database.transaction() as session:
        now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def age_failure(doors: Doors, endpoint: dict[str, Any], days: float) -> None:
    with doors.database.transaction() as session:
        session.execute(
            text("UPDATE webhook_endpoints SET failing_since = clock_timestamp() - :age WHERE id = :id"),
            {"age": timedelta(days=days), "id": endpoint["id"]},
        )


def test_a_test_event_arrives_signed_with_the_databases_clock(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    ping(doors, endpoint)
    assert deliver_due(doors) == 1
    assert deliver_due(doors) == 0
    [call] = receiver.calls
    call.signed_with(endpoint["secret"])
    assert receiver.types() == ["webhook_endpoint.test"]
    [row] = deliveries(doors)
    assert (row.state, row.attempt, row.last_status, row.last_trouble) == ("succeeded", 1, 204, None)
    assert abs(int(call.headers["webhook-timestamp"]) - row.last_attempt_at.timestamp()) < 60


def test_a_failing_delivery_is_tried_ten_times_on_schedule_and_then_given_up(doors: Doors, receiver: Receiver) -> None:
    receiver.behave = with_status(500)
    endpoint = hear(doors, receiver.url)
    ping(doors, endpoint)
    for attempt, pause in enumerate([*PAUSES[1:], None], start=1):
        assert deliver_due(doors) == 1, attempt
        [row] = deliveries(doors)
        assert (row.attempt, row.last_status, row.last_trouble) == (attempt, 500, "status")
        if pause is None:
            assert row.state == "failed"
            break
        assert row.state == "waiting"
        # However long this machine stalls in between: at least the pause since then, at most a tenth more from now.
        assert row.next_at - row.last_attempt_at >= timedelta(seconds=pause)
        assert row.next_at - clock(doors) <= timedelta(seconds=1.1 * pause)
        if pause > PATIENCE:
            assert deliver_due(doors) == 0, "not before its time"
        make_due(doors)
    make_due(doors)
    assert deliver_due(doors) == 0
    assert len(receiver.calls) == 10
    assert len({call.name for call in receiver.calls}) == 1
    assert endpoint_row(doors, endpoint).state == "enabled"


def test_a_receiver_that_was_down_gets_the_same_event_once_it_is_up(doors: Doors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = hear(doors, f"http://127.0.0.1:{port}/hook")
    ping(doors, endpoint)
    assert deliver_due(doors) == 1
    [row] = deliveries(doors)
    assert (row.last_status, row.last_trouble) == (None, "unreachable")
    assert endpoint_row(doors, endpoint).failing_since is not None
    make_due(doors)
    with receiving(port=port) as receiver:
        assert deliver(doors) == 1
    assert [call.name for call in receiver.calls] == [row.event_id]
    assert endpoint_row(doors, endpoint).failing_since is None


def test_410_disables_the_endpoint_and_the_others_hear_of_it(doors: Doors, receiver: Receiver) -> None:
    with receiving(with_status(410)) as gone:
        endpoint = hear(doors, gone.url, EventType.WEBHOOK_ENDPOINT_DISABLED)
        hear(doors, receiver.url, EventType.WEBHOOK_ENDPOINT_DISABLED)
        ping(doors, endpoint, 3)
        deliver(doors)
        assert len(gone.calls) == 1
    row = endpoint_row(doors, endpoint)
    assert (row.state, row.disabled_reason) == ("disabled", "gone")
    [event] = receiver.events
    assert event["type"] == "org.lethe.webhook_endpoint.disabled.v1"
    assert (event["subject"], event["data"]["reason"]) == (endpoint["id"], "gone")
    assert Counter(one.state for one in deliveries(doors, endpoint)) == {"failed": 1, "waiting": 2}
    with doors.database.transaction() as session:
        question = text(
            "SELECT count(*) FROM audit_entries WHERE action = 'webhook_endpoint.disabled' AND object = :id"
        )
        assert session.execute(question, {"id": endpoint["id"]}).scalar_one() == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(doors: Doors, receiver: Receiver, status: int) -> None:
    with receiving() as elsewhere:
        receiver.behave = with_status(status, location=elsewhere.url)
        ping(doors, hear(doors, receiver.url))
        assert deliver_due(doors) == 1
        assert elsewhere.calls == []
    [row] = deliveries(doors)
    assert (row.last_status, row.last_trouble, row.state) == (status, "redirect", "waiting")


def test_an_answer_that_drips_is_cut_off_in_time(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single read is quick; only the bound on all of them together ends this."""
    monkeypatch.setattr(send_webhook, "LIMIT_SECONDS", 3.0)
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                give_up = time.monotonic() + PATIENCE
                while time.monotonic() < give_up:
                    try:
                        connection.sendall(b"x-more: y\r\n")
                    except OSError:
                        hung_up.set()
                        return
                    time.sleep(0.05)

        dripping = threading.Thread(target=drip)
        dripping.start()
        ping(doors, hear(doors, f"http://127.0.0.1:{server.getsockname()[1]}/"))
        assert deliver_due(doors) == 1
        dripping.join()
    assert hung_up.is_set()
    [row] = deliveries(doors)
    assert (row.last_status, row.last_trouble) == (None, "timed_out")


def test_of_a_long_answer_little_is_read(doors: Doors, receiver: Receiver) -> None:
    receiver.behave = lambda call: (200, {}, b"x" * (64 << 20))  # noqa: ARG005
    ping(doors, hear(doors, receiver.url))
    assert deliver_due(doors) == 1
    assert deliveries(doors)[0].state == "succeeded"


def test_what_is_no_http_is_a_failure(doors: Doors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def mumble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"mumble mumble\r\n\r\n")

        thread = threading.Thread(target=mumble)
        thread.start()
        ping(doors, hear(doors, f"http://127.0.0.1:{server.getsockname()[1]}/"))
        assert deliver_due(doors) == 1
        thread.join()
    assert deliveries(doors)[0].last_trouble == "broken_answer"


def test_a_slow_receiver_does_not_hold_up_the_others(doors: Doors, receiver: Receiver) -> None:
    """The slow one answers only when the others were called: if they waited for it, it would wait in vain."""
    others_called, in_vain = threading.Event(), []

    def slow(call: Received) -> Answer:
        if not others_called.wait(40):
            in_vain.append(call)
        return fine(call)

    def quick(call: Received) -> Answer:
        if len(receiver.calls) == 5:
            others_called.set()
        return fine(call)

    receiver.behave = quick
    with receiving(slow) as patient:
        ping(doors, hear(doors, patient.url), 2)
        ping(doors, hear(doors, receiver.url), 5)
        deliver(doors)
    assert in_vain == []
    assert len(receiver.calls) == 5
    assert patient.busiest == 1


def test_two_deliverers_send_each_attempt_once_and_one_endpoint_at_a_time(doors: Doors) -> None:
    def unhurried(call: Received) -> Answer:
        time.sleep(0.01)
        return fine(call)

    with receiving(unhurried) as one, receiving(unhurried) as two, receiving(unhurried) as three:
        receivers = (one, two, three)
        for receiver in receivers:
            ping(doors, hear(doors, receiver.url), 8)
        made: list[int] = []
        threads = [threading.Thread(target=lambda: made.append(deliver(doors))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for receiver in receivers:
        assert max(Counter(call.name for call in receiver.calls).values()) == 1
        assert len(receiver.calls) == 8
        assert receiver.busiest == 1
    assert sum(made) == 24
    assert {row.state for row in deliveries(doors)} == {"succeeded"}


def test_while_somebody_sends_nobody_else_does_and_afterwards_its_failure_counts_no_more(doors: Doors) -> None:
    endpoint = hear(doors, "http://127.0.0.1:9/")
    ping(doors, endpoint)

    def claim() -> Any:
        with doors.database.transaction() as session:
            return outbox.claim_due(session, lease=600)

    def settle(claimed: Any, outcome: Outcome) -> None:
        with doors.database.transaction() as session:
            outbox.settle(session, claimed, outcome)

    paused = claim()
    assert paused is not None
    assert paused.next_at - paused.last_attempt_at > timedelta(seconds=500)
    assert claim() is None
    make_due(doors)
    replacing = claim()
    assert (replacing.id, replacing.attempt) == (paused.id, 2)
    ping(doors, endpoint)
    settle(paused, Outcome(500, Trouble.STATUS))
    row = deliveries(doors)[0]
    assert (row.attempt, row.last_trouble, row.next_at) == (2, None, replacing.next_at)
    assert claim() is None, "the endpoint is still held by the one who replaced it, whatever else is due there"
    settle(paused, Outcome(204))
    settle(replacing, Outcome(500, Trouble.STATUS))
    assert deliveries(doors)[0].state == "succeeded", "a success counts, whoever reports it"


SENDER = """
import sys
from pathlib import Path
from core.settings import Settings
from core.use_cases.deliver_webhooks import deliver_due
from core.use_cases.doors import open_doors
deliver_due(open_doors(Settings()))
"""


def test_nothing_is_lost_when_the_sender_is_killed_before_it_notes_what_it_sent(
    doors: Doors, receiver: Receiver
) -> None:
    ping(doors, hear(doors, receiver.url))
    settings = doors.settings
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LETHE_")},
        "LETHE_DATABASE_URL": settings.database_url,
        "LETHE_DATA_DIRECTORY": str(settings.data_directory),
        "LETHE_WEBHOOK_ALLOWED": ALLOWED,
    }

    def kill(call: Received) -> Answer:
        os.kill(sender.pid, signal.SIGKILL)
        return fine(call)

    receiver.behave = kill
    with subprocess.Popen([sys.executable, "-c", SENDER], env=environment) as sender:
        assert sender.wait(PATIENCE) == -signal.SIGKILL
    receiver.behave = fine
    [row] = deliveries(doors)
    assert (row.state, row.attempt) == ("waiting", 1)
    assert deliver_due(doors) == 0, "nobody sends it while the dead one's time runs"
    make_due(doors)
    assert deliver(doors) == 1
    assert [call.name for call in receiver.calls] == [row.event_id, row.event_id]
    assert deliveries(doors)[0].state == "succeeded"


def test_five_days_without_a_success_disable_an_endpoint(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    witness_types = (EventType.WEBHOOK_ENDPOINT_DISABLED,)
    with receiving() as witness:
        hear(doors, witness.url, *witness_types)
        receiver.behave = with_status(503)
        ping(doors, endpoint, 2)
        deliver(doors)
        age_failure(doors, endpoint, 4.9)
        make_due(doors)
        deliver(doors)
        assert endpoint_row(doors, endpoint).state == "enabled"
        age_failure(doors, endpoint, 5.1)
        make_due(doors)
        deliver(doors)
        assert [event["data"]["reason"] for event in witness.events] == ["failing"]
    row = endpoint_row(doors, endpoint)
    assert (row.state, row.disabled_reason) == ("disabled", "failing")
    called = len(receiver.calls)
    make_due(doors)
    assert deliver_due(doors) == 0
    receiver.behave = fine
    change_endpoint(endpoint["id"], Change(enabled=True), caller=world.ADMIN, doors=doors)
    make_due(doors)
    assert deliver(doors) == 2
    assert len(receiver.calls) == called + 2
    assert endpoint_row(doors, endpoint).failing_since is None


def test_a_success_ends_the_count_of_days(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    age_failure(doors, endpoint, 100)
    ping(doors, endpoint)
    deliver(doors)
    receiver.behave = with_status(500)
    ping(doors, endpoint)
    deliver(doors)
    assert endpoint_row(doors, endpoint).state == "enabled"


def test_what_was_delivered_or_given_up_can_be_sent_again(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    [delivery] = ping(doors, endpoint)
    deliver(doors)
    again = resend_delivery(delivery, caller=world.ADMIN, once=world.NOTHING, doors=doors).body
    assert (again["state"], again["attempts"]) == ("waiting", 0)
    deliver(doors)
    assert len(receiver.calls) == 2
    assert len({call.name for call in receiver.calls}) == 1


def test_after_a_rotation_both_secrets_sign_until_the_old_one_is_destroyed(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    first = endpoint_row(doors, endpoint).secret_key_id
    fresh = rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
    assert fresh["secret"] != endpoint["secret"]
    assert fresh["old_secret_until"]
    ping(doors, endpoint)
    deliver(doors)
    for secret in (endpoint["secret"], fresh["secret"]):
        receiver.calls[0].signed_with(secret)
    with doors.database.transaction() as session:
        session.execute(text("UPDATE webhook_endpoints SET previous_until = clock_timestamp() - interval '1 second'"))
    ping(doors, endpoint)
    deliver(doors)
    assert len(receiver.calls[1].headers["webhook-signature"].split()) == 1
    receiver.calls[1].signed_with(fresh["secret"])
    assert not doors.keys.exists(first)
    assert endpoint_row(doors, endpoint).previous_key_id is None


def test_a_second_rotation_ends_the_oldest_secret_at_once(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    oldest = endpoint_row(doors, endpoint).secret_key_id
    rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
    rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
    assert not doors.keys.exists(oldest)
    ping(doors, endpoint)
    deliver(doors)
    assert len(receiver.calls[0].headers["webhook-signature"].split()) == 2


def test_a_deleted_endpoint_is_called_no_more_and_its_secrets_are_destroyed(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
    row = endpoint_row(doors, endpoint)
    ping(doors, endpoint)
    delete_endpoint(endpoint["id"], caller=world.ADMIN, doors=doors)
    assert deliver_due(doors) == 0
    assert receiver.calls == []
    assert not any(doors.keys.exists(name) for name in (row.secret_key_id, row.previous_key_id))
    assert endpoint_row(doors, endpoint).url == ""
    assert {one.state for one in deliveries(doors)} == {"failed"}


def test_without_its_secret_nothing_is_sent(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    doors.keys.destroy([endpoint_row(doors, endpoint).secret_key_id])
    ping(doors, endpoint)
    deliver(doors)
    assert receiver.calls == []
    assert deliveries(doors)[0].last_trouble == "secret_missing"


def test_what_is_too_old_to_be_asked_about_is_forgotten(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    old, _ = ping(doors, endpoint, 2)
    deliver(doors)
    with doors.database.transaction() as session:
        age = timedelta(days=31)
        delivery = text("UPDATE webhook_deliveries SET created_at = clock_timestamp() - :age WHERE id = :id")
        session.execute(delivery, {"age": age, "id": old})
        session.execute(text("UPDATE webhook_events SET happened_at = clock_timestamp() - :age"), {"age": age})
    assert deliver_due(doors) == 0
    assert count(doors, webhook_deliveries) == 1
    assert count(doors, webhook_events) == 1, "an event stays as long as a delivery names it"


def test_secrets_and_deliveries_do_not_wait_for_a_quiet_round(doors: Doors, receiver: Receiver) -> None:
    endpoint = hear(doors, receiver.url)
    first = endpoint_row(doors, endpoint).secret_key_id
    rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
    with doors.database.transaction() as session:
        session.execute(text("UPDATE webhook_endpoints SET previous_until = clock_timestamp() - interval '1 second'"))
    ping(doors, endpoint)
    assert deliver_due(doors) == 1
    assert not doors.keys.exists(first)


def test_one_round_makes_no_more_attempts_than_it_was_asked_for(doors: Doors, receiver: Receiver) -> None:
    ping(doors, hear(doors, receiver.url), 5)
    assert deliver_due(doors, most=3) == 3
    assert deliver_due(doors, most=3) == 2
    assert deliver_webhooks.SENDERS > 1
