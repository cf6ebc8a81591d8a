"""One line of the log: who did what to which thing, and when, in words from closed lists.

An entry holds names, numbers and digests, never a sentence: whatever could carry a person's words or identity is refused
here. Its canonical bytes are what the tree hashes, so they are stored as they are and never written anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from core.audit.encoding import read_canonical, timestamp
from core.audit.errors import EvidenceInvalid
from core.domain.canonical import LARGEST_EXACT_INTEGER

ENTRY_FORMAT = 1
_WORD = re.compile(r"[A-Za-z0-9_.:+/-]{0,200}")
_FIELDS = {"v", "id", "at", "tenant", "actor", "action", "object", "from", "to", "refs"}


class Action(StrEnum):
    """Everything that leaves a trace."""

    TENANT_CREATED = "tenant.created"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    KEY_EXPIRED = "key.expired"
    ACCESS_DENIED = "access.denied"
    DATASET_REGISTERED = "dataset.registered"
    DATASET_GROWN = "dataset.grown"
    DATASET_ROWS_ERASED = "dataset.rows_erased"
    RECONSENT_RECORDED = "reconsent.recorded"
    MODEL_REGISTERED = "model.registered"
    MODEL_LIVE = "model.live"
    MODEL_FAILED = "model.failed"
    MODEL_EXPORTED = "model.exported"
    MODEL_REPAIR_CHANGED = "model.repair_changed"
    MODEL_ADVANCED = "model.advanced"
    MODEL_POLICY_CHANGED = "model.policy_changed"
    MODEL_QUALIFIED = "model.qualified"
    METHOD_ATTEMPTED = "method.attempted"
    JUDGEMENT_WAIVED = "judgement.waived"
    VERSION_FLAGGED = "version.flagged"
    BACKBONE_TRAINED = "backbone.trained"
    NODES_COMMITTED = "nodes.committed"
    NODES_SWITCHED_OFF = "nodes.switched_off"
    VERSION_CREATED = "version.created"
    ALIAS_MOVED = "alias.moved"
    DELETION_REQUEST_RECEIVED = "deletion_request.received"
    DELETION_REQUEST_APPROVAL_REQUIRED = "deletion_request.approval_required"
    DELETION_REQUEST_SCHEDULED = "deletion_request.scheduled"
    DELETION_REQUEST_APPROVED = "deletion_request.approved"
    DELETION_REQUEST_DENIED = "deletion_request.denied"
    DELETION_REQUEST_CANCELLED = "deletion_request.cancelled"
    DELETION_REQUEST_STARTED = "deletion_request.started"
    DELETION_REQUEST_INFLUENCE_FREE = "deletion_request.influence_free"
    DELETION_REQUEST_REPLACED = "deletion_request.replaced"
    DELETION_REQUEST_NEEDS_ATTENTION = "deletion_request.needs_attention"
    DELETION_REQUEST_RECOVERED = "deletion_request.recovered"
    DELETION_REQUEST_COMPLETED = "deletion_request.completed"
    JOB_CREATED = "job.created"
    JOB_CLAIMED = "job.claimed"
    JOB_DONE = "job.done"
    JOB_FAILED = "job.failed"
    JOB_DEAD = "job.dead"
    JOB_UNLEARNED = "job.unlearned"
    JOB_LEASE_LOST = "job.lease_lost"
    JOB_RETRIED = "job.retried"
    JOB_HANDED_BACK = "job.handed_back"
    JOB_CANCEL_REQUESTED = "job.cancel_requested"
    JOB_CANCELLED = "job.cancelled"
    DATA_KEY_DESTROYED = "data_key.destroyed"
    NODE_KEY_DESTROYED = "node_key.destroyed"
    CERTIFICATE_ISSUED = "certificate.issued"
    WEBHOOK_ENDPOINT_CREATED = "webhook_endpoint.created"
    WEBHOOK_ENDPOINT_CHANGED = "webhook_endpoint.changed"
    WEBHOOK_ENDPOINT_ENABLED = "webhook_endpoint.enabled"
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    WEBHOOK_ENDPOINT_SECRET_ROTATED = "webhook_endpoint.secret_rotated"  # noqa: S105 - a word, no secret
    WEBHOOK_ENDPOINT_DELETED = "webhook_endpoint.deleted"
    WEBHOOK_DELIVERY_RESENT = "webhook_delivery.resent"
    LOG_CHECKPOINT = "log.checkpoint"
    SERVICE_MIGRATED = "service.migrated"
    SERVICE_RESTORED = "service.restored"


class ActorKind(StrEnum):
    USER = "user"
    CLIENT = "client"
    WORKER = "worker"
    SYSTEM = "system"
    OPERATOR = "operator"


class Ref(StrEnum):
    """What an entry may point at: identifiers, digests and counts."""

    REQUEST = "request"
    JOB = "job"
    MODEL = "model"
    VERSION = "version"
    MANIFEST = "manifest"
    CERTIFICATE = "certificate"
    CERTIFICATE_SHA256 = "certificate_sha256"
    ALIAS = "alias"
    FENCE = "fence"
    DATASET = "dataset"
    DATASET_VERSION = "dataset_version"
    DIGEST = "digest"
    RECORDS = "records"
    OWNERS = "owners"
    KEY = "key"
    NODE_COUNT = "node_count"
    SCOPE = "scope"
    CHECKPOINT_SIZE = "checkpoint_size"
    ORIGIN = "origin"
    ENDPOINT = "endpoint"
    TYPES = "types"
    METHOD = "method"
    ATTEMPT = "attempt"
    JUDGEMENT = "judgement"
    POLICY = "policy"
    PERSON = "person"
    REASON = "reason"


RefValue = str | int | Sequence[str] | None


@dataclass(frozen=True)
class Actor:
    kind: ActorKind
    id: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    id: str
    at: datetime
    tenant: str | None
    """None for what concerns the whole deployment."""
    actor: Actor
    action: Action
    object: str
    """Identifier of the thing that changed."""
    moved_from: str | None = None
    """State before, where the thing has states."""
    moved_to: str | None = None
    refs: Mapping[str, RefValue] = field(default_factory=dict)


UNTIMED = datetime(1970, 1, 1, tzinfo=UTC)
"""Time of an entry whose time is not known yet."""
_BEFORE_TIME, _TIME = b'"at":"', timestamp(UNTIMED).encode()


def untimed_bytes(entry: Entry) -> tuple[bytes, bytes]:
    """Return what stands before and behind the time in the bytes of an entry that is `UNTIMED`.

    Before the time stand the action and the actor, which cannot hold a quotation mark: what is found is the time.
    """
    before, _, behind = entry_bytes(entry).partition(_BEFORE_TIME + _TIME)
    return before + _BEFORE_TIME, behind


def entry_bytes(entry: Entry) -> bytes:
    """Return the bytes that the log hashes and keeps.

    Raises:
        ValueError: a word is outside its closed list or could be free text, or the time has no zone.
    """
    refs = {str(Ref(key)): value for key, value in entry.refs.items()}
    inner = ",".join([f'"{key}":{_plain(key, refs[key])}' for key in sorted(refs)])
    # The keys in their canonical order; words need no escapes, or they would be refused.
    return (
        f'{{"action":"{Action(entry.action).value}",'
        f'"actor":{{"id":{_plain("id", entry.actor.id)},"kind":"{ActorKind(entry.actor.kind).value}"}},'
        f'"at":"{timestamp(entry.at)}","from":{_plain("from", entry.moved_from)},"id":{_plain("id", entry.id)},'
        f'"object":{_plain("object", entry.object)},"refs":{{{inner}}},"tenant":{_plain("tenant", entry.tenant)},'
        f'"to":{_plain("to", entry.moved_to)},"v":{ENTRY_FORMAT}}}'
    ).encode()


def read_entry(content: bytes) -> dict[str, Any]:
    """Return an entry's fields by their names in the log.

    Raises:
        EvidenceInvalid: these are not the bytes of an entry.
    """
    try:
        value = read_canonical(content)
    except ValueError:
        raise EvidenceInvalid("the log entry cannot be read") from None
    if not isinstance(value, dict) or set(value) != _FIELDS or value["v"] != ENTRY_FORMAT:
        raise EvidenceInvalid("the log entry has other fields than an entry has")
    if not isinstance(value["refs"], dict):
        raise EvidenceInvalid("the log entry's refs are no object")
    return value


def _plain(name: str, value: RefValue) -> str:
    """Return a value in canonical JSON (`core.domain.canonical`), if it is a plain word, a whole number, or some of them."""
    if isinstance(value, list | tuple):
        return "[" + ",".join([_word(name, one) for one in value]) + "]"
    return _word(name, value)


def _word(name: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str) and _WORD.fullmatch(value):
        return f'"{value}"'
    if type(value) is int and abs(value) <= LARGEST_EXACT_INTEGER:
        return str(value)
    raise ValueError(f"{name} of a log entry is neither a plain word nor a whole number")
