"""`lethe models`: register, watch them come alive, and read what exactly they serve."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Data, Once, Url, connect, read_file
from cli.output import CommandFailed, Json, details, progress, show, table, told, unusable

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
    family: Annotated[str | None, typer.Option(help="chain, cyclic or subset_trie.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="The whole recipe as a JSON file; the options go first.")] = None,
    approval: Annotated[bool, typer.Option("--approval", help="Deletions wait for a second person.")] = False,
    no_repair: Annotated[bool, typer.Option("--no-repair", help="Leave switched-off nodes switched off.")] = False,
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
            "recipe": _recipe(recipe, shards=shards, slices=slices, family=family),
            "policy": {"approval_required": approval, "repair": not no_repair},
        }
        with connect(url, data) as client:
            made = client.post("/v1/models", body, idempotency_key=idempotency_key)
            if wait:
                made = wait_until_live(client, made["id"])
        show(made, as_json, lambda: details(made))


@app.command("list")
def list_models(url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List models."""
    with told(as_json), connect(url, data) as client:
        found = client.get("/v1/models")["data"]
        show(found, as_json, lambda: table(found, COLUMNS, empty="There is no model yet."))


@app.command("show")
def show_model(model: Model, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Look at one model."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}")
        show(found, as_json, lambda: details(found))


@app.command()
def versions(
    model: Model,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 50,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List versions, newest first."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}/versions", limit=limit)["data"]
        show(found, as_json, lambda: table(found, VERSION_COLUMNS, empty="The model has no version yet."))


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
            bar(*_built(client, model_id, found))
            time.sleep(LOOK_SECONDS)


def _built(client: Client, model_id: str, model: dict[str, Any]) -> tuple[float, str]:
    """Return which share of the training is done, as the running jobs report it, and what happens now."""
    work = client.get("/v1/jobs", model=model_id, limit=200)["data"]
    steps = [job["progress"] for job in work if job["kind"] == "train_shard" and job["progress"]]
    if not steps:
        return 0.0, "backbone"
    shards = max(model["recipe"]["shards"], 1)
    done = sum(step.get("done", 0) / max(step.get("total", 1), 1) for step in steps)
    return min(done / shards, 1.0), f"{model['nodes']['live']} nodes"


def _recipe(path: Path | None, **chosen: Any) -> dict[str, Any]:
    try:
        whole = json.loads(read_file(path)) if path else {}
    except ValueError:
        raise unusable(f"{path} is not JSON") from None
    if not isinstance(whole, dict):
        raise unusable(f"{path} is no recipe")
    return whole | {option: value for option, value in chosen.items() if value is not None}


def _draw_manifest(version: dict[str, Any]) -> None:
    content = version["manifest"]["content"]
    details({name: value for name, value in version.items() if name != "manifest"})
    details({"provenance": version["manifest"]["provenance"], "backbone": content["backbone"]})
    served = {key for keys in content["served"] for key in keys}
    rows = [{**node, "served": node["key"] in served} for node in content["nodes"]]
    table(rows, {"served": "served", **NODE_COLUMNS}, empty="Every shard is dead: the public head answers, degraded.")
