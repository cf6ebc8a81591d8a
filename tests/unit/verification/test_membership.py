"""Attacks and their intervals: scikit-learn, naive loops, and the standard errors that the reference computed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from core.verification.answers import Answers, Evidence, NotComparable, answers_from_logits, answers_from_losses
from core.verification.distributions import normal_quantile
from core.verification.verifiers.membership import (
    SIGNALS,
    Signal,
    area_under_curve,
    best_threshold,
    entropy,
    judged_non_member,
    modified_entropy,
    standing_among_test,
)


def random_answers(seed: int, count: int = 40, *, sharpness: float = 2.0) -> Answers:
    chance = np.random.default_rng(seed)
    return answers_from_logits(chance.normal(0, sharpness, (count, 4)), chance.integers(0, 4, count))


def test_entropies_are_what_naive_loops_say() -> None:
    answers = random_answers(0)
    assert answers.log_probabilities is not None
    assert answers.labels is not None
    probabilities = np.exp(answers.log_probabilities)
    assert entropy(answers) == pytest.approx(stats.entropy(probabilities, axis=1))
    expected = [
        -(1 - row[label]) * np.log(row[label])
        - sum(share * np.log(1 - share) for number, share in enumerate(row) if number != label)
        for row, label in zip(probabilities, answers.labels, strict=True)
    ]
    assert modified_entropy(answers) == pytest.approx(expected)


def test_a_certain_wrong_answer_has_a_finite_entropy() -> None:
    sure = answers_from_logits([[0.0, 5000.0], [5000.0, 0.0]], [0, 0])
    assert np.isfinite(modified_entropy(sure)).all()
    assert modified_entropy(sure)[1] < 1e-9 < modified_entropy(sure)[0]


def test_the_area_is_scikit_learns() -> None:
    chance = np.random.default_rng(1)
    members, others = np.round(chance.normal(0.5, 1, 70), 1), np.round(chance.normal(0, 1, 90), 1)  # rounded: with ties
    truth = np.repeat([1, 0], [70, 90])
    expected = roc_auc_score(truth, np.concatenate([members, others]))
    assert area_under_curve(members, others, 0.9).estimate == pytest.approx(expected)


def test_the_variance_is_delongs() -> None:
    chance = np.random.default_rng(2)
    members, others = chance.normal(0.7, 1, 30), chance.normal(0, 1, 40)
    interval = area_under_curve(members, others, 0.9)
    padded = [np.append(values, [-np.inf, np.inf]) for values in (members, others)]
    wins = np.array([[(here > there) + 0.5 * (here == there) for there in padded[1]] for here in padded[0]])
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / len(wins) + wins.mean(axis=0).var(ddof=1) / wins.shape[1])
    assert (interval.high - interval.low) / 2 == pytest.approx(normal_quantile(0.95) * error)


@pytest.mark.parametrize(("count", "published"), [(40, 0.065), (200, 0.029), (400, 0.020), (1000, 0.013)])
def test_standard_errors_at_chance_are_the_published_ones(count: int, published: float) -> None:
    """`reference/approximate.md` §2.1."""
    chance = np.random.default_rng(count)
    drawn = [area_under_curve(chance.random(count), chance.random(count), 0.9) for _ in range(60)]
    errors = [(interval.high - interval.low) / 2 / normal_quantile(0.95) for interval in drawn]
    assert np.mean(errors) == pytest.approx(published, abs=0.0016)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("count", [6, 20, 80])
def test_the_area_is_covered_also_for_few(count: int, shift: float) -> None:
    chance = np.random.default_rng(count)
    truth, trials = stats.norm.cdf(shift / np.sqrt(2)), 500
    covered = 0
    for _ in range(trials):
        interval = area_under_curve(chance.normal(shift, 1, count), chance.normal(0, 1, count), 0.9)
        covered += interval.low <= truth <= interval.high
    assert covered / trials >= 0.9 - 3 * np.sqrt(0.09 / trials)


def test_three_above_three_is_no_certainty() -> None:
    assert area_under_curve(np.array([4.0, 5, 6]), np.array([1.0, 2, 3]), 0.9).low < 0.7


def test_the_threshold_judges_as_the_support_vector_machine_of_the_literature() -> None:
    chance = np.random.default_rng(4)
    members, others = chance.beta(8, 2, 300), chance.beta(4, 3, 300)
    machine = SVC(C=3, kernel="rbf", gamma="auto").fit(
        np.concatenate([members, others])[:, None], np.repeat([1, 0], 300)
    )
    forgotten = chance.beta(6, 2, 500)
    mine = forgotten >= best_threshold(members, others)
    assert np.mean(mine == (machine.predict(forgotten[:, None]) == 1)) >= 0.9


def test_no_threshold_has_a_better_balance() -> None:
    chance = np.random.default_rng(5)
    members, others = np.round(chance.normal(1, 1, 50), 1), np.round(chance.normal(0, 1, 60), 1)

    def balance(threshold: float) -> float:
        return float((members >= threshold).mean() + (others < threshold).mean())

    best = max(balance(value) for value in [*members, *others, -np.inf, np.inf])
    assert balance(best_threshold(members, others)) == pytest.approx(best)


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_is_larger_for_a_remembered_record(signal: Signal) -> None:
    chance = np.random.default_rng(6)
    labels = chance.integers(0, 4, 60)
    noise = chance.normal(0, 1, (60, 4))
    remembered = answers_from_logits(noise + 5 * np.eye(4)[labels], labels)
    unseen = answers_from_logits(noise, labels)
    assert SIGNALS[signal](remembered).mean() > SIGNALS[signal](unseen).mean()
    leaking = Evidence(forget=remembered, retain=remembered, test=unseen)
    silent = Evidence(forget=unseen, retain=remembered, test=unseen)
    assert judged_non_member(leaking, signal).mean() < 0.2 < judged_non_member(silent, signal).mean()


def test_the_standing_is_the_area_under_the_curve() -> None:
    evidence = Evidence(random_answers(1, sharpness=4), random_answers(2), random_answers(3))
    confidence = SIGNALS[Signal.CONFIDENCE]
    area = area_under_curve(confidence(evidence.forget), confidence(evidence.test), 0.9)
    assert standing_among_test(evidence).mean() == pytest.approx(area.estimate)


def test_losses_alone_cannot_be_attacked_by_a_threshold_on_classes() -> None:
    losses = answers_from_losses(special.exp10(np.linspace(-3, 0, 5)))
    with pytest.raises(NotComparable, match="logits"):
        judged_non_member(Evidence(losses, losses, losses))


def test_losses_alone_are_attacked_by_the_loss() -> None:
    low, high = answers_from_losses([0.1, 0.2, 0.3]), answers_from_losses([0.25, 1.0, 2.0, 3.0])
    assert standing_among_test(Evidence(low, low, high)).tolist() == [1.0, 1.0, 0.75]
    assert standing_among_test(Evidence(high, low, low)).tolist() == pytest.approx([1 / 3, 0, 0, 0])
