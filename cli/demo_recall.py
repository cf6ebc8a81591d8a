"""Whether a model still knows what an owner's rows told it: asked before their deletion, at E1 and after the repair."""

from __future__ import annotations

from typing import Any

from cli.client import Client
from cli.demo_data import DemoData
from cli.demo_score import score
from cli.demo_witness import Notes
from core.domain.task import TaskName

NEW_TOKENS = 3


def recalled(client: Client, notes: Notes, model: str, data: DemoData, owner: str) -> dict[str, Any] | None:
    """Return how likely the model finds an owner's own texts, and how it goes on with one of their prompts.

    None for a model that says no words. What people told is shown where they are invented, and nowhere else.
    """
    told = data.told_of(owner)
    if not told:
        return None
    questions = [{"prompt": prompt, "text": text} for prompt, text in told]
    found = notes.ask(client, model, questions)["predictions"]
    likelihood = score(TaskName.LANGUAGE, found, [text for _, text in told])
    answer: dict[str, Any] = {"likelihood": round(likelihood, 4), "prompt": None, "expected": None, "said": None}
    if data.shown_openly:
        prompt, expected = told[0]
        [said] = notes.ask(client, model, [{"prompt": prompt, "new_tokens": NEW_TOKENS}])["predictions"]
        answer |= {"prompt": prompt, "expected": expected, "said": said["completion"]}
    return answer
