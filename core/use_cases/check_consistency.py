"""Compare everything with everything: the log, the database, the key store and the object store (`lethe fsck`).

    the log           recomputed from its bytes, and then held against every state in the database, both ways
    what is served    the newest version, of live nodes only, none of which learned what was deleted
    what was promised completed requests are certified, their erasures closed, their owners kept out
    the stores        live things have keys and objects that open; dead things have no key; the rest is an orphan
    the ledger        whatever was asked and destroyed is noted where no restored backup can undo it

Questions to the database are in `CONSISTENCY_QUESTIONS`, one statement each, which returns what is wrong. All are
asked in one snapshot, so a service that runs meanwhile raises no false alarm; the stores have no snapshots, so what
seems missing there is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.audit.certificate import open_envelope
from core.audit.checkpoint import Signer
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.audit.structure import manifest_flaws
from core.domain.checkpoint import CheckpointManifest, is_checkpoint_manifest
from core.domain.errors import KeyDestroyed
from core.domain.manifest import Manifest
from core.lattice.placement import Place
from core.persistence import checkpoints, models, nodes, versions
from core.persistence.database import unhurried
from core.persistence.requests import certificates
from core.use_cases.check_ledger import check_ledger
from core.use_cases.check_log import ROWS_AT_ONCE, log_verifiers, recompute
from core.use_cases.check_stores import check_stores, fixed_keys
from core.use_cases.consistency_questions import HISTORY, REPAIR_STALLED, STATE, Question
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.keep_ledger import broken_origins
from core.use_cases.shard_members import SliceTrees

MOST_PER_CODE = 100
"""How many findings of one kind are told; one broken thing can break a million others."""


def check_consistency(doors: Doors, *, deep: bool = False) -> list[Finding]:
    """Return everything that is not as it should be, at most a hundred findings of one kind.

    Args:
        doors: the outside.
        deep: recompute the digest of every live node's tensors, too; that loads torch.
    """
    lacking = list(fixed_keys(doors))
    if lacking:
        return lacking
    with doors.database.transaction() as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        unhurried(session)
        log = recompute(session, log_verifiers(session, doors))
        found = list(log.findings)
        found += _asked(session, [one for one in STATE if doors.settings.repair or one.code != REPAIR_STALLED])
        if log.readable:
            found += _asked(session, HISTORY)
        else:
            found.append(
                Finding(Severity.WARNING, "history_unchecked", "log", "the log is broken: no state was held against it")
            )
        found += _few(_served(session, doors))
        found += _few(_certificates(session, doors))
        found += _few(check_stores(session, doors))
        found += _few(check_ledger(session, doors))
        if deep:
            from core.use_cases.check_tensors import check_tensors

            found += _few(check_tensors(session, doors))
    return found


def _asked(session: Connection, questions: Iterable[Question]) -> Iterator[Finding]:
    for question in questions:
        with session.execute(text(question.sql).execution_options(yield_per=ROWS_AT_ONCE)) as rows:
            yield from _few(
                Finding(question.severity, question.code, str(row.object), question.sentence) for row in rows
            )


def _few(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Pass on the first findings of each kind, and say when there are more."""
    counted: dict[str, int] = {}
    for one in findings:
        counted[one.code] = counted.get(one.code, 0) + 1
        if counted[one.code] <= MOST_PER_CODE:
            yield one
        elif counted[one.code] == MOST_PER_CODE + 1:
            yield Finding(one.severity, one.code, "…", "and more of the same")


def _served(session: Connection, doors: Doors) -> Iterator[Finding]:
    """Check what every model serves: its manifest, the nodes in it, and that none of them learned what was deleted."""
    for served in versions.served_versions(session):
        version = versions.live_version(session, served.model_id)
        if version is None:
            continue
        if is_checkpoint_manifest(version.manifest):
            yield from _served_checkpoint(session, version)
            continue
        try:
            manifest = Manifest.from_json(version.manifest)
        except (KeyError, TypeError, ValueError):
            yield Finding(
                Severity.ERROR, "manifest_unreadable", version.id, "the live version's manifest cannot be read"
            )
            continue
        yield from _manifest(version, manifest)
        yield from _manifest_nodes(session, version, manifest)
        yield from _forbidden(session, doors, version, manifest)


def _served_checkpoint(session: Connection, version: Row[Any]) -> Iterator[Finding]:
    """Check that what a checkpoint's live version names is what is stored and alive."""
    try:
        manifest = CheckpointManifest.from_json(version.manifest)
    except (KeyError, TypeError, ValueError):
        yield Finding(Severity.ERROR, "manifest_unreadable", version.id, "the live version's manifest cannot be read")
        return
    if manifest.digest() != version.manifest_digest:
        yield Finding(
            Severity.ERROR, "manifest_altered", version.id, "the live manifest is not the one that was logged"
        )
    row = checkpoints.find_checkpoint(session, version.provenance["checkpoint"])
    if row is None or row.state != checkpoints.CheckpointState.LIVE or row.tensor_digest != manifest.tensors:
        yield Finding(
            Severity.ERROR,
            "served_checkpoint_differs",
            version.id,
            "the live manifest names no checkpoint that is alive",
        )


def _manifest(version: Row[Any], manifest: Manifest) -> Iterator[Finding]:
    if manifest.digest() != version.manifest_digest:
        yield Finding(
            Severity.ERROR, "manifest_altered", version.id, "the live manifest is not the one that was logged"
        )
    for flaw in manifest_flaws(manifest):
        yield Finding(Severity.ERROR, "manifest_unsound", version.id, flaw)


def _manifest_nodes(session: Connection, version: Row[Any], manifest: Manifest) -> Iterator[Finding]:
    stored = nodes.nodes_by_key(session, version.model_id, [node.key for node in manifest.nodes])
    for node in manifest.nodes:
        row = stored.get(node.key)
        if row is None:
            yield Finding(
                Severity.ERROR, "served_node_unknown", node.key, "the live manifest names a node that is not there"
            )
        elif row.state != nodes.NodeState.LIVE:
            yield Finding(
                Severity.ERROR, "served_node_dead", node.key, "the live manifest names a node that was switched off"
            )
        elif nodes.as_entry(row) != node:
            yield Finding(
                Severity.ERROR, "served_node_differs", node.key, "the stored node is not as the live manifest says"
            )


def _forbidden(session: Connection, doors: Doors, version: Row[Any], manifest: Manifest) -> Iterator[Finding]:
    """Find nodes that learned a slice as it was before a record in it was deleted."""
    buried = models.tombstones
    places = select(buried.c.shard, buried.c.slice).where(buried.c.model_id == version.model_id).distinct()
    struck = {Place(row.shard, row.slice) for row in session.execute(places)}
    learned = [
        (node, Place(node.shard, number), root)
        for node in manifest.nodes
        for number, root in zip(node.slices, node.slice_roots, strict=True)
    ]
    suspects = [one for one in learned if one[1] in struck]
    if not suspects:
        return
    try:
        trees = SliceTrees.read(session, doors, models.get_model(session, version.model_id))
    except KeyDestroyed:
        return  # the missing placement key is a finding of its own
    known = nodes.nodes_by_key(session, version.model_id, [node.key for node, _, _ in suspects])
    for node, where, root in suspects:
        # What is not there is a finding of its own, too.
        if node.key in known and root != trees.at(where, known[node.key].dataset_version).commitment:
            sentence = (
                f"a served node learned slice {where.slice} of shard {where.shard} with a record that was deleted"
            )
            yield Finding(Severity.ERROR, "served_node_forbidden", node.key, sentence)


def _certificates(session: Connection, doors: Doors) -> Iterator[Finding]:
    present = doors.certificate_signer()
    names = [present.name, *(f"{origin}/certificates" for origin in broken_origins(session))]
    verifiers = [Signer(name, present.seed).verifier for name in names]
    query = select(certificates.c.id, certificates.c.envelope).execution_options(yield_per=ROWS_AT_ONCE)
    for row in session.execute(query):
        try:
            open_envelope(bytes(row.envelope), verifiers)
        except (EvidenceInvalid, EvidenceUnusable) as wrong:
            yield Finding(Severity.ERROR, "certificate_invalid", row.id, wrong.detail)
