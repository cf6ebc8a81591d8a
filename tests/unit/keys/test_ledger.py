"""The erasure ledger keeps notes whole or not at all, notices damage, and never forgets a head of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import LedgerDamaged, LedgerUnavailable, LogForked
from core.keys.ledger import DirectoryLedger, open_ledger

NOTE = {"request": "dr_1", "owners": ["00ff"], "models": None}


@pytest.fixture
def ledger(tmp_path: Path) -> DirectoryLedger:
    return open_ledger(tmp_path / "ledger")


def head(size: int, origin: str = "a/log") -> dict[str, Any]:
    return {"origin": origin, "size": size, "root": "00", "note": f"{origin} {size}"}


def test_a_note_is_read_as_it_was_written_by_whoever_opens_the_ledger_next(
    ledger: DirectoryLedger, tmp_path: Path
) -> None:
    ledger.write("dr_1.asked", NOTE)
    ledger.write("dr_1.keys.job_1.4", {"keys": ["blk_1"]})
    again = open_ledger(tmp_path / "ledger")
    assert set(again.names()) == {"dr_1.asked", "dr_1.keys.job_1.4"}
    assert again.read("dr_1.asked") == NOTE
    assert (tmp_path / "ledger").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["dr_1", "../x.asked", "dr_1.", "DR_1.asked", "dr_1.as ked"])
def test_a_name_is_an_identifier_and_words(ledger: DirectoryLedger, name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        ledger.write(name, NOTE)


@pytest.mark.parametrize(
    ("before", "after"), [(b"00ff", b"00fe"), (b"{", b""), (b'"models":null', b'"models":[]'), (b"}}", b"}} ")]
)
def test_a_note_that_was_changed_is_noticed(
    ledger: DirectoryLedger, tmp_path: Path, before: bytes, after: bytes
) -> None:
    ledger.write("dr_1.asked", NOTE)
    [path] = (tmp_path / "ledger").rglob("dr_1.asked")
    content = path.read_bytes()
    assert before in content or before == b"}}"
    path.write_bytes(content.replace(before, after, 1) if before in content else content + b" ")
    with pytest.raises(LedgerDamaged, match=r"dr_1\.asked"):
        ledger.read("dr_1.asked")


def test_half_a_note_is_noticed(ledger: DirectoryLedger, tmp_path: Path) -> None:
    ledger.write("dr_1.asked", NOTE)
    [path] = (tmp_path / "ledger").rglob("dr_1.asked")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(LedgerDamaged):
        ledger.read("dr_1.asked")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable):
        DirectoryLedger(tmp_path / "nowhere").write("dr_1.asked", NOTE)
    with pytest.raises(LedgerUnavailable):
        DirectoryLedger(tmp_path / "nowhere").keep_checkpoint(head(1))


def test_the_newest_head_is_kept_and_one_of_another_log_refused(ledger: DirectoryLedger) -> None:
    assert ledger.checkpoint() is None
    for size in (3, 5, 4):
        ledger.keep_checkpoint(head(size))
    assert ledger.checkpoint() == head(5)
    with pytest.raises(LogForked):
        ledger.keep_checkpoint(head(9, "b/log"))
    assert ledger.checkpoint() == head(5)


def test_a_head_that_was_retired_stays_readable(ledger: DirectoryLedger) -> None:
    ledger.keep_checkpoint(head(5))
    ledger.retire_checkpoint(head(2, "b/log"))
    ledger.retire_checkpoint(head(3, "b/log"))  # a repeat retires nothing
    assert ledger.checkpoint() == head(3, "b/log")
    ledger.retire_checkpoint(head(1, "c/log"))
    assert ledger.retired() == [head(5), head(3, "b/log")]


def test_a_damaged_head_is_noticed(ledger: DirectoryLedger, tmp_path: Path) -> None:
    ledger.keep_checkpoint(head(5))
    (tmp_path / "ledger" / "checkpoint").write_bytes(b"{}")
    with pytest.raises(LedgerDamaged):
        ledger.checkpoint()
