"""Trainings that last as long as a test needs them to, and what the jobs table says about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from core.domain.model import BackboneRecipe, NodeRecipe, Recipe
from core.persistence.jobs import job_attempts, jobs
from core.use_cases.doors import Doors
from tests.integration.bells import until
from tests.integration.world import add_dataset, add_model

NODE = NodeRecipe(rank=2, alpha=4.0, epochs=1, batch_size=4)


def long_recipe(epochs: int = 1000) -> Recipe:
    """Return a recipe whose backbone takes minutes, with 1000 epochs on any machine; its shards take no time."""
    backbone = BackboneRecipe(width=64, layers=6, heads=2, patch=1, epochs=epochs, batch_size=1)
    return Recipe(shards=2, slices=3, backbone=backbone, node=NODE)


def long_build(doors: Doors, epochs: int = 1000) -> str:
    """Register a model whose build job runs for long; return the job's id."""
    add_dataset(doors)
    model = add_model(doors, recipe=long_recipe(epochs))
    with doors.database.transaction() as session:
        return str(session.execute(select(jobs.c.id).where(jobs.c.model_id == model)).scalar_one())


def job_of(doors: Doors, job: str) -> Row[Any]:
    with doors.database.transaction() as session:
        return session.execute(select(jobs).where(jobs.c.id == job)).one()


def attempts_of(doors: Doors, job: str) -> Sequence[Row[Any]]:
    with doors.database.transaction() as session:
        query = select(job_attempts).where(job_attempts.c.job_id == job).order_by(job_attempts.c.fence)
        return session.execute(query).all()


def trains(doors: Doors, job: str) -> None:
    """Return once a job has got somewhere, which also shows that its progress is visible while it runs."""
    until(lambda: (job_of(doors, job).progress or {}).get("done", 0) >= 1, "the training tells its progress")
