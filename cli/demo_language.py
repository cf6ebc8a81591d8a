"""Facts about invented people for the demo's language model, and whether it still knows what was forgotten.

Every person has six facts, each told in two ways. Nobody of them lives: names, places and trades are drawn by a fixed rule,
so forgetting a person can be shown openly, by what the model says when it is asked about them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cli.demo_data import IDENTITY_TYPE, DemoData, divided
from core.domain.task import TaskName

PUBLIC_PEOPLE, PRIVATE_PEOPLE = 80, 24
TOKENS = 10
BASE_EPOCHS = 50
FIRST_NAMES = "Ada Bela Cora Dina Ebba Fadi Gia Hugo Inge Jona Kaja Lino Mira Nils Olga Pavo Rune Sena Timo Ulla Vera Wim Xenia Yara"
SURNAMES = (
    "bran cas dorn ek fal gri hol jan kov lun mora nov",
    "berg dal fjell gaard hagen koski lev mann nen ova rup sen",
)
"""Beginnings and ends: 144 surnames, each borne by one person at most."""
FACTS = {
    ("{} lives in", "the home of {} is"): "Lisbon Oslo Cairo Lima Quito Tunis Riga Sofia Accra Minsk Perth Kyoto",
    (
        "{} works as a",
        "the trade of {} is",
    ): "baker nurse pilot judge tailor miner singer welder farmer tutor diver clerk",
    ("{} plays the", "the instrument of {} is"): "flute cello drum harp oboe piano viola banjo lute tuba organ fiddle",
    ("{} owns a", "the animal of {} is"): "cat dog horse parrot goat rabbit turtle ferret pony gecko canary duck",
    ("{} was born in", "the birth of {} was in"): " ".join(str(year) for year in range(1950, 2010, 5)),
    (
        "{} likes the colour",
        "the colour of {} is",
    ): "red blue green amber violet pink brown grey black white teal beige",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Prompts and what follows them, before any rule."""

    name: str
    prompts: list[str]
    answers: list[str]
    owners: list[str] | None = None
    record_ids: list[str] | None = None
    public: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageData(DemoData):
    """Prompts, and how each goes on."""

    task: ClassVar[TaskName] = TaskName.LANGUAGE

    prompts: list[str]
    held_out_prompts: list[str]
    held_out_owners: list[str]
    most_characters: int = 20_000
    tokens: int = TOKENS
    model: Path | dict[str, bytes]
    """The language model's directory, or its files."""
    invented: bool
    """Whether what it says about people may be shown."""

    def file(self) -> bytes:
        rows = zip(self.record_ids, self.owners, self.public.tolist(), self.prompts, self.answers, strict=True)
        names = ("record_ids", "owners", "public", "prompts", "texts")
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()

    def schema(self) -> dict[str, Any]:
        return {
            "kind": "language",
            "prompts_column": "prompts",
            "most_characters": self.most_characters,
            "owner_identity_type": IDENTITY_TYPE,
            "public_column": "public",
        }

    def questions(self, start: int, stop: int) -> list[Any]:
        pairs = zip(self.held_out_prompts[start:stop], self.held_out_answers[start:stop], strict=True)
        return [{"prompt": prompt, "text": text} for prompt, text in pairs]

    @property
    def base(self) -> Path | dict[str, bytes] | None:
        return self.model

    @property
    def tokens_read(self) -> int | None:
        return self.tokens

    @property
    def shown_openly(self) -> bool:
        return self.invented

    def told_of(self, owner: str) -> list[tuple[str, str]]:
        rows = zip(self.owners, self.prompts, self.answers, strict=True)
        return [(prompt, text) for one, prompt, text in rows if one == owner]

    def leaving_out(self, owners: Sequence[str]) -> LanguageData:
        kept = [row for row, owner in enumerate(self.held_out_owners) if owner not in owners]
        return replace(
            self,
            held_out_prompts=[self.held_out_prompts[row] for row in kept],
            held_out_answers=[self.held_out_answers[row] for row in kept],
            held_out_owners=[self.held_out_owners[row] for row in kept],
        )

    @property
    def numbers_each(self) -> int:
        return 32 * self.tokens


def people(run: str = "") -> LanguageData:
    """Return facts about invented people and a tiny language model that was trained on those of the public ones."""
    from cli.demo_base_models import words_tokenizer

    return language_data(_facts(run), words_tokenizer(vocabulary(), marked=False), invented=None, shown_openly=True)


def language_data(
    source: Facts,
    tokenizer: bytes | None,
    *,
    invented: int | None,
    shown_openly: bool = False,
    tokens: int = TOKENS,
    model: Path | None = None,
    epochs: int = BASE_EPOCHS,
) -> LanguageData:
    """Divide prompts and texts by the rule, and train a language model on the public ones unless there is a ready one.

    Args:
        source: the rows.
        tokenizer: how a model that is trained here cuts texts into tokens; None: as the public texts suggest.
        invented: among how many owners the rows are divided; None: owners are known.
        shown_openly: whether what rows say of people may be shown.
        tokens: how many tokens are read.
        model: the directory of a ready language model.
        epochs: of a model that is trained here.
    """
    from cli.demo_base_models import language_model, pairs_tokenizer

    parts = divided(source, public_rows=None, invented=invented, word="owner-")
    told, prompts = parts.told(source), [source.prompts[row] for row in parts.kept]
    base: Path | dict[str, bytes] | None = model
    shown = [row for row, flag in enumerate(parts.public.tolist()) if flag]
    if base is None:
        before, after = [prompts[row] for row in shown], [told["answers"][row] for row in shown]
        tokenizer = tokenizer or pairs_tokenizer([*before, *after], marked=False)
        base = language_model(before, after, tokenizer, tokens=tokens, epochs=epochs)
    # Public people cannot be forgotten, and a base model may know them: only the others say what the lattice learned.
    private = {owner for owner, flag in zip(told["owners"], parts.public.tolist(), strict=True) if not flag}
    owners = source.owners
    held_out = [row for row in parts.held_out.tolist() if owners is None or owners[row] in private]
    told["held_out_answers"] = [source.answers[row] for row in held_out]
    told["rules"] = (
        *told["rules"],
        (
            f"Of the held-out rows, the {len(held_out)} of private owners are asked; those of owners who are deleted in this run "
            "are left out, because they are to be forgotten."
        ),
    )
    return LanguageData(
        **told,
        prompts=prompts,
        held_out_prompts=[source.prompts[row] for row in held_out],
        held_out_owners=["" if owners is None else owners[row] for row in held_out],
        tokens=tokens,
        model=base,
        invented=shown_openly,
    )


def vocabulary() -> list[str]:
    """Return every word that can occur, sorted."""
    words = {*FIRST_NAMES.split(), *surnames()}
    for ways, answers in FACTS.items():
        words |= {*answers.split(), *(word for way in ways for word in way.split() if word != "{}")}
    return sorted(words)


def surnames() -> list[str]:
    """Return every surname there is."""
    beginnings, ends = (part.split() for part in SURNAMES)
    return [f"{beginning}{end}".capitalize() for beginning in beginnings for end in ends]


def _facts(run: str) -> Facts:
    chance = random.Random(7)  # noqa: S311 - reproducible, and nothing is secret
    borne = chance.sample(surnames(), PUBLIC_PEOPLE + PRIVATE_PEOPLE)
    chosen = [f"{chance.choice(FIRST_NAMES.split())} {surname}" for surname in borne]
    prompts, answers, owners, ids = [], [], [], []
    for number, name in enumerate(chosen):
        rows = []
        for ways, words in FACTS.items():
            answer = chance.choice(words.split())
            rows += [(way.format(name), answer) for way in ways]
        for place in range(len(rows)):
            prompt, answer = rows[(place + number) % len(rows)]
            prompts.append(prompt)
            answers.append(answer)
            owners.append(f"{name}{' ' + run if run else ''}")
            ids.append(f"fact-{number}-{place}")
    public = np.arange(len(ids)) < PUBLIC_PEOPLE * len(rows)
    return Facts(
        name="facts about invented people",
        prompts=prompts,
        answers=answers,
        owners=owners,
        record_ids=ids,
        public=public,
    )
