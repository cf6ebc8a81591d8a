"""`lethe fsck`: is everything as it should be? Compares the log, the database, both stores and the erasure ledger.

It mends nothing, unless asked to: `--sweep` destroys garbage, `--after-restore` brings a restored backup to where nobody
who was deleted comes back.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.options import Data, open_data
from cli.output import FAILED, Json, details, say, show, table, told

COLUMNS = {"severity": "severity", "code": "code", "object": "object", "what": "sentence"}


def fsck(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Destroy orphaned keys and objects that are older than an hour.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Recompute the digest of every live node's tensors, too. Loads torch.")
    ] = False,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore",
            help="Replay the erasure ledger into a restored database or bucket. Stop the service before.",
        ),
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check the data directory; exit status 1 when a promise is broken. May run beside the service."""
    if after_restore:
        _replay(data, as_json)
        return
    with told(as_json), open_data(data) as doors:
        from core.logging import configure_logging
        from core.use_cases.check_consistency import check_consistency
        from core.use_cases.check_stores import sweep_orphans

        configure_logging("error")
        swept = sweep_orphans(doors) if sweep else None
        found = [asdict(one) for one in check_consistency(doors, deep=deep)]
        errors = sum(one["severity"] == "error" for one in found)
        body = {"errors": errors, "warnings": len(found) - errors, "findings": found, "swept": swept}
        show(body, as_json, lambda: _draw(body))
        if errors:
            raise typer.Exit(FAILED)


def _replay(data: Data, as_json: bool) -> None:
    with told(as_json), open_data(data) as doors:
        from core.logging import configure_logging
        from core.persistence.database import migrate
        from core.use_cases.replay_ledger import replay_ledger

        configure_logging("error")
        migrate(doors.database)  # the backup may be of an older release
        body = replay_ledger(doors).as_json()
        show(body, as_json, lambda: _draw_replay(body))
        if body["findings"]:
            raise typer.Exit(FAILED)


def _draw(body: dict[str, Any]) -> None:
    if body["swept"] is not None:
        say(f"Swept {body['swept']['keys']} keys and {body['swept']['objects']} objects.")
    table(body["findings"], COLUMNS, empty="Everything is as it should be.")
    if body["findings"]:
        say(f"{body['errors']} errors, {body['warnings']} warnings.")


def _draw_replay(body: dict[str, Any]) -> None:
    details({name.replace("_", " "): value for name, value in body.items() if name != "findings"})
    table(
        body["findings"],
        COLUMNS,
        empty="Replayed. Start the workers, wait until their jobs are done, then look with `lethe fsck`.",
    )
