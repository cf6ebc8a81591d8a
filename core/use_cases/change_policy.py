"""Change by which policy a checkpoint is made to forget, while it serves. Torch-free.

A policy is versioned data: whoever changes what it says gives it a higher version, or another name, or has it counted on.
What runs keeps the policy that it was planned under; what is planned from now on goes by the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.checkpoint import CheckpointRecipe
from core.domain.errors import Flaw, PolicyRefused
from core.methods.policy import UnlearningPolicy, policy_from_json
from core.persistence import models
from core.use_cases.check_needs import check_policy


def change_policy(session: Connection, model: Row[Any], wanted: Mapping[str, Any]) -> None:
    """Write down another policy of a locked model in approximate mode; nothing, when it says what it said before.

    Args:
        session: a transaction.
        model: the model's row.
        wanted: fields of a policy; what it leaves out stays as it is.

    Raises:
        PolicyRefused: it breaks its schema or its bounds, or says something else under a version that was used.
        MethodNeedsUnmet: it ranks a method that the model cannot be changed by.
    """
    recipe = CheckpointRecipe.from_json(model.recipe)
    held = policy_from_json(model.unlearning_policy, recipe.modality)
    changed = policy_from_json({**held.as_json(), **wanted}, recipe.modality)
    check_policy(changed, recipe)
    if "version" not in wanted and changed != held:
        changed = replace(changed, version=held.version + 1 if changed.name == held.name else 1)
    if changed == held:
        return
    _refuse_reused(held, changed)
    models.set_unlearning_policy(session, model, changed.as_json(), before=held.digest(), after=changed.digest())


def _refuse_reused(held: UnlearningPolicy, changed: UnlearningPolicy) -> None:
    if changed.name == held.name and changed.version <= held.version:
        said = f"is {held.version} now: give what differs a higher one, or leave it out"
        raise PolicyRefused(flaws=[Flaw("/version", "version_reused", said)])
