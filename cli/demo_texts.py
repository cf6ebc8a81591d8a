"""Posts for the demo's text classifier: invented ones on six subjects, or a user's own; a small encoder is trained beside.

An invented post has a few words of its subject, some of another and many of none, so that no reader is always right.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.demo_data import IDENTITY_TYPE, DemoData, divided, in_order

POSTS, PUBLIC_POSTS, OWNERS = 1800, 600, 72
TOKENS = 20
BASE_EPOCHS = 30
LONGEST = 20_000
SUBJECTS = {
    "cycling": "bike pedal gear chain saddle wheel brake helmet tyre climb sprint rider",
    "cooking": "oven flour butter onion roast simmer spice dough recipe pan grill taste",
    "gardening": "soil seed compost prune bloom weed rose hedge bulb mulch shovel spring",
    "music": "chord melody rhythm guitar concert bass lyric album band tempo stage choir",
    "space": "orbit rocket comet lunar probe launch planet crater telescope star module dust",
    "medicine": "dose symptom fever nurse clinic vaccine pulse tablet surgeon allergy cough ward",
}
COMMON = (
    "the a my your our this that some any few many with without before after about over under again always never often maybe "
    "really quite very still just only also here there today tomorrow yesterday good bad new old long short first last next"
)


@dataclass(frozen=True, kw_only=True)
class Posts:
    """Texts and their labels, before any rule."""

    name: str
    texts: list[str]
    answers: list[str]
    owners: list[str] | None = None
    record_ids: list[str] | None = None
    public: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class TextData(DemoData):
    """Texts and the label of each."""

    texts: list[str]
    held_out_texts: list[str]
    tokens: int
    model: Path | dict[str, bytes]
    """The encoder's directory, or its files."""

    @property
    def base(self) -> Path | dict[str, bytes] | None:
        return self.model

    @property
    def tokens_read(self) -> int | None:
        return self.tokens

    def file(self) -> bytes:
        rows = zip(self.record_ids, self.owners, self.public.tolist(), self.texts, self.answers, strict=True)
        names = ("record_ids", "owners", "public", "texts", "labels")
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()

    def schema(self) -> dict[str, Any]:
        return {
            "kind": "text",
            "labels": in_order({*self.answers, *self.held_out_answers}),
            "most_characters": LONGEST,
            "owner_identity_type": IDENTITY_TYPE,
            "public_column": "public",
        }

    def questions(self, start: int, stop: int) -> list[Any]:
        return list(self.held_out_texts[start:stop])

    @property
    def numbers_each(self) -> int:
        return max(1, *map(len, self.held_out_texts))


def posts(run: str = "") -> TextData:
    """Return invented posts, divided among 72 owners, and an encoder that was trained on the public ones."""
    from cli.demo_base_models import words_tokenizer

    words = sorted({*COMMON.split(), *(word for words in SUBJECTS.values() for word in words.split())})
    tokenizer = words_tokenizer(words, marked=True)
    return text_data(_invented(), tokenizer, public_rows=PUBLIC_POSTS, invented=OWNERS, word=f"author-{run}")


def text_data(
    source: Posts,
    tokenizer: bytes | None,
    *,
    public_rows: int | None,
    invented: int | None,
    word: str,
    tokens: int = TOKENS,
    model: Path | None = None,
) -> TextData:
    """Divide texts by the rule, and train an encoder on the public ones unless there is a ready one.

    Args:
        source: the texts.
        tokenizer: how an encoder that is trained here cuts texts into tokens; None: as the public texts suggest.
        public_rows: as in `demo_data.divide`; so are `invented` and `word`.
        invented: see there.
        word: see there.
        tokens: how many tokens the encoder that is trained here reads.
        model: the directory of a ready encoder.
    """
    from cli.demo_base_models import pairs_tokenizer, text_encoder

    parts = divided(source, public_rows=public_rows, invented=invented, word=word)
    told, texts = parts.told(source), [source.texts[row] for row in parts.kept]
    base: Path | dict[str, bytes] | None = model
    if base is None:
        shown = [row for row, flag in enumerate(parts.public.tolist()) if flag]
        public = [texts[row] for row in shown]
        labels = in_order(set(source.answers))
        classes = [labels.index(told["answers"][row]) for row in shown]
        tokenizer = tokenizer or pairs_tokenizer(public, marked=True)
        base = text_encoder(public, classes, tokenizer, tokens=tokens, epochs=BASE_EPOCHS)
    return TextData(
        **told, texts=texts, held_out_texts=[source.texts[row] for row in parts.held_out], model=base, tokens=tokens
    )


def _invented() -> Posts:
    chance = random.Random(11)  # noqa: S311 - reproducible, and nothing is secret
    subjects, common = list(SUBJECTS), COMMON.split()
    texts, answers = [], []
    for _ in range(POSTS):
        subject, other = chance.sample(subjects, 2)
        words = chance.choices(SUBJECTS[subject].split(), k=chance.choice((2, 3)))
        words += chance.choices(SUBJECTS[other].split(), k=chance.choice((0, 1, 2)))
        words += chance.choices(common, k=chance.randrange(5, 11))
        chance.shuffle(words)
        texts.append(" ".join(words))
        answers.append(subject)
    return Posts(name="invented posts on six subjects", texts=texts, answers=answers)
