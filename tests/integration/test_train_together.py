"""Nodes trained in one pass, as a GPU does, through the service: every job commits its own, and a deletion takes the rest."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from core.audit.certificate import LIMITATIONS, Limitation
from core.audit.verify import verify_certificate
from core.domain.errors import Unusable
from core.domain.job import Lane
from core.persistence import jobs, nodes
from core.unlearning.exact import stacked
from core.use_cases import train_together as page
from core.use_cases.doors import Doors
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.replay_version import replay_version
from core.use_cases.run_computation import run_computation
from core.use_cases.workbench import Workbench
from tests.integration.world import (
    ADMIN,
    add_dataset,
    add_model,
    ask,
    built,
    deactivate,
    drain,
    model_of,
    request_of,
    serving,
)
from worker import loop


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have nodes stacked on the CPU, too; return how many each pass trains."""
    counted: list[int] = []
    original = stacked.train_nodes

    def counting(specs: Any, **given: Any) -> Any:
        counted.append(len(specs))
        return original(specs, **given)

    monkeypatch.setattr(page, "stacks", lambda _: True)
    monkeypatch.setattr(page, "train_nodes", counting)
    return counted


def test_a_lattice_is_built_in_one_pass_for_each_depth_of_a_shard(doors: Doors, passes: list[int]) -> None:
    add_dataset(doors)
    model = add_model(doors)
    drain(doors)
    assert model_of(doors, model)["nodes"]["live"] == 14
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"
    assert sum(passes) + 2 == 14, "the deepest node of each of two shards has no companion"
    assert sorted(passes) == [3, 3, 3, 3]


def test_what_lies_ready_is_thrown_away_when_a_deletion_touches_the_shard(doors: Doors, passes: list[int]) -> None:
    add_dataset(doors)
    model = add_model(doors)
    bench = Workbench()
    while not passes:
        _one(doors, bench)
    ready = dict(bench._ahead)
    assert len(ready) == 2
    ask(doors, *range(24))  # whichever shard it was
    deactivate(doors)
    for _ in range(6):
        _one(doors, bench)
    assert not set(ready) & set(bench._ahead)
    drain(doors)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"


def _one(doors: Doors, bench: Workbench) -> None:
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
    if job is not None:
        run_computation(job.id, job.fence, doors=doors, bench=bench)


def test_a_worker_that_is_to_train_on_gpus_does_not_start_without_one(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "visible_devices", list)
    wanting = replace(doors, settings=doors.settings.model_copy(update={"trainer_device": "cuda"}))
    with pytest.raises(Unusable, match="shows no GPU"):
        loop.make_hands(wanting, [Lane.COMPUTE], "test", threading.Event())
    assert loop.make_hands(wanting, [Lane.DEACTIVATE], "test", threading.Event())


def test_where_any_node_was_trained_on_a_gpu_the_certificate_promises_a_distribution_and_replay_a_tolerance(
    doors: Doors,
) -> None:
    model = built(doors)
    with doors.database.transaction() as session:
        # What a worker with a GPU records; the numbers themselves are this processor's.
        for row in nodes.live_nodes(session, model):
            place = {**row.environment, "device": "some GPU", "cuda": "13.0"}
            session.execute(update(nodes.nodes).where(nodes.nodes.c.key == row.key).values(environment=place))
    request = ask(doors, 5)
    drain(doors)
    keys = verification_keys(doors).split()
    for one in request_of(doors, request["id"])["certificates"]:
        envelope = read_certificate(one["id"], caller=ADMIN, doors=doors)
        verdict = verify_certificate(envelope, read_proof(one["id"], caller=ADMIN, doors=doors), keys)
        assert verdict.failures == []
        said = " ".join(verdict.asserted)
        assert LIMITATIONS[Limitation.EQUIVALENCE_DISTRIBUTIONAL] in said
        assert "gives the same bits; replay checks it" not in said
    replay = replay_version(doors, model)
    assert replay.holds
    assert not replay.bit_for_bit
    assert {part for node in replay.replayed for part in node.differs} == {"cuda", "device"}
