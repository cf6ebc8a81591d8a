"""What a command says: tables for people or one JSON value on stdout; messages, progress and errors on stderr.

    exit status   0 it worked     1 it did not, or what was looked at is not as it should be     2 the input is unusable

An error is one sentence. With --json it is also {"error": {...}} on stdout, so that a script reads one value, always.
`rich` is imported where something is drawn: `lethe verify --json` on a bare machine needs none of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from core.domain.errors import BadInput, LetheError

FAILED, UNUSABLE = 1, 2

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else on stdout.")]


class CommandFailed(Exception):
    """A command came to nothing: a sentence for people, a stable word for scripts, and the HTTP status if there was one."""

    def __init__(self, sentence: str, code: str = "failed", status: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.status = status

    @property
    def exit_code(self) -> int:
        return UNUSABLE if self.code in UNUSABLE_CODES else FAILED


UNUSABLE_CODES = frozenset({"unusable_input", "invalid_body", "bad_input"})
"""What the person at the keyboard can only mend by typing something else."""


def unusable(sentence: str) -> CommandFailed:
    return CommandFailed(sentence, "unusable_input")


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Turn everything that Lethe refuses into a sentence and an exit status; anything else is a bug and may show."""
    try:
        yield
    except CommandFailed as failure:
        _give_up(failure, as_json=as_json)
    except LetheError as error:
        flaws = "".join(f"; {flaw.pointer}: {flaw.detail}" for flaw in error.flaws[:5])
        code = "unusable_input" if isinstance(error, BadInput) else error.code
        _give_up(CommandFailed(error.detail + flaws, code), as_json=as_json)


def say(message: str) -> None:
    """Tell the person at the terminal something that is not the answer."""
    print(message, file=sys.stderr)


def show(value: Any, as_json: bool, draw: Callable[[], None]) -> None:
    """Print the answer: as JSON, or as people like to read it."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        draw()


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
    """Print rows as a table.

    Args:
        rows: what to print.
        columns: heading → dotted path into a row, such as `serving.number`.
        empty: the sentence to print when there is none.
    """
    if not rows:
        say(empty)
        return
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in columns:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(written(reach(row, path))) for path in columns.values()))
    _print(drawn)


def listed(page: Mapping[str, Any], columns: Mapping[str, str], *, empty: str) -> None:
    """Print one page of a list, and how to see the next one."""
    table(page["data"], columns, empty=empty)
    if page["has_more"]:
        say(f"There are more: --cursor {page['next_cursor']}")


def details(value: Mapping[str, Any]) -> None:
    """Print one thing, a field a line; what is nested is named by its path."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="dim")
    drawn.add_column(overflow="fold")
    for name, inner in _flat(value):
        drawn.add_row(escape(name), escape(written(inner)))
    _print(drawn)


def reach(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def written(value: Any) -> str:
    """Return a value as a cell of a table shows it."""
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(written(one) for one in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


@contextmanager
def progress(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr while something is waited for; yields `show(share between 0 and 1, what happens now)`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    parts = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0, now="")
        yield lambda share, now: bar.update(task, completed=share, now=now)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner


def _print(drawn: Any) -> None:
    from rich.console import Console

    # Into a pipe, a table is as wide as it needs to be: `grep` must find whole identifiers.
    Console(width=None if sys.stdout.isatty() else 400, highlight=False).print(drawn)


def _give_up(failure: CommandFailed, *, as_json: bool) -> NoReturn:
    if as_json:
        body = {"code": failure.code, "detail": failure.sentence, "status": failure.status}
        print(json.dumps({"error": body}, ensure_ascii=False))
    else:
        say(f"lethe: {failure.sentence}")
    raise typer.Exit(failure.exit_code) from None
