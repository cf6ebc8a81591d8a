"""Many models against many oracles: equal ones pass, and each fault has its ending."""

from __future__ import annotations

import numpy as np
import pytest

from core.verification.answers import Answers, Evidence, answers_from_losses
from core.verification.card import Tier
from core.verification.policy import CLASSIFIER
from core.verification.populations import FEWEST_MODELS, judge_populations
from core.verification.verdict import Ending
from tests.unit.verification.synthetic import World

DIFFICULTY = np.random.default_rng(0).normal(0, 0.2, (3, 80))


def models(count: int, first: int, *, memory: float = 0.0, loss: float = 0.0) -> list[Evidence]:
    return [World().evidence(first + seed, memory=memory, loss=loss) for seed in range(count)]


@pytest.fixture(scope="module")
def oracles() -> list[Evidence]:
    return models(60, 1000)


@pytest.fixture(scope="module")
def originals() -> list[Evidence]:
    return models(60, 2000, memory=1.0)


@pytest.mark.parametrize(
    ("count", "changes", "ending"),
    [
        (60, {}, Ending.PASSED),
        (20, {}, Ending.PASSED),
        (60, {"memory": 1.0}, Ending.FAILED_UNDER_FORGOT),
        (20, {"memory": 0.4}, Ending.FAILED_UNDER_FORGOT),
        (60, {"memory": -1.0}, Ending.FAILED_OVER_FORGOT),
        (60, {"loss": 0.9}, Ending.UTILITY_LOST),
    ],
)
def test_each_kind_of_recipe_has_its_ending(
    oracles: list[Evidence], originals: list[Evidence], count: int, changes: dict[str, float], ending: Ending
) -> None:
    unlearned = models(count, 5000, **changes)
    judgement = judge_populations(unlearned, originals=originals[:count], oracles=oracles[:count], policy=CLASSIFIER)
    assert judgement.ending is ending
    assert judgement.tier is Tier.T3
    assert len(judgement.findings) == 3


def test_originals_that_look_like_oracles_prove_nothing(oracles: list[Evidence]) -> None:
    found = judge_populations(models(60, 5000), originals=models(60, 3000), oracles=oracles, policy=CLASSIFIER)
    assert found.ending is Ending.UNDERPOWERED
    assert found.reason


def test_too_few_models_cannot_tell(oracles: list[Evidence], originals: list[Evidence]) -> None:
    few = models(FEWEST_MODELS - 1, 5000)
    assert judge_populations(few, originals=originals, oracles=oracles, policy=CLASSIFIER).ending is Ending.UNDERPOWERED


def test_other_questions_cannot_be_compared(oracles: list[Evidence], originals: list[Evidence]) -> None:
    def other(seed: int) -> Answers:
        return answers_from_losses(np.abs(DIFFICULTY[0]) + 0.01 * seed)

    strangers = [Evidence(other(seed), other(seed), other(seed)) for seed in range(12)]
    found = judge_populations(strangers, originals=originals, oracles=oracles, policy=CLASSIFIER)
    assert found.ending is Ending.NOT_COMPARABLE
