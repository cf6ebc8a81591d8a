"""What the contracts of all kinds of data set have in common: an owner, a record id, perhaps a public flag, and a task.

A kind is one schema file, one file that checks its rows, and one backbone: see `docs/data-sets.md`.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from core.domain.canonical import canonical
from core.domain.task import Task

MOST_LABELS = 100_000
_IDENTITY_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Kind(StrEnum):
    """What a record is made of."""

    IMAGE = "image"
    TABULAR = "tabular"
    TEXT = "text"
    LANGUAGE = "language"


@dataclass(frozen=True, kw_only=True)
class Contract(ABC):
    """What the rows of a data set must look like, declared before any row is read."""

    kind: ClassVar[Kind]
    needs_public_rows: ClassVar[bool] = True
    """Whether a backbone must be pre-trained; where it need not, one that is drawn by chance serves too."""

    owner_identity_type: str
    """What an owner value is: `email`, `customer_id`, ... in lower snake case."""
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = None
    """Flags the rows a backbone may be pre-trained on; None: no row is public."""

    def __post_init__(self) -> None:
        if not _IDENTITY_TYPE.fullmatch(self.owner_identity_type):
            raise ValueError("owner_identity_type must be a word in lower snake case")
        columns = list(self.columns().values())
        if not all(columns) or len(set(columns)) != len(columns):
            raise ValueError("column names must differ and must not be empty")

    @property
    @abstractmethod
    def task(self) -> Task:
        """What a model says about a row."""

    @property
    @abstractmethod
    def content_columns(self) -> Mapping[str, str]:
        """The name of each column that a model learns from, by role."""

    def columns(self) -> dict[str, str]:
        """Return the name of the column for each role that the schema has."""
        named = {**self.content_columns, "owners": self.owners_column, "record_ids": self.record_ids_column}
        return named if self.public_column is None else {**named, "public": self.public_column}

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind.value, **_with_lists(asdict(self))}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read back what `as_json` wrote.

        Raises:
            TypeError, ValueError: the value is no such schema.
        """
        return cls(**{name: part for name, part in value.items() if name != "kind"})

    def digest(self) -> str:
        """Return the hex digest of the whole contract."""
        return hashlib.sha256(f"lethe {self.kind} schema\x00".encode() + canonical(self.as_json())).hexdigest()


def _with_lists(value: Any) -> Any:
    """Return the value as JSON gives it back, with lists for tuples."""
    if isinstance(value, Mapping):
        return {name: _with_lists(part) for name, part in value.items()}
    return [_with_lists(part) for part in value] if isinstance(value, tuple | list) else value


def refuse_words(words: Sequence[str], name: str, *, fewest: int = 2, most: int = MOST_LABELS) -> None:
    """Check a closed list of words.

    Raises:
        ValueError: there are too few or too many, or one is empty, padded or there twice.
    """
    if not fewest <= len(words) <= most:
        raise ValueError(f"{name} must be {fewest} to {most} words")
    if not all(isinstance(word, str) and word and word == word.strip() for word in words):
        raise ValueError(f"{name} must be words, without white space around them")
    if len(set(words)) != len(words):
        raise ValueError(f"{name} must differ from one another")
