"""Every command that the README and the docs show is run, page by page, against one service on real data.

A page is one session of a shell: its ```bash blocks whole, and of its ```console blocks the lines after `$ `. Only what
depends on the machine is replaced: ports, and the recipe by the tiniest one. `make` and `lethe serve` are not run here,
but what they are given must be something they know.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.serve import Service, background

HOUSE = Path(__file__).resolve().parents[2]
SESSION_SECONDS = 120
BLOCK = re.compile(r"^```(bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = '"recipe": {"shards": 3, "slices": 4}'
TINIEST_RECIPE = (
    '"recipe": {"shards": 1, "slices": 2, "backbone": {"width": 8, "heads": 1, "layers": 2, "epochs": 1}, '
    '"node": {"rank": 1, "epochs": 1}}'
)
FIRST = ("README.md", "docs/api.md")
"""These make what the others look at."""


def all_pages() -> list[str]:
    found = [*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")]
    return sorted(str(page.relative_to(HOUSE)) for page in found)


def commands_of(page: str) -> Iterator[str]:
    """Yield a page's commands, each as a shell reads it: a whole block, or one line with what its backslashes join."""
    for kind, text in BLOCK.findall((HOUSE / page).read_text()):
        if kind == "bash":
            yield text
        else:
            for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE):
                yield command.strip()


def is_run_elsewhere(command: str) -> bool:
    # Where there is no Docker engine, tests/images runs what the compose file says instead, from a filled .env.
    return command.startswith(("make ", "lethe serve", "docker ", "cp .env.example", "chmod 600 .env"))


def pages_to_run() -> list[str]:
    names = [page for page in all_pages() if any(not is_run_elsewhere(one) for one in commands_of(page))]
    return [*FIRST, *(name for name in names if name not in FIRST)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with background(tmp_path_factory.mktemp("docs") / "lethe-data") as running:
        yield running


@pytest.fixture(scope="module")
def shell_environment(service: Service) -> dict[str, str]:
    """Return what a reader has: our commands and this Python on the path, and the three variables of the docs."""
    binaries = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "LETHE_URL": service.url,
        "LETHE_PREDICTOR_URL": service.predictor_url,
        "LETHE_API_KEY": service.admin_key,
    }


def substituted(command: str, service: Service) -> str:
    command = command.replace("http://127.0.0.1:8200", service.url).replace(
        "http://127.0.0.1:8201", service.predictor_url
    )
    return command.replace(RECIPE, TINIEST_RECIPE)


@pytest.mark.parametrize("page", pages_to_run())
def test_what_a_page_shows_works(page: str, service: Service, shell_environment: dict[str, str]) -> None:
    commands = [substituted(one, service) for one in commands_of(page) if not is_run_elsewhere(one)]
    told = "\n".join(f"echo {shlex.quote('--- ' + one.splitlines()[0])} >&2\n{one}" for one in commands)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", told],
        cwd=service.directory.parent,  # where the docs stand when they say `lethe-data`
        env=shell_environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-1000:]}"


def test_the_readme_walks_from_registration_to_verification() -> None:
    text = "\n".join(commands_of("README.md"))
    steps = ("datasets:upload", "/v1/models", "deletion-requests", "/proof", "lethe verify")
    assert sorted(steps, key=text.index) == list(steps)
    assert RECIPE in text, "the tiniest recipe must find what it replaces"


ELSEWHERE = sorted({one for page in all_pages() for one in commands_of(page) if is_run_elsewhere(one)})


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_something_that_its_command_knows(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=HOUSE, env=environment, check=True, capture_output=True)
        return
    if words[0] != "lethe":
        if "exec" in words:
            inside = words[words.index("lethe") + 1 :]
            asked = [sys.executable, "-m", "cli.main", *(word for word in inside[:2] if word.isalpha()), "--help"]
            subprocess.run(asked, cwd=HOUSE, check=True, capture_output=True)
        named = [word for word in words[1:] if word.startswith(".env")]
        assert all(word == ".env" or (HOUSE / word).exists() for word in named)
        return
    asked = [sys.executable, "-m", "cli.main", "serve", "--help"]
    known = subprocess.run(asked, cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    assert [word for word in words if word.startswith("--") and word not in known] == []
