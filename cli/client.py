"""The HTTP client of the commands: one kept-open connection, problem documents as sentences, retries by the caller."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx2

from cli.output import CommandFailed

TIMEOUT = httpx2.Timeout(120.0, connect=5.0)
"""Seconds; an upload of many rows is answered only when all of them are sealed and stored."""


class Client:
    """Talks to one service, and to its predictor (with the same key) when its address is known. Close it, or use it in a `with`."""

    def __init__(self, url: str, key: str, predictor_url: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.predictor_url = predictor_url.rstrip("/") if predictor_url else None
        # No proxies from the environment: an API key goes to the address that was named and nowhere else.
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        known = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", path, params=known)

    def post(
        self, path: str, body: Any = None, *, idempotency_key: str | None = None, seen: int | None = None
    ) -> dict[str, Any]:
        """Post a JSON value; `seen` is the row version that was looked at, and the service refuses if it changed."""
        return self._json("POST", path, json=body, headers=_once(idempotency_key) | _condition(seen))

    def patch(self, path: str, body: Any, *, seen: int | None = None) -> dict[str, Any]:
        """Send a change; `seen` as in `post`."""
        return self._json("PATCH", path, json=body, headers=_condition(seen))

    def delete(self, path: str) -> dict[str, Any]:
        return self._json("DELETE", path)

    def upload(
        self, path: str, fields: dict[str, str], files: dict[str, bytes], *, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Post a form; a file's name in the form is that of its part, never that on this machine's disk."""
        parts = {role: (role, content, "application/octet-stream") for role, content in files.items()}
        return self._json("POST", path, data=fields, files=parts, headers=_once(idempotency_key))

    def fetch(self, path: str) -> bytes:
        """Return the exact bytes of an answer."""
        return self._send("GET", self.url + path).content

    def predict(self, model: str, inputs: Any) -> dict[str, Any]:
        """Ask the predictor.

        Args:
            model: identifier or name.
            inputs: images as nested lists, or rows of a table as objects.

        Raises:
            CommandFailed: no address of a predictor is known, or it refused.
        """
        if self.predictor_url is None:
            raise CommandFailed("no predictor is known; name its address", "no_predictor")
        body = {"model": model, "inputs": inputs}
        return _object(self._send("POST", f"{self.predictor_url}/v1/predict", json=body))

    def _json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        return _object(self._send(method, self.url + path, **parts))

    def _send(self, method: str, address: str, **parts: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, address, **parts)
        except httpx2.InvalidURL:
            raise CommandFailed("the address is no URL", "unusable_input") from None
        except httpx2.TimeoutException:
            raise CommandFailed(f"{_root(address)} did not answer in time", "timed_out") from None
        except httpx2.HTTPError:
            raise CommandFailed(
                f"there is no Lethe at {_root(address)}; start one with `lethe serve`, or name another with --url",
                "unreachable",
            ) from None
        if answer.is_success:
            return answer
        raise _refusal(answer)


def _once(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _condition(seen: int | None) -> dict[str, str]:
    return {} if seen is None else {"If-Match": f'"{seen}"'}


def _root(address: str) -> str:
    return "/".join(address.split("/")[:3])


def _object(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.content:
        return {}
    try:
        value = answer.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CommandFailed("the answer is not Lethe's; is this its address?", "not_lethe", answer.status_code)
    return value


def _refusal(answer: httpx2.Response) -> CommandFailed:
    """Return what a problem document says, in one sentence."""
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
        flaws = [f"{flaw['pointer']}: {flaw['detail']}" for flaw in problem.get("errors", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return CommandFailed(f"the service answered {answer.status_code}", "http_error", answer.status_code)
    return CommandFailed("; ".join([detail, *flaws[:5]]), code, answer.status_code)
