"""Two public data sets through the real use cases: register, build, delete one person, repair, build afresh without them.

    table ─▶ lattice that occupancy allows ─▶ live ─▶ one person goes (E1) ─▶ repaired (E2) ═ a fresh build, bit for bit?

`parkinsons-telemonitoring` has 42 patients with many recordings each: a number (total UPDRS) is predicted from a voice.
`movielens-small` has 610 users: whether a rating is four stars or more is predicted from facts about the film and the
year of the rating alone. Averages over other people's ratings would predict better, and would carry each person into the rows of
all others, where no deletion finds them.

Every fifth row of a person is held out and never registered. No row is public, so backbones are drawn by chance. What
is not beside the repository is skipped, and the result says so.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.service.report import HOUSE, RESULTS, Run, finish, table, verdict
from benchmarks.service.scratch import scratch
from core.datasets.kinds import read_questions
from core.datasets.schema import TabularSchema
from core.datasets.tabular_schema import CategoricalColumn, LabelTarget, NumberTarget, NumericColumn
from core.domain.access import Caller, Scope
from core.domain.errors import TooFewOwners
from core.domain.job import Lane
from core.domain.model import BackboneRecipe, NodeRecipe, Recipe
from core.persistence import jobs, versions
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.answer_once import OnceKey
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.follow_manifest import Follower
from core.use_cases.look_after import certify_repaired
from core.use_cases.read_models import read_model, read_version
from core.use_cases.read_requests import read_request
from core.use_cases.register_dataset import register_dataset
from core.use_cases.register_model import ModelOrder, register_model
from core.use_cases.resolve_subjects import DeletionOrder, Identity
from core.use_cases.run_computation import run_computation
from core.use_cases.workbench import Workbench

DATA = HOUSE.parent / "shared" / "data"
CALLER = Caller(tenant_id=DEFAULT_TENANT, key_id="ak_benchmark", scopes=frozenset(Scope))
NOTHING = OnceKey(route="benchmark", key=None, body=b"")
PLACEMENT_KEY = bytes(range(32))
HELD_OUT = 5
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One data set, and what is asked of it."""

    name: str
    schema: TabularSchema
    rows: Sequence[Row]
    wanted: tuple[int, int]
    """Shards and slices that somebody would like, before occupancy has its say."""
    goes: str
    """The person who is deleted."""
    node: NodeRecipe

    @property
    def registered(self) -> list[Row]:
        return [row for row in self.rows if not row["held_out"]]

    def held_out(self, owner: str | None = None) -> list[Row]:
        """Return the rows that are never registered, of everybody but the one who goes, or of that one."""
        chosen = [row for row in self.rows if row["held_out"]]
        return [row for row in chosen if (row["owner"] == owner if owner else row["owner"] != self.goes)]


def parkinsons(folder: Path, *, quick: bool) -> Task:
    """Return the recordings of 42 patients; ranges are declared as what can be, not as what occurs."""
    declared = {
        "age": (0, 120),
        "test_time": (-100, 1000),
        "Jitter(%)": (0, 0.2),
        "Jitter(Abs)": (0, 0.001),
        "Jitter:RAP": (0, 0.1),
        "Jitter:PPQ5": (0, 0.1),
        "Jitter:DDP": (0, 0.3),
        "Shimmer": (0, 0.5),
        "Shimmer(dB)": (0, 5),
        "Shimmer:APQ3": (0, 0.3),
        "Shimmer:APQ5": (0, 0.3),
        "Shimmer:APQ11": (0, 0.5),
        "Shimmer:DDA": (0, 0.9),
        "NHR": (0, 1),
        "HNR": (0, 50),
        "RPDE": (0, 1),
        "DFA": (0, 1),
        "PPE": (0, 1),
    }
    numbers = tuple(NumericColumn(name=name, minimum=low, maximum=high) for name, (low, high) in declared.items())
    schema = TabularSchema(
        features=(*numbers, CategoricalColumn(name="sex", categories=("0", "1"))),
        target=NumberTarget(column="total_UPDRS", minimum=0, maximum=176),
        owner_identity_type="patient",
        owners_column="owner",
        record_ids_column="record",
    )
    with gzip.open(folder / "parkinsons_updrs.csv.gz", "rt") as file:
        rows = [row | {"owner": row["subject#"]} for row in csv.DictReader(file)]
    kept = [row for number, row in enumerate(rows) if number % 8 == 0] if quick else rows
    node = NodeRecipe(rank=4, epochs=2 if quick else 3, batch_size=64)
    return Task("parkinsons-telemonitoring", schema, _numbered(kept), (5, 4), "17", node)


def movielens(folder: Path, *, quick: bool) -> Task:
    """Return the first twenty-five ratings of every user, with what is known of the film and of the moment."""
    genres = ("Action", "Children", "Comedy", "Drama", "Horror", "Romance", "Sci-Fi", "Thriller")
    schema = TabularSchema(
        features=(
            NumericColumn(name="released", minimum=1870, maximum=2030, optional=True),
            NumericColumn(name="rated", minimum=1990, maximum=2030),
            *(CategoricalColumn(name=genre, categories=("no", "yes")) for genre in genres),
        ),
        target=LabelTarget(column="liked", labels=("no", "yes")),
        owner_identity_type="user",
        owners_column="owner",
        record_ids_column="record",
    )
    with gzip.open(folder / "movies.csv.gz", "rt") as file:
        films = {row["movieId"]: row for row in csv.DictReader(file)}
    rows: list[Row] = []
    with gzip.open(folder / "ratings.csv.gz", "rt") as file:
        of_user: defaultdict[str, list[Row]] = defaultdict(list)
        for rating in csv.DictReader(file):
            of_user[rating["userId"]].append(rating)
    for user, ratings in of_user.items():
        for rating in sorted(ratings, key=lambda one: (int(one["timestamp"]), one["movieId"]))[:25]:
            film = films[rating["movieId"]]
            year = re.search(r"\((\d{4})\)\s*$", film["title"])
            known = film["genres"].split("|")
            rows.append(
                {"owner": user, "released": year[1] if year else None, "liked": _yes(float(rating["rating"]) >= 4)}
                | {"rated": 1970 + int(rating["timestamp"]) / (365.25 * 86400)}
                | {genre: _yes(genre in known) for genre in genres}
            )
    kept = [row for row in rows if int(row["owner"]) <= 60] if quick else rows
    node = NodeRecipe(rank=4, epochs=2, batch_size=64)
    return Task("movielens-small", schema, _numbered(kept), (3, 3), "42", node)


def _yes(is_so: bool) -> str:  # noqa: FBT001
    return "yes" if is_so else "no"


def _numbered(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with record ids, every fifth of a person's marked as held out."""
    seen: defaultdict[str, int] = defaultdict(int)
    numbered = []
    for row in rows:
        number = seen[row["owner"]]
        seen[row["owner"]] += 1
        numbered.append(row | {"record": f"{row['owner']}-{number}", "held_out": number % HELD_OUT == HELD_OUT - 1})
    return numbered


TASKS: Mapping[str, Callable[..., Task]] = {"parkinsons-telemonitoring": parkinsons, "movielens-small": movielens}


def measure(task: Task) -> dict[str, Any]:
    """Delete one person from a model of the task, and say what became of it."""
    known = {"records": len(task.registered), "owners": len({row["owner"] for row in task.registered})}
    with scratch() as ours, scratch(ours.url) as theirs:
        upload(ours.doors, task)
        model, (shards, slices), refusal = fitting(ours.doors, task)
        started = time.perf_counter()
        compute(ours.doors)
        built = time.perf_counter() - started
        occupancy = read_model(model, caller=CALLER, doors=ours.doors)["occupancy"]
        scores = {"before": score(ours.doors, task)}
        request, seconds = forget(ours.doors, task)
        at_once = read_version(model, "serving", caller=CALLER, doors=ours.doors)
        scores["at once (E1)"] = score(ours.doors, task)
        started = time.perf_counter()
        compute(ours.doors)
        repaired_in = time.perf_counter() - started
        repaired = read_version(model, "serving", caller=CALLER, doors=ours.doors)
        scores["repaired (E2)"] = score(ours.doors, task)
        certify_repaired(ours.doors, "benchmark")
        certified = read_request(request, caller=CALLER, doors=ours.doors)["certificates"]

        upload(theirs.doors, replace(task, rows=[row for row in task.rows if row["owner"] != task.goes]))
        fresh_model = register(theirs.doors, task, shards, slices)
        started = time.perf_counter()
        compute(theirs.doors)
        fresh_in = time.perf_counter() - started
        fresh = read_version(fresh_model, "serving", caller=CALLER, doors=theirs.doors)
    manifest = at_once["manifest"]["content"]
    depths = [
        max((len(node["slices"]) for node in manifest["nodes"] if node["key"] in keys), default=0)
        for keys in manifest["served"]
    ]
    return {
        "data": task.name,
        **known,
        "deleted_records": sum(row["owner"] == task.goes for row in task.registered),
        "wanted": {"shards": task.wanted[0], "slices": task.wanted[1], "refused": refusal},
        "lattice": {"shards": shards, "slices": slices, "family": "subset_trie"},
        "occupancy": {
            "mean_owners_per_slice": occupancy["mean_owners_per_slice"],
            "smallest": min(map(min, occupancy["owners"])),
            "largest": max(map(max, occupancy["owners"])),
            "empty_slices": occupancy["empty_slices"],
        },
        "seconds": {
            "build": round(built, 1),
            "influence_free": round(seconds, 4),
            "repair": round(repaired_in, 1),
            "fresh_build_without_them": round(fresh_in, 1),
        },
        "depths_at_once": depths,
        "measure": "mean absolute error" if isinstance(task.schema.target, NumberTarget) else "accuracy",
        "scores": scores,
        "guarantees": [at_once["guarantee"], repaired["guarantee"], fresh["guarantee"]],
        "certificates": sorted(one["guarantee"] for one in certified),
        "repaired_equals_fresh_bit_for_bit": repaired["manifest_digest"] == fresh["manifest_digest"],
    }


def upload(doors: Doors, task: Task) -> None:
    text = io.StringIO()
    names = [column.name for column in task.schema.features]
    columns = [*names, task.schema.target.column, "owner", "record"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(task.registered)
    files = {"file": text.getvalue().encode()}
    register_dataset(task.name, task.schema, files, caller=CALLER, once=NOTHING, doors=doors)


def fitting(doors: Doors, task: Task) -> tuple[str, tuple[int, int], str | None]:
    """Register a model on the lattice that occupancy allows: the wanted one, or what its refusal proposes.

    Returns:
        the model's id, its shards and slices, and the sentence of the refusal.
    """
    try:
        return register(doors, task, *task.wanted), task.wanted, None
    except TooFewOwners as refused:
        proposed = re.search(r"(\d+) shards of (\d+) slices", str(refused))
        assert proposed is not None
        shards, slices = int(proposed[1]), int(proposed[2])
        return register(doors, task, shards, slices), (shards, slices), str(refused)


def register(doors: Doors, task: Task, shards: int, slices: int) -> str:
    backbone = BackboneRecipe(width=32, layers=4, heads=4)
    order = ModelOrder(
        name="model",
        dataset=task.name,
        recipe=Recipe(shards=shards, slices=slices, backbone=backbone, node=task.node),
        placement_key=PLACEMENT_KEY,
    )
    return str(register_model(order, caller=CALLER, once=NOTHING, doors=doors).body["id"])


def forget(doors: Doors, task: Task) -> tuple[str, float]:
    """Delete one person; return the request and how many seconds passed until nothing served was a function of them."""
    order = DeletionOrder(identities=(Identity(task.schema.owner_identity_type, task.goes),))
    started = time.perf_counter()
    request = accept_deletion(order, caller=CALLER, once=NOTHING, doors=doors).body["id"]
    took = None
    while True:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="benchmark", lease=600)
        if job is None:
            return str(request), took if took is not None else time.perf_counter() - started
        if job.state == "running":
            deactivate_slices(job, doors=doors)
        took = took or time.perf_counter() - started
        conclude_deletion(job, doors=doors)


def compute(doors: Doors) -> None:
    """Run the compute lane until nothing waits."""
    bench = Workbench()
    while True:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="benchmark", lease=600)
        if job is None:
            return
        run_computation(job.id, job.fence, doors=doors, bench=bench)


def score(doors: Doors, task: Task) -> dict[str, float]:
    """Return what the served model is worth on held-out rows of others, and of the person who goes."""
    follower = Follower(doors, "benchmark")
    follower.catch_up()
    served = follower.find(CALLER.tenant_id, "model")
    assert served is not None
    names = {column.name: isinstance(column, NumericColumn) for column in task.schema.features}

    def asked(rows: Sequence[Row]) -> float:
        inputs = [{name: _cell(row[name], number=number) for name, number in names.items()} for row in rows]
        answers = served.answers(read_questions(inputs, task.schema))
        target = task.schema.target
        if isinstance(target, NumberTarget):
            errors = [abs(said["value"] - float(row[target.column])) for said, row in zip(answers, rows, strict=True)]
            return round(statistics.fmean(errors), 3)
        right = [said["label"] == row[target.column] for said, row in zip(answers, rows, strict=True)]
        return round(statistics.fmean(right), 4)

    found = {"others": asked(task.held_out()), "the one who goes": asked(task.held_out(task.goes))}
    with doors.database.transaction() as session:
        # Nobody answers any more, so that no certificate waits for a lease.
        versions.leave_serving(session, "benchmark")
    return found


def _cell(value: Any, *, number: bool) -> Any:
    if value is None or not number:
        return value
    return float(value)


def baseline(task: Task) -> dict[str, Any]:
    """Return what the dullest model scores: the mean of all others' numbers, or their commonest label."""
    target = task.schema.target
    known = [row for row in task.registered if row["owner"] != task.goes]
    if isinstance(target, NumberTarget):
        middle = statistics.fmean(float(row[target.column]) for row in known)
        errors = [abs(float(row[target.column]) - middle) for row in task.held_out()]
        return {"others": round(statistics.fmean(errors), 3), "is": "the mean of the registered rows"}
    common = statistics.mode(row[target.column] for row in known)
    right = [row[target.column] == common for row in task.held_out()]
    return {"others": round(statistics.fmean(right), 4), "is": "the commonest label"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact.real_data", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a part of the rows and epochs: does it work, roughly")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--data", type=Path, default=DATA, help="where the data sets lie")
    given = parser.parse_args()
    measured: list[dict[str, Any]] = []
    for name, read in TASKS.items():
        if not (given.data / name).is_dir():
            measured.append({"data": name, "skipped": "the data set is not beside the repository"})
            print(f"{name}: skipped, as it is not beside the repository")
            continue
        task = read(given.data / name, quick=given.quick)
        found = measure(task) | {"dullest": baseline(task)}
        measured.append(found)
        print(f"\n{name}: {found['records']} records of {found['owners']} people, {found['lattice']}")
        table([{"state": state, **values} for state, values in found["scores"].items()])
        print(
            json.dumps({name: found[name] for name in ("wanted", "occupancy", "seconds", "depths_at_once")}, indent=1)
        )
    done = [one for one in measured if "skipped" not in one]
    met = all(one["repaired_equals_fresh_bit_for_bit"] for one in done)
    goal = verdict("after repair, what is served is bit for bit a fresh build without the person", met=met)
    standard = None if given.quick else RESULTS / "exact-real-data.json"
    run = Run("exact-real-data", given.quick, "exact", given.json or standard)
    command = "python -m benchmarks.exact.real_data" + (" --quick" if given.quick else "")
    finish(run, {"command": command, "goal": goal, "measured": measured})


if __name__ == "__main__":
    main()
