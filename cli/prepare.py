"""`lethe prepare`: bring the servers that the environment names to the point where a service can start on them.

Run it once before the processes of a deployment start, and after every upgrade. Repeating it does no harm, nor do
two at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Data, open_data
from cli.output import Json, say, show, told
from core.domain.errors import Unusable

if TYPE_CHECKING:
    from core.use_cases.doors import Doors

ANSWER_SECONDS = 60.0
"""How long servers that start beside us may take to answer."""


def prepare(
    admin_key_file: Annotated[
        Path | None,
        typer.Option(help="Write the first API key into this file, for its owner's eyes only, instead of printing it."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Migrate the database and make what a deployment needs; on the very first run also an admin's API key."""
    with told(as_json), open_data(data) as doors:
        key = prepared(doors, admin_key_file)
        body = {"first_run": key is not None, "admin_key": None if admin_key_file else key}
        if key is not None and admin_key_file is not None:
            body["admin_key_file"] = str(admin_key_file)
        show(body, as_json, lambda: _tell(key, admin_key_file))


def prepared(doors: Doors, admin_key_file: Path | None, *, seconds: float = ANSWER_SECONDS) -> str | None:
    """Prepare the deployment; return the admin's API key if this was the very first time, and keep it in the file.

    Servers may take up to `seconds` each to answer.

    Raises:
        Unusable: the file cannot be written, the database does not answer, or `prepare_service` refuses.
    """
    from core.use_cases.prepare_service import prepare_service

    if admin_key_file is not None:
        _check_writable(admin_key_file)
    doors.database.wait_until_ready(seconds)
    key = prepare_service(doors)
    if key is not None and admin_key_file is not None:
        keep_key(admin_key_file, key)
    return key


def keep_key(path: Path, key: str) -> None:
    """Write a key into a file that nobody but its owner could ever read."""
    path.unlink(missing_ok=True)  # an older file may be open to others
    path.touch(mode=0o600)
    path.write_text(key + "\n")


def _check_writable(path: Path) -> None:
    """Find out before anything is made: a key that could not be kept would be lost.

    Raises:
        Unusable: no file can be made there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.touch(mode=0o600)
        beside.unlink()
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error.strerror}") from None


def _tell(key: str | None, file: Path | None) -> None:
    if key is None:
        say("Ready. It was prepared before, so there is no new API key; `lethe keys create` makes one.")
    elif file is not None:
        say(f"Ready. The admin's API key lies in {file}; move it to a safe place.")
    else:
        print(key)
        say("Ready. This is the admin's API key; it is shown this once.")
