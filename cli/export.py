"""`lethe export`: what a model serves now, as directories that plain `peft` loads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Data, open_data
from cli.output import Json, progress, say, show, table, told

COLUMNS = {"directory": "directory", "slices": "slices", "weight": "weight", "node": "node"}


def export(
    model: Annotated[str, typer.Argument(help="Id or name.")],
    directory: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write what a model serves as directories that plain `peft` loads. Replace the copy after every deletion."""
    with told(as_json), open_data(data) as doors:
        from core.logging import configure_logging
        from core.use_cases.export_model import export_model

        configure_logging("error")
        with progress("Exporting") as bar:
            body = asdict(export_model(doors, model, directory, progress=bar))
        show(body, as_json, lambda: _draw(body))


def _draw(body: dict[str, Any]) -> None:
    table(body["chains"], COLUMNS, empty="")
    say(
        f"Version {body['number']} of {body['model']} lies in {body['directory']}; its README says how to load it. No "
        "deletion reaches this copy: replace it after each."
    )
