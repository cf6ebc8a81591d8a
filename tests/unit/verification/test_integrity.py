"""T0: each flaw is found, and only where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.verification.answers import Evidence, answers_from_logits, answers_from_losses
from core.verification.equivalence import Outcome
from core.verification.verdict import Ending
from core.verification.verifiers.effect import ask_effect
from core.verification.verifiers.integrity import WeightsFlaw, accused_of, check_completeness, check_weights

Named = dict[str, npt.NDArray[Any]]


def weights(seed: int) -> Named:
    chance = np.random.default_rng(seed)
    return {"body": chance.normal(0, 1, (40, 30)).astype(np.float32), "norm": np.ones(30, dtype=np.float32)}


def with_change(original: Named, place: tuple[int, int], value: float) -> Named:
    changed = {name: values.copy() for name, values in original.items()}
    changed["body"][place] = value
    return changed


FROZEN = {"body": np.arange(1200).reshape(40, 30) < 600}


def test_a_sound_edit_has_no_flaw() -> None:
    assert check_weights(weights(0), with_change(weights(0), (39, 29), 9.0), frozen=FROZEN) == ()
    assert check_weights(weights(0), weights(1), begun_anew=True) == ()


def test_nothing_changed_is_seen() -> None:
    assert check_weights(weights(0), weights(0)) == (WeightsFlaw.NOTHING_CHANGED,)


def test_one_bit_of_a_masked_weight_is_seen() -> None:
    original = weights(0)
    moved = with_change(original, (0, 0), float(np.nextafter(original["body"][0, 0], np.float32(9))))
    assert check_weights(original, moved, frozen=FROZEN) == (WeightsFlaw.MASK_MOVED,)
    assert check_weights(original, moved) == ()


def test_minus_zero_is_not_zero_under_a_mask() -> None:
    zero, minus = with_change(weights(0), (0, 0), 0.0), with_change(weights(0), (0, 0), -0.0)
    assert WeightsFlaw.MASK_MOVED in check_weights(zero, minus, frozen=FROZEN)


def test_a_retraining_that_kept_a_layer_is_seen() -> None:
    kept = with_change(weights(0), (3, 3), 0.5)
    assert check_weights(weights(0), kept, begun_anew=True) == (WeightsFlaw.NOT_BEGUN_ANEW,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_seen(value: float) -> None:
    assert check_weights(weights(0), with_change(weights(0), (3, 3), value)) == (WeightsFlaw.NOT_FINITE,)


def test_other_shapes_names_types_and_unknown_masks_are_seen() -> None:
    original = weights(0)
    others: list[Named] = [
        {"body": original["body"]},
        {**original, "body": original["body"][1:]},
        {**original, "body": original["body"].astype(np.float64)},
    ]
    for other in others:
        assert check_weights(original, other) == (WeightsFlaw.OTHER_SHAPES,)
    assert check_weights(original, weights(1), frozen={"tail": FROZEN["body"]}) == (WeightsFlaw.OTHER_SHAPES,)


def test_a_core_set_never_shrinks_what_is_scored() -> None:
    assert check_completeness({"a", "b"}, {"a", "b", "c"}) == ()
    assert check_completeness({"a", "b"}, {"a"}) == (WeightsFlaw.RECORDS_LEFT_OUT,)


def test_every_flaw_leads_to_an_ending_that_is_no_pass() -> None:
    assert accused_of(()) is None
    assert {accused_of([flaw]) for flaw in WeightsFlaw} == {
        Ending.NOT_COMPARABLE,
        Ending.NO_EFFECT,
        Ending.UTILITY_LOST,
    }
    assert accused_of([WeightsFlaw.NOTHING_CHANGED, WeightsFlaw.MASK_MOVED]) is Ending.NOT_COMPARABLE


@pytest.mark.parametrize(("moved", "outcome"), [(0.0, Outcome.BELOW), (1e-4, Outcome.BELOW), (0.1, Outcome.INSIDE)])
def test_an_effect_is_a_probability_that_moved(moved: float, outcome: Outcome) -> None:
    for before, after in (
        (answers_from_logits([[0.0, 1.0]], [0]), answers_from_logits([[moved, 1.0]], [0])),
        (answers_from_losses([0.5]), answers_from_losses([0.5 + moved])),
    ):
        finding = ask_effect(Evidence(after, after, after), Evidence(before, before, before), 1e-3)
        assert finding.outcome is outcome
        assert (finding.accuses is Ending.NO_EFFECT) == (outcome is Outcome.BELOW)
