"""Dockerfile, docker-compose.yml and .env.example: well-formed, in step with each other, and without a usable secret."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.images.compose import EXAMPLE, HOUSE, PAGE, VARIABLE, example, our_services, read

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "LETHE_S3_ACCESS_KEY", "LETHE_S3_SECRET_KEY")
MUST_BE_SET = (*SECRETS, "LETHE_LOG_ORIGIN")
FILLED = example() | {name: f"value-of-{name.lower().replace('_', '-')}" for name in MUST_BE_SET}


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return read(FILLED)


@pytest.fixture(scope="module")
def docker_compose() -> str:
    """Any of the two generations; neither needs an engine to read a page."""
    found = shutil.which("docker-compose")
    if found is None:
        if os.environ.get("LETHE_TEST_REQUIRE_SERVERS") == "1":
            pytest.fail("docker-compose is missing; on Debian: apt-get install docker-compose")
        pytest.skip("needs docker-compose; on Debian: apt-get install docker-compose")
    return found


def config(docker_compose: str, variables: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    file = directory / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    outside = {name: value for name, value in os.environ.items() if name not in variables and name[:6] != "LETHE_"}
    return subprocess.run(
        [docker_compose, "--env-file", str(file), "--file", str(PAGE), "config"],
        capture_output=True, text=True, env=outside, check=False, timeout=120,
    )  # fmt: skip


def test_docker_compose_reads_the_page_as_these_tests_do(
    docker_compose: str, page: dict[str, Any], tmp_path: Path
) -> None:
    told = config(docker_compose, FILLED, tmp_path)
    assert told.returncode == 0, told.stderr
    found = yaml.safe_load(told.stdout)
    assert set(page["services"]) - set(found["services"]) <= {"trainer-gpu"}, "some leave out what waits for a profile"
    for name, service in found["services"].items():
        ours = page["services"][name]
        assert service["image"] == ours["image"]
        assert service.get("command") == ours.get("command")
        environment = {key: str(value).lower() for key, value in service.get("environment", {}).items()}
        assert environment == {key: str(value).lower() for key, value in ours.get("environment", {}).items()}


@pytest.mark.parametrize("name", MUST_BE_SET)
def test_docker_compose_refuses_to_start_without(docker_compose: str, name: str, tmp_path: Path) -> None:
    told = config(docker_compose, FILLED | {name: ""}, tmp_path)
    assert told.returncode != 0
    assert f"set {name} in .env" in told.stderr


@pytest.mark.parametrize("name", MUST_BE_SET)
def test_the_page_itself_asks_for(name: str) -> None:
    with pytest.raises(KeyError, match=f"set {name} in .env"):
        read(FILLED | {name: ""})


def test_the_example_holds_every_variable_with_its_default_and_no_secret() -> None:
    told = example()
    asked = {
        found["name"]: found["rest"] if found["kind"] == ":-" else "" for found in VARIABLE.finditer(PAGE.read_text())
    }
    assert told == asked
    for name in told:
        before = EXAMPLE.read_text().split(f"\n{name}=")[0].splitlines()[-2:]
        assert any(line.startswith("#") or line.partition("=")[0] in told for line in before), f"{name} is explained"


def test_every_variable_of_ours_is_a_setting(page: dict[str, Any]) -> None:
    known = {f"LETHE_{name.upper()}" for name in Settings.model_fields}
    given = {name for service in our_services(page).values() for name in service["environment"]}
    assert given <= known


ADDRESSES = re.compile(r"LETHE_(DATABASE|BROKER)_(\w+_)?URL")
"""The page's own servers."""
DECIDED_HERE = {
    "LETHE_DATA_DIRECTORY", "LETHE_OBJECT_DIRECTORY", "LETHE_KEY_DIRECTORY", "LETHE_LEDGER_DIRECTORY",  # its volumes
    "LETHE_HOST", "LETHE_PORT", "LETHE_PREDICTOR_PORT", "LETHE_METRICS_HOST", "LETHE_METRICS_PORT",  # its network
    "LETHE_QUEUES", "LETHE_TRAINER_DEVICE",  # a service of its own for each
    "LETHE_ACTIVATION_CACHE_MEBIBYTES", "LETHE_ACTIVATION_CACHE_DIRECTORY",  # containers have no disk for it
    "LETHE_S3_SECRET_KEY_FILE",  # .env is that file
    *filter(ADDRESSES.fullmatch, (f"LETHE_{name.upper()}" for name in Settings.model_fields)),
}  # fmt: skip
TRAINERS_ONLY = {"LETHE_COMPUTE_SLOTS", "LETHE_TRAINER_THREADS", "LETHE_STACKED_NODES"}
SETTINGS = sorted({f"LETHE_{name.upper()}" for name in Settings.model_fields} - DECIDED_HERE)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_in_the_env_file_reaches_every_service_that_it_concerns(name: str) -> None:
    services = our_services(read(FILLED | {name: "from-the-env-file"}))
    for service, described in services.items():
        if name in TRAINERS_ONLY and not service.startswith("trainer"):
            continue
        if (service, name) == ("prepare", "LETHE_S3_RETRY_SECONDS"):  # the object store may start beside it
            continue
        assert described["environment"].get(name) == "from-the-env-file", f"{name} does not reach {service}"


def test_what_is_not_decided_here_is_as_it_is_elsewhere(page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    decided = DECIDED_HERE | set(MUST_BE_SET) | TRAINERS_ONLY | {"LETHE_S3_ENDPOINT", "LETHE_PUBLIC_URL"}
    for name, value in page["services"]["api"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    told, usual = Settings(), Settings.model_construct()
    for name in Settings.model_fields:
        if f"LETHE_{name.upper()}" not in decided:
            assert getattr(told, name) == getattr(usual, name), name


def test_our_services_run_bare(page: dict[str, Any]) -> None:
    services = our_services(page)
    assert {"prepare", "api", "dispatcher", "worker", "trainer", "trainer-gpu", "predictor"} == set(services)
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service
        assert "user" not in service, "the image's own, 10001"


def test_the_outside_reaches_two_ports_on_this_machine_only(page: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in page["services"].items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8200:8200"], "predictor": ["127.0.0.1:8201:8201"]}


def test_every_process_that_stays_has_a_health_check_and_comes_back(page: dict[str, Any]) -> None:
    for name, service in page["services"].items():
        if name != "prepare":
            assert service["healthcheck"]["test"][0] == "CMD", "a command, not a shell"
            assert service["restart"] == "unless-stopped"


def test_keys_and_the_ledger_lie_apart_from_all_else(page: dict[str, Any]) -> None:
    holders: dict[str, set[str]] = {}
    for name, service in page["services"].items():
        for volume in service.get("volumes", []):
            holders.setdefault(volume.split(":")[0], set()).add(name)
    assert set(holders) == set(page["volumes"])
    assert holders["keys"] == holders["ledger"] == set(our_services(page))
    assert holders["postgres"] == {"postgres"}
    assert holders["objects"] == {"objects"}


def test_the_dockerfile_is_in_order() -> None:
    lint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([lint, HOUSE / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_directories_of_volumes_exist_in_the_image_and_are_its_users(page: dict[str, Any]) -> None:
    """A volume takes over the owner of the directory it is first mounted on; one that is not there is root's."""
    made = re.search(r"install --directory --owner=10001[^&]+", (HOUSE / "Dockerfile").read_text())
    assert made is not None
    mounted = {volume.split(":")[1] for service in our_services(page).values() for volume in service["volumes"]}
    assert mounted <= set(made[0].split())


def test_an_image_gets_only_what_it_runs() -> None:
    let_in = {line[1:] for line in (HOUSE / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert (HOUSE / ".dockerignore").read_text().splitlines()[1] == "*"
    found = re.search(r"^include = \[(.+)\]$", (HOUSE / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    packages = set(re.findall(r'"(\w+)\*"', found[1]))
    assert let_in == packages | {"pyproject.toml", "README.md", "LICENSE"}
