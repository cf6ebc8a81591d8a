"""Refuse, when it is asked for, what a registered checkpoint cannot give: a method's needs, a policy's judge. Torch-free."""

from __future__ import annotations

import json

from core.domain.checkpoint import CheckpointRecipe
from core.domain.errors import CheckpointRefused, MethodNeedsUnmet
from core.domain.task import Modality
from core.methods.card import Need
from core.methods.menu import find
from core.methods.policy import RETRAIN, Choice, UnlearningPolicy
from core.verification.policy import POLICIES, Policy, policy_from_json


def offered(recipe: CheckpointRecipe) -> frozenset[Need]:
    """Return what a registered checkpoint can give a method."""
    found = {Need.FORGET, Need.RETAIN, Need.LABELS, Need.REFERENCE, Need.REINITIALISATION}
    if recipe.evaluation is not None:
        found.add(Need.HOLDOUT)
    return frozenset(found)


COMPUTED = frozenset({"datamodel"})
"""Artefacts that are computed for a request where methods run (`core.unlearning.approximate.artefacts`)."""


def artefacts(recipe: CheckpointRecipe) -> frozenset[str]:
    """Return which artefacts a registered checkpoint can be given: whatever can be computed, for any."""
    del recipe
    return COMPUTED


def check_needs(choice: Choice, recipe: CheckpointRecipe) -> None:
    """Refuse a method that the model cannot be changed by.

    Raises:
        MethodNeedsUnmet: with what is missing.
    """
    card = find(choice.method)
    card.check(recipe.modality, offered=offered(recipe), artefacts=artefacts(recipe))
    if card.name == RETRAIN and recipe.training is None:
        raise MethodNeedsUnmet("retrain needs to know how the checkpoint was trained: register it with its training")


def check_policy(policy: UnlearningPolicy, recipe: CheckpointRecipe) -> None:
    """Refuse a policy that a model cannot go by.

    Raises:
        PolicyRefused: its verification policy breaks its schema or its bounds.
        MethodNeedsUnmet: it ranks a method that the model cannot be changed by.
    """
    check_verification(policy, recipe.modality)
    for one in policy.methods:
        check_needs(one, recipe)


def check_verification(policy: UnlearningPolicy, modality: Modality) -> Policy:
    """Return the verification policy that a policy of unlearning means.

    Raises:
        PolicyRefused: it breaks its schema or its bounds.
    """
    if policy.verification is None:
        return POLICIES[modality.value]
    return policy_from_json(json.dumps(dict(policy.verification)))


def retrain_choice(recipe: CheckpointRecipe) -> Choice | None:
    """Return how the checkpoint would be trained again; None when nobody knows."""
    if recipe.training is None:
        return None
    training = recipe.training
    settings = {
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
        "weight_decay": training.weight_decay,
    }
    return Choice(method=RETRAIN, settings=find(RETRAIN).settings_from(settings).as_json())


def require_training(recipe: CheckpointRecipe) -> None:
    """Refuse what needs trainings of a checkpoint that cannot be trained again.

    Raises:
        CheckpointRefused: its training is not known, or there are no rows that no training saw.
    """
    if recipe.training is None:
        raise CheckpointRefused("register it with how it was trained: oracles are trained the same way")
    if recipe.evaluation is None:
        raise CheckpointRefused("register it with an evaluation data set: rows that no training saw")
