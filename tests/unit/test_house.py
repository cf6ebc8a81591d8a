"""The house itself: maps, arrows that lint cannot see, settings with their sentences, and pages that keep up."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Table

import api
import cli
import core
import migrations
import worker
from core.domain.errors import LetheError
from core.persistence import audit, datasets, jobs, models, nodes, requests, tenants, versions
from core.persistence.tables import metadata
from core.settings import Settings

HOUSE = Path(__file__).resolve().parents[2]
ROOMS = (api, cli, core, migrations, worker)
NOUNS = (audit, datasets, jobs, models, nodes, requests, tenants, versions)
SOURCES = sorted(file for room in ROOMS for file in (HOUSE / room.__name__).rglob("*.py"))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_every_module_opens_with_a_map(file: Path) -> None:
    assert ast.get_docstring(tree(file)), "a module says what is in it"


def test_every_directory_with_code_is_a_package() -> None:
    lonely = {file.parent for file in SOURCES if not (file.parent / "__init__.py").exists()}
    assert lonely <= {HOUSE / "migrations" / "versions"}


def test_every_table_carries_its_tenant() -> None:
    tables: list[Table] = metadata.sorted_tables
    assert len(tables) >= len(NOUNS)
    assert [table.name for table in tables if "tenant_id" not in table.c or table.c.tenant_id.nullable] == []


@pytest.mark.parametrize("use_case", [info.name for info in pkgutil.iter_modules([str(HOUSE / "core" / "use_cases")])])
def test_a_use_case_names_its_verb(use_case: str) -> None:
    """A page with a verb for a name has a public function or class to show; `doors` and `wording` are what they share."""
    body = tree(HOUSE / "core" / "use_cases" / f"{use_case}.py").body
    public = [one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name[0] != "_"]
    assert public


@pytest.mark.parametrize(
    "module",
    [
        "api.app",
        "worker.loop",
        "worker.consumer",
        "worker.dispatcher",
        "cli.main",
        "core.use_cases.deactivate_slices",
        "core.audit.verify",
    ],
)
def test_what_answers_people_starts_without_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] or f"{module} loads torch"


def test_verification_needs_no_database_and_no_arrays() -> None:
    heavy = "{'sqlalchemy', 'psycopg', 'numpy', 'fastapi', 'pydantic'}"
    check = f"import sys, core.audit.verify; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", check], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def field_sentences() -> dict[str, str]:
    [found] = [one for one in tree(HOUSE / "core" / "settings.py").body if isinstance(one, ast.ClassDef)]
    sentences = {}
    for field, after in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            sentences[field.target.id] = str(text)
    return sentences


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_its_sentence_here_and_its_row_in_the_docs(name: str) -> None:
    assert field_sentences()[name].endswith("."), "a sentence stands under the field"
    rows = re.findall(rf"^\| `LETHE_{name.upper()}` \| (.+?) \| (.+) \|$", settings_page(), re.MULTILINE)
    assert len(rows) == 1, "docs/settings.md has one row for it"
    default = Settings.model_fields[name].default
    if isinstance(default, bool | int | float) and default < 1 << 20:
        assert rows[0][0] == f"`{str(default).lower().removesuffix('.0')}`", "and the row tells the default"


def settings_page() -> str:
    return (HOUSE / "docs" / "settings.md").read_text()


def sentences_of_unusable() -> list[tuple[str, list[str]]]:
    """Return where an Unusable is raised, and the fixed parts of its sentence."""
    found = []
    for file in SOURCES:
        for call in ast.walk(tree(file)):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Unusable":
                texts = [
                    part.value
                    for argument in call.args
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant)
                ]
                parts = [text.strip() for text in texts if isinstance(text, str) and len(text.strip()) >= 12]
                found.append((f"{file.relative_to(HOUSE)}:{call.lineno}", parts))
    return found


def test_the_runbook_explains_every_sentence_with_which_the_service_refuses_to_start() -> None:
    runbook = (HOUSE / "docs" / "runbook.md").read_text()
    found = sentences_of_unusable()
    assert found
    missing = [(where, part) for where, parts in found for part in parts if part not in runbook]
    assert missing == []


def all_errors(kind: type[LetheError]) -> set[type[LetheError]]:
    return {kind}.union(*map(all_errors, kind.__subclasses__()))


def test_every_refusal_is_a_sentence_and_has_a_status() -> None:
    for room in ROOMS[1:3]:
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not info.name.startswith(("core.unlearning", "core.modelling")):
                importlib.import_module(info.name)
    from api.problems import status_of

    for kind in all_errors(LetheError) - {LetheError}:
        assert (kind.__doc__ or "").strip().endswith("."), f"{kind.__name__} is a sentence"
        if kind.__module__.startswith("core.") and not kind.__module__.startswith("core.audit"):
            assert 400 <= status_of(kind()) < 600


def test_no_page_names_a_machine() -> None:
    pages = [*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md"), HOUSE / "Makefile", HOUSE / ".ci" / "run"]
    told = [page.name for page in pages if re.search(r"(?<![\w.])/(?:work|root|home)/", page.read_text())]
    assert told == []


@pytest.mark.parametrize("target", ["setup", "demo", "serve", "test", "test-fast", "check", "fix", "docs", "clean"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=HOUSE, capture_output=True, text=True, check=False, env=plain_environment()
    )
    assert done.returncode == 0, done.stderr


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(
        ["make", "help"], cwd=HOUSE, capture_output=True, text=True, check=True, env=plain_environment()
    )
    listed = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    targets = re.search(r"^\.PHONY: (.+)$", (HOUSE / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert listed == set(targets[1].split())


def plain_environment() -> dict[str, str]:
    """Return the environment without what an outer make hands to an inner one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
