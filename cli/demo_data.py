"""The demo's data, and the stated rule by which rows are divided; here those of images: digits, or a user's arrays.

    every 6th row ─▶ held out, never uploaded; accuracies are measured on it
    public rows   ─▶ the backbone learns from them; nobody can ask for them to be forgotten
    all others    ─▶ belong to owners, who can

Nothing is shuffled. Whatever the rule decides is written down as sentences, which the demo prints and its report shows.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cli.demo_arrays import Arrays, Pixels
from cli.output import unusable
from core.domain.model import MINIMUM_OWNERS_PER_SLICE
from core.domain.task import TaskName
from core.lattice.occupancy import propose

HOLD_OUT_EVERY = 6
DIGITS_PUBLIC_ROWS = 500
DIGITS_OWNERS = 72
PUBLIC_SHARE = 3
"""Without a column that says so, one row in this many is declared public: the first ones."""
IDENTITY_TYPE = "customer_id"


class Source(Protocol):
    """Rows before they are divided."""

    @property
    def name(self) -> str: ...

    @property
    def answers(self) -> Sequence[Any]:
        """What is to be predicted, a row each: labels, or numbers."""

    @property
    def owners(self) -> list[str] | None: ...

    @property
    def record_ids(self) -> list[str] | None: ...

    @property
    def public(self) -> NDArray[np.bool_] | None: ...


@dataclass(frozen=True, kw_only=True)
class DemoData(ABC):
    """Rows as they are uploaded, and those that are held out."""

    task: ClassVar[TaskName] = TaskName.CLASSIFICATION

    name: str
    rules: tuple[str, ...]
    """How the rows were divided, a sentence each."""
    answers: list[Any]
    """What is to be predicted, a row each: a label, or a number."""
    owners: list[str]
    """ "" on a public row without owner."""
    record_ids: list[str]
    public: NDArray[np.bool_]
    held_out_answers: list[Any]

    @abstractmethod
    def file(self) -> bytes:
        """Return the file that is uploaded."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the contract that the rows are registered under."""

    @abstractmethod
    def questions(self, start: int, stop: int) -> list[Any]:
        """Return what a predictor is asked about these held-out rows."""

    @property
    @abstractmethod
    def numbers_each(self) -> int:
        """How many numbers one question has, roughly."""

    @property
    def base(self) -> Path | dict[str, bytes] | None:
        """Return the directory that the model stands on, or the files to make one of; None: its backbone is built in."""
        return None

    @property
    def tokens_read(self) -> int | None:
        """How many tokens of a text are read; None: rows are no texts."""
        return None

    def told_of(self, owner: str) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return what is asked of the model before and after an owner is forgotten: prompts and what followed each."""
        return []

    @property
    def shown_openly(self) -> bool:
        """Whether what rows say of people may be shown, because nobody of them lives."""
        return False

    def leaving_out(self, owners: Sequence[str]) -> DemoData:  # noqa: ARG002
        """Return the data as they are measured when these owners will be forgotten."""
        return self

    @property
    def deletable(self) -> list[str]:
        """Owners of whom no row is public, in order: those can be forgotten wholly."""
        seen = {owner for owner, public in zip(self.owners, self.public, strict=True) if public}
        return sorted({owner for owner, public in zip(self.owners, self.public, strict=True) if not public} - seen)

    @property
    def private_owners(self) -> int:
        return len({owner for owner, public in zip(self.owners, self.public, strict=True) if not public})


@dataclass(frozen=True, kw_only=True)
class ImageData(DemoData):
    """Images and their labels."""

    images: Pixels
    held_out_images: Pixels
    pixels: tuple[float, float]

    def file(self) -> bytes:
        content = io.BytesIO()
        np.savez_compressed(
            content,
            images=self.images,
            labels=np.array(self.answers),
            owners=np.array(self.owners),
            record_ids=np.array(self.record_ids),
            public=self.public,
        )
        return content.getvalue()

    def schema(self) -> dict[str, Any]:
        return {
            "image_shape": list(self.images.shape[1:]),
            "labels": self.classes,
            "owner_identity_type": IDENTITY_TYPE,
            "pixel_minimum": self.pixels[0],
            "pixel_maximum": self.pixels[1],
            "public_column": "public",
        }

    def questions(self, start: int, stop: int) -> list[Any]:
        return list(self.held_out_images[start:stop].tolist())

    @property
    def numbers_each(self) -> int:
        return max(1, int(self.held_out_images[0].size))

    @property
    def classes(self) -> list[str]:
        """Every label, numbers in their order and words in theirs."""
        return in_order({*self.answers, *self.held_out_answers})


def in_order(words: set[str]) -> list[str]:
    if all(word.lstrip("-").isdecimal() for word in words):
        return sorted(words, key=int)
    return sorted(words)


def digits(run: str = "") -> ImageData:
    """Return scikit-learn's digits, divided among 72 owners.

    Args:
        run: a word put into every owner's name, so that a second run on one service deletes other people.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    arrays = Arrays(
        name="scikit-learn's digits",
        images=loaded.images.astype(np.uint8),
        labels=[str(label) for label in loaded.target],
        pixels=(0.0, 16.0),
    )
    return divide(arrays, public_rows=DIGITS_PUBLIC_ROWS, invented=DIGITS_OWNERS, word=f"writer-{run}")


def divide(arrays: Arrays, *, public_rows: int | None = None, invented: int | None = None, word: str) -> ImageData:
    """Divide images by the rule.

    Args:
        arrays: all rows, in the order in which they stay.
        public_rows: how many of the rows that are left are public, where no column says so; None: a third.
        invented: among how many owners the others are divided in blocks of consecutive rows; None: owners are known.
        word: what invented owners are called before their number.

    Raises:
        CommandFailed: nobody said whose rows these are, or too few are left.
    """
    parts = divided(arrays, public_rows=public_rows, invented=invented, word=word)
    return ImageData(
        **parts.told(arrays),
        images=arrays.images[parts.kept],
        held_out_images=arrays.images[parts.held_out],
        pixels=arrays.pixels,
    )


@dataclass(frozen=True, kw_only=True)
class Division:
    """Which row went where, and why."""

    rules: tuple[str, ...]
    kept: NDArray[np.int64]
    held_out: NDArray[np.int64]
    owners: list[str]
    public: NDArray[np.bool_]

    def told(self, source: Source) -> dict[str, Any]:
        """Return what every kind of data says of the rows."""
        ids = source.record_ids or [f"row-{row}" for row in range(len(source.answers))]
        return {
            "name": source.name,
            "rules": self.rules,
            "answers": [source.answers[row] for row in self.kept],
            "owners": self.owners,
            "record_ids": [ids[row] for row in self.kept],
            "public": self.public,
            "held_out_answers": [source.answers[row] for row in self.held_out],
        }


def divided(source: Source, *, public_rows: int | None, invented: int | None, word: str) -> Division:
    """Divide rows by the rule; see `divide`.

    Raises:
        CommandFailed: nobody said whose rows these are, or too few are left.
    """
    count = len(source.answers)
    held_out = np.arange(count) % HOLD_OUT_EVERY == 0
    kept = np.flatnonzero(~held_out)
    kept_apart = (
        f"Every {HOLD_OUT_EVERY}th row (0, {HOLD_OUT_EVERY}, {2 * HOLD_OUT_EVERY}, …) is held out: {held_out.sum()} rows "
        "that are never uploaded, and on which every accuracy is measured."
    )
    rules = [f"{count} rows of {source.name}, in their own order; nothing is shuffled.", kept_apart]
    public, sentence = _public(source, kept, public_rows)
    owners, more = _owners(source, kept, public, invented, word)
    return Division(
        rules=(*rules, sentence, more), kept=kept, held_out=np.flatnonzero(held_out), owners=owners, public=public
    )


def _public(source: Source, kept: NDArray[Any], rows: int | None) -> tuple[NDArray[np.bool_], str]:
    if source.public is not None:
        public = source.public[kept]
        return (
            public,
            f"{public.sum()} rows are public because the data's own column says so: the backbone learns from them.",
        )
    first = len(kept) // PUBLIC_SHARE if rows is None else rows
    public = np.arange(len(kept)) < first
    known, all_labels = {source.answers[row] for row in kept[public]}, set(source.answers)
    words = all(isinstance(label, str) for label in all_labels) and 2 * len(all_labels) < len(kept)
    gap = "" if known == all_labels or not words else f" They show only {len(known)} of {len(all_labels)} labels."
    return public, (
        f"Of the others, the first {public.sum()} are declared public and have no owner: the backbone learns from them, "
        f"and nobody can ask for them to be forgotten.{gap}"
    )


def _owners(
    source: Source, kept: NDArray[Any], public: NDArray[np.bool_], invented: int | None, word: str
) -> tuple[list[str], str]:
    private = np.flatnonzero(~public)
    if invented is not None:
        width = len(str(invented - 1))
        owners = [""] * len(kept)
        for number, block in enumerate(np.array_split(private, invented)):
            for row in block:
                owners[row] = f"{word}{number:0{width}}"
        return owners, (
            f"The remaining {len(private)} belong to {invented} owners, {word}{0:0{width}} to {word}{invented - 1}, in "
            "blocks of consecutive rows. The data do not name real owners; these are made up by this rule."
        )
    if source.owners is None:
        raise unusable(
            "nobody says whose rows these are: name a column with --owners-column, or use --invent-owners 72"
        )
    owners = [source.owners[row] for row in kept]
    if source.public is None:
        owners = ["" if flag else owner for owner, flag in zip(owners, public, strict=True)]
    count = len({owners[row] for row in private})
    return owners, f"The remaining {len(private)} rows belong to {count} owners, as the data's own column says."


def check_size(data: DemoData, *, shards: int, slices: int, deletions: int) -> None:
    """Refuse what the service would refuse after all the waiting.

    Raises:
        CommandFailed: there are too few owners, or no public rows.
    """
    owners, needed = data.private_owners, MINIMUM_OWNERS_PER_SLICE * shards * slices
    if owners < needed:
        fits = "more owners are needed"
        if owners >= MINIMUM_OWNERS_PER_SLICE:
            fits = "try --shards {} --slices {}".format(*propose(owners, slices))
        raise unusable(
            f"{owners} owners are too few for {shards} shards of {slices} slices, which need {needed}; {fits}"
        )
    if not data.public.any() and data.base is None:
        raise unusable("no row is public, and the backbone learns from public rows only")
    if not 1 <= deletions <= len(data.deletable):
        raise unusable(f"--deletions must lie in 1..{len(data.deletable)}: so many owners have private rows only")


def chosen_owners(owners: Sequence[str], count: int) -> list[str]:
    """Return `count` owners, evenly spread over all of them, so that no chance is involved."""
    return [owners[number * len(owners) // count] for number in range(count)]
