"""A model in approximate mode as the API shows it: what it is, what it serves, what that promises, and who waits. Torch-free."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.checkpoint import CheckpointRecipe
from core.methods.policy import policy_from_json
from core.persistence import checkpoints, job_questions, models, versions
from core.use_cases.wording import moment


def describe_checkpoint(session: Connection, row: Row[Any]) -> dict[str, Any]:
    """Return a model in approximate mode as the API shows it."""
    recipe = CheckpointRecipe.from_json(row.recipe)
    policy = policy_from_json(row.unlearning_policy, recipe.modality)
    live = versions.live_version(session, row.id)
    served = checkpoints.live_checkpoint(session, row.id)
    flags = checkpoints.open_flags(session, row.id)
    qualified = checkpoints.latest_qualification(session, row.id)
    shown = {name: value for name, value in recipe.as_json().items() if name not in {"tokenizer", "format"}}
    return {
        "id": row.id,
        "object": "model",
        "name": row.name,
        "mode": "approximate",
        "dataset": row.dataset_id,
        "state": row.state,
        "recipe": shown | {"staged": recipe.staged, "digest": recipe.digest()},
        "policy": {
            "approval_required": row.approval_required,
            "unlearning": policy.as_json(),
            "digest": policy.digest(),
        },
        "qualification": None if qualified is None else describe_qualification(qualified, recipe),
        "jobs": job_questions.count_open(session, row.id),
        "deleted_records": models.count_tombstones(session, row.id),
        "serving": None
        if live is None or served is None
        else {
            "version": live.id,
            "number": live.number,
            "manifest_digest": live.manifest_digest,
            "guarantee": live.guarantee,
            "drift": round(served.drift, 9),
            "flagged": bool(flags),
            "flagged_for": [flag.request_id for flag in flags],
        },
        "row_version": row.row_version,
        "created_at": moment(row.created_at),
    }


def describe_qualification(row: Row[Any], recipe: CheckpointRecipe) -> dict[str, Any]:
    """Return a qualification in a few words; the whole account stands under /qualification."""
    account = row.account
    return {
        "id": row.id,
        "standing": row.standing,
        "holds": row.recipe == recipe.digest(),
        "oracles": account["oracles"],
        "fewer_oracles": account["fewer_oracles"],
        "methods": account["methods"],
        "digest": account["digest"],
        "created_at": moment(row.created_at),
    }
