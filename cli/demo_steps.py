"""The demo's steps over HTTP: register, wait for training, measure, forget one owner, wait until all is whole again."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from cli.client import Client
from cli.demo_data import IDENTITY_TYPE, DemoData
from cli.demo_evidence import Archive, collect
from cli.demo_recall import recalled
from cli.demo_score import score
from cli.demo_timeline import PREFIX, Deletion
from cli.demo_witness import Notes, Witness
from cli.models import training_progress
from cli.output import CommandFailed
from core.domain.manifest import Manifest
from core.domain.model import Guarantee, Recipe
from core.lattice.families import family_of

Answer = TypeVar("Answer")
LOOK_SECONDS = 0.2
"""Seldom: the machine has other work, and what is timed to the millisecond is timed by the witness."""
E1_SECONDS = 60.0
REPAIR_SECONDS = 1800.0
BUILD_SECONDS = 7200.0
NUMBERS_PER_QUESTION = 2_000_000
"""Numbers in one question to the predictor, so that no body grows beyond a few megabytes."""
MOST_INPUTS = 1024


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every step needs."""

    client: Client
    data: DemoData
    notes: Notes
    archive: Archive
    model: str
    recipe: Recipe
    nodes_total: int


@dataclass(frozen=True)
class Measured:
    """An accuracy (of a regression R²) on the held-out rows, and which manifests answered."""

    accuracy: float
    manifests: tuple[int, ...]
    degraded: bool


def register(client: Client, data: DemoData, recipe: Recipe, name: str, archive: Archive) -> Stage:
    """Upload the rows and register the model.

    Raises:
        CommandFailed: the service refuses one of them.
    """
    fields = {"name": name, "schema": json.dumps(data.schema())}
    dataset = client.upload("/v1/datasets:upload", fields, {"file": data.file()}, idempotency_key=secrets.token_hex(8))
    body = {"name": name, "dataset": dataset["id"], "recipe": recipe.as_json()}
    model = client.post("/v1/models", body, idempotency_key=secrets.token_hex(8))
    family = family_of(recipe)
    return Stage(
        client=client,
        data=data,
        notes=Notes(),
        archive=archive,
        model=model["id"],
        recipe=recipe,
        nodes_total=recipe.shards * len(family.parents),
    )


def wait_until_built(stage: Stage, show: Callable[[float, str], None]) -> dict[str, Any]:
    """Wait until the model is live and every node of the lattice is there; return the model.

    Raises:
        CommandFailed: the training failed.
    """

    def built() -> dict[str, Any] | None:
        show(*training_progress(stage.client, stage.client.get(f"/v1/models/{stage.model}")))
        return whole(stage)

    return until(built, BUILD_SECONDS, "the model was not built in time", every=0.25)


def _refuse_failed(stage: Stage) -> None:
    for state in ("failed", "dead"):
        for job in stage.client.get("/v1/jobs", model=stage.model, state=state, limit=1)["data"]:
            raise CommandFailed(
                f"job {job['id']} ended {job['state']} ({job['error_code']}); the worker's log says more"
            )


def whole(stage: Stage) -> dict[str, Any] | None:
    """Return the model when it is retrain-equivalent and nothing is left to train; None while it is not."""
    model = stage.client.get(f"/v1/models/{stage.model}")
    _refuse_failed(stage)
    if model["serving"] is None or model["serving"]["guarantee"] != Guarantee.RETRAIN_EQUIVALENT:
        return None
    return None if any(model["jobs"].values()) else model


def wait_for_predictor(stage: Stage) -> None:
    """Wait until the predictor answers for the model.

    Raises:
        CommandFailed: it does not.
    """
    question = stage.data.questions(0, 1)

    def answers() -> bool | None:
        try:
            return bool(stage.client.predict(stage.model, question))
        except CommandFailed as failure:
            if failure.status != 503:  # noqa: PLR2004 - "not yet" in HTTP
                raise
            return None

    until(answers, E1_SECONDS, "the predictor does not serve the model")


def measure(stage: Stage) -> Measured:
    """Ask about every held-out row; the answers count among the witness's."""
    data, found, manifests, degraded = stage.data, [], set(), False
    step = max(1, min(MOST_INPUTS, NUMBERS_PER_QUESTION // data.numbers_each))
    for start in range(0, len(data.held_out_answers), step):
        answer = stage.notes.ask(stage.client, stage.model, data.questions(start, start + step))
        manifests.add(int(answer["manifest"]["number"]))
        degraded |= bool(answer["degraded"])
        found += answer["predictions"]
    return Measured(score(data.task, found, data.held_out_answers), tuple(sorted(manifests)), degraded)


def forget(stage: Stage, witness: Witness, owner: str, *, number: int, epoch: float) -> Deletion:
    """Have one owner forgotten, and follow that until the model is whole again.

    Args:
        stage: the model.
        witness: asks the predictor all along.
        owner: the identity; sent to the service and shown nowhere.
        number: 1 for the demo's first deletion.
        epoch: when that began, in seconds of `time.perf_counter`.

    Raises:
        CommandFailed: the request or the repair does not end.
    """
    client, notes, before = stage.client, stage.notes, stage.notes.newest
    alive = client.get(f"/v1/models/{stage.model}")["nodes"]["live"]
    known = {"before": _recalled(stage, owner)}
    subject = {"identities": [{"identity_type": IDENTITY_TYPE, "identity_value": owner}]}
    with witness.hurrying():
        once = secrets.token_hex(8)
        began = time.perf_counter()
        receipt = client.post("/v1/deletion-requests", {"subject": subject, "regulation": "gdpr"}, idempotency_key=once)
        seen = notes.wait_above(before, seconds=E1_SECONDS)
    if seen is None:
        raise CommandFailed(f"the predictor still answers from manifest {before}, a minute after the request")
    at_e1 = measure(stage)
    known["at_e1"] = _recalled(stage, owner)
    request = _until_completed(stage, receipt["id"])
    version = _version_of(stage, receipt["id"], seen[0])
    kept = collect(client, stage.archive, request, deletion=number, guarantee=Guarantee.INFLUENCE_FREE)
    place = kept.claim.records[0]
    stage.archive.dead_since[version["number"]] = frozenset(node.key for node in kept.claim.switched_off)
    repaired = until(lambda: _equivalent(stage), REPAIR_SECONDS, "the model was not repaired in time")
    polled = time.perf_counter()
    until(lambda: whole(stage), REPAIR_SECONDS, "the lattice was not repaired in time")
    whole_seconds = time.perf_counter() - began
    # The witness saw to the millisecond when the repaired version answered, unless another replaced it at once.
    repair_seconds = notes.first_seen.get(_until_served(stage, repaired), polled) - began
    manifest = Manifest.from_json(version["manifest"]["content"])
    known["after_repair"] = _recalled(stage, owner)
    return Deletion(
        number=number,
        owner=receipt["subject_references"][0][:PREFIX],
        request=receipt["id"],
        records=receipt["records"],
        shard=place.shard,
        slice=place.slice,
        e1_milliseconds=round((notes.first_seen.get(version["number"], seen[1]) - began) * 1000, 2),
        e1_manifest=version["number"],
        nodes_switched_off=request["nodes_switched_off"],
        nodes_before=alive,
        nodes_alive=alive - request["nodes_switched_off"],
        active_share=sum(manifest.depths()) / (stage.recipe.shards * stage.recipe.slices),
        accuracy_at_e1=at_e1.accuracy,
        answered_by=at_e1.manifests,
        degraded=manifest.degraded,
        repair_seconds=round(repair_seconds, 2),
        whole_seconds=round(whole_seconds, 2),
        accuracy_after_repair=measure(stage).accuracy,
        began=round(began - epoch, 2),
        recalled=None if known["before"] is None else known,
    )


def _recalled(stage: Stage, owner: str) -> dict[str, Any] | None:
    return recalled(stage.client, stage.notes, stage.model, stage.data, owner)


def _until_completed(stage: Stage, request_id: str) -> dict[str, Any]:
    def completed() -> dict[str, Any] | None:
        request = stage.client.get(f"/v1/deletion-requests/{request_id}")
        if request["state"] in ("needs_attention", "denied", "cancelled", "pending_approval"):
            raise CommandFailed(f"request {request_id} is {request['state']} ({request['wait_reason']})")
        return request if request["state"] == "completed" else None

    return until(completed, E1_SECONDS, f"request {request_id} was not completed in time")


def _version_of(stage: Stage, request_id: str, number: int) -> dict[str, Any]:
    """Return the version that a request made: `number`, unless somebody else's deletion came in between."""
    for later in range(number, stage.notes.newest + 1):
        version = stage.client.get(f"/v1/models/{stage.model}/versions/{later}")
        if version["manifest"]["provenance"].get("request") == request_id:
            return version
    raise CommandFailed(f"no version says that it was made for request {request_id}")


def _equivalent(stage: Stage) -> int | None:
    """Return the number of the live version when it is retrain-equivalent; a job that ended badly never makes it so."""
    _refuse_failed(stage)
    serving = stage.client.get(f"/v1/models/{stage.model}")["serving"]
    return int(serving["number"]) if serving["guarantee"] == Guarantee.RETRAIN_EQUIVALENT else None


def _until_served(stage: Stage, number: int) -> int:
    until(lambda: stage.notes.newest >= number or None, E1_SECONDS, "the predictor does not follow")
    return number


def until(
    question: Callable[[], Answer | None], seconds: float, trouble: str, *, every: float = LOOK_SECONDS
) -> Answer:
    """Ask until there is an answer, and return it.

    Raises:
        CommandFailed: there is none in time; `trouble` is the sentence.
    """
    give_up = time.monotonic() + seconds
    while (answer := question()) is None:
        if time.monotonic() > give_up:
            raise CommandFailed(trouble)
        time.sleep(every)
    return answer
