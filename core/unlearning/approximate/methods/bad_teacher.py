"""`bad_teacher`: an untrained network teaches the rows to forget, the original the others (arXiv:2205.08096)."""

from __future__ import annotations

from core.methods.bad_teacher import BadTeacherSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen, copied
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.reinitialise import fresh_copy
from core.unlearning.approximate.selectors import Mixed
from core.unlearning.approximate.terms import distance_to_frozen, distance_to_original

TEACHER = "teacher"


def recipe(settings: BadTeacherSettings) -> Recipe:
    terms = [
        Term(stream="forget", values=distance_to_frozen(TEACHER)),
        Term(stream="retain", values=distance_to_original()),
    ]
    phase = Phase(
        passes=[Pass(selector=Mixed(settings.retain_share), terms=terms, together=True)],
        epochs=settings.epochs,
        descent=Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size),
    )
    return Recipe(phases=[phase], prepare=untrained)


def untrained(kitchen: Kitchen) -> NamedTensors:
    """Return the weights of a network that never learned anything."""
    teacher = fresh_copy(kitchen.original, kitchen.derived_seed(TEACHER), kitchen.task.builder)
    return {f"{TEACHER}/{name}": tensor for name, tensor in copied(teacher).items()}
