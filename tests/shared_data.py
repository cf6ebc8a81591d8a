"""Where the public test vectors and data sets lie: beside the repository, and not part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    """Return the folder of one shared data set, or skip the test when it is not on this machine."""
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs shared data that is not here: {name}")
    return folder
