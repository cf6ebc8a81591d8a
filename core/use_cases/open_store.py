"""Open the object store that the settings name: a bucket when LETHE_S3_ENDPOINT is set, else a directory."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from core.domain.errors import Unusable
from core.object_store.bucket import S3Options
from core.object_store.directory import DirectoryObjectStore
from core.object_store.s3 import S3ObjectStore
from core.object_store.store import ObjectStore
from core.settings import Settings

LEAST_PART, LARGEST_PART = 5, 5 << 10
"""In MiB; every S3-compatible store refuses smaller and larger ones."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(settings: Settings) -> ObjectStore:
    """Return the store; a bucket is not connected to yet.

    Raises:
        Unusable: a setting cannot be right, or the directory cannot be written to.
    """
    if not settings.s3_endpoint:
        return DirectoryObjectStore(settings.objects)
    if not _BUCKET.fullmatch(settings.s3_bucket):
        raise Unusable("LETHE_S3_BUCKET must be a bucket's name: 3 to 63 of a-z, 0-9, dots and hyphens")
    if not LEAST_PART <= settings.s3_part_mebibytes <= LARGEST_PART:
        raise Unusable(f"LETHE_S3_PART_MEBIBYTES must be from {LEAST_PART} to {LARGEST_PART}")
    prefix = settings.s3_prefix.strip("/")
    return S3ObjectStore(
        S3Options(
            endpoint=_address(settings.s3_endpoint, secure=settings.s3_secure),
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=_secret(settings),
            region=settings.s3_region,
            prefix=f"{prefix}/" if prefix else "",
            part_bytes=settings.s3_part_mebibytes << 20,
            timeout_seconds=settings.s3_timeout_seconds,
            retry_seconds=settings.s3_retry_seconds,
        )
    )


def _address(endpoint: str, *, secure: bool) -> str:
    """Return the endpoint with its scheme, and nothing behind its port."""
    with_scheme = endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"
    try:
        parts = urlsplit(with_scheme)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or "@" in parts.netloc or parts.path.strip("/") or parts.query:
        raise Unusable("LETHE_S3_ENDPOINT must be host:port, or http:// or https:// before it, and nothing behind it")
    return f"{parts.scheme}://{parts.netloc}"


def _secret(settings: Settings) -> str:
    if settings.s3_secret_key_file is not None:
        secret = _first_line(settings.s3_secret_key_file)
    else:
        secret = settings.s3_secret_key
    if not settings.s3_access_key or not secret:
        raise Unusable("with LETHE_S3_ENDPOINT, LETHE_S3_ACCESS_KEY and LETHE_S3_SECRET_KEY (or its _FILE) must be set")
    return secret


def _first_line(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise Unusable(f"LETHE_S3_SECRET_KEY_FILE names {file}, which cannot be read") from None
