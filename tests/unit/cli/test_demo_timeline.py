"""The numbers that sum a demo up."""

from __future__ import annotations

from typing import Any

import pytest

from cli.demo_timeline import dead_nodes_served, nearest_rank, ratio, summed_up, troubles
from tests.unit.cli.demo_story import make_deletion, make_evidence, make_result


def test_the_ninety_fifth_percentile_of_twenty_is_the_nineteenth() -> None:
    assert nearest_rank(list(range(1, 21)), 0.95) == 19
    assert nearest_rank([7.0], 0.95) == 7.0
    assert nearest_rank([1.0, 2.0], 0.0) == 1.0


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        nearest_rank([], 0.5)


def test_deletions_are_summed_up_by_median_mean_lowest_and_last() -> None:
    done = [
        make_deletion(1, e1_milliseconds=10.0, accuracy_at_e1=0.8, accuracy_after_repair=0.9),
        make_deletion(2, e1_milliseconds=50.0, accuracy_at_e1=0.9, accuracy_after_repair=0.92),
        make_deletion(3, e1_milliseconds=20.0, accuracy_at_e1=0.85, accuracy_after_repair=0.94),
    ]
    found = summed_up(done, [make_evidence(1)])
    assert found["e1_milliseconds"] == 20.0
    assert found["e1_milliseconds_p95"] == 50.0
    assert found["accuracy_at_e1"] == 0.85
    assert found["accuracy_at_e1_lowest"] == 0.8
    assert found["accuracy_after_repair"] == 0.94
    assert found["nodes_dead"] == 24


def test_one_certificate_that_does_not_verify_spoils_the_verdict() -> None:
    kept = [make_evidence(1), make_evidence(2, verified=False)]
    found = summed_up([make_deletion(1)], kept)
    assert not found["certificate_verified"]
    assert found["certificates_verified"] == 1


def test_no_certificate_is_not_a_verified_one() -> None:
    assert summed_up([make_deletion(1)], [])["certificate_verified"] is False


def test_the_certificate_that_is_named_is_the_last_one_after_repair() -> None:
    kept = [make_evidence(1), make_evidence(2), make_evidence(3, "influence_free")]
    assert summed_up([make_deletion(1)], kept)["certificate"] == kept[1].path


def test_a_node_is_served_dead_only_from_the_version_on_that_switched_it_off() -> None:
    dead_since = {3: frozenset("ab"), 5: frozenset("c")}
    assert dead_nodes_served(dead_since, {2: frozenset("abc"), 3: frozenset("c"), 4: frozenset("cd")}) == 0
    assert dead_nodes_served(dead_since, {3: frozenset("a"), 6: frozenset("bc")}) == 3


def test_retraining_is_compared_in_the_same_unit() -> None:
    assert ratio(2.0, 50.0) == 40.0
    assert ratio(None, 50.0) is None


def test_a_good_run_has_no_troubles() -> None:
    assert troubles(make_result()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"certificate_verified": False},
        {"log_verified": False},
        {"predictions_failed": 1},
        {"predictions_stale": 1},
        {"dead_nodes_served": 1},
    ],
)
def test_anything_that_is_not_as_it_must_be_is_a_trouble(wrong: dict[str, Any]) -> None:
    assert len(troubles(make_result(**wrong))) == 1
