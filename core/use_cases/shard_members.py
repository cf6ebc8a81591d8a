"""Who is where in a model now: the members of every slice, and the sorted Merkle tree that commits to them. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.sorted_tree import SortedTree
from core.domain.model import Recipe
from core.lattice.placement import Place, place
from core.persistence import models
from core.use_cases.doors import Doors

Leaves = Mapping[Place, list[bytes]]
"""Per slice the 64-byte leaves record ‖ content, in the order of their record references."""


def slice_leaves(
    session: Connection, doors: Doors, model: Row[Any], *, version: int | None = None
) -> tuple[Leaves, dict[bytes, Place]]:
    """Return each slice's leaves and each owner's place, for everything the model may learn from now.

    Args:
        session: a transaction.
        doors: the outside.
        model: the model's row.
        version: of the data set; None: the one that the model learns from.
    """
    return _placed(doors, model, models.members(session, model, version=version))


def _placed(doors: Doors, model: Row[Any], members: Iterable[Row[Any]]) -> tuple[Leaves, dict[bytes, Place]]:
    recipe = Recipe.from_json(model.recipe)
    key = doors.keys.get(model.placement_key_id)
    places: dict[bytes, Place] = {}
    leaves: dict[Place, list[bytes]] = {
        Place(shard, number): [] for shard in range(recipe.shards) for number in range(recipe.slices)
    }
    for row in members:
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

    def __init__(self, leaves: Leaves, came_with: Mapping[bytes, int]) -> None:
        """Keep the leaves of every slice, and with which version of the data set a record came, if not with the first."""
        self._leaves = leaves
        self._came_with = came_with
        self._trees: dict[tuple[Place, int], SortedTree] = {}

    @classmethod
    def read(cls, session: Connection, doors: Doors, model: Row[Any]) -> SliceTrees:
        """Read who is where now."""
        members = models.members(session, model)
        younger = {bytes(row.record): int(row.version) for row in members if row.version > 1}
        return cls(_placed(doors, model, members)[0], younger)

    def at(self, where: Place, version: int) -> SortedTree:
        """Return the tree of one slice as of a version of the data set, after all deletions."""
        if (where, version) not in self._trees:
            leaves = [leaf for leaf in self._leaves[where] if self._came_with.get(leaf[:32], 1) <= version]
            self._trees[where, version] = SortedTree.of(leaves)
        return self._trees[where, version]
