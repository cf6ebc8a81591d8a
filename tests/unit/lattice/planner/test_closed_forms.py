"""What has a closed form, beside the published numbers and beside simulated traces."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import median

import pytest

from core.domain.model import FamilyChoice, FamilyName, PriorRule
from core.lattice.families.prior import cold_first
from core.lattice.planner.costs import costs_of, stage_share
from core.lattice.planner.deaths import deletions_to_all_dead, deletions_to_first_dead
from core.lattice.planner.decay import Decay, depths_after_hits
from core.lattice.planner.plan import plan_without_curves
from core.lattice.planner.question import HitKind, HitModel, PlanQuestion, zipf_weights
from core.lattice.planner.traces import follow
from core.lattice.planner.window import window_of
from tests.unit.lattice.planner.questions import ask


@pytest.mark.parametrize(
    ("shards", "slices", "sequences", "first", "last"),
    [
        (5, 4, 1, 4.0, 45.7),
        (5, 4, 2, 10.1, 58.6),
        (5, 4, 4, 19.3, 72.0),
        (5, 6, 1, 6.0, 68.5),
        (5, 6, 2, 15.2, 87.9),
        (5, 6, 4, 28.9, 107.9),
        (5, 6, 6, 38.5, 119.8),
        (5, 8, 1, 8.0, 91.3),
        (5, 8, 2, 20.3, 117.2),
        (5, 8, 4, 38.6, 143.9),
        (5, 8, 8, 61.1, 171.1),
        (5, 32, 1, 32, 365),
        (5, 32, 8, 244, 685),
        (5, 32, 32, 450, 905),
        (5, 64, 1, 64, 731),
        (5, 64, 8, 489, 1369),
        (5, 64, 64, 1116, 2031),
        (10, 32, 1, 32, 937),
        (10, 32, 8, 405, 1589),
        (10, 32, 32, 807, 2031),
        (20, 50, 1, 50, 3598),
        (20, 50, 10, 1253, 5878),
        (20, 50, 50, 2725, 7486),
        (50, 20, 20, 1639, 7485),
    ],
)
def test_deletions_to_dead_shards_are_the_published_ones(
    shards: int, slices: int, sequences: int, first: float, last: float
) -> None:
    question = ask(shards, slices, "cyclic", sequences)
    assert deletions_to_first_dead(question) == pytest.approx(first, rel=0.006)
    assert deletions_to_all_dead(question) == pytest.approx(last, rel=0.002)


@pytest.mark.parametrize("name", ["subset_trie", "greedy_trie"])
def test_a_trie_dies_when_all_rotations_do_and_more_sequences_than_slices_die_no_later(name: str) -> None:
    rotations = ask(5, 4)
    for question in (ask(5, 4, name), ask(5, 4, "cyclic", 24)):
        assert deletions_to_first_dead(question) == pytest.approx(deletions_to_first_dead(rotations))
        assert deletions_to_all_dead(question) == pytest.approx(deletions_to_all_dead(rotations))


PUBLISHED_SHARES = [
    # m=5: slices, family, budget, {deletions: active share}, [depth after 1, 2 hits]
    (4, "chain", None, {5: 0.534, 10: 0.313, 20: 0.133, 30: 0.066, 40: 0.036}, [1.50, 0.67]),
    (4, "cyclic", 2, {5: 0.674, 10: 0.458, 20: 0.226, 30: 0.121, 40: 0.069}, [2.50, 1.17]),
    (4, "cyclic", 4, {5: 0.758, 10: 0.568, 20: 0.331, 30: 0.200, 40: 0.123}, [3.00, 1.67]),
    (4, "cyclic", 12, {5: 0.774, 10: 0.599, 20: 0.358, 30: 0.215, 40: 0.129}, [3.00, 2.00]),
    (4, "cyclic", 24, {5: 0.774, 10: 0.599, 20: 0.358, 30: 0.215, 40: 0.129}, [3.00, 2.00]),
    (4, "subset_trie", None, {5: 0.774, 10: 0.599, 20: 0.358, 30: 0.215, 40: 0.129}, [3.00, 2.00]),
    (6, "cyclic", 3, {5: 0.761, 10: 0.571, 20: 0.333, 40: 0.139, 60: 0.067}, [4.50, 2.80]),
    (6, "cyclic", 6, {5: 0.814, 10: 0.639, 20: 0.407, 40: 0.203, 60: 0.112}, [5.00, 3.20]),
    (6, "greedy_trie", 126, {5: 0.817, 10: 0.657, 20: 0.458, 40: 0.247, 60: 0.129}, [5.00, 3.20]),
    (6, "cyclic", 30, {5: 0.837, 10: 0.698, 20: 0.494, 40: 0.254, 60: 0.130}, [5.00, 3.80]),
    (6, "subset_trie", None, {5: 0.844, 10: 0.712, 20: 0.508, 40: 0.258, 60: 0.131}, [5.00, 4.00]),
]


@pytest.mark.parametrize(("slices", "name", "budget", "shares", "depths"), PUBLISHED_SHARES)
def test_active_shares_without_repair_are_the_published_ones(
    slices: int, name: str, budget: int | None, shares: dict[int, float], depths: list[float]
) -> None:
    question = ask(5, slices, name, budget)
    decay = Decay(question)
    assert {after: decay.active_share(after) for after in shares} == pytest.approx(shares, abs=0.004)
    assert depths_after_hits(question)[:2] == pytest.approx(depths, abs=0.006)


@pytest.mark.parametrize("hits", [HitModel(), HitModel(kind=HitKind.SKEWED, weights=zipf_weights(5, 1.0))])
@pytest.mark.parametrize("name", list(FamilyName))
def test_the_closed_form_of_the_active_share_agrees_with_traces(name: FamilyName, hits: HitModel) -> None:
    question = ask(3, 5, name, hits=hits)
    decay = Decay(question)
    for point in follow(question, [1, 5, 20]):
        assert decay.active_share(point.deletions) == pytest.approx(point.active_share, abs=0.02)


def test_builds_and_rebuilds_cost_what_is_published() -> None:
    assert [costs_of(ask(1, slices, "subset_trie")).slice_epochs for slices in (3, 4, 5, 6, 7)] == [
        12,
        32,
        80,
        192,
        448,
    ]
    rebuilt = [costs_of(ask(1, slices, "subset_trie")).slice_epochs_per_hit for slices in (3, 4, 5, 6, 7)]
    assert rebuilt == pytest.approx([8, 20, 48, 112, 256])
    as_sequences = [costs_of(ask(1, slices)).slice_epochs_as_sequences for slices in (3, 4, 5, 6, 7)]
    assert as_sequences == [18, 40, 75, 126, 196]
    # One chain against a full fine-tuning with as many epochs: figure 14 of arXiv:2406.16257, recomputed.
    one = [costs_of(ask(5, slices, "chain")).training_against_fine_tuning for slices in (4, 6, 7, 12)]
    assert one == pytest.approx([1.50, 1.95, 2.14, 3.33], abs=0.012)
    assert stage_share(24, 1) == 1.0


PUBLISHED_WINDOWS = [
    # every, family, budget, cost as sequences, active, worst shard, some shard dead
    (1, "chain", None, 7.5, 0.875, 0.37, 0.25),
    (1, "cyclic", 2, 14.9, 0.926, 0.63, 0.0),
    (1, "cyclic", 4, 30.0, 0.950, 0.75, 0.0),
    (1, "subset_trie", None, 20.0, 0.950, 0.75, 0.0),
    (5, "chain", None, 5.4, 0.69, 0.17, 0.56),
    (5, "cyclic", 2, 10.7, 0.80, 0.45, 0.09),
    (5, "cyclic", 4, 21.5, 0.853, 0.60, 0.001),
    (5, "subset_trie", None, 15.1, 0.860, 0.64, 0.001),
    (10, "chain", None, 3.8, 0.54, 0.10, 0.72),
    (10, "cyclic", 2, 7.7, 0.67, 0.31, 0.26),
    (10, "cyclic", 4, 15.3, 0.747, 0.46, 0.02),
    (10, "subset_trie", None, 11.3, 0.764, 0.52, 0.02),
    (20, "chain", None, 2.3, 0.37, 0.05, 0.85),
    (20, "cyclic", 2, 4.6, 0.50, 0.18, 0.54),
    (20, "cyclic", 4, 9.2, 0.587, 0.31, 0.18),
    (20, "subset_trie", None, 7.1, 0.610, 0.35, 0.18),
]


@pytest.mark.parametrize(("every", "name", "budget", "cost", "active", "worst", "dead"), PUBLISHED_WINDOWS)
def test_repair_in_windows_gives_and_costs_what_is_published(  # noqa: PLR0917
    every: int, name: str, budget: int | None, cost: float, active: float, worst: float, dead: float
) -> None:
    window = window_of(ask(5, 4, name, budget), every)
    assert window.slice_epochs_per_deletion_as_sequences == pytest.approx(cost, abs=0.12)
    assert window.active_share == pytest.approx(active, abs=0.012)
    assert window.worst_shard_share == pytest.approx(worst, abs=0.025)
    assert window.some_shard_dead == pytest.approx(dead, abs=0.045)


def test_equal_sets_trained_once_make_rotations_cheaper_than_published() -> None:
    window = window_of(ask(5, 4), 1)
    assert window.slice_epochs_per_deletion == pytest.approx(18.0)
    assert costs_of(ask(5, 4)).slice_epochs == 140


def test_under_skew_the_coldest_slice_decides_when_all_are_dead() -> None:
    """Medians over priors, m=5, L=32: published 0.8-1.3k, 31-39k; one sequence, cold-first 32k, by matching 15k."""
    source = Random(11)
    blind: list[float] = []
    all_rotations: list[float] = []
    cold: list[float] = []
    matched: list[float] = []
    for _ in range(41):
        weights = tuple(source.gammavariate(1.0, 1) + 1e-12 for _ in range(32))
        skewed = HitModel(kind=HitKind.SKEWED, weights=weights)
        blind.append(deletions_to_all_dead(ask(5, 32, "chain", hits=skewed)))
        all_rotations.append(deletions_to_all_dead(ask(5, 32, "cyclic", hits=skewed)))
        for rule, horizon, found in ((PriorRule.COLD_FIRST, None, cold), (PriorRule.MATCHING, 100, matched)):
            chosen = {"budget": 1, "prior": weights, "rule": rule, "horizon": horizon}
            family = FamilyChoice(name=FamilyName.PRIOR, slices=32, **chosen)  # type: ignore[arg-type]
            found.append(deletions_to_all_dead(PlanQuestion(shards=5, family=family, hits=skewed, layers=32)))
        assert cold_first(skewed.chances(32))[0] == min(range(32), key=weights.__getitem__)
    assert 300 < median(blind) < 1500
    assert 15_000 < median(all_rotations) < 60_000
    assert 12_000 < median(cold) < 60_000
    assert 6_000 < median(matched) < 60_000


def test_owners_whose_records_lie_apart_hit_many_slices_at_once() -> None:
    apart = ask(5, 4, hits=HitModel(kind=HitKind.OWNER, records_per_owner=20))
    assert plan_without_curves(apart).slices_hit_per_deletion / 20 == pytest.approx(0.64, abs=0.005)
    assert deletions_to_all_dead(apart) == pytest.approx(72 / 20 + 0.475, abs=0.15)
    assert deletions_to_first_dead(apart) < 2
    assert Decay(apart).active_share(1) == pytest.approx(Decay(replace(apart, hits=HitModel())).active_share(20))
    assert deletions_to_all_dead(ask(1, 1, hits=HitModel(kind=HitKind.OWNER, records_per_owner=7))) == 1.0
