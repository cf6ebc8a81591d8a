"""From a client's POST to the predictor's first answer without the person (E1), and on to the certificate, under load.

Two deployments, one after the other: embedded (`lethe serve`), and the production processes (`lethe up`) on PostgreSQL,
Redis with Celery, and an S3-compatible store, all started for this and thrown away. In each, two models stand on two
data sets: owners of one are forgotten, a new one every second or so, while the other one's trainings, niced as ever, keep
every training process busy; so do the repairs of the first. A witness asks the predictor every few milliseconds
over a connection of its own; E1 is the first answer that carries the manifest which the deletion made, or a later one.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.service import pictures
from benchmarks.service.report import Run, arguments, finish, spread, table, verdict, warn_if_busy
from cli.client import Client
from cli.demo_witness import Notes, Witness
from cli.output import CommandFailed
from cli.serve import Service, background
from core.domain.model import BackboneRecipe, Guarantee, NodeRecipe, Recipe

OWNERS, ROWS_EACH = 400, 3
BACKBONE = BackboneRecipe(width=16, heads=2, layers=4, patch=2, epochs=3)
RECIPE = Recipe(shards=5, slices=4, backbone=BACKBONE, node=NodeRecipe(rank=4, epochs=1))
SMALL = Recipe(shards=2, slices=3, backbone=BACKBONE, node=NodeRecipe(rank=4, epochs=1))
"""What a quick run builds."""
BUSY = Recipe(shards=4, slices=4, backbone=BACKBONE, node=NodeRecipe(rank=8, epochs=40))
"""What trains beside: some seconds a node."""
PATIENCE = 120.0
LOOK_SECONDS = 0.02
"""Between two looks whether the certificate is there: that much later than it was it may be seen."""
GOAL = 250.0


def main() -> None:
    """Measure both deployments and print them side by side."""
    run = arguments("end_to_end", "POST to E1 to the certificate, while training runs beside it")
    warn_if_busy()
    rows, details = [], {}
    for name, started in (("embedded", _embedded), ("production", _production)):
        if run.quick and name == "production":
            break
        with ExitStack() as stack:
            service = stack.enter_context(started())
            if service is None:
                continue
            details[name] = found = _measure(run, service)
        rows.append({"": name, **found["row"]})
    for row in rows:
        row["ratio"] = round(row["E1 p50"] / rows[0]["E1 p50"], 3)
    table(rows)
    print("milliseconds; ratio: of the medians of E1, to the first line\n")
    goals = [
        verdict(
            f"{row['']}: E1 p99 at most {GOAL:.0f} ms while training runs ({row['E1 p99']})", met=row["E1 p99"] <= GOAL
        )
        for row in rows
    ]
    finish(
        run, {"ratio": {row[""]: row["ratio"] for row in rows}, "rows": rows, "deployments": details, "goals": goals}
    )


@contextmanager
def _embedded() -> Iterator[Service]:
    with _directory() as directory, background(directory / "lethe", LETHE_LOG_LEVEL="warning") as service:
        yield service


@contextmanager
def _production() -> Iterator[Service | None]:
    from tests.servers import KINDS, missing

    absent = missing("postgres", "redis", "s3")
    if absent is not None:
        print(f"Production is left out: {absent}")
        yield None
        return
    with ExitStack() as stack:
        variables: dict[str, str] = {"LETHE_LOG_LEVEL": "warning"}
        for name in ("postgres", "redis", "s3"):
            variables |= stack.enter_context(KINDS[name]()).variables()
        directory = stack.enter_context(_directory())
        yield stack.enter_context(background(directory / "lethe", 0, 0, command="up", **variables))


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="lethe-benchmark-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(run: Run, service: Service) -> dict[str, Any]:
    with ExitStack() as stack:
        client, second, third = (
            stack.enter_context(Client(service.url, service.admin_key, service.predictor_url)) for _ in range(3)
        )
        model = _register(client, "people", "served", run.pick(RECIPE, SMALL))
        _until(client, f"/v1/models/{model}", lambda found: found["state"] == "live")
        image = [[0] * 8] * 8
        _until_served(client, model, image)
        _register(client, "others", "busy-0", BUSY)
        busy = stack.enter_context(_training(third))
        notes = Notes()
        witness = stack.enter_context(Witness(second, notes, model, image))
        end = time.monotonic() + run.pick(105.0, 8.0)
        samples = []
        for owner in range(run.pick(120, 8)):
            if time.monotonic() > end:
                break
            with witness.hurrying():
                samples.append(_forget(client, notes, model, owner))
            samples[-1]["open_trainings"] = busy[-1] if busy else 0
            time.sleep(0.3)
    return _summed(samples, notes)


def _register(client: Client, dataset: str, name: str, recipe: Recipe) -> str:
    content = pictures.packed(OWNERS, ROWS_EACH, world=dataset)
    form = {"name": dataset, "schema": json.dumps(pictures.SCHEMA.as_json())}
    client.upload("/v1/datasets:upload", form, {"file": content}, idempotency_key=uuid4().hex)
    return _ask_for(client, dataset, name, recipe)


def _ask_for(client: Client, dataset: str, name: str, recipe: Recipe) -> str:
    body = {"name": name, "dataset": dataset, "recipe": recipe.as_json()}
    return str(client.post("/v1/models", body, idempotency_key=uuid4().hex)["id"])


@contextmanager
def _training(client: Client) -> Iterator[list[int]]:
    """Keep trainings of the other data set open; yield how many were, look by look."""
    seen: list[int] = []
    stopping = threading.Event()

    def keep() -> None:
        for number in itertools.count(1):
            while not stopping.wait(1.0):
                work = [job for state in ("waiting", "running") for job in client.get("/v1/jobs", state=state)["data"]]
                trainings = [job for job in work if job["kind"] != "deactivate"]
                seen.append(len(trainings))
                if sum(job["model"] != served for job in trainings) < 4:
                    break
            if stopping.is_set():
                return
            _ask_for(client, "others", f"busy-{number}", BUSY)

    served = client.get("/v1/models/served")["id"]
    thread = threading.Thread(target=keep, name="trainings", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stopping.set()
        thread.join()


def _forget(client: Client, notes: Notes, model: str, owner: int) -> dict[str, Any]:
    """Have one owner forgotten; return milliseconds from the POST to its answer, to E1 and to the certificate."""
    subject = {"identities": [{"identity_type": "email", "identity_value": pictures.address(owner, world="people")}]}
    began = time.perf_counter()
    receipt = client.post("/v1/deletion-requests", {"subject": subject}, idempotency_key=uuid4().hex)
    accepted = time.perf_counter()
    give_up = time.monotonic() + PATIENCE
    while (request := client.get(f"/v1/deletion-requests/{receipt['id']}"))["state"] != "completed":
        if time.monotonic() > give_up or request["state"] == "needs_attention":
            raise SystemExit(f"{receipt['id']} is {request['state']}; nothing is measured")
        time.sleep(LOOK_SECONDS)
    certified = time.perf_counter()
    number = _made_by(client, model, receipt["id"])
    while not (seen := [moment for known, moment in dict(notes.first_seen).items() if known >= number]):
        if time.monotonic() > give_up:
            raise SystemExit(f"the predictor never answered from manifest {number}")
        time.sleep(LOOK_SECONDS)
    moments = {"answer": accepted, "E1": min(seen), "certificate": certified}
    return {name: round(1000 * (moment - began), 2) for name, moment in moments.items()}


def _made_by(client: Client, model: str, request: str) -> int:
    """Return the number of the version that the request made, which its first certificate is about."""
    for certificate in client.get("/v1/certificates", limit=50)["data"]:
        if certificate["request"] == request and certificate["guarantee"] == Guarantee.INFLUENCE_FREE:
            return int(client.get(f"/v1/models/{model}/versions/{certificate['version']}")["number"])
    raise SystemExit(f"{request} has no certificate of a version")


def _summed(samples: list[dict[str, Any]], notes: Notes) -> dict[str, Any]:
    spreads = {name: spread([one[name] for one in samples]) for name in ("answer", "E1", "certificate")}
    row = {
        f"{name} {short}": spreads[name][key] for name in spreads for short, key in (("p50", "median"), ("p99", "p99"))
    }
    idle = sum(one["open_trainings"] == 0 for one in samples)
    return {
        "row": {**row, "deletions": len(samples), "stale": notes.stale, "failed": len(notes.failures)},
        "spread": spreads,
        "answers": notes.answered,
        "deletions_without_training_beside": idle,
        "samples": samples,
    }


def _until(client: Client, path: str, good: Any) -> dict[str, Any]:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        found = client.get(path)
        if good(found):
            return found
        time.sleep(0.2)
    raise SystemExit(f"{path} never got there")


def _until_served(client: Client, model: str, image: Any) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            client.predict(model, [image])
        except CommandFailed:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the predictor does not serve the model")


if __name__ == "__main__":
    main()
