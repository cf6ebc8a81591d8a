from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import Unusable
from core.object_store.directory import DirectoryObjectStore
from core.object_store.s3 import S3ObjectStore
from core.settings import Settings
from core.use_cases.open_store import open_store

KEYS: dict[str, Any] = {"s3_access_key": "an-access-key", "s3_secret_key": "a-secret-key"}


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LETHE_{name.upper()}", raising=False)


def bucket_of(**settings: Any) -> S3ObjectStore:
    store = open_store(Settings(**{"s3_endpoint": "objects:8333", **KEYS, **settings}))
    assert isinstance(store, S3ObjectStore)
    return store


def test_without_an_endpoint_objects_lie_in_a_directory(tmp_path: Path) -> None:
    store = open_store(Settings(object_directory=tmp_path / "objects", **KEYS))
    assert isinstance(store, DirectoryObjectStore)


@pytest.mark.parametrize(
    ("endpoint", "secure", "address"),
    [
        ("objects:8333", True, "https://objects:8333"),
        ("objects:8333", False, "http://objects:8333"),
        ("http://objects:8333", True, "http://objects:8333"),
        ("https://objects.example.org/", False, "https://objects.example.org"),
    ],
)
def test_an_endpoint_says_whether_it_speaks_tls(endpoint: str, address: str, *, secure: bool) -> None:
    assert bucket_of(s3_endpoint=endpoint, s3_secure=secure)._options.endpoint == address


@pytest.mark.parametrize(
    "endpoint", ["ftp://objects", "https://", "https://user:word@objects", "https://objects/bucket", "objects:x"]
)
def test_an_endpoint_that_cannot_be_right_is_refused(endpoint: str) -> None:
    with pytest.raises(Unusable, match="LETHE_S3_ENDPOINT must be") as refused:
        bucket_of(s3_endpoint=endpoint)
    assert "word" not in str(refused.value)


@pytest.mark.parametrize("prefix", ["one/two", "/one/two/", "one/two/"])
def test_a_prefix_ends_with_one_slash(prefix: str) -> None:
    assert bucket_of(s3_prefix=prefix)._options.prefix == "one/two/"
    assert bucket_of(s3_prefix="")._options.prefix == ""


@pytest.mark.parametrize("name", ["", "ab", "Capital", "under_score", "-start", "a" * 64])
def test_a_bucket_that_no_store_takes_is_refused(name: str) -> None:
    with pytest.raises(Unusable, match="LETHE_S3_BUCKET"):
        bucket_of(s3_bucket=name)


@pytest.mark.parametrize("size", [0, 4, 5121])
def test_parts_that_no_store_takes_are_refused(size: int) -> None:
    with pytest.raises(Unusable, match="LETHE_S3_PART_MEBIBYTES must be from 5 to 5120"):
        bucket_of(s3_part_mebibytes=size)
    assert bucket_of(s3_part_mebibytes=5)._options.part_bytes == 5 << 20


@pytest.mark.parametrize("missing", KEYS)
def test_a_store_without_keys_is_refused(missing: str) -> None:
    with pytest.raises(Unusable, match="must be set"):
        bucket_of(**{missing: ""})


def test_the_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    assert bucket_of(s3_secret_key_file=file)._options.secret_key == "from the file"
    with pytest.raises(Unusable, match=r"LETHE_S3_SECRET_KEY_FILE names .*, which cannot be read"):
        bucket_of(s3_secret_key_file=tmp_path / "nothing")


def test_settings_do_not_show_their_secrets() -> None:
    assert "an-access-key" not in repr(Settings(**KEYS))
    assert "a-secret-key" not in repr(Settings(**KEYS))
