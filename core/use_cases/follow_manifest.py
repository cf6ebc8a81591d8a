"""Follow the live manifests: build what they say, swap it in whole, and confirm in the database what is served.

Loads torch; used by the predictor only. Tensors of every live node are opened ahead of time, served or not, so that a
deletion, which can only choose among them, never waits for the store.

A confirmation is a lease on answering from one version of a model or a newer one, and it is given only while that
version is the live one: the alias is held still meanwhile. So a deletion that saw no lease on an older version can rely
on it that none will come; and where the live version cannot be built (its keys died, the store is silent), nothing is
confirmed, and what was served before it ends with its lease.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from core.datasets.kinds import Arrays
from core.datasets.schema import Schema, schema_from_json
from core.domain.errors import KeyDestroyed, ObjectMissing
from core.domain.manifest import Manifest
from core.domain.model import Recipe
from core.persistence import datasets, models, nodes, versions
from core.persistence.database import VERSIONS_CHANNEL, Listener
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import refuse_restored
from core.use_cases.serve_checkpoint import ServedCheckpoint, open_served

if TYPE_CHECKING:
    from core.modelling.backbone import Backbone
    from core.modelling.ensemble import Ensemble, NodeChain
    from core.modelling.ridge import RidgeHead
    from core.modelling.tensors import NamedTensors

log = structlog.get_logger()
SWITCH_SECONDS = 0.0005
RESTORE_SECONDS = 5.0
"""How often it looks whether the database was put back to an older state."""
LEASE_SHARE = 0.8
"""How much of its lease a predictor uses, so that its clock need not agree with the database's to the second."""


@dataclass(frozen=True)
class ServedModel:
    """One version, ready to answer; never changed, only replaced."""

    tenant_id: str
    model_id: str
    name: str
    version_id: str
    number: int
    manifest_digest: str
    schema: Schema
    ensemble: Ensemble | RidgeHead

    @property
    def degraded(self) -> bool:
        """Whether every shard is dead, so that the public model answers."""
        return self.ensemble.degraded

    def answers(self, questions: Arrays) -> list[dict[str, Any]]:
        """Return for n questions, as `core.datasets.kinds` reads them, what the model says to each."""
        from core.use_cases.modalities import answer_questions

        return answer_questions(self.schema, self.ensemble, questions)


@dataclass(frozen=True)
class KnownModel:
    """What never changes about a model while it is served."""

    schema: Schema
    recipe: Recipe
    backbone: Backbone

    def opened(self, content: bytes) -> NamedTensors:
        """Return of a node's bytes what answering needs."""
        from core.modelling.ridge import sums_of
        from core.modelling.tensors import from_bytes

        tensors = from_bytes(content)
        return tensors if self.recipe.ridge is None else sums_of(tensors, self.backbone)

    def assembled(self, shards: Sequence[Sequence[NodeChain]]) -> Ensemble | RidgeHead:
        """Return what answers, per shard the chains that it serves."""
        from core.modelling.ensemble import Ensemble
        from core.modelling.ridge import RidgeHead

        if self.recipe.ridge is None:
            return Ensemble.build(self.backbone, shards, self.recipe.node)
        return RidgeHead.build(self.backbone, [chain[0] for chains in shards for chain in chains], self.recipe.ridge)


class Follower:
    """Keeps what is served in step with the database, from a thread of its own."""

    def __init__(self, doors: Doors, predictor_id: str, settle: Callable[[], None] = lambda: None) -> None:
        """Prepare to follow.

        Args:
            doors: the outside.
            predictor_id: under which name to confirm.
            settle: waits until every answer that was checked before a swap has left; called before the confirmation.
        """
        self.doors = doors
        self.predictor_id = predictor_id
        self.settle = settle
        self._served: dict[str, ServedModel | ServedCheckpoint] = {}
        self._known: dict[str, KnownModel] = {}
        self._tensors: dict[str, dict[str, NamedTensors]] = {}
        self._confirmed: dict[str, float] = {}
        self._asked = 0.0
        self._looked = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and say that this predictor serves nothing any more."""
        self._stopping.set()
        self._thread.join(timeout=5)
        self._served = {}
        try:
            with self.doors.database.transaction() as session:
                versions.leave_serving(session, self.predictor_id)
        except DBAPIError as error:
            # Nobody hears it; whoever waits for this predictor waits until its lease ends.
            log.warning("predictor.left_unheard", kind=type(error).__name__)

    def find(self, tenant_id: str, model: str) -> ServedModel | ServedCheckpoint | None:
        """Return what serves a model, by id or name; what was never confirmed yet does not serve."""
        for served in self._served.values():
            named = served.tenant_id == tenant_id and model in (served.model_id, served.name)
            if named and served.model_id in self._confirmed:
                return served
        return None

    def models(self) -> Iterable[ServedModel | ServedCheckpoint]:
        return list(self._served.values())

    def confirmed_lately(self) -> bool:
        """Whether the database told lately what is live, by this machine's own clock."""
        return self._holds(self._asked)

    def may_answer(self, served: ServedModel | ServedCheckpoint) -> bool:
        """Whether a lease on answering for the model still holds; one on an older version holds for a newer one."""
        return self._holds(self._confirmed.get(served.model_id, 0.0))

    def is_current(self, served: ServedModel | ServedCheckpoint) -> bool:
        """Whether no newer version was swapped in."""
        return self._served.get(served.model_id) is served

    def _holds(self, asked: float) -> bool:
        return asked > 0 and time.monotonic() - asked < self.doors.settings.serving_lease_seconds * LEASE_SHARE

    def _follow(self) -> None:
        from core.modelling.determinism import pinned

        pinned(self.doors.settings.trainer_threads)
        # Answering threads compute all the time; without this, each reply of the database waits 5 ms for its turn.
        sys.setswitchinterval(SWITCH_SECONDS)
        ears: Listener | None = None
        while not self._stopping.is_set():
            try:
                ears = ears or self.doors.database.listen(VERSIONS_CHANNEL)
                self._look_for_restore()
                self.catch_up()
                self._open_ahead()
                ears.wait(min(1.0, self.doors.settings.serving_lease_seconds / 5))
            except Exception as error:  # noqa: BLE001 - serving outlives a lost database for as long as its lease holds
                log.error("predictor.trouble", kind=type(error).__name__)
                _closed(ears)
                ears = None
                self._stopping.wait(0.2)
        _closed(ears)

    def _look_for_restore(self) -> None:
        """Stop following, and so soon answering, a database that was put back to before somebody was deleted.

        Raises:
            LogForked: it was, and the erasure ledger was not replayed into it yet.
        """
        if time.monotonic() - self._looked > RESTORE_SECONDS:
            with self.doors.database.transaction() as session:
                refuse_restored(session, self.doors)
            self._looked = time.monotonic()

    def catch_up(self) -> None:
        """Swap in every version that went live, and confirm what is served now."""
        asked = time.monotonic()  # a lease counts from before the question, never from after the answer
        with self.doors.database.transaction() as session:
            live = {row.model_id: row for row in versions.served_versions(session)}
        swapped = [self._try_swap(row) for row in live.values() if not self._serves(row)]
        if any(swapped):
            self.settle()
        for served in sorted(self._served.values(), key=lambda one: one.model_id):
            row = live.get(served.model_id)
            if row is not None and self._serves(row):
                self._confirm(served, asked)
        self._asked = asked

    def _serves(self, row: Row[Any]) -> bool:
        served = self._served.get(row.model_id)
        return served is not None and served.version_id == row.id

    def _confirm(self, served: ServedModel | ServedCheckpoint, asked: float) -> None:
        with self.doors.database.transaction() as session:
            if not versions.holds_still(session, served.model_id, served.version_id):
                return  # a newer version went live just now; its bell is ringing
            versions.confirm_serving(
                session,
                tenant_id=served.tenant_id,
                model_id=served.model_id,
                predictor_id=self.predictor_id,
                version_number=served.number,
                lease_seconds=self.doors.settings.serving_lease_seconds,
            )
        self._confirmed[served.model_id] = asked

    def _try_swap(self, row: Row[Any]) -> bool:
        try:
            return self._swap(row)
        except (KeyDestroyed, ObjectMissing):
            # A deletion is ahead of this version; the one that follows it is about to be announced.
            log.info("predictor.overtaken", model=row.model_id)
        except Exception as error:  # noqa: BLE001 - one model that cannot be served must not silence the others
            log.error("predictor.cannot_serve", model=row.model_id, version=row.id, kind=type(error).__name__)
        return False

    def _swap(self, row: Row[Any]) -> bool:
        checkpoint = open_served(self.doors, row)
        if checkpoint is not None:
            self._served = self._served | {row.model_id: checkpoint}
            log.info("predictor.swapped", model=row.model_id, version=row.id, degraded=False)
            return True
        known = self._known.get(row.model_id) or self._get_to_know(row.model_id)
        opened = self._tensors.setdefault(row.model_id, {})
        with self.doors.database.transaction() as session:
            version = versions.find_version(session, row.model_id, row.id)
            if known is None or version is None:
                return False
            manifest = Manifest.from_json(version.manifest)
            unknown = [node.key for node in manifest.nodes if node.key not in opened]
            rows = nodes.nodes_by_key(session, row.model_id, unknown) if unknown else {}
        for key in unknown:
            self._open(row.model_id, rows[key])
        parents = {node.key: node.parent for node in manifest.nodes}
        chains = [[[opened[link] for link in _lineage(key, parents)] for key in keys] for keys in manifest.served]
        ensemble = known.assembled(chains)
        self._served = self._served | {
            row.model_id: ServedModel(
                tenant_id=row.tenant_id,
                model_id=row.model_id,
                name=row.name,
                version_id=version.id,
                number=version.number,
                manifest_digest=version.manifest_digest,
                schema=known.schema,
                ensemble=ensemble,
            )
        }
        log.info("predictor.swapped", model=row.model_id, version=version.id, degraded=ensemble.degraded)
        return True

    def _get_to_know(self, model_id: str) -> KnownModel | None:
        """Read what never changes about a model while it is served, so that no swap waits for it again."""
        from core.use_cases.open_shard import open_backbone

        with self.doors.database.transaction() as session:
            model = models.get_model(session, model_id)
            dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
        if dataset is None:
            return None
        schema, recipe = schema_from_json(dataset.schema), Recipe.from_json(model.recipe)
        self._known[model_id] = KnownModel(schema, recipe, open_backbone(self.doors, model, recipe, schema))
        return self._known[model_id]

    def _open(self, model_id: str, row: Row[Any]) -> None:
        opened = self._tensors.setdefault(model_id, {})
        if row.key not in opened:
            opened[row.key] = self._known[model_id].opened(self.doors.get_sealed(row.data_key_id, row.object_digest))

    def _open_ahead(self) -> None:
        """Open live nodes that are not served yet; forget the tensors of dead ones."""
        for model_id in list(self._served):
            with self.doors.database.transaction() as session:
                live = nodes.live_nodes(session, model_id)
            opened = self._tensors.setdefault(model_id, {})
            for key in set(opened) - {row.key for row in live}:
                del opened[key]
            for row in live:
                try:
                    self._open(model_id, row)
                except (KeyDestroyed, ObjectMissing):
                    continue


def _closed(ears: Listener | None) -> None:
    if ears is not None:
        ears.close()


def _lineage(key: str, parents: dict[str, str | None]) -> list[str]:
    """Return a node's ancestors and itself, from depth 1 downwards."""
    line: list[str] = []
    current: str | None = key
    while current is not None:
        line.append(current)
        current = parents[current]
    return line[::-1]
