"""Tables for people, one JSON value for scripts, and errors as one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.main import get_command

from cli.main import app
from cli.output import CommandFailed, details, listed, say, show, table, told, unusable, written
from core.domain.errors import Flaw, ModelNotFound, RowsRefused


def refused(error: Exception, *, as_json: bool) -> int:
    """Return the exit status of a command that meets an error."""
    with pytest.raises(typer.Exit) as ended, told(as_json):
        raise error
    return ended.value.exit_code


def test_an_error_is_one_sentence_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(ModelNotFound(), as_json=False) == 1
    assert capsys.readouterr() == ("", "lethe: There is no such model\n")


def test_an_error_is_an_object_on_stdout_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(CommandFailed("no", "not_found", 404), as_json=True) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "not_found", "detail": "no", "status": 404}}
    assert err == ""


def test_unusable_input_has_an_exit_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(unusable("nonsense"), as_json=False) == 2
    assert refused(RowsRefused("bad", flaws=[Flaw("row 3", "x", "has no label")]), as_json=False) == 2
    assert "row 3: has no label" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_shows_where_it_came_from() -> None:
    with pytest.raises(ZeroDivisionError), told(False):
        1 / 0  # noqa: B018 - it raises


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    say("a message")
    show([{"a": 1}], True, lambda: say("never"))
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"a": 1}]
    assert err == "a message\n"


def test_a_table_into_a_pipe_keeps_identifiers_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    table([{"id": long, "serving": {"number": 3}}], {"id": "id", "version": "serving.number"}, empty="none")
    out = capsys.readouterr().out
    assert long in out
    assert "version" in out
    assert " 3" in out


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    table([], {"id": "id"}, empty="There is none.")
    assert capsys.readouterr() == ("", "There is none.\n")


def test_details_name_nested_fields_by_their_path(capsys: pytest.CaptureFixture[str]) -> None:
    details({"name": "digits", "policy": {"repair": True}, "serving": None})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "digits"], ["policy.repair", "yes"], ["serving", "-"]]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ([], "-"), (True, "yes"), ([1, 2], "1, 2"), (0, "0"), ({"a": 1}, '{"a": 1}')]
)
def test_a_cell_is_written_for_people(value: object, text: str) -> None:
    assert written(value) == text


def test_square_brackets_in_a_value_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table([{"name": "[red]x"}], {"name": "name"}, empty="")
    assert "[red]x" in capsys.readouterr().out


def test_a_page_says_how_to_see_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "mdl_1"}]
    listed({"data": rows, "has_more": True, "next_cursor": "abc="}, {"id": "id"}, empty="none")
    out, err = capsys.readouterr()
    assert "mdl_1" in out
    assert err == "There are more: --cursor abc=\n"
    listed({"data": rows, "has_more": False, "next_cursor": None}, {"id": "id"}, empty="none")
    assert capsys.readouterr().err == ""


def test_every_list_of_the_command_line_has_pages() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lists: dict[tuple[str, ...], Any] = {
        (name, "list"): group.commands["list"]
        for name, group in commands.items()
        if "list" in getattr(group, "commands", {})
    }
    lists |= {("models", "versions"): commands["models"].commands["versions"], ("lineage",): commands["lineage"]}
    lists[("webhooks", "deliveries")] = commands["webhooks"].commands["deliveries"]
    assert len(lists) == 9
    for name, command in lists.items():
        assert {"limit", "cursor"} <= {option.name for option in command.params}, name
