"""Deletion requests on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.domain.deletion import CopiesPolicy
from core.use_cases.resolve_subjects import DeletionOrder, Identity, RecordSubject

Value = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class IdentityBody(BaseModel):
    """Whom the request is about. The value is turned into a keyed reference at once and kept nowhere."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    identity_type: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", examples=["email"])
    identity_value: Value = Field(examples=["a@example.org"])


class RecordsBody(BaseModel):
    """Single records of one data set."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    dataset: str = Field(examples=["digits"], description="Id or name of a data set.")
    record_ids: list[Value] = Field(min_length=1, max_length=100_000, examples=[["row-71", "row-93"]])


class SubjectBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identities: list[IdentityBody] = Field(default=[], max_length=1000)
    records: list[RecordsBody] = Field(default=[], max_length=100)


class ScopeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    models: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Ids or names. Absent: every model that saw the subject, and the data sets' own rows.",
    )


class DeletionRequestBody(BaseModel):
    """Make models forget people or records."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "subject": {"identities": [{"identity_type": "email", "identity_value": "a@example.org"}]},
                    "external_id": "case-991",
                    "regulation": "gdpr",
                }
            ]
        },
    )

    subject: SubjectBody
    scope: ScopeBody = ScopeBody()
    copies: CopiesPolicy = Field(
        default=CopiesPolicy.REPORT,
        description="What to do about identical contents of other owners: report and certify that copies remain, or expand.",
    )
    external_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._:-]{1,128}$",
        description="Your own identifier of the case; never a person's identity. Unique per API key.",
    )
    regulation: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["gdpr"])

    def as_order(self) -> DeletionOrder:
        return DeletionOrder(
            identities=tuple(Identity(one.identity_type, one.identity_value) for one in self.subject.identities),
            records=tuple(RecordSubject(one.dataset, tuple(one.record_ids)) for one in self.subject.records),
            models=None if self.scope.models is None else tuple(self.scope.models),
            copies=self.copies,
            external_id=self.external_id,
            regulation=self.regulation,
        )
