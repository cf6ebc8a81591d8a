"""The database refuses what the code never does: moves that the tables of `core/domain` do not have, and going back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.domain import deletion, job
from core.domain.deletion import RequestState
from core.domain.identifiers import new_identifier
from core.domain.job import JobState
from core.use_cases.doors import Doors
from tests.integration.world import ask, built, deactivate

ADD = {
    "jobs": """
        INSERT INTO jobs (tenant_id, id, kind, lane, subject, state, priority, attempt, max_attempts, fence)
        VALUES ('ten_default', :id, 'build', 'compute', :id, :state, 0, 0, 5, 0)
    """,
    "deletion_requests": """
        INSERT INTO deletion_requests
        (tenant_id, id, state, created_by, copies_policy, copies, records, in_backbone, row_version)
        VALUES ('ten_default', :id, :state, 'ak_x', 'report', 0, 0, false, 1)
    """,
}
CERTIFY = """
    INSERT INTO certificates (tenant_id, id, request_id, model_id, guarantee, envelope, sha256, log_index)
    VALUES ('ten_default', 'crt_' || :id, :id, '', '', '', '', 0)
"""


def do(doors: Doors, *statements: str, **values: Any) -> None:
    """Run statements in one transaction, past the service's own checks."""
    with doors.database.engine.begin() as session:
        for statement in statements:
            session.execute(text(statement), values)


def is_allowed(doors: Doors, table: str, before: str, after: str) -> bool:
    name = new_identifier("x")
    do(doors, ADD[table], id=name, state=before)
    do(doors, CERTIFY, id=name)
    refusal = ""
    try:
        do(doors, f"UPDATE {table} SET state = :state WHERE id = :id", id=name, state=after)  # noqa: S608 - ours
    except IntegrityError as error:
        refusal = str(error.orig)
    assert not refusal or f"cannot go from {before} to {after}" in refusal
    return not refusal


@pytest.mark.parametrize(
    ("table", "states", "moves"),
    [("jobs", JobState, job.MOVES), ("deletion_requests", RequestState, deletion.MOVES)],
)
def test_the_database_knows_the_same_moves_as_the_code(
    doors: Doors, table: str, states: type[JobState | RequestState], moves: Mapping[tuple[Any, Any], Any]
) -> None:
    pairs = {(before, after) for before, after in product(states, states) if before != after}
    legal = {(before, after) for (before, _), after in moves.items() if before != after}
    allowed = {pair for pair in pairs if is_allowed(doors, table, *pair)}
    assert allowed == legal
    assert all(is_allowed(doors, table, state, state) for state in states)


def test_what_ended_stays_so(doors: Doors) -> None:
    for before in (JobState.DONE, JobState.FAILED, JobState.DEAD):
        assert not any(is_allowed(doors, "jobs", before, after) for after in JobState if after != before)
    for ended in deletion.ENDED:
        assert not any(is_allowed(doors, "deletion_requests", ended, after) for after in RequestState if after != ended)


def test_a_request_is_not_completed_before_it_is_certified(doors: Doors) -> None:
    do(doors, ADD["deletion_requests"], id="dr_x", state="verifying")
    with pytest.raises(IntegrityError, match="before it is certified"):
        do(doors, "UPDATE deletion_requests SET state = 'completed' WHERE id = 'dr_x'")
    do(doors, CERTIFY, "UPDATE deletion_requests SET state = 'completed' WHERE id = 'dr_x'", id="dr_x")


def test_a_request_is_not_completed_while_a_job_of_it_is_not_done(doors: Doors) -> None:
    do(doors, ADD["deletion_requests"], CERTIFY, id="dr_x", state="verifying")
    do(doors, ADD["jobs"], id="job_1", state="dead")
    do(doors, "UPDATE jobs SET request_id = 'dr_x', subject = 'dr_x/mdl_a' WHERE id = 'job_1'")
    complete = "UPDATE deletion_requests SET state = 'completed' WHERE id = 'dr_x'"
    with pytest.raises(IntegrityError, match="a job of it is not done"):
        do(doors, complete)
    # Somebody had it tried again: the job that gave up counts no more, the new one does.
    do(doors, ADD["jobs"], id="job_2", state="running")
    do(doors, "UPDATE jobs SET request_id = 'dr_x', subject = 'dr_x/mdl_a' WHERE id = 'job_2'")
    with pytest.raises(IntegrityError, match="a job of it is not done"):
        do(doors, complete)
    do(doors, "UPDATE jobs SET state = 'done' WHERE id = 'job_2'", complete)


NEVER = {
    "the fence of a job never goes down": "UPDATE jobs SET fence = fence - 1 WHERE fence > 0",
    "a version never changes": "UPDATE versions SET guarantee = guarantee",
    "the epoch of a slice never goes down": "UPDATE slices SET epoch = epoch - 1 WHERE epoch > 0",
    "never at an older one": "UPDATE aliases SET version_id = (SELECT id FROM versions WHERE number = 1)",
    "a version of its own model": "UPDATE aliases SET version_id = 'ver_unknown'",
    "only with a new object": "UPDATE nodes SET state = 'live', data_key_id = 'nod_new' WHERE state = 'dead'",
    "only with a new object under": "UPDATE nodes SET state = 'live', object_digest = 'new' WHERE state = 'dead'",
}


def test_nothing_goes_back(doors: Doors) -> None:
    built(doors, repair=False)
    ask(doors, 5)
    deactivate(doors)
    for sentence, statement in NEVER.items():
        with pytest.raises(IntegrityError, match=sentence):
            do(doors, statement)
    do(doors, "UPDATE nodes SET state = 'live', data_key_id = 'nod_' || key, object_digest = key WHERE state = 'dead'")


def test_a_refusal_names_states_and_nothing_else(doors: Doors) -> None:
    do(doors, ADD["jobs"], id="job_secret", state="done")
    with pytest.raises(IntegrityError) as refused:
        do(doors, "UPDATE jobs SET state = 'waiting' WHERE id = 'job_secret'")
    assert str(refused.value.orig).splitlines()[0] == "a job cannot go from done to waiting"
