"""Every check of `lethe fsck` is shown to fire: one small world where a person was forgotten, tampered with many ways."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from cli.main import app
from core.audit.encoding import timestamp
from core.audit.entry import Actor, ActorKind
from core.domain.deletion import DeletedRecord
from core.domain.identifiers import new_identifier
from core.lattice.placement import Place
from core.persistence import models, nodes, versions
from core.settings import Settings
from core.use_cases.check_consistency import MOST_PER_CODE, check_consistency
from core.use_cases.check_log import check_log
from core.use_cases.check_stores import sweep_orphans
from core.use_cases.create_api_key import create_api_key
from core.use_cases.doors import DEFAULT_TENANT, LOG_KEY, Doors, open_doors
from core.use_cases.finding import Severity
from core.use_cases.prepare_service import prepare_service
from core.use_cases.shard_members import slice_leaves
from tests.integration.world import ask, built, deactivate, drain, settle

HOUR = 3600


@dataclass(frozen=True)
class World:
    """Where a finished service lies, to be copied."""

    server: str
    database: str
    directory: Path


@pytest.fixture(scope="module")
def finished(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two people were forgotten: the first one's slices are repaired and certified twice, the second one's not yet."""
    directory, name = tmp_path_factory.mktemp("world"), new_identifier("fsck")
    administer(server_url, f'CREATE DATABASE "{name}"')
    doors = open_world(server_url, name, directory)
    try:
        settle(doors)
        prepare_service(doors)
        built(doors)
        ask(doors, 3)
        drain(doors)
        ask(doors, 5)
        deactivate(doors)
    finally:
        doors.database.close()
    yield World(server_url, name, directory)
    administer(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def administer(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


def open_world(server: str, database: str, directory: Path) -> Doors:
    url = make_url(server).set(database=database).render_as_string(hide_password=False)
    return open_doors(Settings(database_url=url, data_directory=directory))


@pytest.fixture
def doors(finished: World, tmp_path: Path) -> Iterator[Doors]:
    """A copy of the world, to be tampered with."""
    copy, directory = new_identifier("copy"), tmp_path / "data"
    shutil.copytree(finished.directory, directory)
    administer(finished.server, f'CREATE DATABASE "{copy}" TEMPLATE "{finished.database}"')
    opened = open_world(finished.server, copy, directory)
    yield opened
    opened.database.close()
    administer(finished.server, f'DROP DATABASE "{copy}" WITH (FORCE)')


def run(doors: Doors, statement: str) -> None:
    """Change the database behind the service's back, as somebody with its password could."""
    with doors.database.engine.begin() as session:
        session.execute(text("SET session_replication_role = replica"))  # triggers sleep
        assert session.execute(text(statement)).rowcount != 0, "the tampering touched nothing"
        session.execute(text("RESET session_replication_role"))


def value(doors: Doors, question: str) -> str:
    with doors.database.engine.connect() as session:
        return str(session.execute(text(question)).scalars().first())


def values(doors: Doors, question: str) -> list[str]:
    with doors.database.engine.connect() as session:
        return [str(one) for one in session.execute(text(question)).scalars()]


def codes(doors: Doors, severity: Severity = Severity.ERROR) -> set[str]:
    return {one.code for one in check_consistency(doors) if one.severity is severity}


def test_an_honest_world_gives_no_error_and_no_warning(doors: Doors) -> None:
    assert check_consistency(doors) == []
    found = check_log(doors)
    assert found.findings == []
    assert found.entries > 40
    assert found.covered <= found.entries


TAMPERED = {
    "log_gap": "DELETE FROM audit_entries WHERE index = 7",
    "log_cut_off": "DELETE FROM audit_entries WHERE index > 9",
    "log_entry_unreadable": "UPDATE audit_entries SET body = 'nonsense' WHERE index = 7",
    "log_columns_differ": "UPDATE audit_entries SET actor = 'ak_other' WHERE index = 7",
    "log_tree_differs": "UPDATE audit_tree SET hash = sha256('x') WHERE level = 1 AND index = 2",
    "checkpoint_invalid": "UPDATE audit_checkpoints SET note = replace(note, 'lethe', 'other')",
    "checkpoint_differs": """
        UPDATE audit_entries SET body = convert_to(replace(convert_from(body, 'UTF8'), 'model.live', 'model.lost'), 'UTF8'),
        action = 'model.lost' WHERE action = 'model.live'
    """,
    "alias_behind": "UPDATE aliases SET version_id = (SELECT id FROM versions WHERE number = 1)",
    "model_unserved": "DELETE FROM aliases",
    "certificate_missing": "DELETE FROM certificates WHERE guarantee = 'influence_free' AND request_id = (SELECT max(id) FROM deletion_requests)",
    "completed_too_early": "UPDATE jobs SET state = 'verifying' WHERE request_id IS NOT NULL",
    "erasure_open": "UPDATE erasures SET destroyed_at = NULL",
    "row_of_deleted_record": "UPDATE records SET erased_at = NULL WHERE erased_at IS NOT NULL",
    "row_of_suppressed_owner": "UPDATE records SET erased_at = NULL WHERE erased_at IS NOT NULL",
    "owner_not_suppressed": "UPDATE suppressions SET released_at = clock_timestamp()",
    "content_of_erased_record": "UPDATE records SET content = record WHERE erased_at IS NOT NULL",
    "node_forgotten_to_switch_off": "UPDATE nodes SET state = 'live' WHERE state = 'dead'",
    "job_without_lease": "UPDATE jobs SET state = 'running' WHERE kind = 'build'",
    "request_state_unlogged": "UPDATE deletion_requests SET state = 'denied'",
    "job_state_unlogged": "UPDATE jobs SET state = 'failed' WHERE kind = 'build'",
    "model_state_unlogged": "UPDATE models SET state = 'failed'",
    "version_unlogged": "UPDATE versions SET manifest_digest = repeat('0', 64) WHERE number = 1",
    "alias_unlogged": "UPDATE aliases SET version_id = (SELECT id FROM versions WHERE number = 1)",
    "node_state_unlogged": "UPDATE nodes SET state = 'live' WHERE state = 'dead'",
    "certificate_unlogged": "UPDATE certificates SET log_index = log_index - 1",
    "erasure_unlogged": "UPDATE erasures SET destroyed_at = NULL",
    "api_key_unlogged": "UPDATE api_keys SET scopes = scopes || ARRAY['everything']",
    "certificate_invalid": "UPDATE certificates SET envelope = overlay(envelope PLACING 'X' FROM 60)",
    "manifest_altered": "UPDATE versions SET manifest = jsonb_set(manifest, '{backbone}', to_jsonb(repeat('0', 64)))",
    "manifest_unsound": "UPDATE versions SET manifest = jsonb_set(manifest, '{backbone}', to_jsonb(repeat('0', 64)))",
    "manifest_unreadable": "UPDATE versions SET manifest = '{}'",
    "served_node_unknown": "UPDATE nodes SET key = 'x' || key WHERE state = 'live'",
    "served_node_dead": "UPDATE nodes SET state = 'dead' WHERE state = 'live'",
    "served_node_differs": "UPDATE nodes SET tensor_digest = repeat('0', 64) WHERE state = 'live'",
    "dead_key_unordered": """
        UPDATE nodes SET state = 'dead' WHERE state = 'live'
    """,
}


@pytest.mark.parametrize("code", TAMPERED)
def test_tampering_with_the_database_is_found(doors: Doors, code: str) -> None:
    run(doors, TAMPERED[code])
    assert code in codes(doors)


@pytest.mark.parametrize(
    "table",
    [
        "deletion_requests",
        "jobs",
        "versions",
        "certificates",
        "models",
        "datasets",
        "api_keys",
        "nodes",
        "aliases",
        "erasures",
    ],
)
def test_a_row_that_was_taken_away_is_missed_by_the_log(doors: Doors, table: str) -> None:
    run(doors, "DELETE FROM " + table)  # noqa: S608 - ours
    assert "entry_without_row" in codes(doors)


def test_a_node_that_came_back_to_life_is_as_young_as_its_second_life(doors: Doors) -> None:
    """A strike that changes no slice kills a node whose very same content is trained again afterwards."""
    with doors.database.transaction() as session:
        model = models.list_models(session, DEFAULT_TENANT)[0]
        dead = nodes.nodes_by_key(
            session, model.id, values(doors, "SELECT key FROM nodes WHERE state = 'dead' LIMIT 1")
        )
        [row] = dead.values()
        again = {"tenant_id": row.tenant_id, "model_id": model.id, "job_id": "job_x", "fence": 1, "records": 1}
        sealed = {"object_digest": doors.put_sealed("nod_again", b"x"), "data_key_id": "nod_again"}
        assert nodes.add_node(session, nodes.as_entry(row), **again, **sealed, epochs=1, seconds=0.1)
    assert "node_forgotten_to_switch_off" not in codes(doors)


def test_a_served_node_that_learned_a_deleted_record_is_found(doors: Doors) -> None:
    """A tombstone older than a served node, for a record that the node was fed all the same."""
    with doors.database.transaction() as session:
        model = models.list_models(session, DEFAULT_TENANT)[0]
        version = versions.live_version(session, model.id)
        assert version is not None
        node = version.manifest["nodes"][0]
        leaves, _ = slice_leaves(session, doors, model)
        where = Place(node["shard"], node["slices"][0])
        fed = DeletedRecord(leaves[where][0][:32], bytes(32), where.shard, where.slice)
        models.bury(session, tenant_id=DEFAULT_TENANT, model_id=model.id, request_id="dr_x", dead=[fed])
    run(doors, "UPDATE tombstones SET buried_at = '2000-01-01'")
    assert codes(doors) == {"served_node_forbidden"}


def test_a_key_that_should_be_dead_is_found(doors: Doors) -> None:
    doors.keys.put(value(doors, "SELECT key_id FROM erasures"), bytes(32))
    assert codes(doors) == {"destroyed_key_survives"}


@pytest.mark.parametrize(
    "question",
    [
        "SELECT data_key_id FROM nodes WHERE state = 'live'",
        "SELECT key_id FROM blocks WHERE erased_at IS NULL",
        "SELECT data_key_id FROM backbones",
        "SELECT placement_key_id FROM models",
        f"SELECT 'tenant_{DEFAULT_TENANT}'",
    ],
)
def test_a_key_that_something_alive_needs_is_missed(doors: Doors, question: str) -> None:
    doors.keys.destroy([value(doors, question)])
    assert codes(doors) == {"key_missing"}


def test_without_the_log_s_key_nothing_else_is_said_and_no_new_key_is_made(doors: Doors) -> None:
    doors.keys.destroy([LOG_KEY])
    assert codes(doors) == {"key_missing"}
    assert not doors.keys.exists(LOG_KEY)


@pytest.mark.parametrize("table", ["nodes WHERE state = 'live'", "blocks WHERE erased_at IS NULL", "backbones"])
def test_an_object_that_something_alive_lies_in_is_missed(doors: Doors, table: str) -> None:
    doors.store.delete(value(doors, "SELECT object_digest FROM " + table))  # noqa: S608 - ours
    assert codes(doors) == {"object_missing"}


def test_an_object_that_was_altered_does_not_open(doors: Doors) -> None:
    digest = value(doors, "SELECT object_digest FROM nodes WHERE state = 'live'")
    path = doors.settings.objects / digest[:2] / digest
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert codes(doors) == {"object_altered"}


def test_a_lease_that_ran_out_is_a_warning(doors: Doors) -> None:
    run(doors, "UPDATE jobs SET state = 'running', worker = 'w', lease_until = '2000-01-01' WHERE kind = 'build'")
    assert "lease_ran_out" in codes(doors, Severity.WARNING)


def test_a_model_that_nobody_mends_is_a_warning_unless_nobody_shall(doors: Doors) -> None:
    run(doors, "UPDATE jobs SET state = 'dead' WHERE lane = 'compute' AND state = 'waiting'")
    assert "repair_stalled" in codes(doors, Severity.WARNING)
    unrepaired = replace(doors, settings=doors.settings.model_copy(update={"repair": False}))
    assert "repair_stalled" not in codes(unrepaired, Severity.WARNING)
    run(doors, "UPDATE models SET repair = false")
    assert "repair_stalled" not in codes(doors, Severity.WARNING)


def test_a_job_for_a_node_that_lives_is_a_warning(doors: Doors) -> None:
    run(
        doors,
        """
        INSERT INTO jobs (tenant_id, id, kind, lane, subject, model_id, state, priority, attempt, max_attempts, fence)
        SELECT tenant_id, 'job_x', 'train_node', 'compute', model_id || '/' || shard || '/' || key, model_id, 'waiting',
               0, 0, 5, 0 FROM nodes WHERE state = 'live' LIMIT 1
        """,
    )
    assert "job_without_purpose" in codes(doors, Severity.WARNING)


def test_tensors_under_a_valid_seal_that_are_not_the_trained_ones_are_found_by_a_deep_look(doors: Doors) -> None:
    assert check_consistency(doors, deep=True) == []
    one, other = values(doors, "SELECT key FROM nodes WHERE state = 'live' ORDER BY key LIMIT 2")
    run(
        doors,
        f"""
        UPDATE nodes n SET object_digest = o.object_digest, data_key_id = o.data_key_id FROM nodes o
        WHERE n.key = '{one}' AND o.key = '{other}'
        """,  # noqa: S608 - ours
    )
    assert "tensors_differ" not in codes(doors)
    assert ("tensors_differ", one) in {(found.code, found.object) for found in check_consistency(doors, deep=True)}


def test_what_the_ledger_lacks_is_found(doors: Doors) -> None:
    [first, *_] = values(doors, "SELECT id FROM deletion_requests ORDER BY id")
    notes = list(doors.settings.ledger.rglob(f"{first}.*"))
    kept = [(note, note.read_bytes()) for note in notes]
    for note in notes:
        note.unlink()
    assert codes(doors) == {"request_not_in_ledger", "erasure_not_in_ledger"}
    for note, content in kept:
        note.write_bytes(content)
    assert codes(doors) == set()
    notes[0].write_bytes(b"{}")
    assert "ledger_damaged" in codes(doors)


def test_a_log_that_is_not_the_one_that_was_signed_last_is_found(doors: Doors) -> None:
    assert doors.ledger.checkpoint() is not None
    run(doors, "DELETE FROM audit_checkpoints WHERE size = (SELECT max(size) FROM audit_checkpoints)")
    assert codes(doors) == {"log_forked"}


def test_a_request_that_only_the_ledger_knows_is_a_warning_once_no_commit_can_be_under_way(doors: Doors) -> None:
    note: dict[str, Any] = {
        "request": "dr_lost",
        "tenant": DEFAULT_TENANT,
        "created_by": "ak_x",
        "regulation": None,
        "received_at": "2026-01-01T00:00:00.000000Z",
        "owners": [],
        "records": {},
        "models": None,
        "copies": "report",
    }
    doors.ledger.write("dr_lost.asked", note)
    assert [(one.code, one.object) for one in check_consistency(doors)] == [("request_only_in_ledger", "dr_lost")]
    doors.ledger.write("dr_lost.asked", note | {"received_at": timestamp(datetime.now(UTC))})
    assert check_consistency(doors) == []


def test_a_webhook_s_secret_is_no_orphan_and_missed_when_it_is_gone(doors: Doors) -> None:
    doors.keys.put_many({"whk_00000000000000000000000001": bytes(32), "whk_00000000000000000000000002": bytes(32)})
    run(
        doors,
        """
        INSERT INTO webhook_endpoints (tenant_id, id, url, types, state, secret_key_id, previous_key_id, row_version)
        VALUES ('ten_default', 'wh_1', 'https://example.org', ARRAY['job.dead'], 'enabled',
                'whk_00000000000000000000000001', 'whk_00000000000000000000000002', 1)
        """,
    )
    assert check_consistency(doors) == []
    assert sweep_orphans(doors) == {"keys": 0, "objects": 0}
    doors.keys.destroy(["whk_00000000000000000000000001"])
    assert codes(doors) == {"key_missing"}
    run(doors, "UPDATE webhook_endpoints SET state = 'deleted'")
    assert codes(doors) == set()
    assert sweep_orphans(doors) == {"keys": 1, "objects": 0}


def test_orphans_are_warnings_and_only_old_ones_are_swept(doors: Doors) -> None:
    young, old = new_identifier("blk"), "blk_00000000000000000000000000"
    doors.keys.put_many({young: bytes(32), old: bytes(32)})
    fresh, stale = doors.store.put(b"fresh"), doors.store.put(b"stale")
    path = doors.settings.objects / stale[:2] / stale
    os.utime(path, (time.time() - 2 * HOUR, time.time() - 2 * HOUR))
    assert codes(doors, Severity.WARNING) == {"orphan_key", "orphan_object"}
    assert codes(doors) == set()
    assert sweep_orphans(doors) == {"keys": 1, "objects": 1}
    assert {one.object for one in check_consistency(doors)} == {young, fresh}


def test_sweeping_touches_nothing_that_is_needed(doors: Doors) -> None:
    before = set(doors.keys.list_ids()), set(doors.store.list_digests())
    assert sweep_orphans(doors) == {"keys": 0, "objects": 0}
    assert (set(doors.keys.list_ids()), set(doors.store.list_digests())) == before


def test_a_broken_log_does_not_keep_the_rest_from_being_checked(doors: Doors) -> None:
    run(doors, TAMPERED["log_entry_unreadable"])
    run(doors, TAMPERED["model_unserved"])
    assert {"log_entry_unreadable", "model_unserved"} <= codes(doors)
    assert codes(doors, Severity.WARNING) == {"history_unchecked"}


def test_many_findings_of_one_kind_are_told_in_part(doors: Doors) -> None:
    for _ in range(MOST_PER_CODE + 5):
        doors.store.put(os.urandom(8))
    found = [one for one in check_consistency(doors) if one.code == "orphan_object"]
    assert len(found) == MOST_PER_CODE + 1
    assert found[-1].sentence == "and more of the same"


def test_the_commands_say_it_with_their_exit_status(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_DATABASE_URL", doors.settings.database_url)
    monkeypatch.setenv("LETHE_DATA_DIRECTORY", str(doors.settings.data_directory))
    runner = CliRunner()
    assert runner.invoke(app, ["fsck", "--json"]).exit_code == 0
    assert runner.invoke(app, ["audit", "verify"]).exit_code == 0
    run(doors, TAMPERED["log_tree_differs"])
    for command in (["fsck"], ["fsck", "--json"], ["audit", "verify"], ["audit", "verify", "--json"]):
        told = runner.invoke(app, command)
        assert told.exit_code == 1
        assert "log_tree_differs" in told.stdout


def test_a_new_api_key_is_in_the_log(doors: Doors) -> None:
    create_api_key(
        doors, tenant_id=DEFAULT_TENANT, name="x", scopes=["models:read"], actor=Actor(ActorKind.OPERATOR, "cli")
    )
    assert check_consistency(doors) == []
