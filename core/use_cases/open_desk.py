"""Lay out what attempts of one run share: the opened checkpoint, the rows in their streams, the witness. Loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from core.domain.checkpoint import ArchitectureKind
from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.use_cases.doors import Doors
from core.use_cases.judge_candidate import Questions, typical_error
from core.use_cases.open_checkpoint import Opened, halves, open_checkpoint, read_network
from core.use_cases.plan_method import MethodRun


@dataclass
class Desk:
    """All that attempts of one run share, opened once."""

    opened: Opened
    forget: Samples
    retain: Samples
    holdout: Samples
    test: Samples
    audited: Samples
    """What the judge looks at: what is to be forgotten, and whatever was before and can still be read."""
    unreadable: int
    """Records that were forgotten before and are erased, so that nobody can ask about them."""
    witness: nn.Module | None = None
    scale: float = 1.0

    def questions(self) -> Questions:
        return Questions(self.opened.recipe.modality, self.audited, self.retain, self.test, self.holdout, self.scale)

    def task(self) -> Task:
        recipe = self.opened.recipe
        kind = recipe.architecture.kind
        return Task(
            model=self.opened.network,
            modality=recipe.modality,
            forget=self.forget,
            retain=self.retain,
            holdout=self.holdout if len(self.holdout) else None,
            training_epochs=None if recipe.training is None else recipe.training.epochs,
            builder=networks.fresh_like(recipe.architecture, recipe.modality, self.opened.network)
            if kind is ArchitectureKind.HUGGING_FACE
            else None,
        )


def open_desk(doors: Doors, run: MethodRun) -> Desk:
    """Open the served checkpoint and all rows that the run needs.

    Raises:
        KeyDestroyed: rows or tensors were erased meanwhile.
    """
    opened = open_checkpoint(doors, run.model, run.checkpoint)
    dataset, concept, learned = run.model.dataset_id, run.concept, run.model.dataset_version
    if concept is None:
        forget = opened.samples(doors, dataset, version=learned, keep=run.forget)
        before = opened.samples(doors, dataset, version=learned, keep=run.formerly) if run.formerly else forget.part([])
        retain = opened.samples(doors, dataset, version=learned, drop=run.forget | run.formerly)
        audited, unreadable = forget.joined(before), len(run.formerly) - len(before)
    else:
        forget = audited = opened.samples(doors, concept)
        retain, unreadable = opened.samples(doors, dataset, version=learned, drop=run.formerly), 0
    unseen = opened.samples(doors, run.recipe.evaluation) if run.recipe.evaluation else retain.part([])
    holdout, test = halves(unseen)
    desk = Desk(opened, forget, retain, holdout, test, audited, unreadable)
    if run.recipe.modality is Modality.REGRESSOR and len(holdout):
        desk.scale = typical_error(opened.network, holdout)
    witness = run.judge.account.get("witness")
    if witness is not None:
        desk.witness = read_network(run.recipe, doors.get_sealed(witness["key_id"], witness["object_digest"]))
    return desk
