"""`lethe lineage` and `lethe trace`: where a model's parts come from, and what ever saw somebody and is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.delete import read_identities, read_records
from cli.options import Cursor, Data, Limit, Url, connect
from cli.output import FAILED, Json, listed, say, show, table, told

LINEAGE_COLUMNS = {
    "kind": "kind",
    "id": "id",
    "state": "state",
    "stands on": "stands_on",
    "digest": "digest",
    "made": "made_at",
    "by": "made.worker",
    "ended": "ended_at",
}
TRACE_COLUMNS = {"kind": "kind", "id": "id", "model": "model", "records": "records", "since": "made_at"}
FEW = 3


def lineage(
    model: Annotated[str, typer.Argument(help="Id or name.")],
    kind: Annotated[str | None, typer.Option(help="backbone, node, version, certificate or export.")] = None,
    state: Annotated[str | None, typer.Option(help="live, dead, superseded or outside.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what a model is made of: what each part stands on, what it was fed, which job made it and when."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/models/{model}/lineage", kind=kind, state=state, limit=limit, cursor=cursor)
        show(found, as_json, lambda: _draw_lineage(found))


def trace(
    identity: Annotated[list[str] | None, typer.Option(help="TYPE=VALUE, as for `lethe delete`; repeat.")] = None,
    identity_file: Annotated[
        Path | None, typer.Option(help="A file with one TYPE=VALUE a line; - is stdin, which leaves no trace.")
    ] = None,
    records: Annotated[list[str] | None, typer.Option(help="DATASET=ID,ID,…; repeat for more.")] = None,
    must_be_empty: Annotated[
        bool, typer.Option("--must-be-empty", help="Exit with 1 if anything live ever saw them.")
    ] = False,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Name everything live that ever saw somebody; nothing, once they were forgotten."""
    with told(as_json), connect(url, data) as client:
        subject = {"identities": read_identities(identity or [], identity_file), "records": read_records(records or [])}
        found = client.post("/v1/lineage:trace", {"subject": subject})
        show(found, as_json, lambda: _draw_trace(found))
        if must_be_empty and found["live"]:
            raise typer.Exit(FAILED)


def _draw_lineage(found: dict[str, Any]) -> None:
    rows = []
    for one in found["data"]:
        parents = [parent["id"] for parent in one["parents"]]
        more = [f"and {len(parents) - FEW} more"] if len(parents) > FEW else []
        rows.append(one | {"stands_on": parents[:FEW] + more})
    listed({**found, "data": rows}, LINEAGE_COLUMNS, empty="There is nothing of that kind.")


def _draw_trace(found: dict[str, Any]) -> None:
    table(found["live"], TRACE_COLUMNS, empty="Nothing live ever saw them.")
    if found["nodes_gone"]:
        say(f"{found['nodes_gone']} nodes that saw them were switched off.")
    if found["exported"]:
        say("These exports saw them, and lie where no deletion reaches; replace them:")
        table(found["exported"], TRACE_COLUMNS, empty="")
