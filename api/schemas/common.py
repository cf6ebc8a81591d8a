"""What all answers share: how they may grow, pages of lists, and the one shape of every problem."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")
CHOICE = "kind="
"""Begins the part that a choice between bodies adds to a field's place; problem documents leave it out."""
Time = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-20T09:12:00.000000Z"], description="UTC.")
]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="32 bytes in hexadecimal.")]


class Shown(BaseModel):
    """An answer; what a use case returns beyond the fields named here is passed on, never dropped."""

    model_config = ConfigDict(extra="allow")


class Page(Shown, Generic[Item]):
    """One page of a list."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    next_cursor: str | None = Field(description="Send it as `cursor`, with the same filters, for the next page.")


class Fault(Shown):
    """One thing wrong with a request."""

    pointer: str = Field(examples=["/subject/identities/0/identity_type", "row 12, column owners"])
    code: str = Field(examples=["missing"])
    detail: str


class Problem(Shown):
    """What went wrong (RFC 9457). `code` is the contract; sentences may change; nothing that was sent is repeated."""

    type: str = Field(examples=["https://lethe.dev/problems/model-not-found"])
    title: str = Field(examples=["There is no such model"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["model_not_found"])
    detail: str = Field(examples=["There is no such model"])
    instance: str | None = Field(
        default=None,
        examples=["/v1/models/-"],
        description="The route; identifiers of Lethe's own stand in it, anything else that was sent is a dash.",
    )
    request_id: str = Field(examples=["req_01kt3v8y6mxv0e7q8j9d2s4f5g"])
    retryable: bool
    errors: list[Fault] = []
