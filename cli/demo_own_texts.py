"""A user's own texts for the demo, read as carefully as the service reads an upload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.demo_arrays import LARGEST_FILE
from cli.demo_language import Facts, LanguageData, language_data
from cli.demo_texts import Posts, TextData, text_data
from cli.output import unusable
from core.datasets.containers import Budget
from core.datasets.tables import read_table
from core.datasets.texts import as_texts

OWN_TOKENS = 64
OWN_EPOCHS = 40
"""Of a small model that is trained on a user's public rows."""
_YES = frozenset({"1", "true", "True"})


def own_posts(
    content: bytes,
    columns: Mapping[str, str | None],
    *,
    name: str,
    rows: int | None,
    invented: int | None,
    encoder: Path | None,
    tokens: int | None,
) -> TextData:
    """Return a user's texts and their labels.

    Raises:
        CommandFailed: a column is missing.
        LetheError: the file cannot be read.
    """
    found = _read(content, columns, ("texts", "labels"), rows)
    source = Posts(
        name=name,
        texts=found["texts"].tolist(),
        answers=as_texts(found["labels"])[0],
        **_whose(found),
    )
    return text_data(
        source,
        None,
        public_rows=None,
        invented=invented,
        word="owner-",
        tokens=tokens or OWN_TOKENS,
        model=encoder,
    )


def own_language(
    content: bytes,
    columns: Mapping[str, str | None],
    *,
    name: str,
    rows: int | None,
    invented: int | None,
    encoder: Path | None,
    tokens: int | None,
) -> LanguageData:
    """Return a user's prompts, where they have any, and texts; nothing that they say is shown.

    Raises:
        CommandFailed: a column is missing.
        LetheError: the file cannot be read.
    """
    found = _read(content, columns, ("texts",) if columns["prompts"] is None else ("texts", "prompts"), rows)
    texts = found["texts"].tolist()
    prompts = found["prompts"].tolist() if "prompts" in found else [""] * len(texts)
    source = Facts(name=name, prompts=prompts, answers=texts, **_whose(found))
    read = tokens or OWN_TOKENS
    return language_data(source, None, invented=invented, tokens=read, model=encoder, epochs=OWN_EPOCHS)


def _read(
    content: bytes, columns: Mapping[str, str | None], needed: tuple[str, ...], rows: int | None
) -> dict[str, NDArray[Any]]:
    wanted = {role: columns[role] or role for role in (*needed, "owners", "record_ids", "public")}
    for name in wanted.values():
        if list(wanted.values()).count(name) > 1:
            raise unusable(f"column {name!r} is named for two things")
    found = {role: column[:rows] for role, column in read_table(content, wanted, Budget(LARGEST_FILE)).items()}
    # A column of which every cell is empty is not there.
    found = {role: column for role, column in found.items() if role in needed or any(as_texts(column)[0])}
    for role in needed:
        if role not in found or not len(found[role]):
            raise unusable(f"the table has no column {wanted[role]!r}; name it with --{role.replace('_', '-')}-column")
        if role != "labels" and found[role].dtype.kind not in "TU":
            raise unusable(f"column {wanted[role]!r} must hold text")
    return found


def _whose(found: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    known = {role: as_texts(found[role])[0] if role in found else None for role in ("owners", "record_ids", "public")}
    flags = known["public"]
    public = None if flags is None else np.array([flag in _YES for flag in flags], bool)
    return {"owners": known["owners"], "record_ids": known["record_ids"], "public": public}
