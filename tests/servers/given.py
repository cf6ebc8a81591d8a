"""Servers that somebody else started for the tests, as `python -m tests.servers` does, named in LETHE_TEST_… variables."""

from __future__ import annotations

import os
import secrets
from typing import Any


def given_s3() -> dict[str, Any]:
    """Return settings for the given object store, with a prefix that nobody else has; empty when none is given.

    Nothing removes the prefix: the store is one to throw away.
    """
    if not os.environ.get("LETHE_TEST_S3_ENDPOINT"):
        return {}
    settings = {
        "s3_endpoint": os.environ["LETHE_TEST_S3_ENDPOINT"],
        "s3_bucket": os.environ.get("LETHE_TEST_S3_BUCKET", "lethe"),
        "s3_access_key": os.environ["LETHE_TEST_S3_ACCESS_KEY"],
        "s3_secret_key": os.environ["LETHE_TEST_S3_SECRET_KEY"],
    }
    return {**settings, "s3_prefix": f"test-{secrets.token_hex(8)}"}
