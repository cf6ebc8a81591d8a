"""Choose, per shard, the deepest live nodes, write them down as a new version, and let the serving alias point at it.

Torch-free, and always inside somebody's transaction that holds the model's lock, so versions follow one another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.errors import Conflict
from core.domain.identifiers import new_identifier
from core.domain.manifest import Manifest
from core.domain.model import TRAINER_PROTOCOL, Guarantee, ModelState, Recipe
from core.faults import reach
from core.lattice.placement import Place
from core.lattice.survival import served_nodes, with_ancestors
from core.persistence import models, nodes, versions
from core.persistence.database import VERSIONS_CHANNEL, notify


class ManifestUnsound(Conflict):
    """The manifest would serve a node that saw a deleted record; nothing was changed."""


@dataclass(frozen=True)
class Published:
    """A version that just went live."""

    version_id: str
    number: int
    manifest: Manifest


def present_manifest(session: Connection, model: Row[Any]) -> Manifest:
    """Return what the model would serve now: its deepest live nodes and their ancestors."""
    recipe = Recipe.from_json(model.recipe)
    backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
    live = nodes.live_nodes(session, model.id)
    served = served_nodes(nodes.servable(live, recipe.slices), recipe.shards)
    return Manifest(
        trainer_protocol=TRAINER_PROTOCOL,
        backbone=backbone.digest if backbone is not None else "",
        recipe=recipe.digest(),
        family=recipe.family,
        shards=recipe.shards,
        slices=recipe.slices,
        nodes=with_ancestors([nodes.as_entry(row) for row in live], served),
        served=served,
    )


def dataset_version_of(version: Row[Any]) -> int:
    """Return which version of the data set a model learned from when it published a version."""
    return int(version.provenance.get("dataset_version", 1))


def publish_version(
    session: Connection,
    model: Row[Any],
    *,
    provenance: dict[str, Any],
    struck: Collection[Place] = (),
    renewed: Collection[str] = (),
) -> Published | None:
    """Make the present lattice the live version; return None when the live one serves the very same content.

    The same content of another version of the data set is another version of the model: it promises more.

    Args:
        session: a transaction that holds the model's lock.
        model: the model's row.
        provenance: who made the version and why: reason, job, fence, worker kind.
        struck: slices that a deletion just touched. They always make a new version, and no node may contain them.
        renewed: keys of the nodes that were made since, of what is left in those slices.

    Raises:
        ManifestUnsound: a node of the manifest contains a struck slice.
    """
    manifest = present_manifest(session, model)
    old = [node for node in manifest.nodes if node.key not in renewed]
    if any(Place(node.shard, number) in struck for node in old for number in node.slices):
        raise ManifestUnsound
    current = versions.live_version(session, model.id)
    digest = manifest.digest()
    same = current is not None and dataset_version_of(current) == model.dataset_version
    if current is not None and current.manifest_digest == digest and same and not struck:
        return None
    version_id = new_identifier("ver")
    number = versions.add_version(
        session,
        tenant_id=model.tenant_id,
        id=version_id,
        model_id=model.id,
        guarantee=Guarantee.RETRAIN_EQUIVALENT if manifest.retrain_equivalent else Guarantee.INFLUENCE_FREE,
        manifest_digest=digest,
        manifest=manifest.as_json(),
        job_id=provenance["job"],
        provenance={
            **provenance,
            "parent": current.id if current is not None else None,
            "dataset_version": model.dataset_version,
        },
    )
    reach("after_manifest_write")
    versions.move_alias(session, tenant_id=model.tenant_id, model_id=model.id, version_id=version_id)
    reach("after_alias_move")
    if current is None:
        models.set_model_state(session, model, ModelState.LIVE)
    notify(session, VERSIONS_CHANNEL, model.id)
    return Published(version_id=version_id, number=number, manifest=manifest)
