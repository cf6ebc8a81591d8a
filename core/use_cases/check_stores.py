"""Hold the key store and the object store against the database: what lives must open, what died must be gone.

Both listings go into temporary tables, so that the database compares them however many there are. A store has no
snapshots: what seems to be missing may have died since the database was asked, so it is looked at again before it
counts. Keys and objects that nothing names are orphans: a worker that is killed may leave them, and `sweep_orphans`
destroys them once they are too old to belong to anybody's open transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, text

from core.audit.entry import Action
from core.domain.errors import KeyDestroyed, ObjectMissing, SealBroken
from core.domain.identifiers import ALPHABET
from core.persistence import audit
from core.persistence.database import unhurried
from core.persistence.tables import SYSTEM_TENANT
from core.use_cases.activation_files import ActivationFiles
from core.use_cases.doors import CERTIFICATE_KEY, LOG_KEY, PEPPER_KEY, Doors
from core.use_cases.finding import Finding, Severity

OLD_ENOUGH_SECONDS = 3600
ROWS_AT_ONCE = 1000
FIXED_KEYS = (LOG_KEY, CERTIFICATE_KEY, PEPPER_KEY)
ORPHAN_KEY, ORPHAN_OBJECT = "orphan_key", "orphan_object"

TERMS = """
WITH needed AS (
  SELECT 'block' AS kind, encode(owner, 'hex') AS object, key_id, object_digest FROM blocks WHERE erased_at IS NULL
  UNION ALL SELECT 'node', key, data_key_id, object_digest FROM nodes WHERE state = 'live'
  UNION ALL SELECT 'backbone', key, data_key_id, object_digest FROM backbones
  UNION ALL SELECT 'model', id, placement_key_id, NULL FROM models WHERE mode = 'exact'
  UNION ALL SELECT 'checkpoint', id, data_key_id, object_digest FROM checkpoints
    WHERE state <> 'dead' AND object_digest IS NOT NULL
  UNION ALL SELECT 'tokenizer', id, recipe -> 'tokenizer' ->> 'key_id', recipe -> 'tokenizer' ->> 'object_digest'
    FROM models WHERE jsonb_typeof(recipe -> 'tokenizer') = 'object'
  UNION ALL SELECT 'method_run', job_id, data_key_id, state_digest FROM method_runs
    WHERE ended_at IS NULL AND state_digest IS NOT NULL
  UNION ALL SELECT 'attribution', job_id, plan -> 'attribution' ->> 'key_id', plan -> 'attribution' ->> 'object_digest'
    FROM method_runs WHERE jsonb_typeof(plan -> 'attribution') = 'object'
  UNION ALL SELECT 'witness', id, account -> 'witness' ->> 'key_id', account -> 'witness' ->> 'object_digest'
    FROM qualifications WHERE jsonb_typeof(account -> 'witness') = 'object'
  UNION ALL SELECT 'tenant', tenant_id, 'tenant_' || tenant_id, NULL FROM tenants
  UNION ALL SELECT 'webhook', id, secret_key_id, NULL FROM webhook_endpoints WHERE state <> 'deleted'
), doomed AS (
  SELECT key_id FROM blocks WHERE erased_at IS NOT NULL
  UNION ALL SELECT data_key_id FROM nodes WHERE state = 'dead'
  UNION ALL SELECT data_key_id FROM checkpoints WHERE state = 'dead'
)
"""
"""What the questions below speak of: what lives, with the key and the object that it needs; and the keys of the dead."""
MISSING = """
SELECT n.kind, n.object, n.key_id, n.object_digest,
       NOT EXISTS (SELECT 1 FROM present_keys k WHERE k.name = n.key_id) AS lacks_key
FROM needed n
WHERE NOT EXISTS (SELECT 1 FROM present_keys k WHERE k.name = n.key_id)
   OR (n.object_digest IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM present_objects o WHERE o.name = n.object_digest))
"""
SURVIVING = """
SELECT k.name, e.key_id IS NULL AS unordered FROM present_keys k LEFT JOIN erasures e ON e.key_id = k.name
WHERE e.destroyed_at IS NOT NULL
   OR (e.key_id IS NULL AND EXISTS (SELECT 1 FROM doomed d WHERE d.key_id = k.name))
"""
ORPHAN_KEYS = """
SELECT k.name FROM present_keys k
WHERE NOT EXISTS (SELECT 1 FROM needed n WHERE n.key_id = k.name)
  AND NOT EXISTS (SELECT 1 FROM erasures e WHERE e.key_id = k.name)
  AND NOT EXISTS (SELECT 1 FROM doomed d WHERE d.key_id = k.name)
  AND NOT EXISTS (SELECT 1 FROM webhook_endpoints w WHERE w.previous_key_id = k.name AND w.state <> 'deleted')
  AND NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.data_key_id = k.name)
  AND NOT EXISTS (SELECT 1 FROM method_runs r WHERE r.data_key_id = k.name)
  AND k.name <> ALL (CAST(:fixed AS text[]))
"""
ORPHAN_OBJECTS = """
SELECT o.name FROM present_objects o
WHERE NOT EXISTS (SELECT 1 FROM needed n WHERE n.object_digest = o.name)
  AND NOT EXISTS (SELECT 1 FROM erasures e WHERE e.object_digest = o.name AND e.destroyed_at IS NULL)
"""
TO_OPEN = (
    "SELECT kind, object, key_id, object_digest FROM needed "
    "WHERE kind IN ('node', 'backbone', 'checkpoint', 'witness', 'attribution')"
)


def fixed_keys(doors: Doors) -> Iterator[Finding]:
    """Yield what is missing of the keys that every deployment has."""
    for name in FIXED_KEYS:
        if not doors.keys.exists(name):
            yield Finding(
                Severity.ERROR,
                "key_missing",
                name,
                "the service cannot work without this key, and nothing else can be checked",
            )


def check_stores(session: Connection, doors: Doors) -> Iterator[Finding]:
    """Yield what the stores lack, what they should have lost, and what nothing in them is named by."""
    _list_stores(session, doors)
    yield from _missing(session, doors)
    yield from _unopenable(session, doors)
    yield from _surviving(session, doors)
    for name in _orphans(session, ORPHAN_KEYS):
        yield Finding(Severity.WARNING, ORPHAN_KEY, name, "nothing in the database is sealed under this key")
    for name in _orphans(session, ORPHAN_OBJECTS):
        yield Finding(
            Severity.WARNING, ORPHAN_OBJECT, name, "nothing in the database that is alive lies in this object"
        )


def sweep_orphans(doors: Doors) -> dict[str, int]:
    """Destroy orphaned keys and delete orphaned objects that are older than an hour; return how many of each."""
    with doors.database.transaction() as session:
        unhurried(session)
        _list_stores(session, doors)
        keys = [name for name in _orphans(session, ORPHAN_KEYS) if _key_is_old(name)]
        objects = [name for name in _orphans(session, ORPHAN_OBJECTS) if _object_is_old(doors, name)]
    # Outside the transaction, which a slow store would keep open. What was nobody's an hour after its birth stays so.
    doors.keys.destroy(keys)
    ActivationFiles(doors.settings).sweep(doors.keys)
    for digest in objects:
        doors.store.delete(digest)
    with doors.database.transaction() as session:
        for name in keys:
            action = Action.NODE_KEY_DESTROYED if name.startswith("nod_") else Action.DATA_KEY_DESTROYED
            audit.note(session, action, tenant=SYSTEM_TENANT, object=name)
    return {"keys": len(keys), "objects": len(objects)}


def _list_stores(session: Connection, doors: Doors) -> None:
    for table, names in (("present_keys", doors.keys.list_ids()), ("present_objects", doors.store.list_digests())):
        session.execute(text(f"CREATE TEMPORARY TABLE {table} (name text PRIMARY KEY) ON COMMIT DROP"))
        insert = text(f"INSERT INTO {table} SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING")
        for batch in _batches(names):
            session.execute(insert, {"names": batch})
        session.execute(text(f"ANALYZE {table}"))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, ROWS_AT_ONCE)):
        yield batch


def _missing(session: Connection, doors: Doors) -> Iterator[Finding]:
    for row in _ask(session, MISSING):
        keyless = row.lacks_key and not doors.keys.exists(row.key_id)
        lost = row.object_digest is not None and not doors.store.exists(row.object_digest)
        # The stores first, then the database: the other way round, a deletion in between would look like a loss.
        if not (keyless or lost) or not _still_needed(doors, row.kind, row.key_id):
            continue
        if keyless:
            yield Finding(
                Severity.ERROR, "key_missing", row.key_id, f"a live {row.kind} is sealed under it, and it is gone"
            )
        if lost:
            yield Finding(
                Severity.ERROR, "object_missing", row.object_digest, f"a live {row.kind} lies in it, and it is gone"
            )


def _unopenable(session: Connection, doors: Doors) -> Iterator[Finding]:
    """Open every live node and backbone: the object has its digest, and the key is the one that sealed it."""
    for row in _ask(session, TO_OPEN):
        try:
            doors.get_sealed(row.key_id, row.object_digest)
        except (KeyDestroyed, ObjectMissing):
            continue  # a finding already, or switched off a moment ago
        except (SealBroken, ValueError):
            yield Finding(
                Severity.ERROR, "object_altered", row.object, f"the stored {row.kind} does not open under its key"
            )


def _surviving(session: Connection, doors: Doors) -> Iterator[Finding]:
    for row in _ask(session, SURVIVING):
        if not doors.keys.exists(row.name):
            continue
        if row.unordered:
            sentence = "what it seals is dead, and nobody ordered its destruction"
            yield Finding(Severity.ERROR, "dead_key_unordered", row.name, sentence)
        else:
            sentence = "the ledger says that it was destroyed, and it is here"
            yield Finding(Severity.ERROR, "destroyed_key_survives", row.name, sentence)


def _orphans(session: Connection, question: str) -> list[str]:
    return [row.name for row in _ask(session, question)]


def _ask(session: Connection, question: str) -> Iterator[Row[Any]]:
    fixed = {"fixed": list(FIXED_KEYS)} if ":fixed" in question else {}
    with session.execute(text(TERMS + question).execution_options(yield_per=ROWS_AT_ONCE), fixed) as rows:
        yield from rows


def _still_needed(doors: Doors, kind: str, key_id: str) -> bool:
    """Ask again outside the snapshot: a deletion may have struck it since."""
    alive = {
        "webhook": "SELECT 1 FROM webhook_endpoints WHERE secret_key_id = :key AND state <> 'deleted'",
        "block": "SELECT 1 FROM blocks WHERE key_id = :key AND erased_at IS NULL",
        "node": "SELECT 1 FROM nodes WHERE data_key_id = :key AND state = 'live'",
        "attribution": "SELECT 1 FROM method_runs WHERE plan -> 'attribution' ->> 'key_id' = :key",
    }
    if kind not in alive:
        return True
    with doors.database.transaction() as session:
        return session.execute(text(alive[kind]), {"key": key_id}).first() is not None


def _key_is_old(name: str) -> bool:
    """Read the time of birth out of an identifier (`core.domain.identifiers`); a name without one is never old."""
    born = name.rpartition("_")[2][:10]
    if len(born) < 10 or not set(born) <= set(ALPHABET):  # noqa: PLR2004 - 10 letters hold the 48 bits of milliseconds
        return False
    milliseconds = 0
    for letter in born:
        milliseconds = milliseconds * 32 + ALPHABET.index(letter)
    return milliseconds / 1000 < time.time() - OLD_ENOUGH_SECONDS


def _object_is_old(doors: Doors, digest: str) -> bool:
    written = doors.store.written_at(digest)
    return written is not None and written.timestamp() < time.time() - OLD_ENOUGH_SECONDS
