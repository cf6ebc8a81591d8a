"""What each rival keeps, and what it does about a hit. Nothing is trained here; charges are in slice-epochs.

    published_s3t        all rotations of the slices; nothing until every shard is dead, then everything anew
    sisa_serve_prefix    one chain; what is left of it serves; everything anew when every shard is dead
    sisa_retrain         one chain; the tail after the hit is trained again, in the order of the hits, as the budget allows
    lethe                the subset trie; worst shard first, then the nodes that are worth most, as the budget allows

A node of depth k is charged k, its passes over slices counted once for however many epochs there are. Rotations are charged
one by one, as S3T trains them (arXiv:2406.16257), although equal sets are trained once here: the answers are the same kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.exact.world import World
from core.domain.manifest import NodeEntry
from core.domain.model import FamilyName
from core.lattice.cost import slice_epochs
from core.lattice.families import build_family
from core.lattice.placement import Place
from core.lattice.survival import served_nodes, switched_off
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.repair import canonical_nodes, missing_nodes, provisional_extension
from core.unlearning.exact.worth import worth_of_missing


class Lattice:
    """The live nodes of one rival, and what it was charged."""

    def __init__(self, world: World, family: FamilyName) -> None:
        self.world = world
        self.family = build_family(family, world.recipe.slices)
        self.live: dict[str, NodeEntry] = {}
        self.charged = 0.0
        self.build()

    @property
    def shards(self) -> range:
        return range(self.world.recipe.shards)

    @property
    def whole_cost(self) -> int:
        """Slice-epochs of a fresh build, equal sets once."""
        return len(self.shards) * slice_epochs(self.family.parents)

    def build(self) -> None:
        """Make every node of a fresh build live; what that costs is the caller's to say."""
        for shard in self.shards:
            self.put(canonical_nodes(self.family, self.world.ground(shard)))

    def put(self, specs: Iterable[NodeSpec]) -> None:
        """Make nodes live."""
        specs = list(specs)
        self.world.know(specs)
        self.live |= {spec.key: _entry(spec) for spec in specs}

    def hit(self, where: Place) -> None:
        """Switch off what saw the slice."""
        for node in switched_off(self.live.values(), [where]):
            del self.live[node.key]

    def of(self, shard: int) -> list[NodeEntry]:
        return [node for node in self.live.values() if node.shard == shard]

    @property
    def served(self) -> tuple[tuple[str, ...], ...]:
        """Per shard the nodes that answer."""
        return served_nodes(self.live.values(), len(self.shards))

    @property
    def depths(self) -> list[int]:
        return [max((self.live[key].depth for key in keys), default=0) for keys in self.served]

    @property
    def active_share(self) -> float:
        return sum(self.depths) / (len(self.shards) * self.family.slices)


@dataclass
class Rival:
    """A lattice, how its shards vote, and what is done after each hit with the credit that came with it."""

    name: str
    lattice: Lattice
    build_charge: float
    repair: Callable[[Place, float], None]
    by_depth: bool
    """Whether shards vote by depth and tied nodes are averaged, as Lethe does, or all alike with the first of them."""


def published_s3t(world: World) -> Rival:
    lattice = Lattice(world, FamilyName.CYCLIC)
    slices = world.recipe.slices
    sequences = len(lattice.shards) * slices * (slices * (slices + 1) // 2)
    return Rival("S3T as published", lattice, sequences, _restarting(lattice, sequences), by_depth=False)


def sisa_serve_prefix(world: World) -> Rival:
    lattice = Lattice(world, FamilyName.CHAIN)
    return Rival(
        "SISA, serve the prefix",
        lattice,
        lattice.whole_cost,
        _restarting(lattice, lattice.whole_cost),
        by_depth=False,
    )


def _restarting(lattice: Lattice, cost: float) -> Callable[[Place, float], None]:
    def repair(where: Place, budget: float) -> None:  # noqa: ARG001 - a restart is paid when it comes
        if not lattice.live:
            lattice.build()
            lattice.charged += cost

    return repair


def sisa_retrain(world: World) -> Rival:
    """SISA as it is meant: retrain from the hit slice on, here when the credit reaches; shards wait in the order of hits."""
    lattice = Lattice(world, FamilyName.CHAIN)
    queue: deque[int] = deque()
    purse = 0.0

    def repair(where: Place, budget: float) -> None:
        nonlocal purse
        purse = min(purse + budget, budget + lattice.whole_cost)
        if where.shard not in queue:
            queue.append(where.shard)
        while queue:
            tail = missing_nodes(lattice.family, world.ground(queue[0]), lattice.of(queue[0]))
            cost = sum(spec.depth for spec in tail)
            if cost > purse:
                return
            lattice.put(tail)
            purse -= cost
            lattice.charged += cost
            queue.popleft()

    return Rival("SISA, retrain the tail", lattice, lattice.whole_cost, repair, by_depth=False)


def lethe(world: World, name: str = "Lethe") -> Rival:
    """Our own order: one slice for the worst shard at a time, and spare nodes once no shard lacks depth (DESIGN §4.7)."""
    lattice = Lattice(world, FamilyName.SUBSET_TRIE)
    purse = 0.0

    def repair(where: Place, budget: float) -> None:  # noqa: ARG001 - whoever is worst comes first, hit now or before
        nonlocal purse
        purse = min(purse + budget, budget + lattice.whole_cost)
        while (spec := next_node(lattice)) is not None and spec.depth <= purse:
            lattice.put([spec])
            purse -= spec.depth
            lattice.charged += spec.depth

    return Rival(name, lattice, lattice.whole_cost, repair, by_depth=True)


def next_node(lattice: Lattice) -> NodeSpec | None:
    """Return what Lethe trains next; None when nothing is missing."""
    depths = lattice.depths
    worst = min(lattice.shards, key=lambda shard: depths[shard])
    if depths[worst] < lattice.family.slices:
        return provisional_extension(lattice.family, lattice.world.ground(worst), lattice.of(worst))[0]
    offers = [offer for shard in lattice.shards for offer in _spares(lattice, shard)]
    return max(offers, key=lambda offer: offer[0])[1] if offers else None


def _spares(lattice: Lattice, shard: int) -> list[tuple[float, NodeSpec]]:
    """Return the canonical nodes that could be trained now, with their worth."""
    live = lattice.of(shard)
    missing = missing_nodes(lattice.family, lattice.world.ground(shard), live)
    worth = worth_of_missing(lattice.family, [node.slices for node in live], [spec.slices for spec in missing])
    keys = {node.key for node in live} | {None}
    return [(worth[spec.slices], spec) for spec in missing if spec.parent_key in keys]


def _entry(spec: NodeSpec) -> NodeEntry:
    return NodeEntry(
        key=spec.key,
        shard=spec.shard,
        slices=spec.slices,
        slice_roots=spec.slice_roots,
        parent=spec.parent_key,
        canonical=spec.canonical,
        data_digest="",  # known once it is trained, and asked for by nobody here
        tensor_digest="",
    )
