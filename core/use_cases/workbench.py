"""What a training process keeps on its desk between jobs of one shard, so that the next node starts at once.

In memory only, for one shard at a time, and only while no deletion touched the shard: `plan` looks before every job,
and clears the desk when an epoch was raised or the backbone is another. Nothing is opened before somebody trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.use_cases.doors import Doors
from core.use_cases.shard_plan import ShardPlan, read_plan

if TYPE_CHECKING:
    from core.unlearning.exact.activations import SliceActivations
    from core.unlearning.exact.nodes import NodeTensors
    from core.unlearning.exact.training import TrainedNode


class Workbench:
    """Opened rows, activations, backbone and nodes' tensors of one shard."""

    def __init__(self) -> None:
        self._plan: ShardPlan | None = None
        self._activations: SliceActivations | None = None
        self._tensors: dict[str, NodeTensors] = {}
        self._ahead: dict[str, TrainedNode] = {}

    def clear(self) -> None:
        """Put everything away: rows must not stay open longer than they are needed."""
        self._plan, self._activations, self._tensors, self._ahead = None, None, {}, {}

    def plan(self, doors: Doors, model_id: str, shard: int) -> ShardPlan:
        """Return the shard as it is now; what was opened stays open only if no deletion touched the shard since.

        Raises:
            NoBackboneYet: it is still being built.
        """
        with doors.database.transaction() as session:
            kept = self._plan
            if kept is not None and (kept.model.id, kept.shard) == (model_id, shard):
                fresh = kept.refreshed(session)
                if fresh is not None:
                    self._plan = fresh
                    return fresh
            self.clear()
            self._plan = read_plan(session, doors, model_id, shard)
            return self._plan

    def activations(self, doors: Doors, plan: ShardPlan) -> SliceActivations:
        """Return the shard's slices seen through its backbone, opening its rows at the first call.

        Raises:
            KeyDestroyed: rows were erased since the plan was read.
        """
        from core.use_cases.open_shard import open_activations

        if self._activations is None:
            self._activations = open_activations(doors, plan)
        return self._activations

    def chain(self, doors: Doors, plan: ShardPlan, key: str | None) -> Sequence[NodeTensors]:
        """Return the tensors of a live node's ancestors and its own, from depth 1 downwards.

        Raises:
            KeyDestroyed, ObjectMissing: one of them died since the plan was read.
        """
        from core.modelling.tensors import from_bytes

        live = {row.key: row for row in plan.live}
        chain: list[NodeTensors] = []
        while key is not None:
            row = live[key]
            if key not in self._tensors:
                self._tensors[key] = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
            chain.append(self._tensors[key])
            key = row.parent
        return chain[::-1]

    def keep(self, key: str, tensors: NodeTensors) -> None:
        """Remember a node that was just committed: its children come next."""
        self._tensors[key] = tensors

    def lay(self, key: str, node: TrainedNode) -> None:
        """Put a node ready that was trained beside another one, for its own job."""
        self._ahead[key] = node

    def take(self, key: str) -> TrainedNode | None:
        """Return a node that was put ready, once; None where there is none."""
        return self._ahead.pop(key, None)
