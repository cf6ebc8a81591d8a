"""`lethe jobs`: what runs, what waits, what every attempt came to; and how to stop a training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Cursor, Data, Limit, Once, Url, connect
from cli.output import Json, details, listed, say, show, table, told

app = typer.Typer(no_args_is_help=True, help="Watch jobs, see what their attempts came to, and stop a training.")
JOBS = "/v1/jobs"
Job = Annotated[str, typer.Argument(help="job_…")]
COLUMNS = {
    "id": "id",
    "kind": "kind",
    "state": "state",
    "attempts": "tries",
    "progress": "stands",
    "trouble": "error_code",
    "model": "model",
    "request": "request",
    "created": "created_at",
}
ATTEMPT_COLUMNS = {
    "fence": "fence",
    "worker": "worker",
    "outcome": "outcome",
    "died of": "error_code",
    "seconds": "seconds",
    "peak memory": "memory",
    "started": "started_at",
    "ended": "ended_at",
}


@app.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="deactivate, build, train_shard or train_node.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of the model of this id.")] = None,
    request: Annotated[str | None, typer.Option(help="Only of this deletion request.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with told(as_json), connect(url, data) as client:
        filters = {"state": state, "kind": kind, "model": model, "request": request}
        page = client.get(JOBS, limit=limit, cursor=cursor, **filters)
        show(page, as_json, lambda: _draw(page))


@app.command("show")
def show_job(job: Job, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Look at one job and its attempts."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"{JOBS}/{job}")
        show(found, as_json, lambda: _draw_one(found))


@app.command()
def cancel(job: Job, idempotency_key: Once = None, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Stop a job that trains; one that runs ends at its worker's next renewal of the lease."""
    with told(as_json), connect(url, data) as client:
        found = client.post(f"{JOBS}/{job}:cancel", idempotency_key=idempotency_key)
        asked = "will be stopped" if found["state"] == "running" else f"is {found['state']}"
        show(found, as_json, lambda: say(f"{found['id']} {asked}."))


def _draw(page: dict[str, Any]) -> None:
    rows = [
        {**job, "tries": f"{job['attempt']} of {job['max_attempts']}", "stands": _stands(job)} for job in page["data"]
    ]
    listed({**page, "data": rows}, COLUMNS, empty="There is no such job.")


def _draw_one(job: dict[str, Any]) -> None:
    details({name: value for name, value in job.items() if name != "attempts"})
    rows = [{**one, "memory": _mebibytes(one["peak_memory_bytes"])} for one in job["attempts"]]
    table(rows, ATTEMPT_COLUMNS, empty="No worker has taken it yet.")


def _stands(job: dict[str, Any]) -> str | None:
    progress = job["progress"] or {}
    if "total" in progress:
        return f"{progress['stage']}, epoch {progress['done']} of {progress['total']}"
    return progress.get("stage")


def _mebibytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 2**20:.0f} MiB"
