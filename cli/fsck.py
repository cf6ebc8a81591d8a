"""`lethe fsck`: is everything as it should be? Compares the log, the database and both stores, and mends nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.options import Data, open_data
from cli.output import FAILED, Json, say, show, table, told

COLUMNS = {"severity": "severity", "code": "code", "object": "object", "what": "sentence"}


def fsck(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Destroy orphaned keys and objects that are older than an hour.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check the data directory; exit status 1 when a promise is broken. May run beside the service."""
    with told(as_json), open_data(data) as doors:
        from core.use_cases.check_consistency import check_consistency
        from core.use_cases.check_stores import sweep_orphans

        swept = sweep_orphans(doors) if sweep else None
        found = [asdict(one) for one in check_consistency(doors)]
        errors = sum(one["severity"] == "error" for one in found)
        body = {"errors": errors, "warnings": len(found) - errors, "findings": found, "swept": swept}
        show(body, as_json, lambda: _draw(body))
        if errors:
            raise typer.Exit(FAILED)


def _draw(body: dict[str, Any]) -> None:
    if body["swept"] is not None:
        say(f"Swept {body['swept']['keys']} keys and {body['swept']['objects']} objects.")
    table(body["findings"], COLUMNS, empty="Everything is as it should be.")
    if body["findings"]:
        say(f"{body['errors']} errors, {body['warnings']} warnings.")
