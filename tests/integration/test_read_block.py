"""A block is a part of an object, and a part has no digest: what was altered on its way only must not fail a job."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.domain.errors import SealBroken
from core.persistence.datasets import blocks
from core.use_cases.doors import Doors
from core.use_cases.erase_blocks import read_block
from tests.integration import world


def test_a_part_that_was_altered_on_its_way_is_read_again(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add_dataset(doors)
    with doors.database.transaction() as session:
        block = session.execute(select(blocks)).first()
    assert block is not None
    true = read_block(doors, block)
    read = type(doors.store).get_range

    def altered(*what: object) -> bytes:
        return read(*what)[:-1] + b"x"  # type: ignore[arg-type]

    monkeypatch.setattr(type(doors.store), "get_range", altered)
    assert read_block(doors, block) == true
    whole = doors.store.get(block.object_digest)
    monkeypatch.setattr(type(doors.store), "get", lambda *_: b"x" * len(whole))
    with pytest.raises(SealBroken):
        read_block(doors, block)
