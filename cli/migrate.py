"""`lethe migrate`: bring the database's schema up to this release, say where it is, or print the SQL for a reviewer."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Data, open_data
from cli.output import FAILED, Json, details, say, show, told

app = typer.Typer(no_args_is_help=True, help="Bring the database's schema up to this release.")


@app.command()
def up(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that this would run here, and change nothing.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Migrate; safe to repeat, and safe to run from many machines at once. `lethe serve` does it by itself."""
    with told(as_json), open_data(data) as doors:
        from core.persistence.database import migrate, migration_sql, refuse_newer_schema, schema_heads

        before, wanted = schema_heads(doors.database)
        if dry_run:
            refuse_newer_schema(doors.database)
            written = "" if before == wanted else migration_sql(before or "base")
            show({"from": before, "to": wanted, "sql": written}, as_json, lambda: print(written, end=""))
            return
        migrate(doors.database)
        after, _ = schema_heads(doors.database)
        body = {"from": before, "to": after}
        show(body, as_json, lambda: say(f"The schema is {after}." if before != after else "Nothing to do."))


@app.command()
def status(data: Data = None, as_json: Json = False) -> None:
    """Say which schema the database has and which one this release wants; exit status 1 when they differ."""
    with told(as_json), open_data(data) as doors:
        from core.persistence.database import schema_heads

        current, wanted = schema_heads(doors.database)
        body = {"current": current, "wanted": wanted, "up_to_date": current == wanted}
        show(body, as_json, lambda: details(body))
        if current != wanted:
            raise typer.Exit(FAILED)


@app.command()
def sql(
    start: Annotated[
        str, typer.Option("--from", help="The revision to start from; `base`: an empty database.")
    ] = "base",
    as_json: Json = False,
) -> None:
    """Print the SQL up to this release, without a database."""
    with told(as_json):
        from alembic.util import CommandError

        from cli.output import unusable
        from core.persistence.database import migration_sql

        try:
            written = migration_sql(start)
        except CommandError:
            raise unusable("there is no such revision") from None
        show({"sql": written}, as_json, lambda: print(written, end=""))
