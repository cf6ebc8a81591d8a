"""A waiver: a named person takes responsibility for a judgement that is no pass. The judgement itself never changes.

Nobody can waive a pass, a waiver holds for one judgement under one policy only (their digests are in it), and there is no
free text: the reason is a word from a closed list. Writing it to the log is the use case's business.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.canonical import canonical
from core.domain.deletion import WaiverReason
from core.verification.verdict import Ending, Judgement

_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """Who waived which judgement, why and when."""

    waived_by: str
    """The person's account, as the log names people: a reference, never an address."""
    reason: WaiverReason
    ending: Ending
    judgement_digest: str
    policy_digest: str
    waived_at: datetime

    def __post_init__(self) -> None:
        if not _PERSON.fullmatch(self.waived_by):
            raise ValueError("a waiver names one person by their account")
        if self.ending is Ending.PASSED:
            raise ValueError("a pass needs no waiver")
        if not all(map(_DIGEST.fullmatch, (self.judgement_digest, self.policy_digest))):
            raise ValueError("a waiver holds the digests of a judgement and its policy")
        if self.waived_at.tzinfo is None:
            raise ValueError("a waiver's time needs a zone")

    def covers(self, judgement: Judgement) -> bool:
        """Say whether this very judgement was waived: one with other evidence, or by another policy, was not."""
        return self.judgement_digest == judgement.digest() and self.policy_digest == judgement.policy_digest

    def as_json(self) -> dict[str, Any]:
        return {
            "waived_by": self.waived_by,
            "reason": self.reason,
            "ending": self.ending,
            "judgement_digest": self.judgement_digest,
            "policy_digest": self.policy_digest,
            "waived_at": self.waived_at.isoformat(),
        }

    def digest(self) -> str:
        return hashlib.sha256(b"lethe waiver\x00" + canonical(self.as_json())).hexdigest()


def waive(judgement: Judgement, *, waived_by: str, reason: WaiverReason, now: datetime) -> Waiver:
    """Make the waiver of one judgement.

    Raises:
        ValueError: it passed, or nobody is named.
    """
    return Waiver(
        waived_by=waived_by,
        reason=reason,
        ending=judgement.ending,
        judgement_digest=judgement.digest(),
        policy_digest=judgement.policy_digest,
        waived_at=now,
    )
