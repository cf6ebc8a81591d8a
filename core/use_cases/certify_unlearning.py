"""State, sign and log what approximate methods did for one request on one checkpoint: one transaction, torch-free.

Every attempt is told, accepted or not, with what the judge found; which methods were not tried, and why; and, where nobody's
judge passed what is served, who answers for it. There is no word "forgotten" in it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.certificate import Limitation, RequestFacts, sign_statement
from core.audit.entry import Action
from core.audit.unlearning import ATTEMPT, UnlearningClaim, make_unlearning_statement
from core.domain.checkpoint import CheckpointManifest, CheckpointRecipe
from core.domain.deletion import CopiesPolicy, RequestKind
from core.domain.identifiers import new_identifier
from core.domain.model import Guarantee
from core.methods.menu import find
from core.persistence import audit, checkpoints, requests, versions
from core.persistence.database import clock
from core.use_cases.doors import Doors
from core.use_cases.issue_certificate import sign_head
from core.use_cases.plan_method import judge_of


def certify_unlearning(
    session: Connection, doors: Doors, *, request: Row[Any], model: Row[Any], version: Row[Any]
) -> str | None:
    """Issue the certificate of one request on one checkpoint; None when it was issued before.

    Args:
        session: the transaction that certifies.
        doors: the outside.
        request: whose request, as locked.
        model: which model.
        version: what it serves since.
    """
    guarantee = Guarantee(version.guarantee)
    if requests.has_certificate(session, request.id, model.id, guarantee):
        return None
    certificate_id = new_identifier("crt")
    claim = _claim(session, doors, request, model, version)
    envelope = sign_statement(doors.certificate_signer(), make_unlearning_statement(claim))
    digest = hashlib.sha256(envelope).hexdigest()
    audit.note(
        session,
        Action.CERTIFICATE_ISSUED,
        tenant=request.tenant_id,
        object=certificate_id,
        request=request.id,
        model=model.id,
        certificate_sha256=digest,
    )
    index = audit.flush(session)[-1]
    requests.add_certificate(
        session,
        tenant_id=request.tenant_id,
        id=certificate_id,
        request_id=request.id,
        model_id=model.id,
        version_id=version.id,
        guarantee=guarantee,
        envelope=envelope,
        sha256=digest,
        log_index=index,
    )
    sign_head(session, doors)
    return certificate_id


def _claim(session: Connection, doors: Doors, request: Row[Any], model: Row[Any], version: Row[Any]) -> UnlearningClaim:
    recipe = CheckpointRecipe.from_json(model.recipe)
    # A request whose records an earlier one had the model forget is certified by that one's attempts.
    first = checkpoints.served_attempt(session, version.id, model.id)
    told = checkpoints.attempts_for(session, version.provenance["request"], model.id)
    run = checkpoints.find_run(session, first.job_id)
    judge = judge_of(session, model, run)
    waiver = None
    if version.guarantee == Guarantee.WAIVED:
        found = checkpoints.waiver_for(session, version.provenance["request"], model.id)
        waiver = None if found is None else dict(found.waiver)
    attempts = [attempt_account(row.account | {"number": at}) for at, row in enumerate(told)]
    qualified = judge.qualification is not None
    return UnlearningClaim(
        request=RequestFacts(
            id=request.id,
            external_id_digest=hashlib.sha256(request.external_id.encode()).hexdigest()
            if request.external_id
            else None,
            regulation=request.regulation,
            received_at=request.received_at,
        ),
        kind=RequestKind(request.kind),
        model=model.id,
        version=version.id,
        guarantee=Guarantee(version.guarantee),
        issued_at=clock(session),
        manifest=CheckpointManifest.from_json(version.manifest),
        evidence={
            "tier": _tier(first, judge.account),
            "qualified": qualified,
            "fewerOracles": bool(judge.account.get("fewer_oracles")),
            "qualification": judge.account.get("digest"),
            "verificationPolicy": judge.policy.digest(),
            "staged": recipe.staged,
        },
        routing={
            "policy": None if run is None else run.plan["policy"],
            "omitted": [] if run is None else run.plan["omitted"],
        },
        attempts=attempts,
        waiver=waiver,
        asserted=_asserted(session, doors, request, model, recipe),
        limitations=_limitations(doors, request, recipe, attempts, judge.account, qualified=qualified),
    )


def attempt_account(account: dict[str, Any]) -> dict[str, Any]:
    """Return what a certificate says of an attempt, from what is kept of it."""
    card = find(account["method"])
    cost = account.get("cost")
    shown = {name: account.get(name) for name in ATTEMPT}
    return shown | {
        "card": {"summary": card.summary, "paper": card.paper, "promise": card.kind.value, "weakness": card.weakness},
        "cost": None
        if cost is None
        else {
            "seconds": round(cost["seconds"], 3),
            "peakMemoryBytes": cost["peak_memory_bytes"],
            "gigaflops": round(cost["flops"] / 1e9, 6),
            "retrainShare": None if cost["retrain_share"] is None else round(cost["retrain_share"], 9),
            "attribution": _attribution(cost.get("attribution")),
        },
    }


def _attribution(account: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a certificate says of what was computed before a method ran."""
    if account is None:
        return None
    share = account["retrain_share"]
    return {
        "inputs": account["inputs"],
        "reused": account["reused"],
        "seconds": round(account["seconds"], 3),
        "gigaflops": round(account["flops"] / 1e9, 6),
        "retrainShare": None if share is None else round(share, 9),
    }


def _tier(attempt: Row[Any], qualification: dict[str, Any]) -> str:
    """Return the tier of what is known: T1 of the request itself, and T2 of the method where its canaries were judged so."""
    if attempt.account.get("judgement") is None or not attempt.account["judgement"]["findings"]:
        return "T0"
    passed = qualification.get("methods", {}).get(attempt.method) == "passed"
    return "T1+T2" if passed else "T1"


def _asserted(
    session: Connection, doors: Doors, request: Row[Any], model: Row[Any], recipe: CheckpointRecipe
) -> dict[str, Any]:
    destroyed = requests.count_erasures(session, request.id)
    return {
        "keysDestroyed": {"blocks": destroyed["block"], "checkpoints": destroyed["node"]},
        "keyStoreBackupDays": doors.settings.key_backup_days,
        "rowsErasedFromDataSets": request.scope_models is None,
        "copiesUnderOtherOwners": {"count": request.copies, "policy": request.copies_policy},
        "stageHistory": recipe.stage_history(),
        "registeredFile": recipe.file_digest,
        "serving": [
            {"predictor": row.predictor_id, "versionNumber": row.version_number}
            for row in versions.servings_of(session, model.id)
        ],
    }


def _limitations(  # noqa: PLR0913
    doors: Doors,
    request: Row[Any],
    recipe: CheckpointRecipe,
    attempts: list[dict[str, Any]],
    qualification: dict[str, Any],
    *,
    qualified: bool,
) -> list[Limitation]:
    unreadable = any((one["audited"] or {}).get("formerly_forgotten_unreadable") for one in attempts)
    said = {
        Limitation.STATISTICAL_EVIDENCE: True,
        Limitation.TRAINING_ASSERTED: True,
        Limitation.SERVING_ASSERTED: True,
        Limitation.EXTERNAL_COPIES_NOT_COVERED: True,
        Limitation.PAST_ANSWERS_NOT_COVERED: True,
        Limitation.RETRAIN_NOT_DEFINED: recipe.staged,
        Limitation.FORMER_RECORDS_UNREADABLE: unreadable,
        Limitation.FEWER_ORACLES: bool(qualification.get("fewer_oracles")),
        Limitation.JUDGE_NOT_QUALIFIED: not qualified,
        Limitation.BEHAVIOUR_NOT_DATA: request.kind == RequestKind.CONCEPT_SUPPRESSION,
        Limitation.COPIES_REMAIN: bool(request.copies) and request.copies_policy == CopiesPolicy.REPORT,
        Limitation.KEY_STORE_BACKUPS_EXPIRE_IN_DAYS: bool(doors.settings.key_backup_days),
        Limitation.DATA_SET_COPY_RETAINED: request.scope_models is not None,
    }
    return [code for code, holds in said.items() if holds]
