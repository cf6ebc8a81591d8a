"""Every kind of contract, and how a stored one is read back; a kind that nobody named is `image`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.datasets.contract import Contract, Kind
from core.datasets.image_schema import ROLES, ImageSchema
from core.datasets.language_schema import LanguageSchema
from core.datasets.tabular_schema import TabularSchema
from core.datasets.text_schema import TextSchema

__all__ = [
    "KINDS",
    "ROLES",
    "Contract",
    "ImageSchema",
    "Kind",
    "LanguageSchema",
    "Schema",
    "TabularSchema",
    "TextSchema",
    "schema_from_json",
]

Schema = ImageSchema | TabularSchema | TextSchema | LanguageSchema
KINDS: Mapping[Kind, type[Schema]] = {
    Kind.IMAGE: ImageSchema,
    Kind.TABULAR: TabularSchema,
    Kind.TEXT: TextSchema,
    Kind.LANGUAGE: LanguageSchema,
}


def schema_from_json(value: Mapping[str, Any]) -> Schema:
    """Read back what a schema's `as_json` wrote.

    Raises:
        TypeError, ValueError: the value is no schema.
    """
    return KINDS[Kind(value.get("kind", Kind.IMAGE))].from_json(value)
