"""`lethe audit`: recompute the log of a data directory, and write it out for somebody else to verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Data, open_data
from cli.output import FAILED, Json, details, say, show, table, told, unusable

if TYPE_CHECKING:
    from core.use_cases.doors import Doors

app = typer.Typer(no_args_is_help=True, help="Recompute the audit log, or write it out.")
AT_ONCE = 1000
COLUMNS = {"code": "code", "where": "object", "what": "sentence"}


@app.command()
def verify(data: Data = None, as_json: Json = False) -> None:
    """Recompute every entry, every node of the tree and every checkpoint from the stored bytes."""
    with told(as_json), open_data(data) as doors:
        from core.use_cases.check_log import check_log

        found = check_log(doors)
        body: dict[str, Any] = {
            "valid": not found.findings,
            "entries": found.entries,
            "root": found.root,
            "checkpoints": found.checkpoints,
            "covered_by_newest_checkpoint": found.covered,
            "findings": [asdict(one) for one in found.findings],
        }
        show(body, as_json, lambda: _draw(body))
        if found.findings:
            raise typer.Exit(FAILED)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write; - is stdout.")], data: Data = None, as_json: Json = False
) -> None:
    """Write the log, one entry a line, as `lethe verify --log` reads it. It holds references, no identities."""
    with told(as_json and str(file) != "-"), open_data(data) as doors:
        if str(file) == "-":
            _write(doors, typer.get_binary_stream("stdout"))
            return
        try:
            with file.open("wb") as out:
                entries = _write(doors, out)
        except OSError as error:
            raise unusable(f"{file} cannot be written: {error.strerror}") from None
        body = {"file": str(file), "entries": entries}
        show(body, as_json, lambda: say(f"{entries} entries are in {file}."))


def _write(doors: Doors, out: Any) -> int:
    from core.persistence import audit

    with doors.database.transaction() as session:
        entries = audit.size(
            session
        )  # what comes while we write is not waited for: every beginning of the log is a log
    for start in range(0, entries, AT_ONCE):
        with doors.database.transaction() as session:
            page = audit.bodies_between(session, start, min(start + AT_ONCE, entries))
        # Outside: whoever reads at the other end takes their time.
        out.writelines(body + b"\n" for body in page)
    return entries


def _draw(body: dict[str, Any]) -> None:
    details({name: value for name, value in body.items() if name != "findings"})
    table(body["findings"], COLUMNS, empty="The log is whole: nothing was changed, taken out or added.")
