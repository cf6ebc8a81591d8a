"""Everything that Lethe can refuse, as a tree: the class says what is wrong, its docstring is the sentence.

    LetheError
    ├── BadInput          the request cannot be read
    ├── Unauthenticated   we do not know who asks
    ├── Forbidden         we know who asks, and they may not
    ├── NotFound          there is no such thing (or it is another tenant's)
    ├── Conflict          the thing is in a state that does not allow this
    ├── Impossible        understood, and cannot be done as asked
    ├── TooLarge          more bytes than this service takes
    └── Unavailable       try again later

No status code stands here: `api/problems.py` translates to HTTP and the command line prints the sentence. A message
never repeats a value that somebody sent: it might be a person's identity. Rows are named by number, fields by pointer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Flaw:
    """One thing wrong with an input: where (a JSON pointer, or "row 12, column owners") and what."""

    pointer: str
    code: str
    detail: str


class LetheError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None, *, flaws: Sequence[Flaw] = ()) -> None:
        self.title = (type(self).__doc__ or "Something went wrong.").strip().splitlines()[0].rstrip(".")
        self.detail = detail or self.title
        self.flaws = tuple(flaws)
        super().__init__(self.detail)

    @property
    def code(self) -> str:
        """The stable word for this error: the class's name in snake case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class BadInput(LetheError):
    """The request could not be read."""


class RowsRefused(BadInput):
    """Rows of the data set break its schema."""


class UnsafeFile(BadInput):
    """The file holds pickled objects, and Lethe never unpickles what a user sends."""


class UnreadableFile(BadInput):
    """The file is not what its name or schema promises."""


class PolicyRefused(BadInput):
    """The policy breaks its schema or its bounds."""


class SignatureInvalid(BadInput):
    """The webhook's signature does not hold."""


class IdempotencyKeyRequired(BadInput):
    """This request needs an Idempotency-Key header, so that a retry cannot run it twice."""


class CursorUnusable(BadInput):
    """The cursor does not belong to this list with these filters."""


class Unauthenticated(LetheError):
    """A valid API key is required."""


class Forbidden(LetheError):
    """This API key lacks the scope for that."""


class ApproverIsRequester(Forbidden):
    """Whoever made the request may not approve it."""


class PathNotAllowed(Forbidden):
    """The path lies outside the directories that this service may read."""


class NotFound(LetheError):
    """There is no such thing."""


class DatasetNotFound(NotFound):
    """There is no such data set."""


class ModelNotFound(NotFound):
    """There is no such model."""


class VersionNotFound(NotFound):
    """There is no such version."""


class DatasetVersionNotFound(NotFound):
    """The data set has no such version."""


class MethodNotFound(NotFound):
    """There is no method of that name."""


class RequestNotFound(NotFound):
    """There is no such deletion request."""


class JobNotFound(NotFound):
    """There is no such job."""


class CertificateNotFound(NotFound):
    """There is no such certificate."""


class QualificationNotFound(NotFound):
    """The model's judge was not put to the test yet."""


class ApiKeyNotFound(NotFound):
    """There is no such API key."""


class WebhookEndpointNotFound(NotFound):
    """There is no such webhook endpoint."""


class WebhookDeliveryNotFound(NotFound):
    """There is no such webhook delivery."""


class EntryNotFound(NotFound):
    """The log holds no such entry."""


class ObjectMissing(NotFound):
    """The object store does not hold this object."""


class Conflict(LetheError):
    """The state of things does not allow this."""


class NameTaken(Conflict):
    """The name is taken."""


class IllegalMove(Conflict):
    """This cannot happen in the present state."""


class RequestNotCancellable(Conflict):
    """The request can no longer be cancelled."""


class JobNotCancellable(Conflict):
    """The job can no longer be cancelled, or not by itself."""


class OwnerSuppressed(Conflict):
    """Rows belong to owners who were deleted and may not come back without recorded re-consent."""


class IdempotencyKeyInFlight(Conflict):
    """A request with this Idempotency-Key is still being answered."""


class StaleFence(Conflict):
    """Another worker has taken this job over; what this one did is discarded."""


class OvertakenByDeletion(Conflict):
    """A deletion touched a slice while it was being trained on; the work is discarded."""


class OvertakenByVersion(Conflict):
    """Another version went live while this one was being made; the work is discarded."""


class WebhookEndpointDisabled(Conflict):
    """The webhook endpoint is disabled; enable it first."""


class TooManyWebhookEndpoints(Conflict):
    """There are as many webhook endpoints as there may be; remove one first."""


class NoBackboneYet(Conflict):
    """The model has no backbone yet."""


class StaleRowVersion(Conflict):
    """The thing changed since it was read (If-Match)."""


class Impossible(LetheError):
    """The request was understood and cannot be done as asked."""


class IdempotencyKeyReused(Impossible):
    """This Idempotency-Key was used before with another body."""


class AddressRefused(Impossible):
    """This service does not send webhooks to that address."""


class NameUnresolved(AddressRefused):
    """The URL's name resolves to no address."""


class PlanTooLarge(Impossible):
    """The plan would take more work than the service spends on one."""


class TooFewOwners(Impossible):
    """There are too few owners for so many slices."""


class NoPublicPart(Impossible):
    """The data set declares no public rows to pre-train the backbone on."""


class TooFewLayers(Impossible):
    """The backbone has fewer layers than the lattice has slices."""


class SubjectMissing(Impossible):
    """A deletion request names at least one identity or record."""


class OwnerInBackbone(Impossible):
    """The owner has rows in the public part that the backbone was pre-trained on."""


class KeyDestroyed(Impossible):
    """The key was destroyed, and with it everything it sealed."""


class SealBroken(Impossible):
    """The bytes were altered, or another key sealed them."""


class MethodNeedsUnmet(Impossible):
    """The method needs something that this model does not offer."""


class CheckpointRefused(Impossible):
    """The checkpoint is not what its architecture promises."""


class WrongMode(Impossible):
    """That is not how this model is made to forget."""


class NothingToWaive(Impossible):
    """There is no refused judgement that a waiver could cover."""


class MethodFailed(Impossible):
    """The method ran and what it left behind may not be used."""


class NoEffect(MethodFailed):
    """The method changed nothing."""


class Diverged(MethodFailed):
    """The method left weights or losses that are not finite."""


class NotReinitialised(MethodFailed):
    """A model that should start afresh still carries weights of the original."""


class ForgetSetShrunk(MethodFailed):
    """Rows that were to be forgotten were never fed, and nobody said so."""


class TooLarge(LetheError):
    """That is more bytes than this service takes."""


class Unavailable(LetheError):
    """The service cannot answer now; try again."""


class ModelNotServed(Unavailable):
    """The model has no version to answer with yet."""


class ManifestStale(Unavailable):
    """This predictor could not confirm its manifest lately, so it does not answer."""


class LedgerUnavailable(Unavailable):
    """The erasure ledger cannot be written, so nothing that it must know of is accepted."""


class LedgerDamaged(Unavailable):
    """A note of the erasure ledger is not as it was written."""


class LogForked(Unavailable):
    """The log in the database does not continue the newest checkpoint that the erasure ledger keeps, as after a restore."""


class StoreUnavailable(Unavailable):
    """The object store does not answer as it should; try again."""


class StoreRefuses(StoreUnavailable):
    """The object store refuses what Lethe asks of it."""

    def __init__(self, answer: str = "no reason") -> None:
        """Keep the store's word for it, such as AccessDenied."""
        self.answer = answer
        super().__init__(f"the object store refuses: {answer}")


class ObjectNotDeleted(StoreUnavailable):
    """The object store keeps an object that it was told to delete."""


class Unusable(LetheError):
    """The service cannot start like this."""
