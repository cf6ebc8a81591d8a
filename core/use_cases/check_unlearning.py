"""What a request says of methods and of concepts: resolved and refused when it is asked, before anything is written. Torch-free."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.checkpoint import CheckpointRecipe, Mode
from core.domain.deletion import RequestKind
from core.domain.errors import BadInput, DatasetNotFound, MethodNeedsUnmet, ModelNotFound, WrongMode
from core.methods.menu import find
from core.methods.policy import choice, policy_from_json
from core.persistence import datasets, models
from core.use_cases.check_needs import check_needs
from core.use_cases.resolve_subjects import DeletionOrder, Resolved


def check_kind(order: DeletionOrder) -> None:
    """Refuse an order whose parts belong to different kinds.

    Raises:
        BadInput: a concept is named where records are to be deleted, or none where one is to be suppressed.
    """
    if order.kind is RequestKind.DATA_DELETION:
        if order.concept is not None:
            raise BadInput("a concept goes with the kind concept_suppression")
        return
    if order.identities or order.records:
        raise BadInput("a concept is no person: leave the subject out, or ask for a data_deletion")
    if order.concept is None or not order.models:
        raise BadInput("name the concept's data set, and the models in scope.models")


def resolve_concept(session: Connection, tenant_id: str, order: DeletionOrder) -> Resolved:
    """Return what a request to suppress a concept is about: nobody's records, and the models that it names.

    Raises:
        ModelNotFound, WrongMode: it names no model, or one that cannot be changed so.
    """
    found = []
    for name in order.models or ():
        model = models.find_model(session, tenant_id, name)
        if model is None:
            raise ModelNotFound
        if model.mode != Mode.APPROXIMATE:
            raise WrongMode("a concept is suppressed in models in approximate mode only")
        found.append(model)
    return Resolved(owners=frozenset(), records=[], models=found, copies=0)


def check_unlearning(
    session: Connection, tenant_id: str, order: DeletionOrder, affected: list[Row[Any]]
) -> dict[str, Any] | None:
    """Return what is kept of a request's wishes about methods; None where it has none.

    Raises:
        MethodNotFound, BadInput: there is no such method or setting.
        MethodNeedsUnmet: a model cannot give what it needs, or it promises another kind of request.
        DatasetNotFound: the concept's data set does not exist.
    """
    chosen = None if order.method is None else choice(order.method)
    for model in affected:
        if model.mode == Mode.APPROXIMATE:
            _check_model(model, order.kind, chosen)
    if order.kind is RequestKind.CONCEPT_SUPPRESSION:
        dataset = datasets.find_dataset(session, tenant_id, order.concept or "")
        if dataset is None:
            raise DatasetNotFound
        return {"concept": dataset.id, "method": None if chosen is None else chosen.as_json()}
    return None if chosen is None else {"method": chosen.as_json()}


def _check_model(model: Row[Any], kind: RequestKind, chosen: Any) -> None:
    recipe = CheckpointRecipe.from_json(model.recipe)
    if chosen is not None:
        promised = find(chosen.method).kind
        if promised is not kind:
            raise MethodNeedsUnmet(f"{chosen.method} promises {promised}, and a {kind} was asked for")
        check_needs(chosen, recipe)
        return
    ranked = policy_from_json(model.unlearning_policy, recipe.modality).methods
    if kind is RequestKind.CONCEPT_SUPPRESSION and not any(find(one.method).kind is kind for one in ranked):
        raise MethodNeedsUnmet("the model's policy ranks no method that suppresses a concept; name one")
