"""`lethe requests`: watch deletion requests, and decide about those that wait for a second person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.delete import REQUESTS, draw_request, save_evidence
from cli.options import Cursor, Data, Limit, Url, connect
from cli.output import Json, listed, say, show, told
from core.domain.deletion import WaiverReason

app = typer.Typer(no_args_is_help=True, help="Watch deletion requests and decide about them.")
Request = Annotated[str, typer.Argument(help="dr_…")]
Seen = Annotated[int | None, typer.Option(help="Row version that was looked at; refused if it changed since.")]
COLUMNS = {
    "id": "id",
    "state": "state",
    "waits for": "wait_reason",
    "external id": "external_id",
    "regulation": "regulation",
    "records": "records",
    "certificates": "certificate_count",
    "received": "received_at",
}
ATTEMPTS = {
    "model": "model",
    "number": "number",
    "method": "method",
    "tried because": "why",
    "ending": "ending",
    "accepted": "accepted",
    "because": "why_accepted_or_not",
    "failure": "failure",
    "seconds": "cost.seconds",
}


@app.command("list")
def list_requests(
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only with work on the model of this id.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Only your case.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List requests, newest first."""
    with told(as_json), connect(url, data) as client:
        filters = {"state": state, "model": model, "external_id": external_id}
        page = client.get(REQUESTS, limit=limit, cursor=cursor, **filters)
        show(page, as_json, lambda: _draw(page))


@app.command("show")
def show_request(
    request: Request,
    save: Annotated[
        Path | None, typer.Option(help="Directory for the certificates, their proofs and the public keys.")
    ] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look at one request, and fetch its evidence."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"{REQUESTS}/{request}")
        saved = save_evidence(client, found, save) if save else []
        show({**found, "saved": saved} if save else found, as_json, lambda: draw_request(found, saved))


@app.command()
def approve(request: Request, seen: Seen = None, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Let a request begin; whoever made it may not."""
    _decide("approve", request, seen, url, data, as_json=as_json)


@app.command()
def deny(request: Request, seen: Seen = None, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Refuse a request for good."""
    _decide("deny", request, seen, url, data, as_json=as_json)


@app.command()
def cancel(request: Request, seen: Seen = None, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Take a request back that no worker has begun."""
    _decide("cancel", request, seen, url, data, as_json=as_json)


@app.command()
def retry(request: Request, seen: Seen = None, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Try a request again that needs attention because its jobs gave up."""
    _decide("retry", request, seen, url, data, as_json=as_json)


@app.command()
def attempts(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """See what was tried on models in approximate mode, and what the judge said."""
    with told(as_json), connect(url, data) as client:
        page = client.get(f"{REQUESTS}/{request}/attempts", limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, ATTEMPTS, empty="No method was tried for this request."))


@app.command()
def waive(
    request: Request,
    model: Annotated[str, typer.Argument(help="Id or name.")],
    reason: Annotated[WaiverReason, typer.Option(help="Why you answer for it.")],
    attempt: Annotated[int | None, typer.Option(help="Number; the newest that left something to serve.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Answer, by your API key's name, for a judgement that is no pass; its result is served and certified as waived."""
    with told(as_json), connect(url, data) as client:
        found = client.post(f"{REQUESTS}/{request}:waive", {"model": model, "reason": reason, "attempt": attempt})
        show(found, as_json, lambda: say(f"{found['id']} is {found['state']}."))


def _decide(
    decision: str, request: str, seen: int | None, url: str | None, data: Path | None, *, as_json: bool
) -> None:
    with told(as_json), connect(url, data) as client:
        found = client.post(f"{REQUESTS}/{request}:{decision}", seen=seen)
        show(found, as_json, lambda: say(f"{found['id']} is {found['state']}."))


def _draw(page: dict[str, Any]) -> None:
    rows = [{**one, "certificate_count": len(one["certificates"])} for one in page["data"]]
    listed({**page, "data": rows}, COLUMNS, empty="There is no such request.")
