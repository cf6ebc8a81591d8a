"""What `make check` asks of the docs: links resolve, every LETHE_ variable is explained, the schema has one head.

Each function returns sentences about what is wrong, none when all is well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

HOUSE = Path(__file__).resolve().parents[1]
SETTINGS_PAGE = HOUSE / "docs" / "settings.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
VARIABLE = re.compile(r"\bLETHE_(?!TEST_)[A-Z][A-Z0-9_]*[A-Z0-9]\b")


def pages() -> list[Path]:
    """Return every page that people read: those at the top, and all of docs/."""
    return sorted([*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")])


def broken_links() -> Iterator[str]:
    """Yield links to files or headings that do not exist. Addresses elsewhere are not asked for."""
    for page in pages():
        for target in LINK.findall(FENCED.sub("", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            aim = (page.parent / name) if name else page
            if not aim.exists():
                yield f"{page.relative_to(HOUSE)}: {target} leads nowhere"
            elif anchor and anchor not in anchors(aim):
                yield f"{page.relative_to(HOUSE)}: there is no heading {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def lonely_pages() -> Iterator[str]:
    """Yield pages of docs/ that no other page links to."""
    linked = {
        (page.parent / unquote(target).partition("#")[0]).resolve()
        for page in pages()
        for target in LINK.findall(page.read_text())
        if not re.match(r"[a-z]+:|#", target)
    }
    for page in (HOUSE / "docs").rglob("*.md"):
        if page.name != "index.md" and page.resolve() not in linked:
            yield f"{page.relative_to(HOUSE)}: no page links to it"


def undocumented_variables() -> Iterator[str]:
    """Yield LETHE_ variables that the code knows and docs/settings.md does not, and those that only the docs know."""
    from core.settings import Settings

    in_code = {f"LETHE_{name.upper()}" for name in Settings.model_fields}
    for room in ("api", "cli", "core", "worker", "tests"):
        for file in (HOUSE / room).rglob("*.py"):
            in_code.update(VARIABLE.findall(file.read_text()))
    explained = set(VARIABLE.findall(SETTINGS_PAGE.read_text()))
    for name in sorted(in_code - explained):
        yield f"docs/settings.md: {name} is not explained"
    for page in pages():
        for name in sorted(set(VARIABLE.findall(page.read_text())) - in_code):
            yield f"{page.relative_to(HOUSE)}: nothing reads {name}"


def several_heads() -> Iterator[str]:
    from alembic.script import ScriptDirectory

    heads = ScriptDirectory(str(HOUSE / "migrations")).get_heads()
    if len(heads) != 1:
        yield f"migrations: one head is wanted, and there are {len(heads)}: {', '.join(heads)}"


def main() -> None:
    checks = (broken_links, lonely_pages, undocumented_variables, several_heads)
    wrong = [sentence for check in checks for sentence in check()]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"Docs: {len(pages())} pages, links, settings and migrations are in order.")


if __name__ == "__main__":
    sys.path.insert(0, str(HOUSE))
    main()
