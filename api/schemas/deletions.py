"""Deletion requests on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.domain.deletion import CopiesPolicy, RequestKind, WaiverReason
from core.use_cases.resolve_subjects import DeletionOrder, Identity, RecordSubject
from core.use_cases.waive_judgement import WaiverOrder

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


class ConceptBody(BaseModel):
    """A behaviour that is to be gone, shown by rows."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(description="Id or name of a data set whose rows show it; of the model's own contract.")


class MethodBody(BaseModel):
    """A method of the menu, in place of those that the models' policies rank."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field(examples=["scrub"])
    settings: dict[str, Any] = {}


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

    # What came later is left out of dumps where it is not said: see `ImageSchemaBody`.
    kind: RequestKind = Field(
        default=RequestKind.DATA_DELETION,
        exclude_if=lambda value: value is RequestKind.DATA_DELETION,
        description="data_deletion: models that never saw the rows. concept_suppression: a behaviour is gone.",
    )
    subject: SubjectBody = SubjectBody()
    concept: ConceptBody | None = Field(default=None, exclude_if=lambda value: value is None)
    unlearning: MethodBody | None = Field(
        default=None, exclude_if=lambda value: value is None, description="On models in approximate mode."
    )
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
            kind=self.kind,
            concept=None if self.concept is None else self.concept.dataset,
            method=None if self.unlearning is None else self.unlearning.model_dump(),
        )


class WaiverBody(BaseModel):
    """Answer for a judgement that is no pass. Who does is the API key that sends this."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "digits-cnn", "reason": "retrain_scheduled"}]}
    )

    model: str = Field(description="Id or name.")
    reason: WaiverReason
    attempt: int | None = Field(default=None, ge=0, description="Absent: the newest that left something to serve.")

    def as_order(self) -> WaiverOrder:
        return WaiverOrder(model=self.model, reason=self.reason, attempt=self.attempt)
