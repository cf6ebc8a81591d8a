"""`lethe models`: register, watch them come alive, and read what exactly they serve."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.family_options import Family, FamilyBudget, FamilyHorizon, FamilyPrior, FamilyRule
from cli.options import Cursor, Data, Limit, Once, Url, connect, read_file, read_numbers
from cli.output import CommandFailed, Json, details, listed, progress, say, show, table, told, unusable
from core.domain.checkpoint import ArchitectureKind
from core.domain.repair import RepairMode
from core.domain.task import Modality

if TYPE_CHECKING:
    from cli.client import Client

app = typer.Typer(no_args_is_help=True, help="Register models and look at what they serve.")
Model = Annotated[str, typer.Argument(help="Id or name.")]
LOOK_SECONDS = 0.25
COLUMNS = {
    "id": "id",
    "name": "name",
    "state": "state",
    "version": "serving.number",
    "guarantee": "serving.guarantee",
    "depths": "serving.depths",
    "live nodes": "nodes.live",
    "of": "nodes.complete",
    "dead": "nodes.dead",
    "deleted records": "deleted_records",
}
VERSION_COLUMNS = {
    "number": "number",
    "id": "id",
    "serving": "serving",
    "guarantee": "guarantee",
    "manifest": "manifest_digest",
    "created": "created_at",
}
NODE_COLUMNS = {
    "shard": "shard",
    "slices": "slices",
    "canonical": "canonical",
    "key": "key",
    "parent": "parent",
}


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    dataset: Annotated[str, typer.Argument(help="Id or name of a data set.")],
    shards: Annotated[int | None, typer.Option(help="Independent ensembles that vote.")] = None,
    slices: Annotated[int | None, typer.Option(help="Parts of a shard, each switched off on its own.")] = None,
    dataset_version: Annotated[
        int | None, typer.Option(help="Which version of the data set; the newest unless said.")
    ] = None,
    family: Family = None,
    family_budget: FamilyBudget = None,
    family_prior: FamilyPrior = None,
    family_rule: FamilyRule = None,
    family_horizon: FamilyHorizon = None,
    ridge: Annotated[
        bool, typer.Option("--ridge", help="A closed-form ridge head over the frozen backbone; one slice a shard.")
    ] = False,
    ridge_penalty: Annotated[float | None, typer.Option(help="With it: what a weight's square costs.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="The whole recipe as a JSON file; the options go first.")] = None,
    approval: Annotated[bool, typer.Option("--approval", help="Deletions wait for a second person.")] = False,
    no_repair: Annotated[bool, typer.Option("--no-repair", help="Leave switched-off nodes switched off.")] = False,
    target_deletions: Annotated[
        int | None, typer.Option(help="Warn unless the lattice bears so many deletions before it is repaired.")
    ] = None,
    target_active_share: Annotated[
        float | None, typer.Option(help="With it: of all slices, how much is to be active after them.")
    ] = None,
    target_repair_budget: Annotated[
        float | None, typer.Option(help="With it: slice-epochs that repair may spend per deletion.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is live.")] = False,
    idempotency_key: Once = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register a model; its training begins at once."""
    with told(as_json):
        body = {
            "name": name,
            "dataset": dataset,
            "recipe": _recipe(
                recipe,
                shards=shards or (1 if ridge and recipe is None else None),
                slices=slices or (1 if ridge and recipe is None else None),
                family=family,
                family_budget=family_budget,
                family_prior=read_numbers(family_prior, "--family-prior"),
                family_rule=family_rule,
                family_horizon=family_horizon,
                ridge=_ridge(ridge, ridge_penalty),
            ),
            "policy": {"approval_required": approval, "repair": not no_repair},
            "target": _target(
                deletions=target_deletions, active_share=target_active_share, repair_budget=target_repair_budget
            ),
            "dataset_version": dataset_version,
        }
        with connect(url, data) as client:
            made = client.post("/v1/models", body, idempotency_key=idempotency_key)
            for warning in made["warnings"]:
                say(f"warning: {warning}")
            if wait:
                made = wait_until_live(client, made["id"]) | {"warnings": made["warnings"]}
        show(made, as_json, lambda: details(made))


@app.command("register-checkpoint")
def register_checkpoint(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    dataset: Annotated[str, typer.Argument(help="Id or name of the data set that it was trained on.")],
    directory: Annotated[Path, typer.Argument(help="Where model.safetensors lies, below LETHE_DATA_ROOTS of the API.")],
    kind: Annotated[ArchitectureKind, typer.Option(help="Which network.")] = ArchitectureKind.PERCEPTRON,
    evaluation: Annotated[str | None, typer.Option(help="Data set of rows that no training saw.")] = None,
    channels: Annotated[str | None, typer.Option(help="convolutional: of each convolution, as 16,16.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Widths of the linear layers but the last, as 128,64.")] = None,
    tokens: Annotated[int | None, typer.Option(help="hugging_face: tokens of a text that are read.")] = None,
    modality: Annotated[Modality | None, typer.Option(help="What the data set's task is, unless said.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How it was trained: epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="How it was trained: AdamW's rate.")] = None,
    batch_size: Annotated[int, typer.Option(help="How it was trained: rows per step.")] = 64,
    weight_decay: Annotated[float, typer.Option(help="How it was trained: AdamW's decay.")] = 0.0,
    policy: Annotated[Path | None, typer.Option(help="A policy of unlearning as a JSON file.")] = None,
    stages: Annotated[
        Path | None, typer.Option(help="Its stage history as a JSON file: a list of name and data.")
    ] = None,
    approval: Annotated[bool, typer.Option("--approval", help="Deletions wait for a second person.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is live.")] = False,
    idempotency_key: Once = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register a checkpoint that was trained elsewhere; methods will make it forget, and a judge looks at them."""
    with told(as_json):
        if (epochs is None) != (learning_rate is None):
            raise unusable("say how it was trained with --epochs and --learning-rate, or leave both out")
        training = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
        body = {
            "name": name,
            "mode": "approximate",
            "dataset": dataset,
            "evaluation": evaluation,
            "directory": str(directory),
            "architecture": {
                "kind": kind,
                "channels": [int(one) for one in read_numbers(channels, "--channels") or []],
                "hidden": [int(one) for one in read_numbers(hidden, "--hidden") or []],
                "tokens": tokens,
            },
            "modality": modality,
            "training": None if epochs is None else training | {"weight_decay": weight_decay},
            "stages": _read_json(stages) if stages else [],
            "policy": {"approval_required": approval, "unlearning": _read_json(policy) if policy else None},
        }
        with connect(url, data) as client:
            made = client.post("/v1/models", body, idempotency_key=idempotency_key)
            if wait:
                made = wait_until_proved(client, made["id"])
        show(made, as_json, lambda: details(made))


@app.command()
def qualify(
    model: Model, idempotency_key: Once = None, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Put the judge of a checkpoint to the test: planted canaries, oracles, controls. It costs that many trainings."""
    with told(as_json), connect(url, data) as client:
        found = client.post(f"/v1/models/{model}:qualify", idempotency_key=idempotency_key)
        show(found, as_json, lambda: say(f"{found['id']} is put to the test; watch `lethe jobs list`."))


@app.command()
def qualification(model: Model, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Read what the newest qualification of a checkpoint found."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}/qualification")
        show(found, as_json, lambda: details({name: one for name, one in found.items() if name != "account"}))


@app.command("list")
def list_models(
    limit: Limit = 50, cursor: Cursor = None, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """List models, newest first."""
    with told(as_json), connect(url, data) as client:
        page = client.get("/v1/models", limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, COLUMNS, empty="There is no model yet."))


@app.command("show")
def show_model(model: Model, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Look at one model."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}")
        show(found, as_json, lambda: details(found))


@app.command()
def versions(
    model: Model,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List versions, newest first."""
    with told(as_json), connect(url, data) as client:
        page = client.get(f"/v1/models/{model}/versions", limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, VERSION_COLUMNS, empty="The model has no version yet."))


@app.command()
def manifest(
    model: Model,
    version: Annotated[str, typer.Argument(help="Id, number, or `serving`.")] = "serving",
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Read what a version serves, and how it came to be."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}/versions/{version}")
        show(found, as_json, lambda: _draw_manifest(found))


@app.command()
def repair(
    model: Model, idempotency_key: Once = None, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Train what a model lacks, after its jobs gave up or were cancelled."""
    with told(as_json), connect(url, data) as client:
        found = client.post(f"/v1/models/{model}:repair", idempotency_key=idempotency_key)
        show(found, as_json, lambda: say(f"{found['id']} is looked through; watch `lethe jobs list`."))


@app.command()
def advance(
    model: Model,
    dataset_version: Annotated[int | None, typer.Option(min=1, help="Which one; the newest unless said.")] = None,
    idempotency_key: Once = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a model learn from a later version of its data set, without moving anybody."""
    with told(as_json), connect(url, data) as client:
        body = {"dataset_version": dataset_version}
        found = client.post(f"/v1/models/{model}:advance", body, idempotency_key=idempotency_key)
        sentence = f"{found['id']} learns from version {found['dataset_version']}; watch `lethe jobs list`."
        show(found, as_json, lambda: say(sentence))


@app.command("set-repair")
def set_repair(
    model: Model,
    policy: Annotated[RepairMode | None, typer.Argument(help="off, full or budget; budget may be left out.")] = None,
    slice_epochs_per_deletion: Annotated[
        float | None, typer.Option(help="Budget: credited with every deletion. A node of depth k costs k.")
    ] = None,
    compute_minutes_per_hour: Annotated[
        float | None, typer.Option(help="Budget: minutes of training an hour, of all processes together.")
    ] = None,
    seen: Annotated[int | None, typer.Option(help="Refuse if the model's row version is not this any more.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change how eagerly a model is repaired after deletions, while it runs."""
    with told(as_json):
        budget = {
            name: value
            for name, value in {
                "slice_epochs_per_deletion": slice_epochs_per_deletion,
                "compute_minutes_per_hour": compute_minutes_per_hour,
            }.items()
            if value is not None
        }
        if (policy in {RepairMode.OFF, RepairMode.FULL}) == bool(budget) or len(budget) > 1:
            raise unusable(
                "say off, full, or a budget: --slice-epochs-per-deletion or --compute-minutes-per-hour, not both"
            )
        change = {"repair_budget": budget} if budget else {"repair": policy}
        with connect(url, data) as client:
            found = client.patch(f"/v1/models/{model}", {"policy": change}, seen=seen)
            show(found, as_json, lambda: details({"id": found["id"], "repair": found["repair"]}))


@app.command("set-unlearning")
def set_unlearning(
    model: Model,
    policy: Annotated[
        Path | None, typer.Option(help="Fields of a policy as a JSON file; options below go over it.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Ranked, with their default settings, as scrub,fine_tune.")
    ] = None,
    most_cost: Annotated[float | None, typer.Option(help="Leave out what costs a larger share of a retrain.")] = None,
    drift_budget: Annotated[float | None, typer.Option(help="How far answers may move since the last retrain.")] = None,
    retrain: Annotated[bool | None, typer.Option(help="Whether a retrain follows when nothing was accepted.")] = None,
    try_unqualified: Annotated[
        bool | None, typer.Option(help="Whether methods are tried though no judge is qualified.")
    ] = None,
    oracles: Annotated[int | None, typer.Option(help="How many the next qualification trains.")] = None,
    canaries: Annotated[int | None, typer.Option(help="How many rows the next qualification plants.")] = None,
    seen: Annotated[int | None, typer.Option(help="Refuse if the model's row version is not this any more.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change by which methods, and within which limits, a checkpoint is made to forget. What runs keeps its policy."""
    with told(as_json):
        ranked = None if methods is None else [{"method": name.strip()} for name in methods.split(",") if name.strip()]
        change = _recipe(
            policy,
            methods=ranked,
            most_cost=most_cost,
            drift_budget=drift_budget,
            retrain=retrain,
            try_unqualified=try_unqualified,
            oracles=oracles,
            canaries=canaries,
        )
        if not change:
            raise unusable("say what shall change, or give a --policy")
        with connect(url, data) as client:
            found = client.patch(f"/v1/models/{model}", {"policy": {"unlearning": change}}, seen=seen)
            show(found, as_json, lambda: details({"id": found["id"], **found["policy"]}))


def wait_until_live(client: Client, model_id: str) -> dict[str, Any]:
    """Show a bar until the first version is live.

    Raises:
        CommandFailed: it could not be built.
    """
    with progress("Training") as bar:
        while True:
            found = client.get(f"/v1/models/{model_id}")
            if found["state"] == "failed":
                raise CommandFailed("the model could not be built; see its jobs", "model_failed")
            if found["state"] == "live":
                return found
            bar(*training_progress(client, found))
            time.sleep(LOOK_SECONDS)


def wait_until_proved(client: Client, model_id: str) -> dict[str, Any]:
    """Wait until a checkpoint was seen to load and answer.

    Raises:
        CommandFailed: it does not.
    """
    while True:
        found = client.get(f"/v1/models/{model_id}")
        if found["state"] == "failed":
            raise CommandFailed("the checkpoint could not be loaded; see its jobs", "model_failed")
        if found["state"] == "live":
            return found
        time.sleep(LOOK_SECONDS)


def training_progress(client: Client, model: dict[str, Any]) -> tuple[float, str]:
    """Return which share of a model's training is done, as its nodes and running jobs tell, and what happens now.

    The backbone counts as a fifth.
    """
    of_model = {"model": model["id"], "limit": 200}
    nodes, complete = model["nodes"]["live"], model["nodes"]["complete"]
    begun = [job["progress"] for job in client.get("/v1/jobs", kind="train_node", state="running", **of_model)["data"]]
    if nodes or begun:
        partly = sum(step["done"] / step["total"] for step in begun if step)
        return min(0.2 + 0.8 * (nodes + partly) / complete, 1.0), f"{nodes} of {complete} nodes"
    for job in client.get("/v1/jobs", kind="build", **of_model)["data"]:
        if job["progress"]:
            done, total = job["progress"]["done"], job["progress"]["total"]
            return 0.2 * done / total, f"backbone, epoch {done} of {total}"
    return 0.0, "waiting for a worker"


def _recipe(path: Path | None, **chosen: Any) -> dict[str, Any]:
    try:
        whole = json.loads(read_file(path)) if path else {}
    except ValueError:
        raise unusable(f"{path} is not JSON") from None
    if not isinstance(whole, dict):
        raise unusable(f"{path} holds no JSON object")
    return whole | {option: value for option, value in chosen.items() if value is not None}


def _ridge(wanted: bool, penalty: float | None) -> dict[str, float] | None:
    if penalty is not None and not wanted:
        raise unusable("--ridge-penalty goes with --ridge")
    return ({} if penalty is None else {"penalty": penalty}) if wanted else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_file(path))
    except ValueError:
        raise unusable(f"{path} is not JSON") from None


def _target(**said: float | None) -> dict[str, Any] | None:
    target = {name: value for name, value in said.items() if value is not None}
    if target and "deletions" not in target:
        raise unusable("a target begins with --target-deletions")
    return target or None


def _draw_manifest(version: dict[str, Any]) -> None:
    content = version["manifest"]["content"]
    if content.get("kind") == "checkpoint":
        details({name: value for name, value in version.items() if name != "manifest"})
        details({"provenance": version["manifest"]["provenance"], **content})
        return
    details({name: value for name, value in version.items() if name != "manifest"})
    details({"provenance": version["manifest"]["provenance"], "backbone": content["backbone"]})
    served = {key for keys in content["served"] for key in keys}
    rows = [{**node, "served": node["key"] in served} for node in content["nodes"]]
    table(rows, {"served": "served", **NODE_COLUMNS}, empty="Every shard is dead: the public head answers, degraded.")
