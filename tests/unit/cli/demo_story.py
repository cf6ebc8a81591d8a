"""A demo that never happened: numbers for the timeline, the terminal and the report."""

from __future__ import annotations

from typing import Any

from cli.demo_timeline import Deletion, Evidence, summed_up


def make_deletion(number: int, **changed: Any) -> Deletion:
    values: dict[str, Any] = {
        "number": number,
        "owner": f"{number:012x}",
        "request": f"dr_{number}",
        "records": 14,
        "shard": 0,
        "slice": 1,
        "e1_milliseconds": 10.0 * number,
        "e1_manifest": 2 * number,
        "nodes_before": 45,
        "nodes_switched_off": 8,
        "nodes_alive": 37,
        "active_share": 0.9,
        "accuracy_at_e1": 0.9,
        "answered_by": (2 * number,),
        "degraded": False,
        "repair_seconds": 2.0,
        "whole_seconds": 3.0,
        "accuracy_after_repair": 0.95,
        "began": 5.0 * number,
    }
    return Deletion(**{**values, **changed})


def make_evidence(deletion: int, guarantee: str = "retrain_equivalent", *, verified: bool = True) -> Evidence:
    return Evidence(
        deletion=deletion,
        guarantee=guarantee,
        path=f"certificates/{deletion:03}-{guarantee}.json",
        verified=verified,
        failures=(),
        proved=("It is so.",),
        asserted=("They say so.",),
    )


def make_result(deletions: int = 3, **changed: Any) -> dict[str, Any]:
    """Return an outcome in which all went well."""
    done = [make_deletion(number) for number in range(1, deletions + 1)]
    kept = [make_evidence(one.number, promise) for promise in ("influence_free", "retrain_equivalent") for one in done]
    chain = {"records": 300, "record_epochs": 6000, "seconds": 2.5, "accuracy": 0.94}
    return {
        **summed_up(done, kept),
        "accuracy_before": 0.96,
        "accuracy_unsharded": 0.97,
        "accuracy_public": 0.8,
        "nodes_total": 45,
        "log_verified": True,
        "log": {"entries": 205, "failures": [], "not_covered": []},
        "manifests_checked": 7,
        "served": [
            {"manifest": 1, "seconds": 0.0, "active_share": 1.0},
            {"manifest": 2, "seconds": 5.0, "active_share": 0.9},
        ],
        "dead_nodes_served": 0,
        "evidence_example": {"path": kept[-1].path, "proved": ["It is so."], "asserted": ['"a":{"<b>":1}']},
        "predictions_answered": 1234,
        "predictions_failed": 0,
        "predictions_stale": 0,
        "predictions_longest_milliseconds": 41.0,
        "sisa_retrain": chain,
        "full_retrain": chain,
        "sisa_retrain_seconds": 2.5,
        "full_retrain_seconds": 9.0,
        "ratio_sisa": 125.0,
        "ratio_full": 450.0,
        "trainer_threads": 1,
        "comparison_skipped": None,
        "build_seconds": 20.0,
        "wall_seconds": 100.0,
        "finished_at": "2026-11-21T03:00:00+00:00",
        "recipe": {"shards": 3, "slices": 4, "family": "subset_trie"},
        "data": {
            "name": "<digits>",
            "rules": ["Rows & rules."],
            "records": 997,
            "public_records": 500,
            "owners": 72,
            "held_out": 300,
        },
        "environment": {"lethe": "0.1.0"},
        "report": "report.html",
        "service": None,
        **changed,
    }
