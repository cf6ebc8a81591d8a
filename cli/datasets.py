"""`lethe datasets`: register rows with their owners, add more, and look at what is registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Cursor, Data, Limit, Once, Url, connect, read_file
from cli.output import Json, details, listed, show, table, told, unusable

app = typer.Typer(no_args_is_help=True, help="Register data sets and look at them.")
ROLES = ("images", "labels", "owners", "record_ids", "public")
COLUMNS = {
    "id": "id",
    "name": "name",
    "records": "records",
    "public": "public_records",
    "owners": "owners",
    "copies": "copies_under_other_owners",
    "version": "version",
    "created": "created_at",
}
VERSION_COLUMNS = {
    "version": "number",
    "records": "records",
    "owners": "owners",
    "new": "new_owners",
    "copies": "copies_under_other_owners",
    "created": "created_at",
}
Dataset = Annotated[str, typer.Argument(help="Id or name.")]


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    file: Annotated[
        Path | None, typer.Argument(help="All columns: an NPZ, or a table as CSV, JSON lines or Parquet.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help=f"ROLE=FILE instead of an NPZ; roles: {', '.join(ROLES)}.")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="The schema as a JSON file, instead of the options below; a table needs one.")
    ] = None,
    image_shape: Annotated[str | None, typer.Option(help="Such as 28x28 or 32x32x3.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The closed list of labels, separated by commas, in order.")
    ] = None,
    owner_type: Annotated[str, typer.Option(help="What the owner column holds, such as email.")] = "email",
    pixels: Annotated[str | None, typer.Option(help="The range of pixels. Default: 0..255.")] = None,
    public: Annotated[str | None, typer.Option(help="Column that flags rows a backbone may be pre-trained on.")] = None,
    idempotency_key: Once = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Upload a data set. Rows are sealed under one key per owner; no identity is kept."""
    with told(as_json):
        files = _files(file, column or [])
        told_schema = _written(schema) if schema else _described(image_shape, labels, owner_type, pixels, public)
        fields = {"name": name, "schema": json.dumps(told_schema)}
        with connect(url, data) as client:
            made = client.upload("/v1/datasets:upload", fields, files, idempotency_key=idempotency_key)
        show(made, as_json, lambda: table([made], COLUMNS, empty=""))


@app.command()
def add(
    dataset: Dataset,
    file: Annotated[Path | None, typer.Argument(help="All columns, as when it was registered.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="ROLE=FILE instead of one file.")] = None,
    idempotency_key: Once = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add records to a data set as a new version; models follow with `lethe models advance`."""
    with told(as_json):
        files = _files(file, column or [])
        with connect(url, data) as client:
            made = client.upload(f"/v1/datasets/{dataset}/versions:upload", {}, files, idempotency_key=idempotency_key)
        show(made, as_json, lambda: table([made], VERSION_COLUMNS, empty=""))


@app.command()
def versions(
    dataset: Dataset,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what came with each version, newest first."""
    with told(as_json), connect(url, data) as client:
        page = client.get(f"/v1/datasets/{dataset}/versions", limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, VERSION_COLUMNS, empty="There is no version."))


@app.command("list")
def list_datasets(
    limit: Limit = 50, cursor: Cursor = None, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """List data sets, newest first."""
    with told(as_json), connect(url, data) as client:
        page = client.get("/v1/datasets", limit=limit, cursor=cursor)
        show(page, as_json, lambda: listed(page, COLUMNS, empty="There is no data set yet."))


@app.command("show")
def show_dataset(
    dataset: Dataset,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look at one data set."""
    with told(as_json), connect(url, data) as client:
        found = client.get(f"/v1/datasets/{dataset}")
        show(found, as_json, lambda: details(found))


def _files(file: Path | None, columns: list[str]) -> dict[str, bytes]:
    if (file is None) == (not columns):
        raise unusable("name one file, or every column with --column ROLE=FILE")
    if file is not None:
        return {"file": read_file(file)}
    named = dict(_pair(text) for text in columns)
    return {role: read_file(Path(path)) for role, path in named.items()}


def _pair(text: str) -> tuple[str, str]:
    role, equals, path = text.partition("=")
    if not equals or role not in ROLES:
        raise unusable(f"--column takes ROLE=FILE with a role among {', '.join(ROLES)}")
    return role, path


def _written(path: Path) -> Any:
    try:
        return json.loads(read_file(path))
    except ValueError:
        raise unusable(f"{path} is not JSON") from None


def _described(
    image_shape: str | None, labels: str | None, owner_type: str, pixels: str | None, public: str | None
) -> dict[str, Any]:
    """Return the schema that the options describe; what it must fulfil, the service says."""
    if image_shape is None or labels is None:
        raise unusable("describe images with --image-shape and --labels, or name a file with --schema")
    low, _, high = (pixels or "0..255").partition("..")
    try:
        return {
            "image_shape": [int(edge) for edge in image_shape.split("x")],
            "labels": labels.split(","),
            "owner_identity_type": owner_type,
            "pixel_minimum": float(low),
            "pixel_maximum": float(high),
            "public_column": public,
        }
    except ValueError:
        raise unusable("--image-shape is written like 28x28, and --pixels like 0..255") from None
