"""One bucket of an S3-compatible store, through the `minio` client: single requests, and what their answers mean.

Every answer is one of four: what was asked for; `ObjectMissing`; `StoreRefuses`, which another attempt would not change;
or `Passing`. Nothing else of what a store says is repeated, because answers name keys and signatures. The client's own
retries are off: how long to try again is decided in one place, by whoever calls.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import certifi
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from core.domain.errors import ObjectMissing, StoreRefuses, StoreUnavailable
from core.object_store.connections import prompt_pool
from core.object_store.patience import Passing

PAGE = 1000
CONNECTIONS = 32
SLOWEST = 1 << 20
"""Bytes a second below which an answer counts as stuck, however regularly it drips."""
PASSING = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "NoSuchUpload",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentSHA256Mismatch",
    }
)
MISSING = frozenset({"NoSuchKey", "NoSuchVersion"})
UNSUPPORTED = frozenset({"MethodNotAllowed", "NotImplemented"})
TIMEOUT, TOO_MANY, SERVER_ERROR, NOT_IMPLEMENTED = 408, 429, 500, 501


@dataclass(frozen=True)
class S3Options:
    """Where the store is and how to speak to it."""

    endpoint: str
    """`http://…` or `https://…`, without a path."""
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    prefix: str = ""
    """What every name in the bucket starts with; empty or ending with a slash."""
    part_bytes: int = 16 << 20
    """Larger objects are uploaded in parts of this size; 5 MiB at least."""
    timeout_seconds: float = 10.0
    """How long to wait for a connection, and for the next byte."""
    retry_seconds: float = 30.0


@dataclass(frozen=True)
class Found:
    """What a store says of an object."""

    size: int
    modified: datetime


@dataclass(frozen=True)
class Version:
    """One version of an object, or a marker that says that it is deleted; buckets without versions have one, "null"."""

    id: str
    is_marker: bool


class Bucket:
    """The requests that Lethe makes; safe for any number of threads, which share connections."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._name = options.bucket
        address = urlsplit(options.endpoint)
        self._client = Minio(
            address.netloc,
            options.access_key,
            options.secret_key,
            secure=address.scheme == "https",
            region=options.region,
            http_client=prompt_pool(
                ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
                timeout_seconds=options.timeout_seconds,
                most=CONNECTIONS,
            ),
        )

    def make(self) -> None:
        """Make the bucket; whoever came first made it as well."""
        try:
            with _translated():
                self._client.make_bucket(self._name)
        except StoreRefuses as refusal:
            if refusal.answer not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    def write(self, name: str, content: bytes) -> None:
        """Upload; the request carries the content's digest, so that a store refuses what was damaged on the way."""
        with _translated():
            self._client.put_object(
                self._name, name, io.BytesIO(content), len(content), part_size=self._options.part_bytes
            )

    def read(self, name: str) -> bytes:
        with _translated():
            return self._body(name, 0, 0)

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, or fewer when the object ends before; `length` is 1 at least."""
        try:
            with _translated():
                return self._body(name, offset, length)
        except StoreRefuses as refusal:
            if refusal.answer == "InvalidRange":
                return b""
            raise

    def find(self, name: str) -> Found | None:
        """Return what the store says of the object, or None when it holds none of that name."""
        try:
            with _translated():
                found = self._client.stat_object(self._name, name)
        except ObjectMissing:
            return None
        if found.size is None or found.last_modified is None:
            raise Passing(StoreUnavailable("the object store describes an object without its size or age"))
        return Found(found.size, found.last_modified)

    def versions(self, name: str) -> list[Version]:
        """Return every version of the object and every marker; of a store that knows no versions, what it has."""
        try:
            with _translated():
                listed = list(self._client.list_objects(self._name, prefix=name, include_version=True))
        except StoreRefuses as refusal:
            if refusal.answer not in UNSUPPORTED:
                raise
            return [Version("null", is_marker=False)] if self.find(name) else []
        return [
            Version(one.version_id or "null", is_marker=one.is_delete_marker)
            for one in listed
            if one.object_name == name
        ]

    def remove(self, name: str, version: str | None = None) -> None:
        """Delete one version, or without one whatever the store takes that for; nothing is as good as deleted."""
        try:
            with _translated():
                self._client.remove_object(self._name, name, version_id=version)
        except ObjectMissing:
            return

    def names_after(self, after: str, *, prefix: str) -> list[str]:
        """Return the next page of names, in order; the last page is shorter than `PAGE`."""
        with _translated():
            listed = self._client.list_objects(self._name, prefix=prefix, recursive=True, start_after=after)
            return [one.object_name for one in islice(listed, PAGE) if one.object_name is not None]

    def abandon_uploads(self, *, prefix: str, before: datetime) -> None:
        """Drop the parts of uploads in parts that began before that moment and were never finished."""
        with _translated():
            # The client offers no public way to see them.
            found = self._client._list_multipart_uploads(self._name, prefix=prefix)  # noqa: SLF001
        for upload in found.uploads:
            if upload.initiated_time is not None and upload.initiated_time < before and upload.upload_id is not None:
                with _translated():
                    self._client._abort_multipart_upload(self._name, upload.object_name, upload.upload_id)  # noqa: SLF001

    def _body(self, name: str, offset: int, length: int) -> bytes:
        response = self._client.get_object(self._name, name, offset=offset, length=length)
        try:
            size = int(response.headers.get("Content-Length", "0"))
            give_up = time.monotonic() + self._options.timeout_seconds + size / SLOWEST
            content = bytearray()
            while chunk := response.read1(1 << 20):
                content += chunk
                if time.monotonic() > give_up:
                    raise Passing(StoreUnavailable("the object store sends too slowly"))
            return bytes(content)
        finally:
            # After the last byte the connection is back in the pool already; before it, nobody may use it again.
            response.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise _meaning(error.code or "", error.response.status) from None
    except ServerError as error:
        raise _meaning("", error.status_code) from None
    except InvalidResponseError as error:
        # Not from the store itself but from something before it, such as a proxy.
        raise _meaning("", error._code) from None  # noqa: SLF001 - it has no public name
    except (HTTPError, OSError) as error:
        raise Passing(StoreUnavailable(f"the object store does not answer ({type(error).__name__})")) from None
    except (ParseError, ValueError, AttributeError) as error:
        # The client reads answers without looking twice: a damaged one surfaces as any of these.
        raise Passing(StoreUnavailable(f"the object store's answer is unreadable ({type(error).__name__})")) from None


def _meaning(answer: str, status: int) -> Exception:
    if answer in MISSING:
        return ObjectMissing()
    word = answer if answer.isalnum() else f"HTTP {status}"
    passing = status in {TIMEOUT, TOO_MANY} or (status >= SERVER_ERROR and status != NOT_IMPLEMENTED)
    if answer in PASSING or passing:
        return Passing(StoreUnavailable(f"the object store answers {word}"))
    return StoreRefuses(word)
