"""Training by many workers: the bits of one worker, nothing committed that a deletion overtook, nothing tried for ever."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Row, select, text

from core.domain.errors import StaleFence
from core.domain.job import JobEvent, JobKind, JobState, Lane
from core.domain.manifest import Manifest
from core.domain.model import FamilyName
from core.domain.references import owner_reference
from core.lattice.placement import Place, place
from core.object_store.store import ObjectStore
from core.persistence import job_questions, jobs, models, nodes
from core.persistence.nodes import nodes as node_table
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.look_after import end_badly
from core.use_cases.repair_model import repair_model
from core.use_cases.run_computation import run_computation
from core.use_cases.shard_plan import ShardPlan, read_plan
from core.use_cases.train_node import train_node
from core.use_cases.workbench import Workbench
from tests.integration import world
from tests.integration.world import (
    ADMIN,
    NOTHING,
    OWNERS,
    PLACEMENT_KEY,
    add_dataset,
    add_model,
    address,
    ask,
    built,
    compute,
    deactivate,
    drain,
    make_recipe,
    model_of,
    request_of,
    serving,
)


def place_of(doors: Doors, owner: int) -> Place:
    reference = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(owner))
    return place(PLACEMENT_KEY, reference, shards=2, slices=3)


def in_place(doors: Doors, where: Place) -> list[int]:
    return [owner for owner in range(OWNERS) if place_of(doors, owner) == where]


def waiting(doors: Doors, kind: JobKind) -> list[Row[Any]]:
    with doors.database.transaction() as session:
        query = select(jobs.jobs).where(jobs.jobs.c.kind == kind, jobs.jobs.c.state == JobState.WAITING)
        return list(session.execute(query.order_by(jobs.jobs.c.priority.desc(), jobs.jobs.c.id)))


def take(doors: Doors, job_id: str | None = None) -> Row[Any]:
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=600, job_id=job_id)
    assert job is not None
    return job


def ended(doors: Doors, job: Row[Any]) -> tuple[str, str | None]:
    with doors.database.transaction() as session:
        row = job_questions.find_job(session, DEFAULT_TENANT, job.id)
    assert row is not None
    return row.state, row.error_code


def plan_all(doors: Doors) -> list[Row[Any]]:
    """Run every job that plans or builds, and return the nodes' jobs that wait then."""
    while planners := [*waiting(doors, JobKind.BUILD), *waiting(doors, JobKind.TRAIN_SHARD)]:
        job = take(doors, planners[0].id)
        run_computation(job.id, job.fence, doors=doors)
    return waiting(doors, JobKind.TRAIN_NODE)


def slices_of(doors: Doors, model: str, job: Row[Any]) -> tuple[int, ...]:
    """Return which slices a node's job is about."""
    _, shard, key = job.subject.split("/")
    first, rest = Workbench().plan(doors, model, int(shard)).steps()
    return next(spec.slices for spec in first + rest if spec.key == key)


class Interrupted(Workbench):
    """A bench at which something happens just before the training begins."""

    def __init__(self, event: Callable[[], object]) -> None:
        super().__init__()
        self.event = event

    def activations(self, doors: Doors, plan: ShardPlan) -> Any:
        opened = super().activations(doors, plan)
        self.event()
        return opened


class InterruptedStore:
    """A store at which something happens just after an object was put: sealed, and not committed."""

    def __init__(self, store: ObjectStore, event: Callable[[], object]) -> None:
        self.store, self.event = store, event

    def put(self, content: bytes) -> str:
        digest = self.store.put(content)
        self.event()
        return digest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def work(doors: Doors, chance: random.Random, lock: threading.Barrier, failures: list[BaseException]) -> None:
    """Do what a compute worker does, in an order that nobody planned, until nothing waits or runs."""
    bench = Workbench()
    try:
        lock.wait(60)
        while True:
            open_jobs = [*waiting(doors, JobKind.TRAIN_SHARD), *waiting(doors, JobKind.TRAIN_NODE)]
            with doors.database.transaction() as session:
                hint = chance.choice(open_jobs).id if open_jobs else None
                job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=600, job_id=hint)
            if job is not None:
                run_computation(job.id, job.fence, doors=doors, bench=bench)
                continue
            with doors.database.transaction() as session:
                if not session.execute(select(1).where(jobs.jobs.c.state == JobState.RUNNING)).first():
                    return
    except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
        failures.append(error)


def train_with(doors: Doors, workers: int, seed: int) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(workers)
    threads = [
        threading.Thread(target=work, args=(doors, random.Random(100 * seed + number), barrier, failures))
        for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("family", FamilyName)
def test_one_two_and_four_workers_make_the_same_bits_before_and_after_a_deletion(
    doors: Doors, family: FamilyName
) -> None:
    add_dataset(doors)
    models = []
    for workers in (1, 2, 4):
        models.append(add_model(doors, f"by-{workers}", recipe=make_recipe(family)))
        train_with(doors, workers, seed=workers)
    assert len({serving(doors, model)["manifest_digest"] for model in models}) == 1
    before = serving(doors, models[0])["manifest_digest"]
    ask(doors, 5)
    deactivate(doors)
    train_with(doors, 4, seed=5)
    after = [serving(doors, model) for model in models]
    assert len({version["manifest_digest"] for version in after}) == 1
    assert after[0]["manifest_digest"] != before
    assert {version["guarantee"] for version in after} == {"retrain_equivalent"}
    for model in models:
        counted = model_of(doors, model)
        assert counted["nodes"]["live"] >= counted["nodes"]["complete"]
        assert not any(counted["jobs"].values())
    with doors.database.transaction() as session:
        built_by = select(node_table.c.job_id).where(node_table.c.state == "live")
        assert len(set(session.execute(built_by).scalars())) == sum(
            model_of(doors, model)["nodes"]["live"] for model in models
        )


def test_every_node_is_a_job_of_its_own_and_waits_for_its_parent(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    roots = plan_all(doors)
    assert sorted(slices_of(doors, model, job) for job in roots) == sorted([(0,), (1,), (2,)] * 2)
    first = take(doors, roots[0].id)
    run_computation(first.id, first.fence, doors=doors)
    begun = {job.id for job in roots} - {first.id}
    children = [job for job in waiting(doors, JobKind.TRAIN_NODE) if job.id not in begun]
    (number,) = slices_of_node(doors, first)
    # In the subset trie a set's parent lacks its largest slice: {0} carries {0,1} and {0,2}, {2} carries nothing.
    assert sorted(slices_of(doors, model, job) for job in children) == [(number, n) for n in range(number + 1, 3)]


def slices_of_node(doors: Doors, job: Row[Any]) -> tuple[int, ...]:
    with doors.database.transaction() as session:
        row = session.execute(select(node_table).where(node_table.c.job_id == job.id)).one()
    return tuple(row.slices)


def test_a_plan_that_is_made_twice_asks_once(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    before = [job.id for job in plan_all(doors)]
    running = take(doors)
    repair_model(model, caller=ADMIN, once=NOTHING, doors=doors)
    after = [job.id for job in plan_all(doors)]
    assert sorted([*after, running.id]) == sorted(before)


def test_a_node_that_a_deletion_overtakes_in_training_is_not_committed_and_the_others_are(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    by_place = {Place(int(job.subject.split("/")[1]), slices_of(doors, model, job)[0]): job for job in plan_all(doors)}
    struck = place_of(doors, 5)
    beside = Place(struck.shard, (struck.slice + 1) % 3)
    doomed, spared = take(doors, by_place[struck].id), take(doors, by_place[beside].id)

    def forget() -> None:
        ask(doors, 5)
        deactivate(doors)

    train_node(doomed, doors=doors, bench=Interrupted(forget))
    assert ended(doors, doomed) == ("done", "overtaken")
    run_computation(spared.id, spared.fence, doors=doors)
    assert ended(doors, spared) == ("done", None)
    with doors.database.transaction() as session:
        assert [row.job_id for row in nodes.live_nodes(session, model)] == [spared.id]
        assert nodes.drafts_of(session, model) == []
    assert list(waiting(doors, JobKind.TRAIN_SHARD))  # what follows the spared node is planned anew
    drain(doors)
    assert model_of(doors, model)["serving"]["depths"] == [3, 3]


def test_a_node_sealed_when_a_deletion_overtakes_it_loses_its_key_and_object(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    struck = place_of(doors, 5)
    doomed = next(
        job
        for job in plan_all(doors)
        if (int(job.subject.split("/")[1]), *slices_of(doors, model, job)) == (struck.shard, struck.slice)
    )
    doomed = take(doors, doomed.id)
    keys, objects = set(doors.keys.list_ids()), set(doors.store.list_digests())

    def forget() -> None:
        ask(doors, 5)
        deactivate(doors)

    store: Any = InterruptedStore(doors.store, forget)
    train_node(doomed, doors=replace(doors, store=store), bench=Workbench())
    assert ended(doors, doomed) == ("done", "overtaken")
    assert not {one for one in set(doors.keys.list_ids()) - keys if one.startswith("nod_")}
    assert set(doors.store.list_digests()) <= objects
    with doors.database.transaction() as session:
        assert nodes.live_nodes(session, model) == []


def test_a_waiting_node_that_a_deletion_made_pointless_ends_without_work(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    struck = place_of(doors, 5)
    old = [
        job
        for job in plan_all(doors)
        if (int(job.subject.split("/")[1]), *slices_of(doors, model, job)) == (struck.shard, struck.slice)
    ]
    ask(doors, 5)
    deactivate(doors)
    job = take(doors, old[0].id) if not waiting(doors, JobKind.TRAIN_SHARD) else None
    plan_all(doors)
    job = job or take(doors, old[0].id)

    def never() -> None:
        raise AssertionError("its rows were opened")

    train_node(job, doors=doors, bench=Interrupted(never))
    assert ended(doors, job) == ("done", jobs.SUPERSEDED)
    drain(doors)
    assert model_of(doors, model)["serving"]["depths"] == [3, 3]


def test_a_worker_that_was_replaced_commits_no_node(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    plan_all(doors)
    stale = take(doors)

    def lose() -> None:
        with doors.database.transaction() as session:
            jobs.hand_back(session, jobs.hold(session, stale.id, stale.fence))
        take(doors, stale.id)

    with pytest.raises(StaleFence):
        train_node(stale, doors=doors, bench=Interrupted(lose))
    with doors.database.transaction() as session:
        assert nodes.live_nodes(session, model) == []


def kill(doors: Doors, job: Row[Any]) -> None:
    """Let a job use up its attempts."""
    with doors.database.transaction() as session:
        end_badly(session, jobs.hold(session, job.id, job.fence), JobEvent.GAVE_UP, "killed_by_signal_9")


def test_a_node_that_kills_its_workers_fails_the_first_build_until_it_is_tried_again(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    roots = plan_all(doors)
    poison = next(job for job in roots if slices_of(doors, model, job) == (0,))
    kill(doors, take(doors, poison.id))
    assert model_of(doors, model)["state"] == "failed"
    compute(doors)
    # Everything else is built, and nobody asks for the poisonous node or what stands on it.
    left = model_of(doors, model)
    assert (left["nodes"]["live"], left["nodes"]["complete"]) == (14 - 4, 14)
    assert not any(left["jobs"].values())
    repair_model(model, caller=ADMIN, once=NOTHING, doors=doors)
    drain(doors)
    mended = model_of(doors, model)
    assert (mended["state"], mended["nodes"]["live"]) == ("live", 14)
    assert mended["serving"]["guarantee"] == "retrain_equivalent"


def test_a_repair_that_cannot_be_finished_serves_what_it_made(doors: Doors) -> None:
    model = built(doors)
    where = place_of(doors, 5)
    ask(doors, *in_place(doors, where), *in_place(doors, Place(where.shard, (where.slice + 1) % 3)))
    deactivate(doors)
    poisoned = 0
    for _ in range(100):
        plan_all(doors)
        found = waiting(doors, JobKind.TRAIN_NODE)
        if not found:
            break
        job = take(doors, found[0].id)
        if len(slices_of(doors, model, job)) == 3:
            kill(doors, job)
            poisoned += 1
        else:
            run_computation(job.id, job.fence, doors=doors)
    assert poisoned
    state = model_of(doors, model)
    assert (state["state"], state["serving"]["depths"][where.shard]) == ("live", 2)
    assert request_of(doors, jobs_request(doors))["state"] == "completed"


def jobs_request(doors: Doors) -> str:
    with doors.database.transaction() as session:
        return str(session.execute(text("SELECT max(id) FROM deletion_requests")).scalar_one())


def test_depth_is_restored_first_and_published_at_once(doors: Doors) -> None:
    model = built(doors)
    where = place_of(doors, 5)
    ask(doors, 5)
    deactivate(doors)
    assert serving(doors, model)["guarantee"] == "influence_free"
    number = serving(doors, model)["number"]
    assert model_of(doors, model)["serving"]["depths"][where.shard] == 2
    plan_all(doors)
    job = take(doors)
    assert job.priority > 0
    run_computation(job.id, job.fence, doors=doors)
    restored = model_of(doors, model)["serving"]
    assert (restored["depths"], restored["number"]) == ([3, 3], number + 1)
    drain(doors)
    assert model_of(doors, model)["serving"]["guarantee"] == "retrain_equivalent"


def test_of_many_commits_one_is_the_last_and_publishes_once(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    plan_all(doors)
    train_with(doors, 4, seed=1)
    assert serving(doors, model)["number"] == 1
    assert len(Manifest.from_json(serving(doors, model)["manifest"]["content"]).nodes) == 6


class Watched:
    """A store that counts what is read from it."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.read = store, 0

    def get(self, digest: str) -> bytes:
        self.read += 1
        return self.store.get(digest)

    def get_range(self, digest: str, offset: int, length: int) -> bytes:
        self.read += 1
        return self.store.get_range(digest, offset, length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def run_near(doors: Doors, model: str, bench: Workbench | None) -> int:
    done = 0
    while True:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=600, near=f"{model}/{done // 7}/")
        if job is None:
            return done
        run_computation(job.id, job.fence, doors=doors, bench=bench)
        done += 1


def test_a_bench_opens_each_shard_once_whatever_the_number_of_its_nodes(doors: Doors) -> None:
    add_dataset(doors)
    reads = []
    for name, bench in (("bare", None), ("kept", Workbench())):
        model = add_model(doors, name)
        plan_all(doors)
        watched: Any = Watched(doors.store)
        assert run_near(replace(doors, store=watched), model, bench) == 14
        reads.append(watched.read)
    bare, kept = reads
    assert bare > 14 * OWNERS / 2
    # Per shard: its blocks and the backbone, once; parents come from the bench that trained them.
    assert kept == OWNERS + 2
    assert serving(doors, "bare")["manifest_digest"] == serving(doors, "kept")["manifest_digest"]


def test_a_bench_forgets_a_shard_that_a_deletion_touched(doors: Doors) -> None:
    model = built(doors)
    bench = Workbench()
    where = place_of(doors, 5)
    plan = bench.plan(doors, model, where.shard)
    bench.activations(doors, plan)
    assert bench.plan(doors, model, where.shard).ground is plan.ground
    ask(doors, 5)
    deactivate(doors)
    fresh = bench.plan(doors, model, where.shard)
    assert fresh.epochs != plan.epochs
    assert len(fresh.members) == len(plan.members) - world.ROWS_EACH
    opened = bench.activations(doors, fresh).slices[where.slice].references
    assert len(opened) == len(fresh_members(doors, fresh, where.slice))


def fresh_members(doors: Doors, plan: ShardPlan, number: int) -> list[bytes]:
    from core.use_cases.shard_members import slice_leaves

    with doors.database.transaction() as session:
        leaves, _ = slice_leaves(session, doors, plan.model)
    return leaves[Place(plan.shard, number)]


def test_training_says_how_far_it_is_while_it_runs(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.use_cases import train_node as page

    monkeypatch.setattr(page, "REPORT_SECONDS", 0.0)
    said: list[dict[str, Any]] = []
    report = jobs.report_progress

    def listening(session: Any, job_id: str, fence: int, progress: dict[str, Any]) -> bool:
        said.append(progress)
        return report(session, job_id, fence, progress)

    monkeypatch.setattr(jobs, "report_progress", listening)
    add_dataset(doors)
    recipe = make_recipe()
    add_model(doors, recipe=replace(recipe, node=replace(recipe.node, epochs=3)))
    job = take(doors, plan_all(doors)[0].id)
    said.clear()
    run_computation(job.id, job.fence, doors=doors)
    assert said == [{"stage": "node", "done": epoch, "total": 3} for epoch in (1, 2, 3)]
    with doors.database.transaction() as session:
        row = job_questions.find_job(session, DEFAULT_TENANT, job.id)
        (attempt,) = job_questions.attempts_of(session, job.id)
    assert row is not None
    assert row.progress == {"stage": "node", "done": 3, "total": 3}
    assert attempt.peak_memory_bytes > 2**20


def test_a_plan_is_made_without_torch(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors)
    build = take(doors)
    run_computation(build.id, build.fence, doors=doors)
    job = take(doors)
    assert job.kind == JobKind.TRAIN_SHARD
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from core.settings import Settings\n"
        "from core.use_cases.doors import open_doors\n"
        "from core.use_cases.run_computation import run_computation\n"
        f"run_computation({job.id!r}, {job.fence}, doors=open_doors(Settings()))\n"
    )
    given = {"LETHE_DATABASE_URL": doors.settings.database_url}
    given["LETHE_DATA_DIRECTORY"] = str(doors.settings.data_directory)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **given})
    assert ended(doors, job) == ("done", None)
    assert len(waiting(doors, JobKind.TRAIN_NODE)) == 3
    assert model_of(doors, model)["jobs"] == {"waiting": 4, "running": 0, "verifying": 0}


def test_a_bench_reads_the_members_only_when_something_changed(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(doors)
    read: list[int] = []

    def counted(session: Any, doors: Doors, model_id: str, shard: int) -> ShardPlan:
        read.append(shard)
        return read_plan(session, doors, model_id, shard)

    monkeypatch.setattr("core.use_cases.workbench.read_plan", counted)
    bench = Workbench()
    for shard in (0, 0, 0, 1, 1, 0):
        bench.plan(doors, model, shard)
    assert read == [0, 1, 0]


def test_a_plan_before_there_is_a_backbone_leaves_the_shard_to_the_build(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors, repair=False)
    ask(doors, 5)
    deactivate(doors)
    (early,) = waiting(doors, JobKind.TRAIN_SHARD)
    job = take(doors, early.id)
    run_computation(job.id, job.fence, doors=doors)
    assert ended(doors, job) == ("done", jobs.SUPERSEDED)
    assert waiting(doors, JobKind.TRAIN_SHARD) == []
    drain(doors)
    assert model_of(doors, model)["serving"]["depths"] == [3, 3]


def test_reading_a_plan_waits_for_no_deletion_and_keeps_none_waiting(doors: Doors) -> None:
    model = built(doors)
    with doors.database.transaction() as session:
        models.lock_model(session, model)  # as a deletion does
        plans = [Workbench().plan(doors, model, shard) for shard in range(2)]
    assert [len(plan.blocks) for plan in plans] == [3, 3]
    with doors.database.transaction() as reading:
        plan = read_plan(reading, doors, model, 0)
        with doors.database.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            models.lock_model(session, model)
            models.raise_epochs(session, model, [(0, 0)])
    with doors.database.transaction() as session:
        assert plan.refreshed(session) is None
