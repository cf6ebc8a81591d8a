"""SIGKILL at every named point of a deletion: the old version or the new one, never a mixture, and it still completes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.processes import lethe
from core.audit.verify import verify_certificate
from core.faults import POINTS
from tests.acceptance.conftest import Running, running
from tests.integration.world import ROWS_EACH, address


@pytest.fixture(scope="module")
def fault_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fault") / "point"


@pytest.fixture(scope="module")
def service(service_directory: Path, fault_file: Path) -> Iterator[Running]:
    quick = {"LETHE_DEACTIVATION_LEASE_SECONDS": "1", "LETHE_LEASE_SECONDS": "10", "LETHE_FAULT_FILE": str(fault_file)}
    with running(service_directory, **quick) as started:
        started.upload()
        started.build()
        yield started


@pytest.mark.parametrize(("number", "point"), list(enumerate(POINTS)))
def test_a_worker_killed_there_loses_nothing(service: Running, fault_file: Path, number: int, point: str) -> None:
    fault_file.write_text(point)
    before = service.api.get("/v1/models/classifier").json()
    request = service.delete(address(number), key=f"kill-{point}")
    done = service.completed(request["id"])
    assert not fault_file.exists(), "the fault never struck"
    assert done["result"] == "unlearned"
    after = service.api.get("/v1/models/classifier").json()
    assert after["deleted_records"] == before["deleted_records"] + ROWS_EACH
    versions = service.api.get("/v1/models/classifier/versions").json()["data"]
    made = [
        version["number"]
        for version in (service.api.get(f"/v1/models/classifier/versions/{one['id']}").json() for one in versions)
        if version["manifest"]["provenance"]["request"] == request["id"]
    ]
    assert len(made) == 1, "a deletion makes its version once"
    certificate = done["certificates"][0]["id"]
    verdict = verify_certificate(
        service.api.get(f"/v1/certificates/{certificate}").content,
        service.api.get(f"/v1/certificates/{certificate}/proof").content,
        service.api.get("/.well-known/lethe.vkey").text.split(),
    )
    assert verdict.failures == []


def test_after_all_that_everything_agrees(service: Running) -> None:
    """Once, and while the service goes on with its upkeep: what it is in the middle of is no finding."""
    service.repaired()
    found = subprocess.run(
        lethe("fsck", "--data", str(service.service.directory), "--json"),
        env={**os.environ, **service.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
