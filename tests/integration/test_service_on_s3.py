"""The whole service with its objects in a real S3-compatible store: what a deletion leaves there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from core.domain.errors import ObjectNotDeleted, StoreUnavailable
from core.persistence import nodes
from core.settings import Settings
from core.use_cases import check_stores
from core.use_cases.check_consistency import check_consistency
from core.use_cases.check_stores import sweep_orphans
from core.use_cases.doors import Doors, open_doors
from core.use_cases.finding import Severity
from core.use_cases.prepare_service import prepare_service
from tests.integration.buckets import OwnBucket, own_bucket
from tests.integration.world import ask, built, deactivate, drain, request_of, settle
from tests.servers import Ceph
from tests.servers.faulty_http import FaultyHTTP, answer, swallow


@pytest.fixture
def bucket(gateway: Ceph) -> OwnBucket:
    return replace(own_bucket(gateway), options=replace(own_bucket(gateway).options, prefix="production/"))


@pytest.fixture
def proxy(bucket: OwnBucket) -> Iterator[FaultyHTTP]:
    with FaultyHTTP(bucket.gateway.port) as proxy:
        yield proxy


@pytest.fixture
def doors(database_url: str, tmp_path: Path, bucket: OwnBucket, proxy: FaultyHTTP) -> Iterator[Doors]:
    (tmp_path / "secret").write_text(bucket.options.secret_key + "\n")
    opened = open_doors(
        Settings(
            database_url=database_url,
            data_directory=tmp_path / "lethe",
            s3_endpoint=f"127.0.0.1:{proxy.port}",
            s3_secure=False,
            s3_bucket=bucket.options.bucket,
            s3_prefix="production",
            s3_access_key=bucket.options.access_key,
            s3_secret_key_file=tmp_path / "secret",
            s3_retry_seconds=2,
        )
    )
    settle(opened)
    prepare_service(opened)
    bucket.version(enabled=True)
    yield opened
    opened.database.close()


def digests_of_dead(doors: Doors, model: str, request: str) -> list[str]:
    with doors.database.transaction() as session:
        return [row.object_digest for row in nodes.died_for(session, model, request)]


def errors_of(doors: Doors) -> list[tuple[str, str]]:
    return [
        (finding.code, finding.object) for finding in check_consistency(doors) if finding.severity == Severity.ERROR
    ]


def test_a_deleted_owners_objects_leave_the_bucket_and_all_is_consistent(
    doors: Doors, bucket: OwnBucket, tmp_path: Path
) -> None:
    model = built(doors)
    before = bucket.everything()
    assert before
    assert not any(path.is_file() for path in (tmp_path / "lethe").rglob("objects/**/*")), "none lies on the disk"
    receipt = ask(doors, 5)
    deactivate(doors)
    dead = digests_of_dead(doors, model, receipt["id"])
    assert dead
    assert {bucket.name_of(digest) for digest in dead} <= {name for name, _ in before}
    left = {name for name, _ in bucket.everything()}
    assert not {bucket.name_of(digest) for digest in dead} & left, "no version and no marker"
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    assert errors_of(doors) == []


def test_a_delete_that_the_store_swallows_keeps_the_request_from_concluding(
    doors: Doors, bucket: OwnBucket, proxy: FaultyHTTP
) -> None:
    model = built(doors, repair=False)
    receipt = ask(doors, 5)
    proxy.inject(swallow(), method="DELETE", times=None)
    with pytest.raises(ObjectNotDeleted):
        deactivate(doors)
    dead = digests_of_dead(doors, model, receipt["id"])
    assert {bucket.name_of(digest) for digest in dead} <= set(bucket.names())
    assert request_of(doors, receipt["id"])["state"] != "completed"
    proxy.heal()
    let_leases_end(doors)
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    assert not {bucket.name_of(digest) for digest in dead} & {name for name, _ in bucket.everything()}


def test_a_store_that_is_down_delays_a_deletion_and_loses_nothing(doors: Doors, proxy: FaultyHTTP) -> None:
    built(doors, repair=False)
    receipt = ask(doors, 5)
    proxy.inject(answer(503, code="ServiceUnavailable"), times=None)
    with pytest.raises(StoreUnavailable):
        deactivate(doors)
    assert request_of(doors, receipt["id"])["state"] != "completed"
    proxy.heal()
    let_leases_end(doors)
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    assert errors_of(doors) == []


def test_orphans_are_swept_from_the_bucket_once_they_are_old(
    doors: Doors, bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(doors)
    living = sorted(doors.store.list_digests())
    orphans = {doors.store.put(bytes([number])) for number in range(3)}
    doors.store.put(bytes([0]))  # a second version
    found = {finding.object for finding in check_consistency(doors) if finding.code == check_stores.ORPHAN_OBJECT}
    assert found == orphans
    assert sweep_orphans(doors)["objects"] == 0, "whoever put them may be about to name them"
    monkeypatch.setattr(check_stores, "OLD_ENOUGH_SECONDS", -3600)
    assert sweep_orphans(doors)["objects"] == 3
    assert sorted(doors.store.list_digests()) == living
    assert not {bucket.name_of(digest) for digest in orphans} & {name for name, _ in bucket.everything()}


def let_leases_end(doors: Doors) -> None:
    """Give back what the failed attempts hold, as time would."""
    with doors.database.engine.begin() as session:
        session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 minute'"))
