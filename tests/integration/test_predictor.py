"""The predictor: what it answers, what it refuses, and that it never answers from a version that was left behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import make_url, select
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from core.audit.entry import Actor, ActorKind
from core.domain import access
from core.domain.references import owner_reference
from core.lattice.placement import place
from core.persistence import requests, versions
from core.use_cases.create_api_key import parts, revoke_api_key
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.follow_manifest import Follower
from tests.integration import world
from tests.integration.callers import CANARY, OTHER_TENANT, bearer, key, problem, service, sibling
from worker import predictor
from worker.predictor import LARGEST_BODY, MOST_INPUTS, REMEMBERED_SECONDS, create_predictor

IMAGE = world.image(1).tolist()
BODY = {"model": "classifier", "inputs": [IMAGE]}


@contextmanager
def predicting(doors: Doors, app: Any = None) -> Iterator[TestClient]:
    """Return a client of a predictor that has found its models."""
    with TestClient(app or create_predictor(doors), headers=bearer(key(doors))) as opened:
        wait_for(lambda: opened.get("/readyz").status_code == 200)
        yield opened


def wait_for(happens: Callable[[], bool], seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.005)


def follower_of(caller: TestClient) -> Follower:
    app: Any = caller.app
    found: Follower = app.state.follower
    return found


def number(caller: TestClient) -> int:
    return int(caller.post("/v1/predict", json=BODY).json()["manifest"]["number"])


def servings(doors: Doors) -> list[tuple[str, int]]:
    with doors.database.transaction() as session:
        rows = session.execute(select(versions.servings)).all()
    return [(row.predictor_id, row.version_number) for row in rows]


def test_an_answer_names_its_manifest_and_is_what_the_ensemble_says(doors: Doors) -> None:
    model = world.built(doors)
    live = world.serving(doors, model)
    with predicting(doors) as caller:
        for name in ("classifier", model):
            answer = caller.post("/v1/predict", json=BODY | {"model": name})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["model"] == model
            manifest = {"version": live["id"], "number": live["number"], "digest": live["manifest_digest"]}
            assert body["manifest"] == manifest
            assert body["degraded"] is False
            [one] = body["predictions"]
            assert one["label"] in world.SCHEMA.labels
            assert 1 / 3 <= one["probability"] <= 1
            assert one["probability"] == round(one["probability"], 6)
        many = caller.post("/v1/predict", json=BODY | {"inputs": [world.image(n).tolist() for n in range(MOST_INPUTS)]})
        assert len(many.json()["predictions"]) == MOST_INPUTS
        again = caller.post("/v1/predict", json=BODY | {"inputs": [world.image(1).tolist()]})
        assert again.json()["predictions"] == [many.json()["predictions"][1]]


def test_it_follows_a_deletion_and_then_the_repair(doors: Doors) -> None:
    model = world.built(doors)
    with predicting(doors) as caller:
        before = number(caller)
        world.ask(doors, 5)
        world.deactivate(doors)
        wait_for(lambda: number(caller) == before + 1)
        world.drain(doors)
        wait_for(lambda: number(caller) == world.serving(doors, model)["number"])
        assert number(caller) > before + 1


def without_gaps(doors: Doors) -> bytes:
    """Return a placement key that leaves no slice without an owner: a node that learned nothing outlives everybody."""
    references = [
        owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", world.address(owner))
        for owner in range(world.OWNERS)
    ]
    keys = (bytes([first]) * 32 for first in range(256))
    return next(key for key in keys if len({place(key, one, shards=2, slices=3) for one in references}) == 6)


def test_with_every_shard_dead_the_public_model_answers_and_says_so(doors: Doors) -> None:
    world.built(doors, repair=False, placement_key=without_gaps(doors))
    with predicting(doors) as caller:
        before = number(caller)
        receipt = world.ask(doors, *range(world.OWNERS))
        world.deactivate(doors)
        wait_for(lambda: number(caller) > before)
        body = caller.post("/v1/predict", json=BODY).json()
        assert body["degraded"] is True
        assert body["predictions"][0]["label"] in world.SCHEMA.labels
        world.deactivate(doors)
        wait_for(lambda: not world.deactivate(doors) and world.request_of(doors, receipt["id"])["state"] == "completed")


class Watched:
    """The predictor with an ear at its door: the numbers of the answers, in the order in which they leave."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.state = app.state
        self.left: list[int] = []
        self.wrong: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def heard(message: Message) -> None:
            if scope["type"] == "http" and scope["path"] == "/v1/predict" and message["type"] == "http.response.body":
                try:
                    self.left.append(json.loads(message["body"])["manifest"]["number"])
                except KeyError:
                    self.wrong.append(message["body"])
            await send(message)

        await self.app(scope, receive, heard)


def has_left(watched: Watched, least: int) -> bool:
    return watched.left[-1] >= least


def test_under_load_ten_deletions_swap_without_an_error_and_no_answer_of_an_older_version_leaves_late(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none leaves after its version was confirmed away: what a certificate relies on."""
    world.built(doors)
    watched = Watched(create_predictor(doors))
    confirmed: list[tuple[int, int]] = []
    confirm = versions.confirm_serving

    def heard(session: Any, **values: Any) -> None:
        confirmed.append((values["version_number"], len(watched.left)))
        confirm(session, **values)

    monkeypatch.setattr(versions, "confirm_serving", heard)
    stop = threading.Event()
    with predicting(doors, watched) as caller:
        before = number(caller)

        def hammer(_: int) -> None:
            newest = 0
            while not stop.is_set():
                seen = number(caller)
                assert seen >= newest
                newest = seen

        with ThreadPoolExecutor(6) as pool:
            hammers = [pool.submit(hammer, one) for one in range(6)]
            for owner in range(10):
                world.ask(doors, owner)
                world.deactivate(doors)
                wait_for(partial(has_left, watched, before + owner + 1))
            stop.set()
            for one in hammers:
                one.result()
    assert watched.wrong == []
    assert watched.left == sorted(watched.left)
    assert len(set(watched.left)) > 5
    for least, since in confirmed:
        assert all(later >= least for later in watched.left[since:])


def test_a_model_that_is_unknown_not_built_or_another_tenants_is_503(doors: Doors) -> None:
    world.built(doors)
    world.add_model(doors, "unbuilt")
    stranger = bearer(key(doors, tenant=OTHER_TENANT))
    with predicting(doors) as caller:
        for name in ("nobody", "unbuilt", CANARY):
            answer = caller.post("/v1/predict", json=BODY | {"model": name})
            problem(answer, 503, "model_not_served")
            assert CANARY not in answer.text
            assert answer.headers["retry-after"]
        problem(caller.post("/v1/predict", json=BODY, headers=stranger), 503, "model_not_served")
        world.drain(doors)
        wait_for(lambda: caller.post("/v1/predict", json=BODY | {"model": "unbuilt"}).status_code == 200)


WRONG: dict[str, list[Any]] = {
    "another shape": [[[1, 2], [3, 4]]],
    "a row too few": [IMAGE[:3]],
    "one more axis": [[[[1]] * 4] * 4],
    "flat": [1, 2, 3],
    "ragged": [[*IMAGE[:3], [1, 2, 3]]],
    "too bright": [[[256, 0, 0, 0], *IMAGE[1:]]],
    "too dark": [[[-1, 0, 0, 0], *IMAGE[1:]]],
    "not finite": [[[float("nan"), 0, 0, 0], *IMAGE[1:]]],
    "infinite": [[[float("inf"), 0, 0, 0], *IMAGE[1:]]],
    "beyond any float": [[[10**400, 0, 0, 0], *IMAGE[1:]]],
    "beyond a small float": [[[1e300, 0, 0, 0], *IMAGE[1:]]],
    "text": [[["canaryperson", 0, 0, 0], *IMAGE[1:]]],
    "text of digits": [[["1", "0", "0", "0"], *IMAGE[1:]]],
    "truth": [[[True, False, 0, 0], *IMAGE[1:]]],
    "nothing": [[[None, 0, 0, 0], *IMAGE[1:]]],
    "an object": [[[{"canaryperson": 1}, 0, 0, 0], *IMAGE[1:]]],
    "no image": ["canaryperson"],
}


@pytest.fixture(scope="module")
def served(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(server_url, template, tmp_path_factory.mktemp("predictor")) as opened:
        world.built(opened)
        with predicting(opened) as caller:
            yield caller


@pytest.mark.parametrize("inputs", WRONG.values(), ids=WRONG)
def test_what_is_no_image_of_the_models_is_400_and_not_repeated(inputs: list[Any], served: TestClient) -> None:
    content = json.dumps(BODY | {"inputs": inputs}).encode()
    answer = served.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
    problem(answer, 400, "bad_input")
    assert "canaryperson" not in answer.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (BODY | {"inputs": []}, 422, "invalid_body"),
        (BODY | {"inputs": [IMAGE] * (MOST_INPUTS + 1)}, 422, "invalid_body"),
        (BODY | {"inputs": "canaryperson"}, 422, "invalid_body"),
        (BODY | {"canaryperson": 1}, 422, "invalid_body"),
        (BODY | {"model": ["canaryperson"]}, 422, "invalid_body"),
    ],
)
def test_a_body_of_another_form_is_refused(body: Any, status: int, code: str, served: TestClient) -> None:
    answer = served.post("/v1/predict", json=body)
    problem(answer, status, code)
    assert "canaryperson" not in answer.text


def test_a_body_beyond_the_limit_is_413_before_it_is_parsed(served: TestClient) -> None:
    answer = served.post("/v1/predict", content=b"[" * (LARGEST_BODY + 1), headers={"Content-Type": "application/json"})
    problem(answer, 413, "too_large")
    problem(served.get("/v1/predict"), 405, "method_not_allowed")
    problem(served.post("/v1/predict/", json=BODY), 404, "not_found")


def test_a_prediction_needs_its_scope_and_readiness_tells_no_names(served: TestClient, doors: Doors) -> None:
    state: Any = served.app
    lacking = bearer(key(state.state.doors, access.Scope.MODELS_READ))
    assert (
        "models:predict" in problem(served.post("/v1/predict", json=BODY, headers=lacking), 403, "forbidden")["detail"]
    )
    foreign = bearer(key(doors))
    for headers in ({"Authorization": ""}, foreign):
        answer = served.post("/v1/predict", json=BODY, headers=headers)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert served.get("/readyz").json() == {"status": "ready", "models": 1}
    assert served.get("/healthz").json() == {"status": "ok"}


def test_a_key_is_believed_for_two_seconds_and_no_longer(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    world.built(doors)
    secret = key(doors)
    name, _ = parts(secret) or ("", "")
    with predicting(doors) as caller:
        assert caller.post("/v1/predict", json=BODY, headers=bearer(secret)).status_code == 200
        actor = Actor(ActorKind.CLIENT, "ak_test")
        revoke_api_key(doors, tenant_id=DEFAULT_TENANT, key_id=name, actor=actor)
        assert REMEMBERED_SECONDS <= 2
        monkeypatch.setattr(predictor, "REMEMBERED_SECONDS", 0.05)
        time.sleep(0.06)
        problem(caller.post("/v1/predict", json=BODY, headers=bearer(secret)), 401, "unauthenticated")


def brief(doors: Doors, seconds: float) -> Doors:
    """Return the same doors with another lease on serving."""
    settings = doors.settings.model_copy(update={"serving_lease_seconds": seconds})
    return Doors(doors.database, doors.keys, doors.store, settings)


@contextmanager
def cut_off(url: str) -> Iterator[None]:
    """Let nobody reach the database, and throw out whoever is in it."""
    name = make_url(url).database
    with psycopg.connect(sibling(url, "postgres"), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_cut_off_from_the_database_it_falls_silent_when_its_lease_ends_and_comes_back(
    doors: Doors, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.built(doors)
    monkeypatch.setattr(predictor, "REMEMBERED_SECONDS", 60.0)  # the key is known; the manifest is what is in doubt
    with predicting(brief(doors, 6.0)) as caller:
        assert number(caller)
        with cut_off(database_url):
            assert caller.post("/v1/predict", json=BODY).status_code == 200, "the lease still holds"
            wait_for(lambda: caller.post("/v1/predict", json=BODY).status_code == 503)
            problem(caller.post("/v1/predict", json=BODY), 503, "manifest_stale")
            problem(caller.get("/readyz"), 503, "manifest_stale")
        wait_for(lambda: caller.post("/v1/predict", json=BODY).status_code == 200)


def test_it_leaves_when_it_stops_also_without_a_database(doors: Doors, database_url: str) -> None:
    world.built(doors)
    with predicting(doors) as caller:
        assert servings(doors) == [(follower_of(caller).predictor_id, number(caller))]
    assert servings(doors) == []
    with predicting(brief(doors, 6.0)) as caller:
        assert number(caller)
        cut = cut_off(database_url)
        cut.__enter__()
    cut.__exit__(None, None, None)
    assert len(servings(doors)) == 1


def test_a_certificate_waits_for_a_predictor_that_hangs_until_its_lease_ends(doors: Doors) -> None:
    world.built(doors)
    follower = Follower(brief(doors, 5.0), "prd_hanging")
    follower.start()
    wait_for(lambda: bool(servings(doors)))
    follower._stopping.set()  # the thread ends and tells nobody
    follower._thread.join()
    old = next(iter(follower.models()))
    receipt = world.ask(doors, 5)
    began = time.monotonic()
    world.deactivate(doors)
    waiting = world.request_of(doors, receipt["id"])
    assert (waiting["state"], waiting["certificates"]) == ("verifying", [])
    assert follower.may_answer(old), "so it was right to wait"
    wait_for(lambda: bool(world.deactivate(doors)) and world.request_of(doors, receipt["id"])["state"] == "completed")
    assert not follower.may_answer(old), "it fell silent before the certificate"
    assert time.monotonic() - began < 5 + 10, "no longer than the lease, and the machine's own slowness"


def test_a_certificate_does_not_wait_for_a_predictor_that_follows(doors: Doors) -> None:
    world.built(doors)
    with predicting(doors) as caller:
        receipt = world.ask(doors, 5)
        began = time.monotonic()
        wait_for(
            lambda: bool(world.deactivate(doors)) and world.request_of(doors, receipt["id"])["state"] == "completed"
        )
        assert time.monotonic() - began < doors.settings.serving_lease_seconds / 3
        with doors.database.transaction() as session:
            assert requests.certificates_of(session, receipt["id"])
        assert number(caller) >= 2


def test_a_version_that_went_live_meanwhile_is_not_confirmed(doors: Doors) -> None:
    """A predictor that read the old alias and slept must not take out a lease after the certificate."""
    world.built(doors)
    follower = Follower(doors, "prd_slow")
    receipt: dict[str, Any] = {}

    def overtaken() -> None:
        receipt.update(world.ask(doors, 5))
        world.deactivate(doors)

    follower.settle = overtaken  # between the swap and its confirmation
    follower.catch_up()
    assert world.request_of(doors, receipt["id"])["state"] == "completed"
    assert servings(doors) == []
    assert follower.find(DEFAULT_TENANT, "classifier") is None
    follower.settle = lambda: None
    follower.catch_up()
    found = follower.find(DEFAULT_TENANT, "classifier")
    assert found is not None
    assert follower.may_answer(found)
    assert servings(doors) == [("prd_slow", found.number)]


def test_a_version_that_cannot_be_built_lets_the_lease_of_the_one_before_run_out(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = world.built(doors, repair=False)
    follower = Follower(doors, "prd_blind")
    follower.catch_up()
    old = follower.find(DEFAULT_TENANT, model)
    assert old is not None
    world.ask(doors, 5)
    world.deactivate(doors)
    silent = doors.store.get
    object.__setattr__(doors.store, "get", lambda _: (_ for _ in ()).throw(OSError("the store is silent")))
    follower._tensors.clear()
    follower.catch_up()
    assert follower.may_answer(old)
    later = time.monotonic() + doors.settings.serving_lease_seconds
    with monkeypatch.context() as clock:
        # Only this machine's clock decides here, so it is set, not waited for: a slow machine must not fail the test.
        clock.setattr(time, "monotonic", lambda: later)
        assert not follower.may_answer(old)
    object.__setattr__(doors.store, "get", silent)
    follower.catch_up()
    new = follower.find(DEFAULT_TENANT, model)
    assert new is not None
    assert new.number == old.number + 1
    assert follower.may_answer(new)
