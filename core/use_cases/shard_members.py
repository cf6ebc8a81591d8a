"""Who is where in a model now: the members of every slice, and the sorted Merkle tree that commits to them. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.sorted_tree import SortedTree
from core.domain.model import Recipe
from core.lattice.placement import Place, place
from core.persistence import models
from core.use_cases.doors import Doors

Leaves = Mapping[Place, list[bytes]]
"""Per slice the 64-byte leaves record ‖ content, in the order of their record references."""


def slice_leaves(session: Connection, doors: Doors, model: Row[Any]) -> tuple[Leaves, dict[bytes, Place]]:
    """Return each slice's leaves and each owner's place, for everything the model may learn from now."""
    recipe = Recipe.from_json(model.recipe)
    key = doors.keys.get(model.placement_key_id)
    places: dict[bytes, Place] = {}
    leaves: dict[Place, list[bytes]] = {
        Place(shard, number): [] for shard in range(recipe.shards) for number in range(recipe.slices)
    }
    for row in models.members(session, model):
        owner = bytes(row.owner)
        if owner not in places:
            places[owner] = place(key, owner, shards=recipe.shards, slices=recipe.slices)
        leaves[places[owner]].append(bytes(row.record) + bytes(row.content))
    return leaves, places


class SliceTrees:
    """The Merkle trees over a model's slices as they were at one moment, each built when it is first asked for.

    Reading a model's members takes long. Whoever proves several things from them reads them once and before it takes
    locks; that they are still right shows when a tree's commitment is the one that a manifest names.
    """

    def __init__(self, leaves: Leaves) -> None:
        """Keep the leaves of every slice."""
        self._leaves = leaves
        self._trees: dict[Place, SortedTree] = {}

    @classmethod
    def read(cls, session: Connection, doors: Doors, model: Row[Any]) -> SliceTrees:
        """Read who is where now."""
        return cls(slice_leaves(session, doors, model)[0])

    def at(self, where: Place) -> SortedTree:
        """Return the tree of one slice."""
        if where not in self._trees:
            self._trees[where] = SortedTree.of(self._leaves[where])
        return self._trees[where]
