"""Let a model learn from a later version of its data set. Nobody moves; what has grown is built anew in the background.

    new members ─▶ their places ─▶ grown slices' epochs +1 ─▶ nodes over them provisional ─▶ a version that says so ─▶ plans

Nodes that learned a grown slice hold nobody who was deleted, so they go on answering (E1), but a fresh build would not
have them: they are not canonical any more, and repair builds those that are. A training that raced this is discarded by
the same epochs that fence it off from deletions. No torch.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.errors import DatasetNotFound, DatasetVersionNotFound, Impossible, ModelNotFound, WrongMode
from core.domain.model import Recipe
from core.lattice.placement import place
from core.persistence import datasets, models, nodes, versions
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.ingest_lock import share_ingest_lock
from core.use_cases.publish_version import publish_version
from core.use_cases.read_models import describe_model
from core.use_cases.register_model import count_occupancy, describe_occupancy
from core.use_cases.shard_jobs import add_shard_job, wants_training


def advance_model(
    model: str, *, caller: Caller, once: OnceKey, doors: Doors, dataset_version: int | None = None
) -> Answer:
    """Let a model learn from a version of its data set, the newest unless said, and answer with the model.

    Args:
        model: id or name.
        caller: whoever asks.
        once: makes a repeat safe.
        doors: the outside.
        dataset_version: its number.

    Raises:
        ModelNotFound, DatasetVersionNotFound: there is none such.
        Impossible: the model learns from a later one already.
    """
    caller.require(Scope.MODELS_WRITE)

    def advance(session: Connection) -> Answer:
        share_ingest_lock(session, caller.tenant_id)
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        if found.mode != Mode.EXACT:
            raise WrongMode("a checkpoint learns nothing here; register the one that was trained on the later version")
        dataset = datasets.find_dataset(session, caller.tenant_id, found.dataset_id)
        if dataset is None:
            raise DatasetNotFound
        wanted = dataset.version if dataset_version is None else dataset_version
        if not 1 <= wanted <= dataset.version:
            raise DatasetVersionNotFound
        # Counts everybody, so before the lock that deletions wait for.
        recipe, key = Recipe.from_json(found.recipe), doors.keys.get(found.placement_key_id)
        seats = describe_occupancy(count_occupancy(session, dataset.id, wanted, recipe, key))
        held = models.lock_model(session, found.id)
        if wanted < held.dataset_version:
            raise Impossible("a model never goes back to an earlier version: whoever is to leave it is deleted")
        if wanted > held.dataset_version:
            _advance(session, doors, held, wanted, seats)
        return Answer(status=202, body=describe_model(session, models.get_model(session, held.id)))

    return answer_once(doors, caller, once, advance)


def _advance(session: Connection, doors: Doors, model: Row[Any], wanted: int, seats: dict[str, Any]) -> None:
    grown = _grown_slices(session, doors, model, wanted)
    # First, as a deletion does: whoever trains on these slices finds out before it commits.
    models.raise_epochs(session, model.id, ((shard, number) for shard, numbers in grown.items() for number in numbers))
    outgrown = sum(nodes.outgrow(session, model.id, shard, numbers) for shard, numbers in sorted(grown.items()))
    models.advance(session, model, version=wanted, occupancy=seats, outgrown=outgrown)
    present = models.get_model(session, model.id)
    if wants_training(doors, present):
        for shard in sorted(grown):
            add_shard_job(session, doors, present, shard)
    if versions.live_version(session, model.id) is not None:
        publish_version(session, present, provenance={"reason": "growth", "request": None, "job": "", "fence": None})


def _grown_slices(session: Connection, doors: Doors, model: Row[Any], wanted: int) -> dict[int, set[int]]:
    """Return, per shard, the slices that somebody's new records belong to."""
    recipe, key = Recipe.from_json(model.recipe), doors.keys.get(model.placement_key_id)
    owners = {bytes(row.owner) for row in models.newcomers(session, model, wanted)}
    grown: defaultdict[int, set[int]] = defaultdict(set)
    for owner in owners:
        where = place(key, owner, shards=recipe.shards, slices=recipe.slices)
        grown[where.shard].add(where.slice)
    return dict(grown)
