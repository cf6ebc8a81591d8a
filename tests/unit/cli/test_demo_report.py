"""The report needs nothing but itself, and says what the outcome says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from cli.demo_print import draw
from cli.demo_report import written_report
from tests.unit.cli.demo_story import make_deletion, make_result

VOID = {"meta", "link", "br", "img", "hr"}


class Balance(HTMLParser):
    """Notes every element that was opened and not closed, and every identifier."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.identifiers += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balance:
    reader = Balance()
    reader.feed(page)
    return reader


def test_the_report_is_one_whole_page_with_four_pictures() -> None:
    page = written_report(make_result())
    found = parsed(page)
    assert found.open == []
    assert page.count("<svg ") == 4
    assert page.count('role="img"') == 4


def test_the_report_asks_nobody_for_anything_and_runs_nothing() -> None:
    page = written_report(make_result())
    assert not parsed(page).seen & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"""(src|href|action)=["'](?!#)|@import|url\((?!#)""", page)


def test_pictures_take_their_colours_from_the_page_and_share_no_identifier() -> None:
    page = written_report(make_result())
    identifiers = parsed(page).identifiers
    assert len(identifiers) == len(set(identifiers))
    assert "var(--first)" in page
    assert "#0102" not in page


def test_what_others_wrote_is_escaped() -> None:
    page = written_report(make_result())
    assert "<digits>" not in page
    assert "&lt;digits&gt;" in page
    assert "<b>&quot;" not in page


def test_the_report_shows_every_deletion_and_the_verdict() -> None:
    page = written_report(make_result(deletions=4))
    assert all(make_deletion(number).owner in page for number in range(1, 5))
    assert "Every certificate and the whole log verified" in page


def test_a_run_that_went_wrong_says_so_on_top() -> None:
    page = written_report(make_result(predictions_stale=2))
    assert "2 answers came from an older manifest" in page
    assert "Every certificate and the whole log verified" not in page


def test_without_a_comparison_the_report_says_why() -> None:
    missing: dict[str, Any] = dict.fromkeys(
        ("sisa_retrain", "full_retrain", "sisa_retrain_seconds", "full_retrain_seconds")
    )
    page = written_report(
        make_result(
            **missing, accuracy_unsharded=None, accuracy_public=None, comparison_skipped="the service is remote"
        )
    )
    assert page.count("<svg ") == 3
    assert "the service is remote" in page


def test_an_accuracy_that_repair_overtook_is_marked() -> None:
    result = make_result()
    assert "partly that of the repaired model" not in written_report(result)
    result["deletions"][1]["answered_by"] = [4, 5]
    assert "partly that of the repaired model" in written_report(result)


def test_the_terminal_shows_the_timeline_and_whatever_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    draw(make_result(log_verified=False), to_stderr=False)
    shown = capsys.readouterr().out
    assert make_deletion(2).owner in shown
    assert "median 20.0 ms" in shown
    assert "the log did not verify" in shown
