"""A small world to delete from: 4 x 4 images of three classes, owners with a few rows each, a tiny backbone.

`drain` does in this process what workers do: claim, deactivate, conclude, train, look after.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.datasets.schema import ImageSchema
from core.domain.access import Caller, Scope
from core.domain.deletion import CopiesPolicy
from core.domain.job import Lane
from core.domain.model import BackboneRecipe, FamilyName, NodeRecipe, Recipe
from core.persistence import jobs
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.answer_once import OnceKey
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.look_after import certify_repaired, resume_repairs
from core.use_cases.read_models import read_model, read_version
from core.use_cases.read_requests import read_request
from core.use_cases.register_dataset import register_dataset
from core.use_cases.register_model import ModelOrder, register_model
from core.use_cases.resolve_subjects import DeletionOrder, Identity, RecordSubject
from core.use_cases.run_computation import run_computation
from core.use_cases.workbench import Workbench

ADMIN = Caller(tenant_id=DEFAULT_TENANT, key_id="ak_test", scopes=frozenset(Scope))
OTHER = Caller(tenant_id=DEFAULT_TENANT, key_id="ak_other", scopes=frozenset(Scope))
SCHEMA = ImageSchema(image_shape=(4, 4), labels=("a", "b", "c"), owner_identity_type="email", public_column="public")
PLACEMENT_KEY = bytes(range(32))
TENANT_KEY = bytes([4]) * 32
"""With both keys fixed, everybody's place is: each slice of `make_recipe` has at least three owners, in every run."""
OWNERS = 24
ROWS_EACH = 2
PUBLIC = 12
NOTHING = OnceKey(route="test", key=None, body=b"")


def settle(doors: Doors) -> None:
    """Give the default tenant its fixed key, before `prepare_service` would make up one."""
    doors.keys.put(f"tenant_{DEFAULT_TENANT}", TENANT_KEY)


def address(owner: int) -> str:
    return f"person-{owner}@example.org"


def columns(*, without: Sequence[int] = (), public_owner: str = "", owners: int = OWNERS) -> dict[str, np.ndarray]:
    """Return the columns of the world's rows, leaving out some owners as if they had never been there."""
    rows: list[tuple[str, str, int, bool]] = [(f"public-{n}", public_owner, n, True) for n in range(PUBLIC)]
    rows += [
        (f"row-{owner}-{n}", address(owner), 1000 + 100 * owner + n, False)
        for owner in range(owners)
        if owner not in without
        for n in range(ROWS_EACH)
    ]
    labels = np.array([seed % 3 for _, _, seed, _ in rows])
    images = np.stack([image(seed) for _, _, seed, _ in rows])
    return {
        "images": images,
        "labels": np.array(SCHEMA.labels)[labels],
        "owners": np.array([owner for _, owner, _, _ in rows]),
        "record_ids": np.array([record for record, _, _, _ in rows]),
        "public": np.array([public for _, _, _, public in rows]),
    }


def image(seed: int) -> np.ndarray:
    """Return a dim image whose class is the row that is bright."""
    picture = np.random.default_rng(seed).integers(0, 120, (4, 4), dtype=np.uint8)
    picture[seed % 3] += 120
    return picture


def packed(rows: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **dict(rows))  # type: ignore[arg-type]
    return buffer.getvalue()


def add_dataset(doors: Doors, name: str = "pictures", **rows: Any) -> dict[str, Any]:
    files = {"file": packed(columns(**rows))}
    return register_dataset(name, SCHEMA, files, caller=ADMIN, once=NOTHING, doors=doors).body


def make_recipe(family: FamilyName = FamilyName.SUBSET_TRIE, *, shards: int = 2, slices: int = 3) -> Recipe:
    backbone = BackboneRecipe(width=8, layers=3, heads=2, patch=2, epochs=1, batch_size=8)
    return Recipe(
        shards=shards,
        slices=slices,
        family=family,
        backbone=backbone,
        node=NodeRecipe(rank=2, alpha=4.0, epochs=1, batch_size=4),
    )


def add_model(doors: Doors, name: str = "classifier", dataset: str = "pictures", **order: Any) -> str:
    """Register a model, with training left to `drain`; return its id."""
    order.setdefault("recipe", make_recipe())
    order.setdefault("placement_key", PLACEMENT_KEY)
    answer = register_model(ModelOrder(name=name, dataset=dataset, **order), caller=ADMIN, once=NOTHING, doors=doors)
    return str(answer.body["id"])


def built(doors: Doors, **order: Any) -> str:
    """Return the id of a model that serves its first version."""
    add_dataset(doors)
    model = add_model(doors, **order)
    drain(doors)
    return model


def ask(doors: Doors, *owners: int, caller: Caller = ADMIN, key: str | None = None, **order: Any) -> dict[str, Any]:
    """Post a deletion request about owners, or about what `records` says; return the receipt."""
    identities = tuple(Identity("email", address(owner)) for owner in owners)
    once = OnceKey(route="POST /v1/deletion-requests", key=key, body=repr((owners, order)).encode())
    return accept_deletion(DeletionOrder(identities=identities, **order), caller=caller, once=once, doors=doors).body


def ask_records(doors: Doors, *record_ids: str, copies: CopiesPolicy = CopiesPolicy.REPORT) -> dict[str, Any]:
    order = DeletionOrder(records=(RecordSubject("pictures", record_ids),), copies=copies)
    return accept_deletion(order, caller=ADMIN, once=NOTHING, doors=doors).body


def deactivate(doors: Doors) -> int:
    """Run the deactivate lane until it is empty; return how many claims that took."""
    for done in range(1000):
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="test", lease=60)
        if job is None:
            return done
        if job.state == "running":
            deactivate_slices(job, doors=doors)
        conclude_deletion(job, doors=doors)
    raise AssertionError("the deactivate lane never empties")


def compute(doors: Doors) -> int:
    """Run the compute lane until it is empty; return how many jobs that took."""
    bench = Workbench()
    for done in range(1000):
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
        if job is None:
            return done
        run_computation(job.id, job.fence, doors=doors, bench=bench)
    raise AssertionError("the compute lane never empties")


def drain(doors: Doors) -> None:
    """Do everything there is to do, without the pauses that workers make."""
    for _ in range(20):
        with doors.database.transaction() as session:
            session.execute(jobs.jobs.update().values(run_after=jobs.soon(-1)))
        if not deactivate(doors) + compute(doors) + resume_repairs(doors):
            break
    certify_repaired(doors, "test")


def serving(doors: Doors, model: str) -> dict[str, Any]:
    return read_version(model, "serving", caller=ADMIN, doors=doors)


def model_of(doors: Doors, model: str) -> dict[str, Any]:
    return read_model(model, caller=ADMIN, doors=doors)


def request_of(doors: Doors, request: str) -> dict[str, Any]:
    return read_request(request, caller=ADMIN, doors=doors)
