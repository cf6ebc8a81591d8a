"""Objects in a bucket of an S3-compatible store: `<prefix>objects/<first two digits>/<digest>`.

A store on the network may lose, damage or forget anything, and say that all is well. Three guards hold what it says
against what it does: what was read must have the digest it is named by; what was written must be there afterwards, in its
full length; what was deleted must be gone afterwards, with every version of it. Each of them repeats, with pauses, what
failed; what stays broken is an error and never silence.

Nothing here asks a store for a conditional write: see docs/decisions/2026-11-no-conditional-writes.md.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from core.domain.errors import (
    ObjectMissing,
    ObjectNotDeleted,
    SealBroken,
    StoreRefuses,
    StoreUnavailable,
    Unusable,
)
from core.object_store.bucket import PAGE, Bucket, S3Options
from core.object_store.patience import Passing, Patience, patiently

_DIGEST = re.compile(r"[0-9a-f]{64}")
READS = 4
"""How often an object is read before it counts as damaged where it lies, and not on the way."""
ABANDONED_AFTER = timedelta(days=1)
"""Parts of an upload that is older belong to a writer that is gone."""
WRONG_KEYS = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})


class S3ObjectStore:
    """An object store in one bucket, safe for any number of threads and processes at once."""

    def __init__(self, options: S3Options) -> None:
        """Remember where it is; nothing connects yet."""
        self._options = options
        self._bucket = Bucket(options)
        self._root = f"{options.prefix}objects/"
        self.patience = Patience(options.retry_seconds)

    def prepare(self) -> None:
        """Make the bucket if there is none, see that objects can be kept and deleted, and drop abandoned uploads.

        Raises:
            Unusable: something of that does not work.
        """
        place = f"bucket {self._options.bucket} at {self._options.endpoint}"
        try:
            self._find_bucket()
            # Something that nobody has: two processes that start at once must not delete each other's.
            digest = self.put(secrets.token_bytes(32))
            self.get(digest)
            self.delete(digest)
            self._abandon_uploads()
        except StoreRefuses as refusal:
            if refusal.answer in WRONG_KEYS:
                raise Unusable(
                    f"the object store refuses LETHE_S3_ACCESS_KEY and LETHE_S3_SECRET_KEY for {place} ({refusal.answer})"
                ) from None
            raise Unusable(f"the object store does not let Lethe use {place}: it answers {refusal.answer}") from None
        except ObjectNotDeleted:
            raise Unusable(f"what Lethe deletes stays in {place}; is it locked against deletion?") from None
        except (StoreUnavailable, ObjectMissing, SealBroken) as trouble:
            raise Unusable(f"the object store does not work, with {place}: {trouble.detail}") from None

    def ping(self) -> None:
        try:
            self._bucket.versions(self._name("0" * 64))
        except Passing as trouble:
            raise trouble.becomes from None

    @patiently
    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        name = self._name(digest)
        self._bucket.write(name, content)
        if not self._arrived(name, len(content)):
            raise Passing(StoreUnavailable("the object store lost an object that it had taken"))
        return digest

    @patiently
    def get(self, digest: str) -> bytes:
        content = self._bucket.read(self._name(digest))
        if not self._intact(digest, content):
            altered = SealBroken(f"object {digest} was altered where it is stored")
            raise Passing(altered, attempts=READS)
        return content

    @patiently
    def get_range(self, digest: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset and length must be >= 0, got {offset=} {length=}")
        name = self._name(digest)
        # Nothing is no range that one could ask a store for.
        content = self._bucket.read_part(name, offset, length) if length else b""
        if length and len(content) == length:
            return content
        found = self._bucket.find(name)
        if found is None:
            raise ObjectMissing(f"the object store does not hold object {digest}")
        if not length:
            return b""
        ended = SealBroken(f"object {digest} ends before byte {offset + length}")
        if found.size < offset + length:
            raise ended
        raise Passing(ended, attempts=READS)

    @patiently
    def exists(self, digest: str) -> bool:
        return self._bucket.find(self._name(digest)) is not None

    @patiently
    def written_at(self, digest: str) -> datetime | None:
        found = self._bucket.find(self._name(digest))
        return None if found is None else found.modified

    @patiently
    def delete(self, digest: str) -> None:
        name = self._name(digest)
        self._remove_versions(name)
        if not self._gone(name):
            raise Passing(ObjectNotDeleted(f"the object store keeps object {digest}, which it was told to delete"))

    def list_digests(self) -> Iterator[str]:
        after = ""
        while True:
            page = self._page(after)
            for name in page:
                digest = name.rpartition("/")[2]
                if _DIGEST.fullmatch(digest) and name == self._name(digest):
                    yield digest
            if len(page) < PAGE:
                return
            after = page[-1]

    @patiently
    def _page(self, after: str) -> list[str]:
        return self._bucket.names_after(after, prefix=self._root)

    @patiently
    def _find_bucket(self) -> None:
        try:
            self._bucket.names_after("", prefix=self._root)
        except StoreRefuses as refusal:
            if refusal.answer != "NoSuchBucket":
                raise
            self._bucket.make()

    @patiently
    def _abandon_uploads(self) -> None:
        self._bucket.abandon_uploads(prefix=self._root, before=datetime.now(UTC) - ABANDONED_AFTER)

    def _remove_versions(self, name: str) -> None:
        found = self._bucket.versions(name)
        if len(found) == 1 and found[0].id == "null" and not found[0].is_marker:
            # A bucket without versions. If it has them after all, this leaves a marker, and the next attempt sees both.
            self._bucket.remove(name)
            return
        for version in found:
            try:
                self._bucket.remove(name, version.id)
            except StoreRefuses as refusal:
                raise ObjectNotDeleted(f"the object store refuses to delete an object: {refusal.answer}") from None

    def _arrived(self, name: str, size: int) -> bool:
        found = self._bucket.find(name)
        return found is not None and found.size == size

    def _intact(self, digest: str, content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() == digest

    def _gone(self, name: str) -> bool:
        return self._bucket.find(name) is None and not self._bucket.versions(name)

    def _name(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest is 64 hexadecimal digits in lower case")
        return f"{self._root}{digest[:2]}/{digest}"
