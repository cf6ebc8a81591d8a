"""`lethe webhooks`: who is told of what happens, what became of each delivery, and whether a message is ours."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Cursor, Data, Limit, Url, connect, read_file
from cli.output import FAILED, Json, details, listed, say, show, told, unusable

ENDPOINTS = "/v1/webhook-endpoints"
SECRET_VARIABLE = "LETHE_WEBHOOK_SECRET"  # noqa: S105 - a name, no secret
app = typer.Typer(no_args_is_help=True, help="Tell other systems of ends and of what needs attention.")
Endpoint = Annotated[str, typer.Argument(help="we_…")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Such as deletion_request.completed; repeat. Default: ends and needs_attention."),
]
COLUMNS = {
    "id": "id",
    "url": "url",
    "enabled": "enabled",
    "why not": "disabled_reason",
    "failing since": "failing_since",
    "types": "types",
}
DELIVERIES = {
    "id": "id",
    "event": "event.type",
    "about": "event.subject",
    "state": "state",
    "attempts": "attempts",
    "status": "last_status",
    "trouble": "last_trouble",
    "next": "next_at",
}


@app.command()
def add(
    to: Annotated[str, typer.Argument(metavar="URL", help="Where to send events: https, a public address.")],
    kind: Types = None,
    description: Annotated[str | None, typer.Option(help="What it is for, such as governance.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an endpoint; its secret is shown once, on stdout and alone, so that it can be piped to where it belongs."""
    with told(as_json), connect(url, data) as client:
        body = {"url": to, "description": description} | ({"types": kind} if kind else {})
        _show_secret(client.post(ENDPOINTS, body), as_json)


@app.command("list")
def list_endpoints(
    limit: Limit = 50, cursor: Cursor = None, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """List endpoints, newest first."""
    with told(as_json), connect(url, data) as client:
        page = client.get(ENDPOINTS, limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, COLUMNS, empty="There is no webhook endpoint."))


@app.command("show")
def show_endpoint(endpoint: Endpoint, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Look at one endpoint."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"{ENDPOINTS}/{endpoint}")
        show(found, as_json, lambda: details(found))


@app.command()
def enable(endpoint: Endpoint, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Call an endpoint again, with what happened meanwhile."""
    _switch(endpoint, url, data, enabled=True, as_json=as_json)


@app.command()
def disable(endpoint: Endpoint, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Stop calling an endpoint, and go on collecting for it."""
    _switch(endpoint, url, data, enabled=False, as_json=as_json)


@app.command()
def remove(endpoint: Endpoint, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Delete an endpoint, what was still to be sent to it, and its secret."""
    with told(as_json), connect(url, data) as client:
        client.delete(f"{ENDPOINTS}/{endpoint}")
        show({"id": endpoint, "deleted": True}, as_json, lambda: say(f"{endpoint} is deleted."))


@app.command()
def rotate(
    endpoint: Endpoint,
    seen: Annotated[int | None, typer.Option(help="Row version that was looked at; refused if it changed.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give an endpoint a new secret, shown once; the old one signs beside it for a while."""
    with told(as_json), connect(url, data) as client:
        _show_secret(client.post(f"{ENDPOINTS}/{endpoint}:rotate-secret", seen=seen), as_json)


@app.command("test")
def send_test(endpoint: Endpoint, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """Send an event that says nothing."""
    with told(as_json), connect(url, data) as client:
        sent = client.post(f"{ENDPOINTS}/{endpoint}:test")
        show(sent, as_json, lambda: say(f"{sent['id']} is on its way; see `lethe webhooks deliveries {endpoint}`."))


@app.command()
def deliveries(
    endpoint: Endpoint,
    state: Annotated[str | None, typer.Option(help="Only waiting, succeeded or failed.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what was sent to an endpoint, and what became of it."""
    with told(as_json), connect(url, data) as client:
        page = client.get(f"{ENDPOINTS}/{endpoint}/deliveries", state=state, limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, DELIVERIES, empty="Nothing was sent there."))


@app.command()
def resend(
    delivery: Annotated[str, typer.Argument(help="wd_…")], url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Send a delivery again now, under the same webhook-id."""
    with told(as_json), connect(url, data) as client:
        sent = client.post(f"/v1/webhook-deliveries/{delivery}:resend")
        show(sent, as_json, lambda: say(f"{sent['id']} is on its way."))


@app.command()
def verify(
    body: Annotated[Path, typer.Argument(help="Exactly the bytes that came; - for stdin.")],
    headers: Annotated[Path, typer.Option(help="File with the request's headers, one `name: value` a line.")],
    secret_file: Annotated[
        Path | None, typer.Option(help=f"File with the secret, whsec_…; else {SECRET_VARIABLE} is read.")
    ] = None,
    at: Annotated[float | None, typer.Option(help="When it came, in seconds since 1970. Default: now.")] = None,
    as_json: Json = False,
) -> None:
    """Judge offline whether a message was signed with a secret: exit status 0 it was, 1 it was not, 2 unusable input."""
    with told(as_json):
        from core.domain.errors import SignatureInvalid
        from core.webhooks.standard import read_secret
        from core.webhooks.standard import verify as verify_message

        text = read_file(secret_file).decode(errors="replace") if secret_file else os.environ.get(SECRET_VARIABLE, "")
        key, given = read_secret(text), _headers(read_file(headers))
        flaw = None
        try:
            verify_message(key, given, read_file(body), now=time.time() if at is None else at)
        except SignatureInvalid as error:
            flaw = error.detail
        show({"valid": flaw is None, "failure": flaw}, as_json, lambda: print(f"INVALID: {flaw}" if flaw else "VALID"))
        if flaw:
            raise typer.Exit(FAILED)


def _headers(content: bytes) -> dict[str, str]:
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise unusable("the headers are no plain text") from None
    parted = [line.partition(":") for line in lines if line.strip()]
    return {name.strip(): value.strip() for name, _, value in parted}


def _switch(endpoint: str, url: str | None, data: Path | None, *, enabled: bool, as_json: bool) -> None:
    with told(as_json), connect(url, data) as client:
        found = client.patch(f"{ENDPOINTS}/{endpoint}", {"enabled": enabled})
        word = "enabled" if enabled else "disabled"
        show(found, as_json, lambda: say(f"{found['id']} is {word}."))


def _show_secret(made: dict[str, Any], as_json: bool) -> None:
    show(made, as_json, lambda: print(made["secret"]))
    if not as_json:
        say(f"{made['id']}. The secret is shown this once.")
