"""What happened in a demo, deletion by deletion, and the few numbers that sum it up. Pure arithmetic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

PREFIX = 12
"""Hex digits of an owner reference that are shown."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """One owner's way out. Times count from the moment the client began to send its request, on the client's clock."""

    number: int
    owner: str
    """First hex digits of the owner's keyed reference; the identity is shown nowhere."""
    request: str
    records: int
    shard: int
    slice: int
    e1_milliseconds: float
    """Until the first answer of the predictor that carried the new manifest."""
    e1_manifest: int
    """Number of the version that this deletion made."""
    nodes_before: int
    """Nodes that lived just before; a provisional one left from an earlier repair may be among them."""
    nodes_switched_off: int
    nodes_alive: int
    """Nodes that were left, just after."""
    active_share: float
    """Depth that was still served, of all the depth there is."""
    accuracy_at_e1: float
    answered_by: tuple[int, ...]
    """Numbers of the manifests that this accuracy was answered from; a later one than `e1_manifest`: repair was faster."""
    degraded: bool
    """Whether no shard was left, so that the public head answered alone."""
    repair_seconds: float
    """Until the service was retrain-equivalent again."""
    whole_seconds: float
    """Until every node of the lattice was there again."""
    accuracy_after_repair: float
    began: float
    """Seconds since the first deletion of the demo was sent."""
    recalled: dict[str, Any] | None = None
    """What a language model still knew of the owner: `before`, `at_e1` and `after_repair`, each as `demo_recall` says."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One certificate and the verdict of the offline verifier on it."""

    deletion: int
    guarantee: str
    path: str
    verified: bool
    failures: tuple[str, ...]
    proved: tuple[str, ...]
    asserted: tuple[str, ...]


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed.

    Raises:
        ValueError: there are no values, or the share lies outside 0..1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a share in 0..1 of at least one value was expected")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def dead_nodes_served(dead_since: Mapping[int, AbstractSet[str]], served: Mapping[int, AbstractSet[str]]) -> int:
    """Count nodes that a manifest names although a deletion before it, or with it, had switched them off.

    Args:
        dead_since: version number → keys of the nodes that the deletion which made it switched off.
        served: version number → keys of the nodes that it names, for each version that the predictor answered from.
    """
    return sum(
        len(keys & gone) for number, keys in served.items() for since, gone in dead_since.items() if number >= since
    )


def summed_up(deletions: Sequence[Deletion], evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Return the numbers that describe all deletions together.

    Raises:
        ValueError: there was no deletion.
    """
    times = [one.e1_milliseconds for one in deletions]
    accuracies = [one.accuracy_at_e1 for one in deletions]
    best = [one for one in evidence if one.guarantee == "retrain_equivalent"] or list(evidence)
    return {
        "e1_milliseconds": round(statistics.median(times), 2),
        "e1_milliseconds_p95": round(nearest_rank(times, 0.95), 2),
        "e1_milliseconds_highest": round(max(times), 2),
        "accuracy_at_e1": round(statistics.fmean(accuracies), 4),
        "accuracy_at_e1_lowest": round(min(accuracies), 4),
        "accuracy_after_repair": round(deletions[-1].accuracy_after_repair, 4),
        "repair_seconds": round(statistics.median(one.repair_seconds for one in deletions), 2),
        "whole_seconds": round(statistics.median(one.whole_seconds for one in deletions), 2),
        "active_share_at_e1": round(statistics.fmean(one.active_share for one in deletions), 4),
        "nodes_dead": sum(one.nodes_switched_off for one in deletions),
        "records_deleted": sum(one.records for one in deletions),
        "certificate": best[-1].path if best else None,
        "certificate_verified": bool(evidence) and all(one.verified for one in evidence),
        "certificates_verified": sum(one.verified for one in evidence),
        "deletions": [asdict(one) | {"answered_by": list(one.answered_by)} for one in deletions],
        "certificates": [
            {name: value for name, value in asdict(one).items() if name not in ("proved", "asserted")}
            for one in evidence
        ],
    }


def ratio(seconds: float | None, milliseconds: float) -> float | None:
    """Return how many times longer than these milliseconds those seconds are."""
    return None if seconds is None else round(seconds * 1000 / milliseconds, 1)


def troubles(result: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a demo's outcome, a sentence each; nothing when all is as it must be."""
    checks = {
        "a certificate did not verify": result["certificate_verified"],
        "the log did not verify": result["log_verified"],
        f"{result['predictions_failed']} predictions failed": not result["predictions_failed"],
        f"{result['predictions_stale']} answers came from an older manifest": not result["predictions_stale"],
        f"{result['dead_nodes_served']} dead nodes were served": not result["dead_nodes_served"],
    }
    return [sentence for sentence, holds in checks.items() if not holds]
