"""Recompute the audit log from its stored bytes: every entry, every node of the tree, every checkpoint ever signed.

    audit_entries ─▶ leaf ─▶ subtrees it completes ═?═ audit_tree
         │                        └─▶ root at each size ═?═ audit_checkpoints, signatures included
         └─▶ columns ═?═ bytes

Three streams are read side by side in one snapshot, in the order in which the log grew, so memory stays flat. Who can
write to the database and holds the signing key can rewrite all three: against that only a checkpoint kept elsewhere
helps (`lethe verify --log`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.audit.checkpoint import Signer, Verifier, open_checkpoint
from core.audit.encoding import timestamp
from core.audit.entry import read_entry
from core.audit.errors import EvidenceInvalid
from core.audit.log import EMPTY_ROOT, leaf_hash, node_hash
from core.persistence.audit import audit_checkpoints, audit_entries, audit_tree
from core.persistence.database import unhurried
from core.use_cases.doors import LOG_KEY, Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.keep_ledger import broken_origins

ROWS_AT_ONCE = 1000
MOST_FINDINGS = 100

Rows = Generator[Row[Any], None, None]
"""A stream that is closed when it is not wanted any more, its cursor in the database with it."""


@dataclass
class LogCheck:
    """What the stored bytes say."""

    entries: int = 0
    root: str = EMPTY_ROOT.hex()
    checkpoints: int = 0
    covered: int = 0
    """Entries that the newest checkpoint covers."""
    readable: bool = True
    """Whether every entry could be read; if not, nothing can be compared with it."""
    findings: list[Finding] = field(default_factory=list)


class _Tree:
    """The tree as the entries make it: roots of its complete subtrees, largest first, one for each bit of the size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf and yield (level, index, hash) of every node that it completes, from the leaf upwards."""
        level, index = 0, self.size
        self._peaks.append(leaf)
        yield level, index, leaf
        while index & 1:
            right, left = self._peaks.pop(), self._peaks.pop()
            self._peaks.append(node_hash(left, right))
            level, index = level + 1, index >> 1
            yield level, index, self._peaks[-1]
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self._peaks))


def check_log(doors: Doors) -> LogCheck:
    """Recompute the log and return what was found, at most some hundred findings."""
    with doors.database.transaction() as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        unhurried(session)
        return recompute(session, log_verifiers(session, doors))


def log_verifiers(session: Connection, doors: Doors) -> list[Verifier]:
    """Return the log's public key under its present name, and under those of logs that a restored database broke off.

    Unlike `Doors.log_signer`, a check makes no key when there is none.

    Raises:
        KeyDestroyed: there is none.
    """
    seed = doors.keys.get(LOG_KEY)
    return [Signer(name, seed).verifier for name in (doors.settings.log_origin, *broken_origins(session))]


def recompute(session: Connection, verifiers: Sequence[Verifier]) -> LogCheck:
    """Do the work of `check_log` in somebody's snapshot."""
    with (
        closing(_entries(session)) as entries,
        closing(_stored_nodes(session)) as stored,
        closing(_notes(session)) as notes,
    ):
        return _compare(entries, stored, notes, verifiers)


def _compare(entries: Rows, stored: Rows, notes: Rows, verifiers: Sequence[Verifier]) -> LogCheck:
    found, tree = LogCheck(), _Tree()
    node, note = next(stored, None), next(notes, None)
    while note is not None and note.size == 0:
        _judge_note(found, note, tree, verifiers)
        note = next(notes, None)
    for row in entries:
        if row.position != tree.size:
            _add(found, "log_gap", str(tree.size), f"the log lacks entry {tree.size}; what comes after shows nothing")
            found.readable = False
            return found
        _judge_row(found, row)
        for made in tree.add(leaf_hash(bytes(row.body))):
            if node is None or (node.level, node.position, bytes(node.hash)) != made:
                _add(found, "log_tree_differs", f"{made[0]}/{made[1]}", "the stored tree is not the entries' tree here")
            # A node that is missing is skipped over; one that is wrong is stepped past.
            if node is not None and (node.level, node.position) == made[:2]:
                node = next(stored, None)
        while note is not None and note.size == tree.size:
            _judge_note(found, note, tree, verifiers)
            note = next(notes, None)
    found.entries, found.root = tree.size, tree.root().hex()
    if node is not None:
        _add(
            found, "log_tree_differs", f"{node.level}/{node.position}", "the stored tree has a node that no entry made"
        )
    if note is not None:
        _add(found, "log_cut_off", str(note.size), f"a checkpoint says {note.size} entries, and there are {tree.size}")
    return found


def _judge_row(found: LogCheck, row: Row[Any]) -> None:
    """Compare the columns that entries are looked up by with what the entry says."""
    try:
        entry = read_entry(bytes(row.body))
    except EvidenceInvalid as wrong:
        found.readable = False
        _add(found, "log_entry_unreadable", str(row.position), wrong.detail)
        return
    said = (entry["tenant"], entry["action"], entry["actor"]["id"], entry["object"], entry["at"])
    if said != (row.tenant_id, row.action, row.actor, row.object, timestamp(row.at)):
        _add(found, "log_columns_differ", str(row.position), "the columns of this entry are not what its bytes say")


def _judge_note(found: LogCheck, note: Row[Any], tree: _Tree, verifiers: Sequence[Verifier]) -> None:
    found.checkpoints += 1
    found.covered = note.size
    try:
        checkpoint = open_checkpoint(note.note, verifiers)
    except EvidenceInvalid as wrong:
        _add(found, "checkpoint_invalid", str(note.size), f"{wrong.detail} (is LETHE_LOG_ORIGIN the service's?)")
        return
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        _add(found, "checkpoint_differs", str(note.size), "the log at this size is not the one that was signed")


def _add(found: LogCheck, code: str, name: str, sentence: str) -> None:
    if len(found.findings) < MOST_FINDINGS:
        found.findings.append(Finding(Severity.ERROR, code, name, sentence))


def _entries(session: Connection) -> Rows:
    query = select(audit_entries, audit_entries.c.index.label("position"))  # `index` is also a method of rows
    yield from _stream(session, query.order_by(audit_entries.c.index))


def _stored_nodes(session: Connection) -> Rows:
    """Yield the tree's nodes in the order in which leaves complete them, lower levels first."""
    last_leaf = (audit_tree.c.index + 1).op("<<")(audit_tree.c.level)
    query = select(audit_tree, audit_tree.c.index.label("position"))
    yield from _stream(session, query.order_by(last_leaf, audit_tree.c.level))


def _notes(session: Connection) -> Rows:
    yield from _stream(session, select(audit_checkpoints).order_by(audit_checkpoints.c.size))


def _stream(session: Connection, query: Any) -> Rows:
    with session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as rows:
        yield from rows
