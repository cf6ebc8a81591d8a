"""Run several methods on one model and one forget set, and judge each beside oracles that were really trained without it.

K oracles ─▶ the untouched original and one oracle more: what the judge must refuse, and what it must pass
          └▶ each method: run it, ask the judge, measure the usual figures and what it cost beside a retrain
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from core.domain.checkpoint import Training
from core.domain.errors import MethodFailed, MethodNeedsUnmet
from core.methods.menu import MENU
from core.modelling.plain_training import Lesson, taught
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate import artefacts
from core.unlearning.approximate.cost import Cost
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.unlearning.approximate.unlearn import order_for, unlearn
from core.use_cases.gather_evidence import Questions, gather_evidence, usual_error
from core.verification.answers import Evidence, NotComparable
from core.verification.oracles import judge_against_oracles
from core.verification.policy import POLICIES
from core.verification.summary import mean_of, spread_of, summarised
from core.verification.verdict import Ending

Progress = Callable[[float, str], None]
ORACLE_SEED = 1_000
ORIGINAL, ORACLE = "original", "oracle"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, what is to be forgotten, and how models of its kind are trained."""

    task: Task
    test: Samples
    build: Callable[[], nn.Module]
    training: Training


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A method and how it is to be run."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """The oracles that all methods are held against, and what training one took."""

    models: Sequence[nn.Module]
    """K for the judge, and one more that is judged."""
    seconds: float


def train_oracles(subject: Subject, count: int, progress: Progress = lambda _, __: None) -> Bench:
    """Train `count` oracles and one more, each from a seed of its own."""
    assert subject.task.retain is not None  # noqa: S101 - a comparison has rows that stay
    started, models = time.perf_counter(), []
    for number in range(count + 1):
        progress(number / (count + 1), f"oracle {number + 1} of {count + 1}")
        rows, modality = subject.task.retain, subject.task.modality
        lesson = Lesson(training=subject.training, seed=ORACLE_SEED + number)
        models.append(taught(subject.build, modality, rows.inputs, rows.targets, lesson))
    return Bench(models, (time.perf_counter() - started) / (count + 1))


def compare_methods(
    subject: Subject,
    methods: Sequence[Chosen],
    bench: Bench,
    *,
    seed: int = 0,
    progress: Progress = lambda _, __: None,
) -> dict[str, Any]:
    """Run and judge methods.

    Args:
        subject: what is compared on.
        methods: which, in the order of the answer.
        bench: of `train_oracles`.
        seed: of every method's run.
        progress: told the share that is done, and what happens now.

    Returns:
        Figures and judgements of every model, all of it plain data.
    """
    judge = Judge(subject, bench)
    each = [summarised(one, judge.oracles) for one in judge.oracles]
    rows = []
    for number, chosen in enumerate(methods):
        progress(number / len(methods), chosen.method)
        rows.append({"method": chosen.method, "settings": dict(chosen.settings)} | _ran(judge, chosen, seed))
    return {
        "object": "comparison",
        "modality": subject.task.modality.value,
        "policy": {"digest": judge.policy.digest(), **judge.policy.as_json()},
        "rows": {name: len(one) for name, one in subject.task.streams.items()} | {"test": len(subject.test)},
        "seed": seed,
        "scale": judge.scale if subject.task.modality.value == "regressor" else None,
        "oracles": {
            "count": len(judge.oracles),
            "seconds": bench.seconds,
            "spread": spread_of(each),
            **mean_of(each).as_json(),
        },
        ORIGINAL: judge.judged(judge.original),
        ORACLE: judge.judged(judge.one_more),
        "methods": rows,
    }


class Judge:
    """Holds what every method is judged on, gathered once."""

    def __init__(self, subject: Subject, bench: Bench) -> None:
        task = subject.task
        assert task.retain is not None  # noqa: S101
        self.subject, self.bench = subject, bench
        self.policy = POLICIES[task.modality.value]
        self.questions = Questions(
            modality=task.modality, forget=task.forget, retain=task.retain, test=subject.test, holdout=task.holdout
        )
        *models, one_more = bench.models
        self.scale = usual_error(models, subject.test) if task.modality.value == "regressor" else 1.0
        self.oracles = [self.evidence(one) for one in models]
        self.one_more, self.original = self.evidence(one_more), self.evidence(task.model)

    def evidence(self, model: nn.Module) -> Evidence:
        return gather_evidence(model, self.questions, scale=self.scale)

    def judged(self, candidate: Evidence) -> dict[str, Any]:
        """Return one model's figures and what the judge says of it."""
        judgement = judge_against_oracles(candidate, original=self.original, oracles=self.oracles, policy=self.policy)
        return {
            "ending": judgement.ending.value,
            "fails": [one.axis.value for one in judgement.findings if one.accuses is not None],
            "figures": summarised(candidate, self.oracles).as_json(),
            "judgement": judgement.as_json(),
        }


def _ran(judge: Judge, chosen: Chosen, seed: int) -> dict[str, Any]:
    """Return what a method reached and what it cost, or why there is no result."""
    task, attribution = judge.subject.task, 0.0
    try:
        if names := MENU[chosen.method].artefacts:
            made = artefacts.make(task, names)
            task, attribution = artefacts.given(task, made.tensors), made.cost.seconds
        outcome = unlearn(order_for(chosen.method, chosen.settings, seed=seed), task)
        judged = judge.judged(judge.evidence(with_tensors(task.model, outcome.tensors)))
    except (MethodFailed, MethodNeedsUnmet) as refused:
        return {"refused": refused.code, "detail": refused.detail}
    except NotComparable as unfit:
        return {"refused": Ending.NOT_COMPARABLE.value, "detail": str(unfit)}
    return judged | {"cost": _cost(outcome.cost, attribution, judge.bench.seconds)}


def with_tensors(model: nn.Module, tensors: NamedTensors) -> nn.Module:
    """Return a copy of a model with other weights."""
    other = copy.deepcopy(model)
    other.load_state_dict(tensors)
    return other.eval()


def _cost(cost: Cost, attribution: float, retrain_seconds: float) -> dict[str, Any]:
    seconds = cost.seconds + attribution
    return {
        "seconds": seconds,
        "artefact_seconds": attribution,
        "seconds_share": seconds / retrain_seconds,
        "retrain_share": cost.retrain_share,
    }
