"""SIGKILL at every named point, one after another, while people are deleted: whoever restarts the process goes on.

What a caller sees of a worker that is killed within a deletion is in tests/acceptance/test_kills.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from core import faults
from core.persistence.requests import requests
from tests.faults.conftest import FULL, Stacks
from tests.faults.processes import HOUSE, UNGUARDED, with_site
from tests.faults.proof import is_settled
from tests.faults.stack import Stack
from tests.faults.worlds import Worlds
from tests.integration.receiver import receiving
from tests.integration.webhook_world import ALLOWED, EVERYTHING, deliver, deliveries, hear, make_due
from tests.integration.world import address
from tests.servers.process import free_port

OF_A_WORKER = (
    *faults.TRAINING_POINTS,
    # What a trainer left behind that died with a draft in its hands.
    "after_seal",
    "after_drafts_destroyed",
    "after_completion",
    "before_second_certificate",
    "after_second_certificate",
    "after_head_signed",
)
OF_A_DELETION = faults.POINTS if FULL else faults.POINTS[1::3]


def test_every_point_has_its_test() -> None:
    known = {getattr(faults, name) for name in dir(faults) if name.endswith("POINTS")}
    tested = (faults.POINTS, faults.TRAINING_POINTS, faults.UPKEEP_POINTS, faults.INTAKE_POINTS, faults.WEBHOOK_POINTS)
    # test_broker, and integration/test_checkpoints and test_attributions
    elsewhere = (faults.DISPATCHER_POINTS, faults.METHOD_POINTS, faults.ATTRIBUTION_POINTS)
    assert known == {*tested, *elsewhere}
    assert {*OF_A_WORKER} == {*faults.TRAINING_POINTS, *faults.UPKEEP_POINTS}


def test_a_worker_killed_while_it_trains_and_looks_after_things_loses_nothing(
    new_stack: Stacks, tmp_path: Path
) -> None:
    file = tmp_path / "points"
    with new_stack() as stack:
        stack.start("worker", "worker", LETHE_FAULT_FILE=str(file))
        file.write_text("\n".join(OF_A_WORKER))
        others = iter((5, 9, 13, 2, 7, 11, 20, 3))
        stack.wait(lambda: struck(stack, file, others), "a point is never reached")
        stack.settle()
        stack.prove()


def test_a_worker_killed_while_it_deletes_loses_nothing(new_stack: Stacks, worlds: Worlds, tmp_path: Path) -> None:
    file = tmp_path / "points"
    with new_stack(worlds.built(2, repair=False)) as stack:
        for name in ("worker-1", "worker-2"):
            stack.start(name, "worker", "--queues", "cpu", LETHE_FAULT_FILE=str(file))
        file.write_text("\n".join(OF_A_DELETION))
        others = iter(range(18))
        for _ in range(4):
            stack.ask(next(others))
        stack.wait(lambda: struck(stack, file, others), "a point is never reached")
        stack.settle()
        stack.prove()


def struck(stack: Stack, file: Path, others: Iterator[int]) -> bool:
    """Whether every point was reached; where there is nothing left to do, the next person is deleted."""
    stack.revive()
    if file.exists() and is_settled(stack.doors, stack.story):
        stack.ask(next(others))
    return not file.exists()


@pytest.mark.parametrize("point", faults.INTAKE_POINTS)
def test_a_request_whose_api_is_killed_is_accepted_once(
    new_stack: Stacks, worlds: Worlds, tmp_path: Path, point: str
) -> None:
    with new_stack(worlds.built(repair=False)) as stack:
        stack.accepted(5, posted_while_it_is_killed(stack, tmp_path / "point", point))
        assert counted(stack) == 1
        stack.end()
        stack.start("worker", "worker", "--queues", "cpu")
        stack.settle()
        stack.prove()


def test_without_idempotency_keys_it_is_accepted_twice(new_stack: Stacks, worlds: Worlds, tmp_path: Path) -> None:
    with new_stack(worlds.built(repair=False)) as stack:
        posted_while_it_is_killed(stack, tmp_path / "point", "after_intake_commit", **{UNGUARDED: "once"})
        assert counted(stack) == 2


def counted(stack: Stack) -> int:
    with stack.doors.database.transaction() as session:
        return int(session.execute(select(func.count()).select_from(requests)).scalar_one())


def posted_while_it_is_killed(stack: Stack, file: Path, point: str, **variables: str) -> str:
    port = free_port()
    stack.start("api", "api", LETHE_PORT=str(port), LETHE_FAULT_FILE=str(file), **variables)
    file.write_text(point)
    request = posted(stack, port, owner=5)
    assert not file.exists(), "the fault never struck"
    return request


def posted(stack: Stack, port: int, owner: int) -> str:
    """Post a request again and again under one Idempotency-Key until it is answered, as a client must."""
    headers = {"Authorization": f"Bearer {stack.world.admin_key}", "Idempotency-Key": "once"}
    body = {"subject": {"identities": [{"identity_type": "email", "identity_value": address(owner)}]}}

    def answered() -> str | None:
        stack.revive()
        try:
            found = httpx2.post(f"http://127.0.0.1:{port}/v1/deletion-requests", json=body, headers=headers, timeout=30)
        except httpx2.HTTPError:
            return None
        assert found.status_code in (202, 503), found.text
        return str(found.json()["id"]) if found.status_code == 202 else None

    return str(stack.wait(answered, "the API never answers"))


@pytest.mark.parametrize("point", faults.WEBHOOK_POINTS)
def test_an_event_whose_sender_is_killed_arrives_all_the_same(new_stack: Stacks, tmp_path: Path, point: str) -> None:
    file = tmp_path / "point"
    with receiving() as receiver, new_stack(LETHE_WEBHOOK_ALLOWED=ALLOWED) as stack:
        endpoint = hear(stack.doors, receiver.url, *EVERYTHING)
        stack.ask(5)
        file.write_text(point)
        assert sender(stack, file).returncode == -9
        assert not file.exists(), "the fault never struck"
        before = len(receiver.calls)
        make_due(stack.doors)
        deliver(stack.doors)
        assert before <= 1
        names = {call.name for call in receiver.calls}
        assert {row.state for row in deliveries(stack.doors, endpoint)} == {"succeeded"}
        assert names == {row.event_id for row in deliveries(stack.doors, endpoint)}


def test_without_a_lease_on_deliveries_an_event_is_lost(new_stack: Stacks, tmp_path: Path) -> None:
    file = tmp_path / "point"
    with receiving() as receiver, new_stack(LETHE_WEBHOOK_ALLOWED=ALLOWED) as stack:
        endpoint = hear(stack.doors, receiver.url, *EVERYTHING)
        stack.ask(5)
        file.write_text("before_webhook_sent")
        assert sender(stack, file, **{UNGUARDED: "delivery_lease"}).returncode == -9
        make_due(stack.doors)
        deliver(stack.doors)
        names = {call.name for call in receiver.calls}
        assert names < {row.event_id for row in deliveries(stack.doors, endpoint)}


def sender(stack: Stack, file: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Deliver what is due in a process of its own."""
    code = (
        "from core.settings import Settings; from core.use_cases.doors import open_doors; "
        "from core.use_cases.deliver_webhooks import deliver_due; deliver_due(open_doors(Settings()))"
    )
    environment = {**os.environ, **with_site({**stack.variables, "LETHE_FAULT_FILE": str(file), **variables})}
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=HOUSE, timeout=120, check=False)
