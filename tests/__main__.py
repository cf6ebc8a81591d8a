"""Run the tests that another database or store may change on the production stack: `make test-stack` is this.

PostgreSQL, Redis and an S3-compatible store are started for it and stopped after it; `lethe serve` becomes `lethe up`.
Where their programs are not installed nothing is run, and a sentence says which packages to install. `make test` does
the same after its first pass (`--where-possible`): there missing programs fail it only under LETHE_TEST_REQUIRE_SERVERS.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import REQUIRED, missing

HOUSE = Path(__file__).resolve().parents[1]
OWN_SERVERS = (
    "test_dispatcher.py",
    "test_object_store_faults.py",
    "test_object_store_s3.py",
    "test_servers.py",
    "test_service_on_s3.py",
    "test_worker_bell.py",
    "test_worker_processes.py",
)
"""Integration tests that bring servers of their own, whatever runs beside them."""
ON_A_STACK = (
    "tests/integration",
    "tests/acceptance/test_kills.py",
    *(f"--ignore=tests/integration/{name}" for name in OWN_SERVERS),
)
"""What another database or store may change. Unit tests know none."""
WHERE_POSSIBLE = "--where-possible"


def main() -> int:
    """Return pytest's exit status, or 2 when a server is missing that must not be."""
    arguments = [one for one in sys.argv[1:] if one != WHERE_POSSIBLE]
    absent = missing("postgres", "redis", "s3")
    if absent:
        say(f"The second pass, on the production stack: {absent}")
        return 0 if WHERE_POSSIBLE in sys.argv and not os.environ.get(REQUIRED) else 2
    pytest = [sys.executable, "-m", "pytest", *(arguments or ON_A_STACK)]
    servers = [sys.executable, "-m", "tests.servers", "--postgres", "--redis", "--s3", "--"]
    environment = {**os.environ, "LETHE_TEST_STACK": "production"}
    say("The same on the production stack: PostgreSQL, Redis, Celery and an S3-compatible store.")
    return subprocess.run([*servers, *pytest], cwd=HOUSE, env=environment, check=False).returncode


def say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
