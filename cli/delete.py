r"""`lethe delete`: make models forget people or records, from the request to the certificate on disk.

lethe delete --identity email=a@example.org --wait --save evidence/
printf 'email=a@example.org\n' | lethe delete --identity-file - --wait       # stays out of the shell's history
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Data, Url, connect, read_file
from cli.output import CommandFailed, Json, details, progress, say, show, table, told, unusable

if TYPE_CHECKING:
    from cli.client import Client

REQUESTS = "/v1/deletion-requests"
FASTEST_LOOK_SECONDS = 0.02
SLOWEST_LOOK_SECONDS = 1.0
STAGES = ("received", "scheduled", "running", "verifying", "completed")
UNANSWERED = frozenset({"unreachable", "timed_out"})
PREVIEW_COLUMNS = {
    "model": "model",
    "nodes switched off": "nodes_switched_off",
    "nodes left": "nodes_left",
    "depths left": "depths_left",
    "degraded": "degraded",
    "slice-epochs to repair": "repair_cost.slice_epochs",
}


def delete(
    identity: Annotated[
        list[str] | None, typer.Option(help="TYPE=VALUE, such as email=a@example.org; repeat for more.")
    ] = None,
    identity_file: Annotated[
        Path | None, typer.Option(help="A file with one TYPE=VALUE a line; - is stdin, which leaves no trace.")
    ] = None,
    records: Annotated[list[str] | None, typer.Option(help="DATASET=ID,ID,…; repeat for more.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only in this model, and keep the rows; repeat. Default: everywhere.")
    ] = None,
    copies: Annotated[
        str, typer.Option(help="report or expand: what to do about identical content of others.")
    ] = "report",
    external_id: Annotated[str | None, typer.Option(help="Your own identifier of the case, never an identity.")] = None,
    regulation: Annotated[str | None, typer.Option(help="Such as gdpr.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Say what it would do, and do nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is completed.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Directory for the certificates, their proofs and the public keys; waits.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Makes a repeat of this command safe. Default: a fresh one.")
    ] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make models forget people or records."""
    with told(as_json):
        body = {
            "subject": {
                "identities": read_identities(identity or [], identity_file),
                "records": read_records(records or []),
            },
            "scope": {"models": model},
            "copies": copies,
            "external_id": external_id,
            "regulation": regulation,
        }
        with connect(url, data) as client:
            if preview:
                seen = client.post(f"{REQUESTS}:preview", body)
                show(seen, as_json, lambda: draw_preview(seen))
                return
            made = _post(client, body, idempotency_key or uuid.uuid4().hex)
            if wait or save:
                made = wait_until_completed(client, made)
            saved = save_evidence(client, made, save) if save else []
            show({**made, "saved": saved} if save else made, as_json, lambda: draw_request(made, saved))


def wait_until_completed(client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Show a bar until the request is completed, and return it as it is then.

    Raises:
        CommandFailed: it ended otherwise, or waits for a person.
    """
    pause = FASTEST_LOOK_SECONDS
    with progress("Forgetting") as bar:
        while request["state"] != "completed":
            _refuse_to_wait(request)
            bar(STAGES.index(request["state"]) / (len(STAGES) - 1), request["state"])
            time.sleep(pause)
            pause = min(1.5 * pause, SLOWEST_LOOK_SECONDS)
            request = {**request, **client.get(f"{REQUESTS}/{request['id']}")}
    return request


def save_evidence(client: Client, request: dict[str, Any], directory: Path) -> list[str]:
    """Write each certificate of a request, its proof, and the public keys; return the files' names."""
    contents = {"lethe.vkey": client.fetch("/.well-known/lethe.vkey")}
    for one in request["certificates"]:
        contents[f"{one['id']}.dsse.json"] = client.fetch(f"/v1/certificates/{one['id']}")
        contents[f"{one['id']}.tlog-proof"] = client.fetch(f"/v1/certificates/{one['id']}/proof")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise unusable(f"{directory} cannot be written: {error.strerror}") from None
    return [str(directory / name) for name in contents]


def draw_request(request: dict[str, Any], saved: list[str]) -> None:
    details({name: value for name, value in request.items() if name not in ("jobs", "certificates", "object")})
    columns = {"certificate": "id", "model": "model", "guarantee": "guarantee"}
    table(request["certificates"], columns, empty="There is no certificate yet.")
    for certificate in (name for name in saved if name.endswith(".dsse.json")):
        stem = certificate.removesuffix(".dsse.json")
        key = str(Path(certificate).with_name("lethe.vkey"))
        say(f"lethe verify {certificate} --proof {stem}.tlog-proof --key {key}")


def draw_preview(seen: dict[str, Any]) -> None:
    details({name: value for name, value in seen.items() if name not in ("models", "object")})
    table(seen["models"], PREVIEW_COLUMNS, empty="No model has learned from this subject.")


def _post(client: Client, body: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        return client.post(REQUESTS, body, idempotency_key=key)
    except CommandFailed as failure:
        if failure.code in UNANSWERED:
            # It may have been accepted all the same; the same key gets the first receipt, never a second request.
            sentence = f"{failure.sentence}; to repeat it safely add --idempotency-key {key}"
            raise CommandFailed(sentence, failure.code, failure.status) from None
        raise


def _refuse_to_wait(request: dict[str, Any]) -> None:
    name, state = request["id"], request["state"]
    if state == "needs_attention":
        raise CommandFailed(f"{name} needs attention: {request['wait_reason']}; its clock runs on", "needs_attention")
    if state in ("pending_approval", "on_hold"):
        raise CommandFailed(f"{name} waits for a second person: `lethe requests approve {name}`", "needs_approval")
    if state not in STAGES:
        raise CommandFailed(f"{name} was {state}", str(state))


def read_identities(named: list[str], file: Path | None) -> list[dict[str, str]]:
    if file is not None:
        try:
            text = read_file(file).decode()
        except UnicodeError:
            raise unusable("the file of identities is not UTF-8") from None
        named = [*named, *(line for line in text.splitlines() if line.strip())]
    return [_identity(number, text) for number, text in enumerate(named, start=1)]


def _identity(number: int, text: str) -> dict[str, str]:
    kind, equals, value = text.partition("=")
    if not equals or not kind.strip() or not value.strip():
        raise unusable(f"identity {number} is not TYPE=VALUE")  # its text may be an identity, and is not repeated
    return {"identity_type": kind.strip(), "identity_value": value.strip()}


def read_records(named: list[str]) -> list[dict[str, Any]]:
    subjects = []
    for number, text in enumerate(named, start=1):
        dataset, _, listed = text.partition("=")
        ids = [one.strip() for one in listed.split(",") if one.strip()]
        if not dataset or not ids:
            raise unusable(f"--records {number} is not DATASET=ID,ID")
        subjects.append({"dataset": dataset, "record_ids": ids})
    return subjects
