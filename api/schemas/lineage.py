"""Lineage on the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Shown, Time
from api.schemas.deletions import DeletionRequestBody, SubjectBody
from core.use_cases.read_lineage import ArtefactKind
from core.use_cases.resolve_subjects import DeletionOrder


class Parent(Shown):
    kind: str
    id: str


class Artefact(Shown):
    """One part of a model. Nodes also carry what they were fed, versions their number, nodes and backbone where they were made."""

    object: Literal["artefact"]
    kind: ArtefactKind
    id: str
    state: Literal["live", "dead", "superseded", "outside"]
    parents: list[Parent] = Field(description="What it stands on.")
    digest: str | None = Field(description="Of tensors, of a manifest, or of a certificate's bytes.")
    made: dict[str, Any] = Field(description="Job, fence and worker, or actor and place in the log.")
    made_at: Time
    ended_at: Time | None


class TraceBody(BaseModel):
    """Whom or what to look for. Turned into keyed references at once, and kept nowhere."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [{"subject": {"identities": [{"identity_type": "email", "identity_value": "a@example.org"}]}}]
        },
    )

    subject: SubjectBody

    def as_order(self) -> DeletionOrder:
        return DeletionRequestBody(subject=self.subject).as_order()


class Traced(Shown):
    kind: Literal["rows", "node", "draft", "training", "backbone", "checkpoint", "version", "predictor", "export"]
    id: str
    model: str | None
    records: int | None = Field(description="How many of the subject's rows a data set keeps.")
    made_at: Time | None


class Trace(Shown):
    """What ever saw the subject."""

    object: Literal["trace"]
    live: list[Traced] = Field(description="Empty once the subject was forgotten.")
    nodes_gone: int = Field(description="Nodes that saw the subject and were switched off.")
    exported: list[Traced] = Field(description="Exports that saw it: no deletion reaches them.")
