"""Draft the names of block keys before the keys exist, and destroy whatever came of a draft that was not committed."""

from __future__ import annotations

from core.domain.identifiers import new_identifier
from core.persistence import drafts
from core.use_cases.doors import Doors


def add_draft(doors: Doors, tenant_id: str, key_ids: list[str]) -> str:
    """Commit the names of keys that are about to be made; return the draft's name."""
    draft_id = new_identifier("drf")
    with doors.database.transaction() as session:
        drafts.add_draft(session, tenant_id=tenant_id, draft_id=draft_id, key_ids=key_ids)
    return draft_id


def destroy_draft(doors: Doors, draft_id: str) -> None:
    """Destroy the keys of a draft that is still one; what was committed meanwhile is none and stays."""
    with doors.database.transaction() as session:
        draft = drafts.find_draft(session, draft_id)
        if draft is not None:
            doors.keys.destroy(draft.key_ids)
            drafts.drop_draft(session, draft_id)
