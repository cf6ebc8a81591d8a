"""The HTTP client against a small server of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.client import Client
from cli.output import CommandFailed

PROBLEM = {"code": "model_not_found", "detail": "There is no such model", "status": 404}
FLAWED = {
    "code": "rows_refused",
    "detail": "1 flaw",
    "errors": [{"pointer": "row 1", "code": "x", "detail": "is wrong"}],
}
ANSWERS = {
    "/v1/models": (200, b'{"data": []}'),
    "/v1/problem": (404, json.dumps(PROBLEM).encode()),
    "/v1/flawed": (400, json.dumps(FLAWED).encode()),
    "/v1/page": (200, b"<html>"),
    "/v1/list": (200, b"[]"),
    "/v1/broken": (502, b"<html>"),
    "/v1/gone": (204, b""),
    "/v1/bytes": (200, b"\x00\r\n\xff"),
    "/v1/predict": (200, b'{"predictions": []}'),
}


@dataclass
class Server:
    """A server that answers from a table and remembers what it was asked."""

    url: str
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known.asked.append((self.command, self.path, dict(self.headers), body))
            status, content = ANSWERS[self.path.partition("?")[0]]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the library's names

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    known = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield known
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url + "/", "lethe_key", predictor_url=server.url) as opened:
        yield opened


def failure(client: Client, path: str) -> CommandFailed:
    with pytest.raises(CommandFailed) as failed:
        client.get(path)
    return failed.value


def test_questions_carry_the_key_and_only_known_filters(server: Server, client: Client) -> None:
    assert client.get("/v1/models", state=None, limit=5) == {"data": []}
    method, path, headers, _ = server.asked[0]
    assert (method, path) == ("GET", "/v1/models?limit=5")
    assert headers["Authorization"] == "Bearer lethe_key"


def test_a_post_carries_its_idempotency_key_and_what_was_seen(server: Server, client: Client) -> None:
    client.post("/v1/models", {"name": "x"}, idempotency_key="once", seen=3)
    _, _, headers, body = server.asked[0]
    assert json.loads(body) == {"name": "x"}
    assert headers["Idempotency-Key"] == "once"
    assert headers["If-Match"] == '"3"'


def test_an_upload_names_parts_and_no_file_of_this_machine(server: Server, client: Client) -> None:
    client.upload("/v1/models", {"name": "digits"}, {"file": b"\x00bytes"})
    _, _, headers, body = server.asked[0]
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert b'name="file"; filename="file"' in body
    assert b"\x00bytes" in body
    assert b'name="name"' in body


def test_a_problem_document_becomes_its_sentence(client: Client) -> None:
    failed = failure(client, "/v1/problem")
    assert (failed.sentence, failed.code, failed.status) == ("There is no such model", "model_not_found", 404)


def test_what_is_wrong_with_each_row_is_told(client: Client) -> None:
    assert failure(client, "/v1/flawed").sentence == "1 flaw; row 1: is wrong"


@pytest.mark.parametrize(
    ("path", "code"), [("/v1/page", "not_lethe"), ("/v1/list", "not_lethe"), ("/v1/broken", "http_error")]
)
def test_an_answer_that_is_not_lethes_is_a_sentence(client: Client, path: str, code: str) -> None:
    assert failure(client, path).code == code


def test_an_answer_without_a_body_is_an_empty_object(client: Client) -> None:
    assert client.delete("/v1/gone") == {}


def test_bytes_are_fetched_as_they_are(client: Client) -> None:
    assert client.fetch("/v1/bytes") == b"\x00\r\n\xff"


def test_the_predictor_is_asked_with_the_same_key(server: Server, client: Client) -> None:
    assert client.predict("digits", [[[0]]]) == {"predictions": []}
    assert server.asked[0][2]["Authorization"] == "Bearer lethe_key"


def test_without_an_address_of_a_predictor_a_sentence_says_so(server: Server) -> None:
    with Client(server.url, "k") as client, pytest.raises(CommandFailed, match="no predictor"):
        client.predict("digits", [])


def test_a_service_that_is_not_there_is_named_with_the_command_that_starts_one() -> None:
    with Client("http://127.0.0.1:9", "k") as client:
        failed = failure(client, "/v1/models")
    assert "http://127.0.0.1:9" in failed.sentence
    assert "lethe serve" in failed.sentence


def test_an_address_that_is_none_is_unusable_input() -> None:
    with Client("nonsense", "k") as client:
        assert failure(client, "/v1/models").exit_code in (1, 2)


def test_many_questions_share_one_connection(server: Server, client: Client) -> None:
    for _ in range(3):
        client.get("/v1/models")
    assert len(server.asked) == 3
