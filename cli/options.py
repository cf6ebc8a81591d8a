"""Options that many commands share, and what they open: the service over HTTP, or a data directory straight away.

Where the service is: --url, else LETHE_URL, else what `lethe serve` wrote into the data directory, else port 8200 here.
The API key: LETHE_API_KEY, else admin.key in the data directory when the service is on this machine. There is no option
for the key: a command line is visible to every process and stays in the shell's history.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cli.output import unusable

if TYPE_CHECKING:
    from cli.client import Client
    from core.use_cases.doors import Doors

Url = Annotated[str | None, typer.Option("--url", envvar="LETHE_URL", help="Address of the service.")]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="LETHE_DATA_DIRECTORY", help="Data directory of the service.")
]
Once = Annotated[str | None, typer.Option("--idempotency-key", help="Makes a repeat of this command safe.")]

Limit = Annotated[int, typer.Option(min=1, max=200, help="How many to show.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the page before.")]

DEFAULT_URL = "http://127.0.0.1:8200"
DEFAULT_DATA = Path("lethe-data")


def connect(url: str | None, data: Path | None) -> Client:
    """Open a connection to the service.

    Raises:
        CommandFailed: no API key is known.
    """
    from cli.client import Client

    directory = data or DEFAULT_DATA
    address = url or _written_address(directory) or DEFAULT_URL
    return Client(address, _key(address, directory))


@contextmanager
def open_data(data: Path | None) -> Iterator[Doors]:
    """Open a data directory (or LETHE_DATABASE_URL and its stores), whether or not the service runs.

    Raises:
        Unusable: there is no service in it.
    """
    from cli import private_postgres
    from core.settings import Settings

    settings = Settings()
    if data is not None:
        settings = settings.model_copy(update={"data_directory": data})
    with private_postgres.doors(settings) as doors:
        try:
            yield doors
        finally:
            doors.database.close()


def read_file(path: Path) -> bytes:
    """Return a file's bytes, those of stdin for `-`.

    Raises:
        CommandFailed: it cannot be read.
    """
    try:
        return typer.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise unusable(f"{path} cannot be read: {error.strerror}") from None


def read_numbers(text: str | None, option: str) -> list[float] | None:
    """Return the numbers of an option such as `5,2,1,1`; None when it was not given.

    Raises:
        CommandFailed: one of them is no number.
    """
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise unusable(f"{option} takes numbers with commas between them") from None


def _written_address(directory: Path) -> str | None:
    try:
        return str(json.loads((directory / "service.json").read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(address: str, directory: Path) -> str:
    key = os.environ.get("LETHE_API_KEY", "").strip()
    if key:
        return key
    path = directory / "admin.key"
    if _is_here(address):
        try:
            return path.read_text().strip()
        except OSError:
            pass
    raise unusable(f"no API key: set LETHE_API_KEY, or name with --data a directory that holds {path.name}")


def _is_here(address: str) -> bool:
    """Whether an address is of this machine: the admin's key is sent nowhere else by itself."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
