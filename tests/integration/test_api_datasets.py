"""Data sets over HTTP: by form and by path; what is refused, by row and column; and no row in a temporary file."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient
from starlette.types import Message

from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import client, post_deletion, problem, service

LIMIT = 4 << 20
SCHEMA = json.dumps(world.SCHEMA.as_json())


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory, roots: Path) -> Iterator[Doors]:
    allowed = f"{roots / 'first'}:{roots / 'second'}"
    directory = tmp_path_factory.mktemp("datasets")
    with service(server_url, template, directory, upload_limit_bytes=LIMIT, data_roots=allowed) as found:
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def upload(caller: TestClient, name: str, *, schema: str = SCHEMA, key: str = "", **files: bytes) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    sent = {role: (f"{role}.bin", content) for role, content in files.items()}
    return caller.post("/v1/datasets:upload", data={"name": name, "schema": schema}, files=sent, headers=headers)


def npy(column: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, column)
    return buffer.getvalue()


def separate(rows: dict[str, Any]) -> dict[str, Any]:
    return {role: npy(column) for role, column in rows.items()}


def idx(column: np.ndarray) -> bytes:
    edges = struct.pack(f">{column.ndim}I", *column.shape)
    return gzip.compress(bytes([0, 0, 8, column.ndim]) + edges + column.astype(np.uint8).tobytes())


def lines(column: Any) -> bytes:
    return "".join(f"{value}\n" for value in column).encode()


def test_an_npz_a_form_of_npy_and_a_form_of_idx_and_text_are_the_same_data_set(caller: TestClient) -> None:
    rows = world.columns()
    whole = upload(caller, "whole", file=world.packed(rows))
    assert whole.status_code == 201, whole.text
    apart = upload(caller, "apart", **separate(rows))
    texts: dict[str, Any] = {role: lines(rows[role]) for role in ("labels", "owners", "record_ids", "public")}
    mixed = upload(caller, "mixed", images=idx(rows["images"]), **texts)
    described = [answer.json() for answer in (whole, apart, mixed)]
    assert {answer["name"] for answer in described} == {"whole", "apart", "mixed"}
    for answer in described:
        assert (answer["records"], answer["owners"]) == (60, world.OWNERS)
        assert answer["public_records"] == world.PUBLIC
        assert answer["schema"] == {"kind": "image", **world.SCHEMA.as_json()}
    assert caller.get("/v1/datasets/apart").json() == described[1]
    assert described[2] in caller.get("/v1/datasets").json()["data"]


def test_a_repeated_upload_is_answered_once(caller: TestClient) -> None:
    content = world.packed(world.columns())
    first = upload(caller, "repeated", key="upload-1", file=content)
    again = upload(caller, "repeated", key="upload-1", file=content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    other = upload(caller, "repeated", key="upload-1", file=world.packed(world.columns(owners=20)))
    problem(other, 422, "idempotency_key_reused")
    problem(upload(caller, "repeated", file=content), 409, "name_taken")


def spoiled() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield what is wrong, where it must be found, its code, and the columns."""

    def put(role: str, row: int, value: Any) -> dict[str, Any]:
        rows = world.columns()
        column = rows[role].astype(np.float32) if role == "images" else rows[role].copy()
        column[row] = value
        return rows | {role: column}

    yield "duplicate id", "row 15, column record_ids", "duplicate_record_id", put("record_ids", 15, "row-0-0")
    yield "missing owner", "row 14, column owners", "missing_owner", put("owners", 14, "")
    yield "unknown label", "row 3, column labels", "unknown_label", put("labels", 3, "z")
    yield "NaN", "row 7, column images", "not_finite", put("images", 7, np.nan)
    yield "too bright", "row 8, column images", "out_of_range", put("images", 8, 300)
    rows = world.columns()
    yield "wrong shape", "column images", "wrong_shape", rows | {"images": rows["images"][:, :3]}
    yield "too short", "column owners", "length_mismatch", rows | {"owners": rows["owners"][:-1]}
    yield "missing column", "column labels", "missing_column", {k: v for k, v in rows.items() if k != "labels"}


@pytest.mark.parametrize(("pointer", "code", "rows"), [one[1:] for one in spoiled()], ids=[one[0] for one in spoiled()])
def test_a_broken_row_is_named_by_number_and_column_and_nothing_is_registered(
    caller: TestClient, pointer: str, code: str, rows: dict[str, Any]
) -> None:
    answer = upload(caller, "broken", file=world.packed(rows))
    body = problem(answer, 400, "rows_refused")
    assert (pointer, code) in {(one["pointer"], one["code"]) for one in body["errors"]}
    assert "example.org" not in answer.text
    problem(caller.get("/v1/datasets/broken"), 404, "dataset_not_found")


def test_pickles_are_never_opened(caller: TestClient) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("it was unpickled",))

    objects = np.empty(60, dtype=object)
    objects[:] = [Bomb() for _ in range(60)]
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    rows = world.columns()
    problem(upload(caller, "bomb", file=world.packed(rows), owners=b""), 400, "unreadable_file")
    apart = separate(rows) | {"owners": buffer.getvalue()}
    problem(upload(caller, "bomb", **apart), 400, "unsafe_file")


def test_an_upload_beyond_the_limit_is_413_said_unsaid_or_unfolded(caller: TestClient) -> None:
    problem(upload(caller, "large", file=b"x" * (LIMIT + 1)), 413, "too_large")
    kind = {"Content-Type": "multipart/form-data; boundary=b"}

    def unsaid() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(LIMIT // (1 << 16) + 1):
            yield b"x" * (1 << 16)

    problem(caller.post("/v1/datasets:upload", content=unsaid(), headers=kind), 413, "too_large")
    folded = separate(world.columns())
    folded["owners"] = gzip.compress(b"a\n" * LIMIT)
    problem(upload(caller, "large", **folded), 413, "too_large")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\nbroken", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"{}", "multipart/form-data"),
        (b"{}", "application/json"),
        (b"name=x", "application/x-www-form-urlencoded"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(caller: TestClient, content: bytes, kind: str) -> None:
    answer = caller.post("/v1/datasets:upload", content=content, headers={"Content-Type": kind})
    assert answer.status_code in {400, 422}
    problem(answer, answer.status_code, answer.json()["code"])


def test_the_describing_parts_are_checked_like_a_body(caller: TestClient) -> None:
    content = world.packed(world.columns())
    problem(upload(caller, "x", schema="{", file=content), 400, "bad_input")
    problem(upload(caller, "x", schema="[" * 100_000, file=content), 400, "bad_input")
    flat = json.dumps(world.SCHEMA.as_json() | {"image_shape": [4]})
    problem(upload(caller, "x", schema=flat, file=content), 400, "bad_input")
    errors = problem(upload(caller, "?", schema='{"labels": 1}', file=content), 422, "invalid_body")["errors"]
    assert {"/name", "/schema/labels", "/schema/image_shape"} <= {one["pointer"] for one in errors}
    stray = caller.post(
        "/v1/datasets:upload",
        data={"name": "x", "schema": SCHEMA, "owners": "somebody"},
        files={"file": ("f", content)},
    )
    problem(stray, 400, "bad_input")
    problem(upload(caller, "x", file=content, elsewhere=b"1"), 400, "unreadable_file")
    as_file = caller.post("/v1/datasets:upload", data={"name": "as-file"}, files={"schema": SCHEMA, "file": content})
    assert as_file.status_code == 201, as_file.text


def test_rows_never_touch_a_temporary_file(caller: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("rows went to a temporary file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    padding = np.zeros((LIMIT - (1 << 20)) // 4, dtype=np.float32)  # an array that is no column is skipped
    answer = upload(caller, "in-memory", file=world.packed(world.columns() | {"padding": padding}))
    assert answer.status_code == 201, answer.text
    assert list(tmp_path.iterdir()) == []


def test_nobody_without_a_key_has_a_byte_of_their_upload_read(caller: TestClient) -> None:
    sent: list[int] = []

    async def receive() -> Message:
        raise AssertionError("the body was read before the key")

    async def send(message: Message) -> None:
        sent.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/datasets:upload",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=b"), (b"authorization", b"Bearer lethe_x")],
    }
    asyncio.run(caller.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent == [401]


def by_path(caller: TestClient, name: str, **files: str) -> Response:
    return caller.post("/v1/datasets", json={"name": name, "schema": world.SCHEMA.as_json(), "files": files})


def test_files_below_an_allowed_root_are_registered_by_path(caller: TestClient, roots: Path) -> None:
    folder = roots / "second" / "deep"
    folder.mkdir(parents=True)
    (folder / "rows.npz").write_bytes(world.packed(world.columns()))
    assert by_path(caller, "by-path", file=str(folder / "rows.npz")).json()["records"] == 60
    rows = world.columns()
    for role, column in rows.items():
        (folder / f"{role}.npy").write_bytes(npy(column))
    answer = by_path(caller, "by-paths", **{role: str(folder / ".." / "deep" / f"{role}.npy") for role in rows})
    assert answer.status_code == 201, answer.text


def test_a_path_outside_the_roots_is_403_whatever_leads_there(caller: TestClient, roots: Path) -> None:
    outside = roots / "secret.npz"
    outside.write_bytes(world.packed(world.columns()))
    inside = roots / "first"
    inside.mkdir(exist_ok=True)
    (inside / "link.npz").symlink_to(outside)
    (inside / "folder").symlink_to(roots)
    (roots / "first-neighbour").mkdir()
    (roots / "first-neighbour" / "rows.npz").write_bytes(b"")
    ways = [outside, inside / "link.npz", inside / "folder" / "secret.npz", inside / ".." / "secret.npz"]
    ways += [roots / "first-neighbour" / "rows.npz", Path("/etc/passwd"), Path("secret.npz"), roots / "nowhere"]
    for way in ways:
        answer = by_path(caller, "escaped", file=str(way))
        problem(answer, 403, "path_not_allowed")
        assert str(roots) not in answer.text


def test_what_is_no_readable_file_below_a_root_is_400(caller: TestClient, roots: Path) -> None:
    inside = roots / "first"
    inside.mkdir(exist_ok=True)
    (inside / "large.npz").write_bytes(b"x" * (LIMIT + 1))
    os.mkfifo(inside / "pipe")
    (inside / "loop").symlink_to(inside / "loop")
    for name in ("absent.npz", "", "pipe", "x" * 5000):
        answer = by_path(caller, "unread", file=str(inside / name))
        problem(answer, 400, "unreadable_file")
    assert by_path(caller, "unread", file=str(inside / "loop")).status_code in {400, 403}
    problem(by_path(caller, "unread", file=str(inside) + "/\x00"), 400, "bad_input")
    problem(by_path(caller, "unread", file=str(inside / "large.npz")), 413, "too_large")


def test_a_deleted_owner_does_not_come_back_by_upload(caller: TestClient) -> None:
    upload(caller, "before", file=world.packed(world.columns()))
    post_deletion(caller, 5)
    body = problem(upload(caller, "after", file=world.packed(world.columns())), 409, "owner_suppressed")
    assert [one["pointer"] for one in body["errors"]] == ["row 22", "row 23"]
    assert "person-5" not in json.dumps(body)
