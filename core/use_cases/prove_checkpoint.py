"""Prove that a registered checkpoint loads and answers, and let it be served as it came. Runs in a subprocess."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.audit.entry import Actor, ActorKind
from core.domain.checkpoint import CheckpointManifest, CheckpointRecipe
from core.domain.errors import CheckpointRefused
from core.domain.job import JobEvent
from core.domain.model import Guarantee
from core.persistence import checkpoints, jobs, models
from core.use_cases.doors import Doors
from core.use_cases.publish_checkpoint import publish_checkpoint_version

PROBED = 16
"""Rows that it must answer."""


def prove_checkpoint(job: Row[Any], *, doors: Doors) -> None:
    """Load a model's first checkpoint, ask it about a few rows, and publish it as version 1.

    Raises:
        CheckpointRefused: its tensors are not those of its architecture, or its answers are not finite or of another shape.
        StaleFence: another worker took the job over.
    """
    from core.modelling.determinism import pinned
    from core.modelling.tensors import tensor_digest
    from core.use_cases.open_checkpoint import open_checkpoint, packed_network

    pinned(doors.settings.trainer_threads)
    with doors.database.transaction() as session:
        model = models.get_model(session, job.model_id)
        [first] = checkpoints.candidates_of_model(session, model.id)
    opened = open_checkpoint(doors, model, first)
    probe(doors, model, opened)
    tensors = {name: one.detach() for name, one in opened.network.state_dict().items()}
    digest = tensor_digest(tensors)
    recipe = CheckpointRecipe.from_json(model.recipe)
    manifest = CheckpointManifest(
        recipe=recipe.digest(), stage_history=recipe.stage_history(), tensors=digest, made_by="registration"
    )
    # From here on in one spelling, whatever the file had: half precision is widened, an adapter's factors are among them.
    content = packed_network(tensors)
    sealed = doors.put_under(first.data_key_id, content)
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, model.id)
        checkpoints.seal_checkpoint(session, first.id, tensor_digest=digest, object_digest=sealed, job_id=job.id)
        publish_checkpoint_version(
            session,
            model,
            manifest,
            checkpoint_id=first.id,
            guarantee=Guarantee.AS_REGISTERED,
            provenance={"reason": "registration", "request": None, "job": job.id, "fence": job.fence},
            base=None,
        )
        jobs.move(session, held, JobEvent.CONCLUDED, peak_memory_bytes=jobs.peak_memory_bytes())
    if sealed != first.object_digest:
        doors.store.delete(first.object_digest)


def probe(doors: Doors, model: Row[Any], opened: Any) -> None:
    """Ask a network about the first rows of its data set.

    Raises:
        CheckpointRefused: there are none, or it does not answer as its task asks.
    """
    from core.modelling import checkpoint_networks as networks

    samples = opened.samples(doors, model.dataset_id, version=model.dataset_version)
    if not len(samples):
        raise CheckpointRefused("its data set holds no rows any more")
    try:
        outputs, _ = networks.answers(opened.network, samples.inputs[:PROBED])
    except (RuntimeError, ValueError, IndexError, TypeError):
        raise CheckpointRefused("the network cannot be asked about the rows of its data set") from None
    if not outputs.isfinite().all():
        raise CheckpointRefused("its answers are not finite")
