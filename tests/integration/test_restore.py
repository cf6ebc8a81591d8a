"""A restore of yesterday's database and bucket, with today's keys and ledger: nobody who was deleted since comes back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text
from typer.testing import CliRunner

from cli.main import app
from core.audit.verify import verify_certificate
from core.domain.deletion import CopiesPolicy
from core.domain.errors import LogForked, OwnerSuppressed, Unavailable, Unusable
from core.domain.identifiers import new_identifier
from core.domain.references import owner_reference
from core.keys.directory import DirectoryKeyStore
from core.persistence import models, nodes, versions
from core.settings import Settings
from core.use_cases import follow_manifest
from core.use_cases.check_consistency import check_consistency
from core.use_cases.check_readiness import check_readiness
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.doors import DEFAULT_TENANT, Doors, open_doors
from core.use_cases.finding import Severity
from core.use_cases.keep_ledger import refuse_restored
from core.use_cases.look_after import sign_checkpoint_if_grown
from core.use_cases.prepare_service import prepare_service
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.record_reconsent import record_reconsent
from core.use_cases.register_dataset import register_dataset
from core.use_cases.replay_ledger import Replay, replay_ledger
from core.use_cases.resolve_subjects import Identity
from tests.integration import world
from tests.integration.world import ADMIN, NOTHING, OTHER, ask, ask_records, built, deactivate, drain, request_of

ORIGIN, FRESH = "lethe.local/log", "lethe.local/log-restored"


@dataclass
class Place:
    """A service whose database and objects can be put back to how they were, and whose keys and ledger stay."""

    server: str
    directory: Path
    origin: str = ORIGIN
    databases: list[str] = field(default_factory=list)
    doors: Doors | None = None

    def start(self, template: str | None = None) -> Doors:
        name = new_identifier("rst")
        copied = f' TEMPLATE "{template}"' if template else ""
        self._administer(f'CREATE DATABASE "{name}"{copied}')
        self.databases.append(name)
        url = make_url(self.server).set(database=name).render_as_string(hide_password=False)
        self.doors = open_doors(
            Settings(database_url=url, data_directory=self.directory / "data", log_origin=self.origin)
        )
        return self.doors

    def stop(self) -> None:
        if self.doors is not None:
            self.doors.database.close()

    def back_up(self, *, keys: bool = False) -> str:
        """Copy the database and the objects as they are; the keys only for those who want to see what happens."""
        assert self.doors is not None
        self.doors.database.close()
        name = new_identifier("bak")
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.databases[-1]}"')
        self.databases.append(name)
        self.databases[-1], self.databases[-2] = self.databases[-2], self.databases[-1]
        for one in ("objects", *(["keys"] if keys else [])):
            shutil.copytree(self.directory / "data" / one, self.directory / name / one)
        return name

    def restore(self, backup: str, *, origin: str = FRESH) -> Doors:
        """Start on the backup; what the backup has no copy of stays as it is today."""
        self.stop()
        for saved in (self.directory / backup).iterdir():
            shutil.rmtree(self.directory / "data" / saved.name)
            shutil.copytree(saved, self.directory / "data" / saved.name)
        self.origin = origin
        return self.start(backup)

    def close(self) -> None:
        self.stop()
        for name in self.databases:
            self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="module")
def yesterday(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A service with one model, to be copied: building it is what takes time."""
    opened = Place(server_url, tmp_path_factory.mktemp("yesterday"))
    doors = opened.start(template)
    world.settle(doors)
    prepare_service(doors)
    built(doors)
    opened.stop()
    yield opened
    opened.close()


@pytest.fixture
def place(yesterday: Place, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(yesterday.directory / "data", tmp_path / "data")
    opened = Place(yesterday.server, tmp_path)
    opened.start(yesterday.databases[-1])
    yield opened
    opened.close()


@pytest.fixture
def empty_place(server_url: str, template: str, tmp_path: Path) -> Iterator[Place]:
    opened = Place(server_url, tmp_path)
    doors = opened.start(template)
    world.settle(doors)
    prepare_service(doors)
    yield opened
    opened.close()


def the_model(doors: Doors) -> str:
    with doors.database.transaction() as session:
        return str(models.list_models(session, DEFAULT_TENANT)[0].id)


def errors(doors: Doors) -> list[tuple[str, str]]:
    return [(one.code, one.object) for one in check_consistency(doors) if one.severity is Severity.ERROR]


def remembers(doors: Doors, model: str, request: str) -> bool:
    """Whether anything that the model may serve was made while the request's records were in it."""
    with doors.database.transaction() as session:
        buried = text(
            "SELECT shard, slice, buried_at FROM tombstones WHERE model_id = :model AND request_id = :request"
        )
        graves = session.execute(buried, {"model": model, "request": request}).all()
        live = nodes.live_nodes(session, model)
        version = versions.live_version(session, model)
    assert version is not None
    served = {key for keys in version.manifest["served"] for key in keys}
    assert served <= {row.key for row in live}
    if not graves:
        return True
    return any(
        row.shard == grave.shard and grave.slice in row.slices and row.created_at < grave.buried_at
        for row in live
        for grave in graves
    )


def rows_of(doors: Doors, owner: int) -> int:
    """Return how many rows of an owner are in the data sets."""
    reference = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", world.address(owner))
    with doors.database.transaction() as session:
        query = text("SELECT count(*) FROM records WHERE owner = :owner AND erased_at IS NULL")
        return int(session.execute(query, {"owner": reference}).scalar_one())


def refused(doors: Doors, owner: int) -> bool:
    everybody_else = [one for one in range(world.OWNERS) if one != owner]
    try:
        world.add_dataset(doors, name=new_identifier("again"), without=everybody_else)
    except OwnerSuppressed:
        return True
    return False


def test_nobody_who_was_deleted_since_the_backup_comes_back(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    model = the_model(doors)
    ask(doors, 1)
    drain(doors)
    backup = place.back_up()
    done = ask(doors, 5)["id"]
    drain(doors)
    later = world.add_model(doors, "later")
    drain(doors)
    asked = ask(doors, 9)["id"]
    kept = request_of(doors, done)
    certificate = kept["certificates"][0]["id"]
    evidence = (
        read_certificate(certificate, caller=ADMIN, doors=doors),
        read_proof(certificate, caller=ADMIN, doors=doors).encode(),
    )

    doors = place.restore(backup)
    # The guard: without the replay, both are back, and the service does not start like that.
    assert (rows_of(doors, 5), rows_of(doors, 9)) == (world.ROWS_EACH, world.ROWS_EACH)
    assert remembers(doors, model, done)
    assert remembers(doors, model, asked)
    with pytest.raises(Unusable, match="after-restore"):
        prepare_service(doors)
    with pytest.raises(Unavailable, match="audit_log"):
        check_readiness(doors)
    assert ("log_forked", "log") in errors(doors)

    replayed = replay_ledger(doors)
    assert replayed.findings == []
    assert (replayed.requests_written_again, replayed.models_unknown) == (2, 1)
    assert replayed.log_began_anew
    assert replayed.nodes_without_key > 0, "today's key store lacks what was destroyed for the first of them"
    prepare_service(doors)
    assert check_readiness(doors)["status"] == "ready"
    drain(doors)
    for owner, request in ((5, done), (9, asked)):
        found = request_of(doors, request)
        assert found["state"] == "completed"
        assert found["result"] == "unlearned"
        assert found["certificates"]
        assert not remembers(doors, model, request)
        assert rows_of(doors, owner) == 0
        assert refused(doors, owner)
    assert request_of(doors, done)["received_at"] == kept["received_at"]
    with doors.database.transaction() as session:
        assert models.find_model(session, ADMIN.tenant_id, later) is None
    assert errors(doors) == []
    assert replay_again(doors) == (0, 0, 0)
    # What was certified before the log broke off is still valid, and the break is told to whoever reads the log.
    keys = verification_keys(doors).split()
    assert [key.partition("+")[0] for key in keys] == [
        FRESH,
        f"{FRESH}/certificates",
        ORIGIN,
        f"{ORIGIN}/certificates",
    ]
    assert verify_certificate(*evidence, keys).failures == []
    with doors.database.transaction() as session:
        told = session.execute(text("SELECT count(*) FROM audit_entries WHERE action = 'service.restored'"))
        assert told.scalar_one() == 1


def replay_again(doors: Doors) -> tuple[int, int, int]:
    again = replay_ledger(doors)
    assert not again.log_began_anew
    return again.requests_written_again, again.requests_taken_further, again.keys_destroyed_again


def test_a_predictor_follows_no_restored_database_before_the_replay(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today's keys alone would keep it from opening what was deleted; yesterday's keys, restored with it, would not."""
    doors = place.doors
    assert doors is not None
    backup = place.back_up(keys=True)
    ask(doors, 5)
    deactivate(doors)
    doors = place.restore(backup)
    looks: list[Exception | None] = []

    def look(session: Connection, seen: Doors) -> None:
        try:
            refuse_restored(session, seen)
        except LogForked as fork:
            looks.append(fork)
            raise
        looks.append(None)

    monkeypatch.setattr(follow_manifest, "refuse_restored", look)
    follower = follow_manifest.Follower(doors, "prd_x")
    follower.start()
    try:
        wait_for(lambda: len(looks) > 2)
        assert all(looks)
        assert not list(follower.models())
        assert not follower.confirmed_lately()
        replay_ledger(doors)
        deactivate(doors)
        wait_for(lambda: bool(list(follower.models())))
    finally:
        follower.stop()


def wait_for(happens: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


def test_without_its_note_in_the_ledger_a_request_stays_forgotten(place: Place) -> None:
    """The guard matters: take the note away, and the person is back in a live node and in a row."""
    doors = place.doors
    assert doors is not None
    model = the_model(doors)
    backup = place.back_up(keys=True)
    request = ask(doors, 5)["id"]
    deactivate(doors)
    for note in (doors.settings.ledger).rglob(f"{request}.*"):
        note.unlink()
    doors = place.restore(backup)
    assert replay_ledger(doors).requests_written_again == 0
    deactivate(doors)
    assert rows_of(doors, 5) == world.ROWS_EACH
    assert remembers(doors, model, request)
    assert not refused(doors, 5)


def test_keys_that_a_restored_key_store_brings_back_die_again(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    backup = place.back_up(keys=True)
    request = ask(doors, 5)["id"]
    deactivate(doors)
    with doors.database.transaction() as session:
        dead = set(session.execute(text("SELECT key_id FROM erasures")).scalars())
    doors = place.restore(backup)
    assert dead & set(doors.keys.list_ids()), "the backup of the keys brought none back"
    assert replay_ledger(doors).keys_destroyed_again > 0
    assert not dead & set(DirectoryKeyStore(doors.settings.keys).list_ids())
    prepare_service(doors)
    deactivate(doors)
    assert request_of(doors, request)["state"] == "completed"
    assert errors(doors) == []


def test_the_restored_log_goes_on_under_a_new_name_only(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    backup = place.back_up()
    ask(doors, 5)
    deactivate(doors)
    doors = place.restore(backup, origin=ORIGIN)
    with pytest.raises(Unusable, match="LETHE_LOG_ORIGIN"):
        replay_ledger(doors)
    with pytest.raises(LogForked):
        sign_checkpoint_if_grown(doors)
    doors = place.restore(backup)
    replay_ledger(doors)
    assert sign_checkpoint_if_grown(doors) in {True, False}
    place.stop()
    doors = open_doors(doors.settings.model_copy(update={"log_origin": ORIGIN}))
    try:
        with pytest.raises(Unusable, match="not the name"):
            prepare_service(doors)
    finally:
        doors.database.close()


def test_a_second_restore_of_the_same_backup_tells_of_both_breaks(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    backup = place.back_up()
    first = ask(doors, 5)["id"]
    deactivate(doors)
    doors = place.restore(backup)
    replay_ledger(doors)
    second = ask(doors, 9)["id"]
    deactivate(doors)
    doors = place.restore(backup, origin="lethe.local/third")
    assert replay_ledger(doors).requests_written_again == 2
    deactivate(doors)
    assert {request_of(doors, one)["state"] for one in (first, second)} == {"completed"}
    names = [key.partition("+")[0] for key in verification_keys(doors).split()]
    assert names[::2] == ["lethe.local/third", ORIGIN, FRESH]
    assert errors(doors) == []


def test_decisions_are_replayed_and_consent_lets_people_back_in(empty_place: Place) -> None:
    doors = empty_place.doors
    assert doors is not None
    built(doors, approval_required=True)
    waiting = ask(doors, 2)["id"]
    backup = empty_place.back_up()
    ids = {owner: ask(doors, owner)["id"] for owner in (3, 4, 5, 6, 7)}
    for owner, decision in ((2, Decision.APPROVE), (3, Decision.APPROVE), (4, Decision.DENY), (5, Decision.CANCEL)):
        request = waiting if owner == 2 else ids[owner]
        decide_deletion(request, decision, caller=OTHER, once=NOTHING, doors=doors)
    decide_deletion(ids[6], Decision.APPROVE, caller=OTHER, once=NOTHING, doors=doors)
    drain(doors)
    record_reconsent(Identity("email", world.address(6)), caller=ADMIN, once=NOTHING, doors=doors)

    doors = empty_place.restore(backup)
    replayed = replay_ledger(doors)
    assert (replayed.requests_written_again, replayed.requests_taken_further) == (5, 1)
    assert replayed.owners_let_in == 1
    drain(doors)
    states = {owner: request_of(doors, request)["state"] for owner, request in (ids | {2: waiting}).items()}
    assert states == {
        2: "completed",
        3: "completed",
        4: "denied",
        5: "cancelled",
        6: "completed",
        7: "pending_approval",
    }
    assert [rows_of(doors, owner) for owner in (2, 3, 4, 5, 6, 7)] == [0, 0, 2, 2, 0, 2]
    assert [refused(doors, owner) for owner in (2, 3, 4, 5, 6, 7)] == [True, True, False, False, False, True]
    assert errors(doors) == []


def test_rows_that_were_resealed_since_are_lost_and_said_to_be(place: Place) -> None:
    """A request for one of an owner's two rows resealed the other under a key that the backup does not know."""
    doors = place.doors
    assert doors is not None
    backup = place.back_up()
    request = ask_records(doors, "row-5-0")["id"]
    deactivate(doors)
    assert rows_of(doors, 5) == 1
    doors = place.restore(backup)
    assert replay_ledger(doors).rows_lost == 1
    deactivate(doors)
    assert request_of(doors, request)["state"] == "completed"
    assert rows_of(doors, 5) == 0
    assert errors(doors) == []


def test_copies_that_a_request_was_expanded_to_are_asked_for_again(empty_place: Place) -> None:
    doors = empty_place.doors
    assert doors is not None
    rows = world.columns()
    twin = rows["record_ids"].tolist().index("row-9-0")
    rows["images"][twin] = rows["images"][rows["record_ids"].tolist().index("row-5-0")]
    rows["labels"][twin] = rows["labels"][rows["record_ids"].tolist().index("row-5-0")]
    register_dataset("pictures", world.SCHEMA, {"file": world.packed(rows)}, caller=ADMIN, once=NOTHING, doors=doors)
    world.add_model(doors)
    drain(doors)
    backup = empty_place.back_up()
    request = ask_records(doors, "row-5-0", copies=CopiesPolicy.EXPAND)["id"]
    drain(doors)
    before = request_of(doors, request)["records"]
    assert before == 2
    doors = empty_place.restore(backup)
    replay_ledger(doors)
    drain(doors)
    assert request_of(doors, request)["records"] == before
    assert errors(doors) == []


def test_a_note_that_was_damaged_is_told_and_does_not_keep_the_others(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    backup = place.back_up()
    damaged, whole = ask(doors, 5)["id"], ask(doors, 9)["id"]
    deactivate(doors)
    [note] = doors.settings.ledger.rglob(f"{damaged}.asked")
    note.write_bytes(note.read_bytes().replace(b'"owners"', b'"Owners"'))
    doors = place.restore(backup)
    told = {(one.code, one.object) for one in replay_ledger(doors).findings}
    assert {("ledger_damaged", f"{damaged}.asked"), ("ledger_incomplete", damaged)} <= told
    deactivate(doors)
    assert request_of(doors, whole)["state"] == "completed"


def test_a_request_whose_commit_failed_is_harmless(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note is there, the request is not: a replay asks for it, as somebody did."""
    doors = place.doors
    assert doors is not None

    def cut_off(*_: Any, **__: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("core.use_cases.accept_deletion.described", cut_off)
        with pytest.raises(ConnectionError):
            ask(doors, 5)
    assert errors(doors) == []
    assert replay_ledger(doors).requests_written_again == 1
    deactivate(doors)
    assert rows_of(doors, 5) == 0


def test_an_unwritable_ledger_takes_nothing_in(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    shutil.rmtree(doors.settings.ledger)
    with pytest.raises(Unavailable, match="ledger"):
        ask(doors, 5)
    with doors.database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM deletion_requests")).scalar_one() == 0


def test_a_lost_ledger_is_written_again_from_the_database(place: Place) -> None:
    doors = place.doors
    assert doors is not None
    request = ask(doors, 5)["id"]
    deactivate(doors)
    record_reconsent(Identity("email", world.address(5)), caller=ADMIN, once=NOTHING, doors=doors)
    shutil.rmtree(doors.settings.ledger)
    place.stop()
    doors = place.doors = open_doors(doors.settings)
    assert {code for code, _ in errors(doors)} == {"request_not_in_ledger", "erasure_not_in_ledger"}
    with pytest.raises(Unusable, match="no erasure ledger"):
        replay_ledger(doors)
    prepare_service(doors)
    assert errors(doors) == []
    assert replay_ledger(doors) == Replay(notes=2)
    assert request_of(doors, request)["state"] == "completed"


def test_the_command_says_what_it_did(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    doors = place.doors
    assert doors is not None
    backup = place.back_up()
    ask(doors, 5)
    deactivate(doors)
    doors = place.restore(backup)
    monkeypatch.setenv("LETHE_DATABASE_URL", doors.settings.database_url)
    monkeypatch.setenv("LETHE_DATA_DIRECTORY", str(doors.settings.data_directory))
    run: Callable[..., Any] = CliRunner().invoke
    refused_like_that = run(app, ["fsck", "--after-restore"])
    assert refused_like_that.exit_code == 1
    assert "LETHE_LOG_ORIGIN" in refused_like_that.output
    monkeypatch.setenv("LETHE_LOG_ORIGIN", FRESH)
    told = run(app, ["fsck", "--after-restore", "--json"])
    assert told.exit_code == 0
    assert '"requests_written_again": 1' in told.stdout
    deactivate(doors)
    assert run(app, ["fsck"]).exit_code == 0
