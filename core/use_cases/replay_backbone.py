"""Prove a backbone by replay: make it again from the public rows of now, and compare the tensors. Loads torch.

    public rows of now ─▶ the key they give ─▶ is it the backbone's own? ─▶ train again ─▶ against the stored tensors

A public row that was erased since, or an encoder's directory that is no longer there, leaves nothing to train from, and
another environment nothing to compare with: then only the stored tensors are held against the manifest, and the
answer says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from core.datasets.schema import schema_from_json
from core.domain.errors import Impossible, KeyDestroyed, NoPublicPart, ObjectMissing, SealBroken
from core.domain.model import Recipe
from core.persistence import datasets
from core.use_cases.build_model import present_backbone_key
from core.use_cases.doors import Doors
from core.use_cases.read_rows import read_rows
from core.use_cases.register_model import backbone_seed

if TYPE_CHECKING:
    from core.modelling.tensors import NamedTensors

TOLERANCE = 5e-3
"""Largest distance between a tensor and its replay in another environment, relative to the tensor's norm. Measured: 1.4e-4
between two instruction sets of one processor, in the smallest of a tiny node's factors."""
MADE_ELSEWHERE = "it was made in another environment, and its many steps carry rounding too far for a comparison"
"""Measured between two instruction sets of one processor: 2.5 times a tensor's norm, where a node is 5e-7 away."""
ROWS_CHANGED = "public rows were erased since, so what it learned from is gone"


@dataclass(frozen=True)
class ReplayedBackbone:
    """The backbone, made again where that is possible."""

    trained_again: bool
    why_not: str | None
    """A sentence, where it could not be made again."""
    differs: tuple[str, ...]
    """Which parts of the environment are not those it was made in."""
    largest_difference: float | None
    """Of any tensor from the stored one, relative to its norm; None where nothing could be compared."""
    same: bool
    """Equal bit for bit."""

    @property
    def flawed(self) -> bool:
        return self.trained_again and not self.same


def replay_backbone(doors: Doors, model: Row[Any], backbone: Row[Any], stored: NamedTensors) -> ReplayedBackbone:
    """Make a model's backbone again and say whether it is the stored one. The caller pins the arithmetic."""
    from core.modelling.tensors import tensor_digest
    from core.use_cases.make_backbone import make_backbone

    differs = differing([backbone.training.get("environment")])

    def not_made(why: str) -> ReplayedBackbone:
        return ReplayedBackbone(trained_again=False, why_not=why, differs=differs, largest_difference=None, same=False)

    if differs:
        return not_made(MADE_ELSEWHERE)
    with doors.database.transaction() as session:
        try:
            key = present_backbone_key(session, model)
        except NoPublicPart as error:
            return not_made(str(error))
        blocks = datasets.live_blocks(session, model.dataset_id, public=True, version=1)
        dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    if key != backbone.key or dataset is None:
        return not_made(ROWS_CHANGED)
    schema = schema_from_json(dataset.schema)
    try:
        rows = read_rows(doors, blocks, schema=schema)
        recipe = Recipe.from_json(model.recipe).backbone
        again = make_backbone(
            rows, schema, recipe, seed=backbone_seed(key), settings=doors.settings, progress=lambda _: None
        )
    except KeyDestroyed:
        return not_made(ROWS_CHANGED)
    except Impossible as error:  # an encoder's directory that went away or changed
        return not_made(str(error))
    return ReplayedBackbone(
        trained_again=True,
        why_not=None,
        differs=(),
        largest_difference=distance_between(stored, again),
        same=tensor_digest(again) == tensor_digest(stored),
    )


def differing(places: Iterable[Mapping[str, Any] | None], device: str = "cpu") -> tuple[str, ...]:
    """Return which parts of this environment, on a device, differ from any of those; `unrecorded` for one nobody wrote down."""
    from core.modelling.determinism import device_of, environment

    here = environment(device_of(device))
    found: set[str] = set()
    for place in places:
        if place is None:
            found.add("unrecorded")
        else:
            found |= {part for part in {*here, *place} if place.get(part) != here.get(part)}
    return tuple(sorted(found))


def opened(doors: Doors, row: Row[Any]) -> NamedTensors | None:
    """Return the stored tensors of a node or a backbone, or None where they are gone or do not open."""
    from core.modelling.tensors import from_bytes

    try:
        return from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
    except (KeyDestroyed, ObjectMissing, SealBroken):
        return None


def distance_between(left: NamedTensors, right: NamedTensors) -> float | None:
    """Return the largest distance of any two tensors of one name, relative to the left one's norm; None: other shapes."""
    if {name: tensor.shape for name, tensor in left.items()} != {name: tensor.shape for name, tensor in right.items()}:
        return None
    return max(
        float((tensor.double() - right[name].double()).norm()) / max(float(tensor.double().norm()), 1e-12)
        for name, tensor in left.items()
    )
