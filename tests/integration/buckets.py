"""Buckets of a test's own in a real store, seen past Lethe: what really lies there, and how to open a store on them."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass, replace

from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import SUSPENDED, VersioningConfig

from core.object_store.bucket import S3Options
from core.object_store.s3 import S3ObjectStore
from tests.servers import Ceph


@dataclass(frozen=True)
class OwnBucket:
    """The name of a bucket, and the store that it is in or shall be in."""

    gateway: Ceph
    options: S3Options

    @property
    def client(self) -> Minio:
        """A client with its own connections, and none of Lethe's code."""
        return Minio(
            f"127.0.0.1:{self.gateway.port}",
            self.gateway.access_key,
            self.gateway.secret_key,
            secure=False,
            region="us-east-1",
        )

    def open(self, **options: object) -> S3ObjectStore:
        """Return a store on the bucket, with some options changed."""
        return S3ObjectStore(replace(self.options, **options))  # type: ignore[arg-type]

    def prepared(self, **options: object) -> S3ObjectStore:
        store = self.open(**options)
        store.prepare()
        return store

    def version(self, *, enabled: bool) -> None:
        config = VersioningConfig(ENABLED if enabled else SUSPENDED)
        self.client.set_bucket_versioning(self.options.bucket, config)

    def everything(self) -> list[tuple[str, bool]]:
        """Return the name of every version of every object, and whether it is a delete marker."""
        listed = self.client.list_objects(self.options.bucket, recursive=True, include_version=True)
        return [(one.object_name or "", one.is_delete_marker) for one in listed]

    def names(self) -> list[str]:
        return [one.object_name or "" for one in self.client.list_objects(self.options.bucket, recursive=True)]

    def overwrite(self, digest: str, content: bytes) -> None:
        """Put something else where an object lies."""
        self.client.put_object(self.options.bucket, self.name_of(digest), io.BytesIO(content), len(content))

    def name_of(self, digest: str) -> str:
        return f"{self.options.prefix}objects/{digest[:2]}/{digest}"


def own_bucket(gateway: Ceph) -> OwnBucket:
    """Return a bucket that nobody has made yet."""
    return OwnBucket(
        gateway,
        S3Options(
            endpoint=gateway.endpoint,
            bucket=f"test-{secrets.token_hex(8)}",
            access_key=gateway.access_key,
            secret_key=gateway.secret_key,
        ),
    )
