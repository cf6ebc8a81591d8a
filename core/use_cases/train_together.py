"""Train a node, on a GPU together with the nodes of its depth whose jobs wait; those find theirs on the bench. Loads torch.

    job of one node ─▶ it and its waiting companions, stacked, in one pass ─▶ its own is committed
                                                                └─▶ bench ─▶ their jobs, one after the other, commit

Every node is still a job of its own, with its own fence and its own look at the slices' epochs. What lies on the bench goes
with it when a deletion touched the shard; what another worker trained meanwhile is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

from core.datasets.contract import Kind
from core.persistence import job_questions
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.stacked import train_nodes
from core.unlearning.exact.training import TrainedNode, train_node
from core.use_cases.doors import Doors
from core.use_cases.shard_plan import ShardPlan
from core.use_cases.workbench import Workbench


def train_together(
    doors: Doors, bench: Workbench, plan: ShardPlan, spec: NodeSpec, *, progress: Callable[[int], None]
) -> TrainedNode:
    """Return the node, trained now or a moment ago.

    Raises:
        KeyDestroyed, ObjectMissing: rows or parents died since the plan was read.
    """
    found = bench.take(spec.key)
    if found is not None:
        return found
    activations = bench.activations(doors, plan)
    parents = bench.chain(doors, plan, spec.parent_key)
    # The stacked pass knows nodes with a head, and factors on query and value.
    alone = plan.recipe.ridge is not None or plan.schema.kind is Kind.LANGUAGE
    companions = _companions(doors, plan, spec) if stacks(doors) and not alone else []
    if not companions:
        return train_node(spec, activations=activations, parents=parents, recipe=plan.recipe, progress=progress)
    specs = [spec, *companions]
    lines = [parents, *(bench.chain(doors, plan, one.parent_key) for one in companions)]
    trained = train_nodes(specs, activations=activations, parents=lines, recipe=plan.recipe, progress=progress)
    for one, node in zip(companions, trained[1:], strict=True):
        bench.lay(one.key, node)
    return trained[0]


def stacks(doors: Doors) -> bool:
    """Whether nodes are trained in one pass: on a GPU. On a CPU one by one is canonical, bit for bit."""
    return doors.settings.trainer_device == "cuda"


def _companions(doors: Doors, plan: ShardPlan, spec: NodeSpec) -> list[NodeSpec]:
    """Return nodes of the same depth whose parents live and whose jobs wait: a budget has paid for those."""
    live = {row.key for row in plan.live} | {None}
    first, rest = plan.steps()
    ready = [one for one in first + rest if one.depth == spec.depth and one.parent_key in live and one.key != spec.key]
    names = {f"{plan.model.id}/{plan.shard}/{one.key}": one for one in ready}
    with doors.database.transaction() as session:
        asked = job_questions.open_subjects(session, names)
    return [one for name, one in names.items() if name in asked][: doors.settings.stacked_nodes - 1]
