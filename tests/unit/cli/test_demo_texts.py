"""The demo's texts keep their own contracts, and what is said of the deleted comes from what was asked."""

from __future__ import annotations

import gzip
import json
from math import log
from pathlib import Path
from typing import Any

import pytest

from cli import demo_base_models, demo_language, demo_own_texts, demo_texts
from cli.demo_data import DemoData, check_size, chosen_owners
from cli.demo_report import written_report
from cli.demo_score import score
from cli.output import CommandFailed
from core.datasets.kinds import read_questions
from core.datasets.readers import read_columns
from core.datasets.schema import schema_from_json
from core.datasets.validation import validate
from core.domain.model import BackboneRecipe, Recipe
from core.domain.task import TaskName
from core.settings import Settings
from core.use_cases.adopt_encoder import adopt_encoder
from tests.unit.cli.demo_story import make_deletion, make_result

COLUMNS: dict[str, str | None] = {
    "texts": "answer",
    "prompts": "question",
    "labels": "mood",
    "owners": "author",
    "record_ids": "record_ids",
    "public": "public",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the base models learn is not looked at here."""
    for module in (demo_language, demo_texts):
        monkeypatch.setattr(module, "BASE_EPOCHS", 1)
    monkeypatch.setattr(demo_own_texts, "OWN_EPOCHS", 1)
    monkeypatch.setattr(demo_base_models, "WIDTH", 16)
    monkeypatch.setattr(demo_base_models, "INNER", 16)


def check_taken(data: DemoData, directory: Path) -> None:
    """Check that the service takes rows, questions and base model as they are."""
    schema = schema_from_json(data.schema())
    rows = validate(read_columns({"file": data.file()}, schema=schema, limit_bytes=1 << 24), schema)
    assert rows.record_ids == data.record_ids
    questions = read_questions(data.questions(0, 2000), schema)
    assert len(questions["texts"]) == len(data.held_out_answers)
    assert schema.task.name == data.task
    assert isinstance(data.base, dict)
    for name, content in data.base.items():
        (directory / name).write_bytes(content)
    backbone = BackboneRecipe(directory=str(directory), tokens=data.tokens_read)
    adopted = adopt_encoder(
        Recipe(shards=2, slices=3, backbone=backbone), schema, Settings(data_roots=str(directory))
    ).backbone
    assert (adopted.width, adopted.layers) == (16, demo_base_models.LAYERS)


def test_the_service_takes_invented_posts_and_the_encoder_that_reads_them(tmp_path: Path) -> None:
    data = demo_texts.posts()
    check_taken(data, tmp_path)
    check_size(data, shards=3, slices=4, deletions=20)
    assert not set(data.deletable) & set(demo_texts.posts("a1").deletable)


def test_the_service_takes_invented_facts_and_the_language_model_that_reads_them(tmp_path: Path) -> None:
    data = demo_language.people()
    check_taken(data, tmp_path)
    check_size(data, shards=2, slices=3, deletions=5)
    assert len(data.deletable) == demo_language.PRIVATE_PEOPLE
    words = {
        word for prompt, text in zip(data.prompts, data.answers, strict=True) for word in f"{prompt} {text}".split()
    }
    assert words <= set(demo_language.vocabulary())
    assert not set(data.deletable) & set(demo_language.people("a1").deletable)


def test_of_the_deleted_no_row_is_held_out_and_all_others_stay() -> None:
    data = demo_language.people()
    owners = chosen_owners(data.deletable, 3)
    measured = data.leaving_out(owners)
    left = {prompt for prompt in measured.held_out_prompts if any(owner in prompt for owner in owners)}
    assert left == set()
    assert 0 < len(data.held_out_prompts) - len(measured.held_out_prompts) < 10
    for owner in owners:
        assert 0 < len(data.told_of(owner)) <= 12
        assert all(owner in prompt for prompt, _ in data.told_of(owner))


def own(count: int = 90) -> bytes:
    rows: list[dict[str, Any]] = [
        {"question": f"Is it {row}?", "answer": f"ja … {row}", "mood": "good" if row % 2 else "bad", "author": row // 3}
        for row in range(count)
    ]
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def test_texts_of_ones_own_are_read_from_a_table_and_nothing_they_say_is_shown(tmp_path: Path) -> None:
    options: dict[str, Any] = {"name": "own", "rows": 80, "invented": None, "encoder": None, "tokens": 12}
    language = demo_own_texts.own_language(own(), COLUMNS, **options)
    check_taken(language, tmp_path)
    assert not language.shown_openly
    assert len(language.record_ids) + 13 + 1 == 80
    alone = demo_own_texts.own_language(own(), {**COLUMNS, "prompts": None}, **options)
    assert set(alone.prompts) == {""}
    check_taken(demo_own_texts.own_posts(own(), COLUMNS, **options), tmp_path)
    with pytest.raises(CommandFailed, match="no column 'nothing'"):
        demo_own_texts.own_posts(own(), {**COLUMNS, "labels": "nothing"}, **options)
    with pytest.raises(CommandFailed, match="named for two things"):
        demo_own_texts.own_language(own(), {**COLUMNS, "texts": "author"}, **options)


def test_byte_pairs_cut_what_they_never_saw_and_bring_every_character_back() -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(demo_base_models.pairs_tokenizer(["a public text"], marked=False).decode())
    said = "naïve \N{SNOWMAN} words"
    ids = tokenizer.encode(said).ids
    assert tokenizer.token_to_id("[UNK]") not in ids
    assert tokenizer.decode(ids).strip() == said


def test_words_are_scored_by_their_likelihood_per_token() -> None:
    said = [{"log_likelihood": 2 * log(0.5), "tokens": 2}, {"log_likelihood": log(0.1), "tokens": 1}]
    assert score(TaskName.LANGUAGE, said, ["one two", "three"]) == pytest.approx(0.3)


def test_the_report_shows_what_the_model_said_of_the_deleted_and_escapes_it() -> None:
    def asked(said: str, likelihood: float) -> dict[str, Any]:
        return {"likelihood": likelihood, "prompt": "Ada lives in", "expected": "Lisbon", "said": said}

    told = {"before": asked("Lisbon", 0.9), "at_e1": asked("<Oslo>", 0.2), "after_repair": asked("Riga", 0.1)}
    result = make_result()
    from dataclasses import asdict

    result["deletions"] = [asdict(make_deletion(1, recalled=told)) | {"answered_by": [2]}]
    result["data"] = {**result["data"], "task": "language", "own_base": True}
    page = written_report(result)
    for part in ("What it still knows of the deleted", "Ada lives in", "&lt;Oslo&gt;", "adopted a base model", "Riga"):
        assert part in page
    assert "likelihood per token at E1" in page
    assert "What it still knows" not in written_report(make_result())
