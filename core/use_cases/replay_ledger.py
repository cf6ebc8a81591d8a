"""After a database or a bucket was restored: ask again for everything that the erasure ledger knows (`--after-restore`).

    destroyed keys   that a restored key store brought back ─▶ destroyed
    requests         unknown to the database ─▶ written again, same id and time, with their jobs
                     known, and not as far as they were ─▶ approved, tried again, cancelled
    rows             that lost their key in a block that was resealed since ─▶ erased: nobody can read them any more
    owners           kept out or let back in, as the ledger's last word on each says
    the log          shorter than its newest signed head ─▶ an entry about the break, and a new head under a new name

Nothing is switched off here: that is done by the jobs, in the ordinary way, as soon as workers run. Each request has a
transaction of its own, and all of it may be repeated: killed in between, run it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select, text

from core.audit.entry import Action, Actor, ActorKind
from core.domain.deletion import ENDED, CopiesPolicy, RequestEvent, RequestKind, RequestState, WaitReason
from core.domain.errors import IllegalMove, LedgerDamaged, LogForked, RequestNotCancellable, Unusable
from core.persistence import audit, datasets, jobs, models, requests, tenants
from core.persistence.requests import ErasureKind
from core.persistence.tables import SYSTEM_TENANT
from core.use_cases.accept_deletion import enter_request, schedule
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.ingest_lock import share_ingest_lock, take_ingest_lock
from core.use_cases.issue_certificate import sign_head_anew
from core.use_cases.keep_ledger import as_note, broken_origins, plain_origin, require_unforked
from core.use_cases.resolve_subjects import Resolved, with_copies

OPERATOR = Actor(ActorKind.OPERATOR, "cli")
KEYS_AT_ONCE = 1000


@dataclass
class Asked:
    """All that the ledger knows of one request."""

    note: dict[str, Any]
    decisions: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.note["request"])

    @property
    def kind(self) -> RequestKind:
        """Notes of the time before there were two kinds do not say."""
        return RequestKind(self.note.get("kind", RequestKind.DATA_DELETION))

    @property
    def received_at(self) -> datetime:
        return datetime.fromisoformat(self.note["received_at"])

    @property
    def came_to_nothing(self) -> bool:
        return bool(self.decisions & {"denied", "cancelled"})

    @property
    def approved(self) -> bool:
        """Whether somebody approved it; where keys died for it, somebody must have."""
        return bool(self.keys) or "approved" in self.decisions


@dataclass
class Remembered:
    """The whole ledger, in the order in which things happened."""

    asked: list[Asked] = field(default_factory=list)
    consents: list[tuple[datetime, str, bytes]] = field(default_factory=list)
    """When, in which tenant, and whose."""
    findings: list[Finding] = field(default_factory=list)

    def consented_after(self, tenant: str, owner: bytes, moment: datetime) -> bool:
        return any(at > moment for at, where, whose in self.consents if (where, whose) == (tenant, owner))


@dataclass
class Replay:
    """What was done; counts of it."""

    notes: int = 0
    keys_destroyed_again: int = 0
    requests_written_again: int = 0
    requests_taken_further: int = 0
    rows_lost: int = 0
    owners_kept_out: int = 0
    owners_let_in: int = 0
    models_unknown: int = 0
    """Models that the key store knows and the database does not: registered since the backup, and gone."""
    nodes_without_key: int = 0
    """Live nodes whose key is destroyed; the jobs that wait now switch them off."""
    log_began_anew: bool = False
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def replay_ledger(doors: Doors) -> Replay:
    """Bring a restored deployment to where nobody comes back; the jobs that this leaves do the rest.

    Raises:
        Unusable: there is no ledger, or the log broke off and LETHE_LOG_ORIGIN is not a new name.
        LedgerDamaged: the log's newest head in the ledger cannot be read.
    """
    remembered = read_ledger(doors)
    done = Replay(notes=len(remembered.asked) + len(remembered.consents), findings=remembered.findings)
    if not done.notes and doors.ledger.checkpoint() is None:
        raise Unusable(f"there is no erasure ledger in {doors.settings.ledger}; without it nothing can be replayed")
    done.log_began_anew = _log_broke_off(doors)
    done.keys_destroyed_again = _destroy_again(doors, remembered.asked)
    for one in remembered.asked:
        _replay_request(doors, remembered, one, done)
    _settle_owners(doors, remembered, done)
    if done.log_began_anew:
        _begin_log_anew(doors)
    _look_around(doors, done)
    return done


def read_ledger(doors: Doors) -> Remembered:
    """Return all notes; one that cannot be read is a finding."""
    found, by_request = Remembered(), {}
    loose: list[tuple[str, str, dict[str, Any]]] = []
    for name in sorted(doors.ledger.names()):
        try:
            note = doors.ledger.read(name)
        except LedgerDamaged as damage:
            found.findings.append(Finding(Severity.ERROR, "ledger_damaged", name, damage.detail))
            continue
        identifier, kind, *_ = name.split(".")
        if kind == "reconsent":
            found.consents.append((datetime.fromisoformat(note["at"]), note["tenant"], bytes.fromhex(note["owner"])))
        elif kind == "asked":
            by_request[identifier] = Asked(note)
        else:
            loose.append((identifier, kind, note))
    for identifier, kind, note in loose:
        if identifier not in by_request:
            sentence = "the ledger knows what was done for this request, and not what was asked"
            found.findings.append(Finding(Severity.ERROR, "ledger_incomplete", identifier, sentence))
        elif kind == "keys":
            by_request[identifier].keys += note["keys"]
        else:
            by_request[identifier].decisions.add(kind)
    found.asked = sorted(by_request.values(), key=lambda one: (one.received_at, one.id))
    found.consents.sort()
    return found


def _log_broke_off(doors: Doors) -> bool:
    """Whether the database's log lacks its newest signed head; then only a log of another name may be signed."""
    with doors.database.transaction() as session:
        kept = doors.ledger.checkpoint()
        if kept is None or audit.has_checkpoint(session, entries=kept["size"], note=kept["note"]):
            require_unforked(session, doors)
            return False
    used = {kept["origin"], *(one["origin"] for one in doors.ledger.retired())}
    if doors.settings.log_origin in used:
        raise Unusable(
            "the restored log is shorter than what was signed, and must go on under a new name: "
            "set LETHE_LOG_ORIGIN to one that was never used, here and for the service, and run this again"
        )
    return True


def _destroy_again(doors: Doors, asked: Iterable[Asked]) -> int:
    """Destroy every key that is known to have been destroyed, and is here all the same; return how many were."""
    present = set(doors.keys.list_ids())
    with doors.database.transaction(OPERATOR) as session:
        destroyed = select(requests.erasures.c.key_id).where(requests.erasures.c.destroyed_at.is_not(None))
        logged = set(session.execute(destroyed).scalars())
        back = sorted((logged | {key for one in asked for key in one.keys}) & present)
        for batch in _batches(back):
            doors.keys.destroy(batch)
        for key in set(back) - logged:
            action = Action.NODE_KEY_DESTROYED if key.startswith("nod_") else Action.DATA_KEY_DESTROYED
            audit.note(session, action, tenant=SYSTEM_TENANT, object=key)
    return len(back)


def _replay_request(doors: Doors, remembered: Remembered, asked: Asked, done: Replay) -> None:
    tenant = asked.note["tenant"]
    with doors.database.transaction(OPERATOR) as session:
        if not tenants.has_tenant(session, tenant):
            sentence = "the database does not know this request's tenant"
            done.findings.append(Finding(Severity.ERROR, "tenant_unknown", asked.id, sentence))
            return
        share_ingest_lock(session, tenant)
        if requests.find_request(session, tenant, asked.id) is None:
            _write_again(session, doors, remembered, asked)
            done.requests_written_again += 1
        elif _take_further(session, doors, asked):
            done.requests_taken_further += 1
    with doors.database.transaction(OPERATOR) as session:
        done.rows_lost += _erase_lost_rows(session, doors, asked)


def _write_again(session: Connection, doors: Doors, remembered: Remembered, asked: Asked) -> None:
    note = asked.note
    enter_request(
        session,
        doors,
        _resolve_again(session, remembered, asked),
        approved=asked.approved,
        id=asked.id,
        tenant_id=note["tenant"],
        created_by=note["created_by"],
        regulation=note["regulation"],
        received_at=asked.received_at,
        scope_models=note["models"],
        copies_policy=note["copies"],
        kind=asked.kind,
        unlearning=note.get("unlearning"),
    )
    if asked.came_to_nothing:
        _end(session, asked)


def _resolve_again(session: Connection, remembered: Remembered, asked: Asked) -> Resolved:
    """Find the subject in the restored database: the records that were named, and all else that the owners have.

    Rows of an owner who consented anew since are left, except those that the request named.
    """
    note, tenant = asked.note, asked.note["tenant"]
    if asked.kind is RequestKind.CONCEPT_SUPPRESSION:
        named = [models.find_model(session, tenant, model) for model in note["models"] or ()]
        known = [model for model in named if model is not None]
        return Resolved(owners=frozenset(), records=[], models=known, copies=0)
    owners = frozenset(bytes.fromhex(owner) for owner in note["owners"])
    still_out = {one for one in owners if not remembered.consented_after(tenant, one, asked.received_at)}
    rows = datasets.records_of_owners(session, tenant, still_out) if still_out else []
    for dataset_id, named in note["records"].items():
        references = [bytes.fromhex(record) for record in named]
        rows += datasets.records_by_reference(session, tenant, dataset_id, references)
    records, copies = with_copies(session, tenant, owners, rows, CopiesPolicy(note["copies"]))
    affected = models.models_on(session, tenant, {row.dataset_id for row in records})
    wanted = note["models"]
    return Resolved(
        owners=owners,
        records=records,
        models=[model for model in affected if wanted is None or model.id in wanted],
        copies=copies,
    )


def _take_further(session: Connection, doors: Doors, asked: Asked) -> bool:
    """Repeat what was decided about a request that the database knows in an earlier state; say whether there was any."""
    held = jobs.lock_jobs_of_request(session, asked.id)
    request = requests.lock_request(session, asked.id)
    if request.state in ENDED:
        return False
    if asked.came_to_nothing:
        return _end(session, asked)
    attempts = doors.settings.max_attempts
    if request.state == RequestState.PENDING_APPROVAL and asked.approved:
        rows = requests.records_of_request(session, asked.id)
        affected = models.models_on(session, request.tenant_id, {row.dataset_id for row in rows})
        scope = request.scope_models
        ids = [model.id for model in affected if scope is None or model.id in scope]
        if asked.kind is RequestKind.CONCEPT_SUPPRESSION:
            ids = list(scope or ())  # it is about no records
        schedule(session, request, ids, RequestEvent.APPROVED, attempts=attempts)
        return True
    if request.wait_reason == WaitReason.JOB_DEAD and asked.keys:
        gave_up = [job.model_id for job in held if job.state == "dead" and job.model_id]
        schedule(session, request, gave_up, RequestEvent.RECOVERED, attempts=attempts)
        return True
    return False


def _end(session: Connection, asked: Asked) -> bool:
    """Let a request come to nothing again, if no worker has begun."""
    request = requests.lock_request(session, asked.id)
    event = RequestEvent.DENIED if "denied" in asked.decisions else RequestEvent.CANCELLED
    if request.state == RequestState.SCHEDULED:
        event = RequestEvent.CANCELLED
    try:
        requests.move_request(session, request, event)
    except (IllegalMove, RequestNotCancellable):
        return False
    jobs.cancel_waiting(session, asked.id)
    requests.lift_suppression(session, request)
    return True


def _erase_lost_rows(session: Connection, doors: Doors, asked: Asked) -> int:
    """Erase what lies in blocks whose key died for this request, and which were resealed after the backup.

    A request for some of an owner's rows reseals the rest under a new key. The restored database knows the old key
    only, so the rest is lost. Rows that the request itself named are left to its jobs.
    """
    tenant = asked.note["tenant"]
    take_ingest_lock(session, tenant)
    lost = 0
    for block in datasets.blocks_under(session, tenant, asked.keys):
        if doors.keys.exists(block.key_id):
            continue
        records = datasets.records_in_block(session, block)
        named = {bytes(row.record) for row in requests.records_of_request(session, asked.id, block.dataset_id)}
        rest = [record for record in records if record not in named]
        if not rest:
            continue
        datasets.erase_records(session, tenant, block.dataset_id, records, request_id=asked.id)
        datasets.mark_block_erased(session, block)
        order = {"tenant_id": tenant, "key_id": block.key_id, "kind": ErasureKind.BLOCK, "request_id": asked.id}
        requests.order_erasures(session, [{**order, "object_digest": None}])
        lost += len(rest)
    return lost


def _settle_owners(doors: Doors, remembered: Remembered, done: Replay) -> None:
    """Keep out or let in each owner as the ledger's last word says."""
    last: dict[tuple[str, bytes], tuple[datetime, str | None]] = {}
    for one in remembered.asked:
        if one.note["models"] is None and not one.came_to_nothing:
            for owner in one.note["owners"]:
                last[one.note["tenant"], bytes.fromhex(owner)] = one.received_at, one.id
    for at, tenant, owner in remembered.consents:
        if (tenant, owner) in last and last[tenant, owner][0] < at:
            last[tenant, owner] = at, None
    for (tenant, owner), (_, request_id) in sorted(last.items()):
        with doors.database.transaction(OPERATOR) as session:
            refused = bool(datasets.suppressed_among(session, tenant, [owner]))
            if request_id is not None and not refused:
                datasets.suppress(session, tenant, [owner], request_id)
                done.owners_kept_out += 1
            if request_id is None and refused:
                datasets.release_suppression(session, tenant, owner)
                done.owners_let_in += 1


def _begin_log_anew(doors: Doors) -> None:
    """Tell in the log where its older part broke off, sign it under its new name, and let the ledger follow that one."""
    with doors.database.transaction(OPERATOR) as session:
        told = {plain_origin(origin) for origin in broken_origins(session)}
        heads = [*doors.ledger.retired(), doors.ledger.checkpoint()]
        for head in heads:
            if head is not None and plain_origin(head["origin"]) not in told:
                audit.note(
                    session,
                    Action.SERVICE_RESTORED,
                    tenant=SYSTEM_TENANT,
                    object="log",
                    origin=plain_origin(head["origin"]),
                    checkpoint_size=head["size"],
                    digest=head["root"],
                )
        audit.flush(session)
        audit.lock(session)
        sign_head_anew(session, doors)
    with doors.database.transaction() as session:
        newest = audit.latest_checkpoint(session)
    if newest is None:
        raise LogForked
    doors.ledger.retire_checkpoint(as_note(newest.note))


def _look_around(doors: Doors, done: Replay) -> None:
    """Count what a person should know of before the service starts."""
    with doors.database.transaction() as session:
        known = set(session.execute(select(models.models.c.placement_key_id)).scalars())
        done.models_unknown = sum(key not in known for key in doors.keys.list_ids("placement_"))
        waits = (
            select(func.count())
            .select_from(jobs.jobs)
            .where(jobs.jobs.c.lane == "deactivate", jobs.jobs.c.state.in_(["waiting", "running", "verifying"]))
        )
        live = text("SELECT model_id, key, data_key_id FROM nodes WHERE state = 'live'")
        for row in session.execute(live):
            if doors.keys.exists(row.data_key_id):
                continue
            done.nodes_without_key += 1
            if not session.execute(waits.where(jobs.jobs.c.model_id == row.model_id)).scalar_one():
                sentence = "a live node's key is destroyed, and no job waits that would switch the node off"
                done.findings.append(Finding(Severity.ERROR, "node_without_key", row.key, sentence))


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, KEYS_AT_ONCE)):
        yield batch
