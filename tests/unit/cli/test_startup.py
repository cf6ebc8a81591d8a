"""What a command costs before it does anything: which libraries it loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "sqlalchemy", "fastapi", "numpy", "httpx2")  # pydantic is loaded by typer itself
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from cli.main import app
result = CliRunner().invoke(app, json.loads(sys.argv[1]))
print(json.dumps([result.exit_code, sorted({name.partition('.')[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit status and the modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout)
    return code, set(modules)


@pytest.mark.parametrize("command", [["--help"], ["models", "--help"], ["serve", "--help"], ["fsck", "--help"]])
def test_help_loads_no_heavy_library(command: list[str]) -> None:
    code, modules = loaded_by(*command)
    assert code == 0
    assert modules.isdisjoint(HEAVY)


def test_verify_loads_no_heavy_library() -> None:
    code, modules = loaded_by("verify", "/dev/null", "--proof", "/dev/null", "--key", "/dev/null")
    assert code == 2
    assert modules.isdisjoint(HEAVY)
    assert "cryptography" in modules
