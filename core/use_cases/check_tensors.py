"""Recompute the digest of every live node's tensors and hold it against what the manifest says of it. Loads torch."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from core.domain.errors import KeyDestroyed, ObjectMissing, SealBroken
from core.modelling.tensors import from_bytes, tensor_digest
from core.persistence.nodes import NodeState, nodes
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity

ROWS_AT_ONCE = 100


def check_tensors(session: Connection, doors: Doors) -> Iterator[Finding]:
    """Yield the live nodes whose tensors are not those that were trained; what does not open is not judged here."""
    query = select(nodes).where(nodes.c.state == NodeState.LIVE).order_by(nodes.c.model_id, nodes.c.key)
    with session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as rows:
        for row in rows:
            try:
                content = doors.get_sealed(row.data_key_id, row.object_digest)
            except (KeyDestroyed, ObjectMissing, SealBroken):
                continue
            if tensor_digest(from_bytes(content)) != row.tensor_digest:
                sentence = "the node's tensors are not those whose digest the manifest names"
                yield Finding(Severity.ERROR, "tensors_differ", row.key, sentence)
