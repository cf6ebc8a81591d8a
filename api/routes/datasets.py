"""Data sets and their versions: register and add by upload, or from a directory that the service may read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, MaybeKey, answered, needs, once
from api.documentation import BODY
from api.envelope import declared_length
from api.schemas.answers import Dataset, DatasetVersion
from api.schemas.common import Page
from api.schemas.datasets import (
    AdditionBody,
    DatasetBody,
    ImageSchemaBody,
    LanguageSchemaBody,
    TabularSchemaBody,
    TextSchemaBody,
)
from core.datasets.schema import ROLES, Schema
from core.domain.access import Scope
from core.domain.errors import BadInput, PathNotAllowed, TooLarge, UnreadableFile
from core.use_cases.doors import Doors
from core.use_cases.grow_dataset import grow_dataset
from core.use_cases.read_datasets import read_dataset, read_dataset_versions, read_datasets
from core.use_cases.register_dataset import register_dataset

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])
UPLOAD_PATHS = re.compile(r"/v1/datasets(/[^/]+/versions)?:upload")
LARGEST_FIELD = 4 << 20
"""Bytes of `name` or `schema`; a hundred thousand labels fit."""
_ROWS = {
    "file": {
        "type": "string",
        "format": "binary",
        "description": "All columns: an NPZ, or a table as CSV, JSON lines or Parquet, perhaps gzipped.",
    }
} | {
    role: {"type": "string", "format": "binary", "description": "One column: .npy, idx, idx.gz or text."}
    for role in ROLES
}
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "schema"],
                "properties": {
                    "name": {"type": "string", "examples": ["digits"]},
                    "schema": {
                        "oneOf": [
                            {"$ref": "#/components/schemas/ImageSchemaBody"},
                            {"$ref": "#/components/schemas/TabularSchemaBody"},
                            {"$ref": "#/components/schemas/TextSchemaBody"},
                            {"$ref": "#/components/schemas/LanguageSchemaBody"},
                        ]
                    },
                    **_ROWS,
                },
            },
            "encoding": {"schema": {"contentType": "application/json"}},
        }
    },
}
_ADDED = {
    "required": True,
    "content": {"multipart/form-data": {"schema": {"type": "object", "properties": _ROWS}}},
}


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    responses=BODY,
    dependencies=[needs(Scope.DATASETS_WRITE)],
    summary="Register from allowed paths",
)
def register_from_paths(
    body: DatasetBody, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response
) -> dict[str, Any]:
    """Read the files from directories named in LETHE_DATA_ROOTS."""
    files = {role: _read_allowed(path, doors) for role, path in body.files.items()}
    once_key = once("POST /v1/datasets", key, body)
    schema = _schema(body.row_schema)
    answer = register_dataset(body.name, schema, files, caller=caller, once=once_key, doors=doors)
    return answered(response, answer)


async def uploaded(request: Request) -> dict[str, str | bytes]:
    """Read a multipart body into memory: rows are personal data and must never touch a temporary file.

    Raises:
        BadInput: the body is no form.
        TooLarge: it is larger than LETHE_UPLOAD_LIMIT_BYTES.
    """
    limit: int = request.app.state.doors.settings.upload_limit_bytes
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise BadInput("send multipart/form-data with the parts `name`, `schema` and the files")

    async def counted() -> AsyncGenerator[bytes]:
        received = declared_length(request.scope)
        if received <= limit:
            received = 0
            async for part in request.stream():
                received += len(part)
                if received > limit:
                    break
                yield part
        if received > limit:
            raise TooLarge(f"an upload has at most {limit} bytes")

    parser = MultiPartParser(request.headers, counted(), max_files=8, max_fields=8, max_part_size=LARGEST_FIELD)
    parser.spool_max_size = limit + 1
    try:
        form = await parser.parse()
    except (MultiPartException, HTTPException):
        raise BadInput("the multipart body cannot be read") from None
    try:
        return {name: await part.read() if isinstance(part, UploadFile) else part for name, part in form.items()}
    finally:
        await form.close()


@router.post(
    ":upload",
    status_code=201,
    response_model=Dataset,
    responses=BODY,
    dependencies=[needs(Scope.DATASETS_WRITE)],
    openapi_extra={"requestBody": _FORM},
    summary="Register by upload",
)
def register_by_upload(
    caller: Caller,
    doors: DoorsDoor,
    form: Annotated[dict[str, str | bytes], Depends(uploaded)],
    key: MaybeKey,
    response: Response,
) -> dict[str, Any]:
    """Register from a form: `name`, `schema` (JSON), and `file` (NPZ, CSV, JSON lines, Parquet), or a file per column."""
    body = _described(form.pop("name", None), form.pop("schema", b"null"))
    files, parts = _files_of(form)
    once_key = once("POST /v1/datasets:upload", key, body.model_dump_json().encode() + parts)
    answer = register_dataset(body.name, _schema(body.row_schema), files, caller=caller, once=once_key, doors=doors)
    return answered(response, answer)


def _files_of(form: dict[str, str | bytes]) -> tuple[dict[str, bytes], bytes]:
    """Return the files of a form by role, and what tells them from others.

    Raises:
        BadInput: a part is no file.
    """
    files = {role: content for role, content in form.items() if isinstance(content, bytes)}
    if len(files) < len(form):
        raise BadInput("send every column as a file, with a file name")
    return files, b"".join(hashlib.sha256(role.encode() + b"\x00" + files[role]).digest() for role in sorted(files))


@router.post(
    "/{dataset}/versions",
    status_code=201,
    response_model=DatasetVersion,
    responses=BODY,
    dependencies=[needs(Scope.DATASETS_WRITE)],
    summary="Add records from allowed paths, as a new version",
)
def add_from_paths(
    dataset: str, body: AdditionBody, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response
) -> dict[str, Any]:
    """Read the files from directories named in LETHE_DATA_ROOTS. They keep the data set's schema; record ids are new."""
    files = {role: _read_allowed(path, doors) for role, path in body.files.items()}
    once_key = once("POST /v1/datasets/{dataset}/versions", key, dataset.encode() + body.model_dump_json().encode())
    return answered(response, grow_dataset(dataset, files, caller=caller, once=once_key, doors=doors))


@router.post(
    "/{dataset}/versions:upload",
    status_code=201,
    response_model=DatasetVersion,
    responses=BODY,
    dependencies=[needs(Scope.DATASETS_WRITE)],
    openapi_extra={"requestBody": _ADDED},
    summary="Add records by upload, as a new version",
)
def add_by_upload(
    dataset: str,
    caller: Caller,
    doors: DoorsDoor,
    form: Annotated[dict[str, str | bytes], Depends(uploaded)],
    key: MaybeKey,
    response: Response,
) -> dict[str, Any]:
    """Add the rows of `file`, or of a file per column. They keep the data set's schema; record ids are new."""
    files, parts = _files_of(form)
    once_key = once("POST /v1/datasets/{dataset}/versions:upload", key, dataset.encode() + b"\x00" + parts)
    return answered(response, grow_dataset(dataset, files, caller=caller, once=once_key, doors=doors))


@router.get(
    "/{dataset}/versions",
    response_model=Page[DatasetVersion],
    dependencies=[needs(Scope.DATASETS_READ)],
    summary="List what came with each version, newest first",
)
def list_dataset_versions(
    dataset: str, caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    return read_dataset_versions(dataset, caller=caller, doors=doors, limit=limit, cursor=cursor)


def _described(name: str | bytes | None, schema: str | bytes) -> DatasetBody:
    """Return what the two describing parts of a form say, checked like a JSON body.

    Raises:
        BadInput: the schema is not JSON.
        RequestValidationError: a field does not fit.
    """
    try:
        return DatasetBody.model_validate({"name": name, "schema": json.loads(schema), "files": {}})
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None
    except (ValueError, RecursionError):
        raise BadInput("the part `schema` is not JSON") from None


@router.get(
    "", response_model=Page[Dataset], dependencies=[needs(Scope.DATASETS_READ)], summary="List data sets, newest first"
)
def list_datasets(caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    return read_datasets(caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    "/{dataset}",
    response_model=Dataset,
    dependencies=[needs(Scope.DATASETS_READ)],
    summary="Look at one data set, by id or name",
)
def get_dataset(dataset: str, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return read_dataset(dataset, caller=caller, doors=doors)


def _schema(body: ImageSchemaBody | TabularSchemaBody | TextSchemaBody | LanguageSchemaBody) -> Schema:
    try:
        return body.as_schema()
    except ValueError as error:
        raise BadInput(f"the schema does not hold together: {error}") from None


def _read_allowed(name: str, doors: Doors) -> bytes:
    limit = doors.settings.upload_limit_bytes
    try:
        path = Path(name).resolve()  # follows links, so one that leads out of the roots is seen for what it is
        if not any(path.is_relative_to(root) for root in doors.settings.allowed_roots):
            raise PathNotAllowed("name a file below one of the directories in LETHE_DATA_ROOTS")
        if not path.is_file():
            raise UnreadableFile("there is no such file")
        if path.stat().st_size > limit:
            raise TooLarge(f"a file has at most {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"the file cannot be read: {error.strerror}") from None
    except (ValueError, RuntimeError):
        raise BadInput(
            "a path leads nowhere: its links form a circle, or it holds a character that no path can"
        ) from None
