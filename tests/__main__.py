"""Run the tests that another database or store may change on the production stack: `make test-stack` is this.

PostgreSQL, Redis and an S3-compatible store are started for it and stopped after it; `lethe serve` becomes `lethe up`.
Where their programs are not installed nothing is run, and a sentence says which packages to install.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import missing

HOUSE = Path(__file__).resolve().parents[1]
ON_A_STACK = ("tests/integration", "tests/acceptance/test_kills.py")
"""What another database or store may change. Unit tests know none, and the others bring servers of their own."""


def main() -> int:
    """Return pytest's exit status, or 2 when a server is missing."""
    absent = missing("postgres", "redis", "s3")
    if absent:
        say(absent)
        return 2
    pytest = [sys.executable, "-m", "pytest", *(sys.argv[1:] or ON_A_STACK)]
    servers = [sys.executable, "-m", "tests.servers", "--postgres", "--redis", "--s3", "--"]
    environment = {**os.environ, "LETHE_TEST_STACK": "production"}
    return subprocess.run([*servers, *pytest], cwd=HOUSE, env=environment, check=False).returncode


def say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
