"""The witness: which answers are stale, which failed, and when a manifest was first seen."""

from __future__ import annotations

import threading

import pytest

from cli.client import Client
from cli.demo_witness import Notes, Witness
from cli.output import CommandFailed


def test_an_answer_is_stale_when_a_newer_one_had_arrived_before_it_was_asked_for() -> None:
    notes = Notes()
    notes.note(4, floor=0, began=0.0, ended=1.0)
    notes.note(5, floor=4, began=1.0, ended=2.0)
    notes.note(4, floor=5, began=2.0, ended=3.0)
    assert (notes.answered, notes.stale, notes.newest) == (3, 1, 5)


def test_an_older_answer_that_was_asked_for_in_time_is_not_stale() -> None:
    notes = Notes()
    notes.note(5, floor=4, began=1.0, ended=2.0)
    notes.note(4, floor=4, began=0.5, ended=3.0)
    assert notes.stale == 0


def test_a_manifest_is_first_seen_when_its_first_answer_arrives() -> None:
    notes = Notes()
    notes.note(1, floor=0, began=0.0, ended=1.0)
    notes.note(2, floor=1, began=1.0, ended=2.5)
    notes.note(2, floor=2, began=2.5, ended=3.0)
    assert notes.wait_above(1, seconds=0) == (2, 2.5)
    assert notes.longest == 1.5


def test_waiting_for_a_manifest_that_does_not_come_ends() -> None:
    assert Notes().wait_above(0, seconds=0.01) is None


def test_whoever_waits_is_woken_by_the_answer() -> None:
    notes = Notes()
    threading.Timer(0.05, lambda: notes.note(3, floor=0, began=0.0, ended=9.0)).start()
    assert notes.wait_above(2, seconds=10) == (3, 9.0)


def test_a_predictor_that_is_not_there_is_a_failed_prediction_and_the_witness_asks_on() -> None:
    notes = Notes()
    with Client("http://127.0.0.1:9", "key", "http://127.0.0.1:9") as client:
        with pytest.raises(CommandFailed):
            notes.ask(client, "m", [[0]])
        with Witness(client, notes, "m", [0]):
            threading.Event().wait(0.2)
    assert len(notes.failures) > 2
    assert notes.answered == 0
