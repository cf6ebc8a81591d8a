"""What must be true after whatever happened. Every scenario ends here, and every guard that is taken out shows here.

    lost        a request that was accepted and is not completed and certified; a job that did not end well
    doubled     a deletion that made two versions, or none; two attempts of one job that were not told apart
    stale       a version that served somebody after their death; a node written under a lease that was lost
    left over   a key or an object that should be destroyed; a secret that nobody knows of
    disagreeing what `lethe fsck` calls an error; a certificate that does not verify; a content that is not a fresh build's

`Wrong` lists all of it by identifiers and states: nothing in it tells whom a request is about.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, combinations
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.audit.sorted_tree import commit
from core.audit.verify import verify_certificate
from core.domain.errors import LetheError
from core.domain.manifest import Manifest
from core.domain.references import owner_reference
from core.lattice.placement import Place
from core.persistence import datasets, jobs, models, nodes, versions
from core.persistence.requests import certificates, erasures, requests
from core.use_cases.check_consistency import check_consistency
from core.use_cases.check_stores import ORPHAN_KEY
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.shard_members import slice_leaves
from tests.integration.world import ADMIN, address

Leaves = Mapping[Place, Sequence[bytes]]
MOST_SECONDS_APART = 60.0
"""Between what a certificate says and the database's clock: far more than a transaction takes, and less than clocks err."""
LEASE_GONE = ("lease_lost", "retry", "handed_back", "cancelled")
"""Ends of an attempt after which nothing may be written in its name."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what kind of thing, with what, and how it stands."""

    code: str
    object: str
    state: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.object} {self.state}".rstrip()


class Wrong(AssertionError):
    """Something is not as it must be."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n" + "\n".join(str(one) for one in findings))
        self.findings = findings

    @property
    def codes(self) -> set[str]:
        return {one.code for one in self.findings}


@dataclass
class Story:
    """What was asked of a deployment, and how it was before."""

    models: Sequence[str]
    leaves: Mapping[str, Leaves]
    """Per model what each slice held before anybody was deleted."""
    records: Mapping[int, frozenset[bytes]]
    """Per owner the references of their records."""
    requests: dict[str, int] = field(default_factory=dict)
    """Per accepted request whom it is about."""


def leaves_of(doors: Doors, model: str) -> Leaves:
    with doors.database.transaction() as session:
        found, _ = slice_leaves(session, doors, models.get_model(session, model))
    return found


def records_of(doors: Doors, owners: Iterable[int]) -> dict[int, frozenset[bytes]]:
    secret = doors.tenant_key(DEFAULT_TENANT)
    found = {}
    with doors.database.transaction() as session:
        for owner in owners:
            reference = owner_reference(secret, "email", address(owner))
            rows = session.execute(select(datasets.records.c.record).where(datasets.records.c.owner == reference))
            found[owner] = frozenset(bytes(record) for record in rows.scalars())
    return found


def assert_nothing_is_wrong(doors: Doors, story: Story, *, fresh: str | None) -> None:
    """Look at everything; `fresh` is the content digest of an undisturbed build on whoever was not deleted.

    Raises:
        Wrong: with all that was found.
    """
    with doors.database.transaction() as session:
        found = [*_lost(session, story), *_doubled(session, story), *_stale(session, story), *_fed(session, story)]
        found += _left_over(session, doors)
        if fresh is not None:
            found += _unlike(session, story, fresh)
    found += _uncertified(doors, story)
    for one in check_consistency(doors):
        # A worker that is killed may leave a sealed object; a key that nothing in the database names opens something.
        secret = one.code == ORPHAN_KEY and one.object.startswith(("nod_", "blk_"))
        if one.severity == "error" or secret:
            found.append(Finding(f"fsck_{one.code}", one.object, one.sentence))
    if found:
        raise Wrong(found)


def is_settled(doors: Doors, story: Story) -> bool:
    """Whether everything that was asked is done, and nothing is under way."""
    with doors.database.transaction() as session:
        return not any(
            chain(_lost(session, story), _open(session), _unrepaired(session, story), _unfinished(session, story))
        )


def where_it_stands(doors: Doors, story: Story) -> str:
    """Return what is not done yet, for the message of a test that waited in vain."""
    with doors.database.transaction() as session:
        found = [*_lost(session, story), *_open(session), *_unrepaired(session, story), *_unfinished(session, story)]
    return "\n".join(str(one) for one in found) or "nothing is left to do"


def _lost(session: Connection, story: Story) -> Iterator[Finding]:
    query = select(requests.c.id, requests.c.state, requests.c.wait_reason)
    known = {row.id: row for row in session.execute(query)}
    for request in story.requests:
        row = known.get(request)
        if row is None:
            yield Finding("request_lost", request)
        elif row.state != "completed":
            yield Finding("request_not_completed", request, f"{row.state} {row.wait_reason or ''}")
    for row in session.execute(select(jobs.jobs).where(jobs.jobs.c.state != "done").order_by(jobs.jobs.c.id)):
        yield Finding(
            "job_not_done",
            row.id,
            f"{row.kind} {row.state} attempt {row.attempt} fence {row.fence} {row.error_code or ''}",
        )


def _open(session: Connection) -> Iterator[Finding]:
    for row in session.execute(select(nodes.drafts)):
        yield Finding("draft_left", row.data_key_id)
    unclosed = select(erasures.c.key_id).where(erasures.c.destroyed_at.is_(None))
    for key in session.execute(unclosed).scalars():
        yield Finding("erasure_open", key)


def _unrepaired(session: Connection, story: Story) -> Iterator[Finding]:
    for model in story.models:
        row, live = models.get_model(session, model), versions.live_version(session, model)
        if row.repair and (live is None or live.guarantee != "retrain_equivalent"):
            yield Finding("not_repaired", model, "unserved" if live is None else live.guarantee)


def _unfinished(session: Connection, story: Story) -> Iterator[Finding]:
    """Find promises of a repaired model that upkeep has yet to certify."""
    query = select(certificates.c.request_id, certificates.c.guarantee)
    issued = {(row.request_id, row.guarantee) for row in session.execute(query)}
    repaired = any(models.get_model(session, model).repair for model in story.models)
    for request in story.requests:
        if repaired and (request, "retrain_equivalent") not in issued:
            yield Finding("second_certificate_missing", request)


def _doubled(session: Connection, story: Story) -> Iterator[Finding]:
    for model in story.models:
        query = select(versions.versions).where(versions.versions.c.model_id == model)
        by_request: dict[str, list[int]] = {}
        for row in session.execute(query.order_by(versions.versions.c.number)):
            by_request.setdefault(str(row.provenance["request"]), []).append(row.number)
        for request in story.requests:
            made = by_request.get(request, [])
            if len(made) != 1:
                yield Finding("published_twice" if made else "never_published", request, f"{model} versions {made}")
    attempts = select(jobs.job_attempts).order_by(jobs.job_attempts.c.job_id, jobs.job_attempts.c.fence)
    before: Row[Any] | None = None
    for row in session.execute(attempts):
        # One attempt ends, for whatever reason, before the next begins; a job that only certifies may change hands.
        overlaps = before is not None and before.job_id == row.job_id and before.ended_at is None
        if overlaps and not _had_switched_off(session, row.job_id, row.started_at):
            yield Finding("ran_twice_at_once", row.job_id, f"fence {row.fence}")
        before = row


def _had_switched_off(session: Connection, job: str, moment: Any) -> bool:
    """Whether a job was verifying by then, so that anybody may take it over whose predecessor fell silent."""
    question = "SELECT 1 FROM audit_entries WHERE object = :job AND action = 'job.unlearned' AND at <= :moment"
    return session.execute(text(question), {"job": job, "moment": moment}).first() is not None


def _stale(session: Connection, story: Story) -> Iterator[Finding]:
    """Find what was written in the name of an attempt whose lease was lost, or by somebody else than it."""
    ends = {(row.job_id, row.fence): row.outcome for row in session.execute(select(jobs.job_attempts))}
    for row in session.execute(select(nodes.nodes)):
        if ends.get((row.job_id, row.fence)) != "concluded":
            yield Finding("stale_write", row.key, f"{row.job_id} fence {row.fence} {ends.get((row.job_id, row.fence))}")
    for model in story.models:
        for row in session.execute(select(versions.versions).where(versions.versions.c.model_id == model)):
            by = (row.provenance["job"], row.provenance["fence"])
            if ends.get(by) in LEASE_GONE:
                yield Finding("stale_publish", row.id, f"{by[0]} fence {by[1]} {ends[by]}")


def _fed(session: Connection, story: Story) -> Iterator[Finding]:
    """Find nodes that were served, or live, though a slice that fed them held a record that was dead by then."""
    for model in story.models:
        dead = session.execute(select(models.tombstones).where(models.tombstones.c.model_id == model)).all()
        roots = _Roots(story.leaves[model], dead)
        for row in session.execute(select(versions.versions).where(versions.versions.c.model_id == model)):
            for node in Manifest.from_json(row.manifest).nodes:
                if any(
                    root not in roots.clean(Place(node.shard, number), row.created_at)
                    for number, root in zip(node.slices, node.slice_roots, strict=True)
                ):
                    yield Finding("dead_record_served", row.id, f"node {node.key} slices {node.slices}")
        gone = frozenset(chain.from_iterable(story.records[owner] for owner in story.requests.values()))
        for live in nodes.live_nodes(session, model):
            # Whoever asked to be deleted, whatever the database remembers of it.
            if any(
                root
                != commit([leaf for leaf in story.leaves[model][Place(live.shard, number)] if leaf[:32] not in gone])
                for number, root in zip(live.slices, live.slice_roots, strict=True)
            ):
                yield Finding("dead_record_live", live.key, f"slices {live.slices} {live.job_id} fence {live.fence}")


class _Roots:
    """The commitments that a slice may have had at some time, counting whoever died by then as gone.

    Whoever dies later may be missing already: with several models, rows leave the data set before the last model has
    buried them.
    """

    def __init__(self, leaves: Leaves, dead: Sequence[Row[Any]]) -> None:
        self._leaves = leaves
        self._dead = dead
        self._known: dict[tuple[Place, frozenset[str]], set[str]] = {}

    def clean(self, where: Place, moment: Any) -> set[str]:
        """Return the commitments that a version of that moment may name."""
        mine = [row for row in self._dead if (row.shard, row.slice) == (where.shard, where.slice)]
        gone = frozenset(row.request_id for row in mine if row.buried_at <= moment)
        key = (where, gone)
        if key not in self._known:
            later = sorted({row.request_id for row in mine} - gone)
            some = chain.from_iterable(combinations(later, count) for count in range(len(later) + 1))
            self._known[key] = {self._root(where, mine, gone | set(more)) for more in some}
        return self._known[key]

    def _root(self, where: Place, mine: Sequence[Row[Any]], gone: frozenset[str]) -> str:
        records = {bytes(row.record) for row in mine if row.request_id in gone}
        return commit([leaf for leaf in self._leaves[where] if leaf[:32] not in records])


def _left_over(session: Connection, doors: Doors) -> Iterator[Finding]:
    for row in session.execute(select(erasures)):
        if doors.keys.exists(row.key_id):
            yield Finding("key_survives", row.key_id, row.request_id)
        if row.object_digest is not None and doors.store.exists(row.object_digest):
            yield Finding("object_survives", row.object_digest, row.request_id)


def _unlike(session: Connection, story: Story, fresh: str) -> Iterator[Finding]:
    for model in story.models:
        live = versions.live_version(session, model)
        if models.get_model(session, model).repair and (live is None or live.manifest_digest != fresh):
            yield Finding("unlike_a_fresh_build", model, live.manifest_digest if live is not None else "unserved")


def _uncertified(doors: Doors, story: Story) -> Iterator[Finding]:
    vkeys = verification_keys(doors).split()
    with doors.database.transaction() as session:
        issued = session.execute(select(certificates)).all()
    certified = {row.request_id for row in issued}
    for request in story.requests:
        if request not in certified:
            yield Finding("not_certified", request)
    for row in issued:
        try:
            verdict = verify_certificate(
                read_certificate(row.id, caller=ADMIN, doors=doors),
                read_proof(row.id, caller=ADMIN, doors=doors),
                vkeys,
            )
        except LetheError as trouble:
            yield Finding("certificate_unreadable", row.id, trouble.code)
            continue
        if not verdict.valid:
            yield Finding("certificate_invalid", row.id, "; ".join(verdict.failures))
        payload = base64.b64decode(json.loads(bytes(row.envelope))["payload"])
        said = datetime.fromisoformat(json.loads(payload)["predicate"]["issuedAt"])
        if abs((said - row.issued_at).total_seconds()) > MOST_SECONDS_APART:
            yield Finding("certificate_misdated", row.id, f"says {said}, and was written at {row.issued_at}")
