"""What the service answers with. Fields may be added to any answer, so clients ignore those that they do not know."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.common import Hex, Shown, Time
from core.domain.access import Scope
from core.domain.deletion import CopiesPolicy, RequestKind, RequestState, Result, WaitReason
from core.domain.job import JobKind, JobState, Lane
from core.domain.model import FamilyName, Guarantee, ModelState, PriorRule
from core.domain.repair import RepairMode


class Copies(Shown):
    """Records of other owners with identical content, and what is done about them."""

    under_other_owners: int
    policy: CopiesPolicy


class RequestScope(Shown):
    models: list[str] | None = Field(description="Null: every model that saw the subject, and the rows themselves.")


class RequestJob(Shown):
    id: str
    model: str | None
    state: JobState


class RequestCertificate(Shown):
    id: str
    model: str | None
    guarantee: Guarantee | None


class DeletionRequest(Shown):
    """A deletion request: states, counts and links. Whom it is about is shown as keyed references only."""

    id: str = Field(examples=["dr_01kt3v8y6mxv0e7q8j9d2s4f5g"])
    object: Literal["deletion_request"]
    kind: RequestKind = RequestKind.DATA_DELETION
    unlearning: dict[str, Any] | None = Field(default=None, description="The method that was asked for; the concept.")
    state: RequestState
    wait_reason: WaitReason | None
    result: Result | None
    external_id: str | None
    regulation: str | None
    subject_references: list[Hex]
    records: int = Field(description="How many records it is about.")
    copies: Copies
    scope: RequestScope
    jobs: list[RequestJob]
    nodes_switched_off: int
    certificates: list[RequestCertificate]
    related: list[str] = Field(description="Other requests about the same owners.")
    row_version: int = Field(description="The ETag, for If-Match.")
    received_at: Time
    influence_free_at: Time | None = Field(description="When no served tensor was a function of the records any more.")
    completed_at: Time | None
    updated_at: Time


class ReceiptEntry(Shown):
    """Where the audit log says that the request was received."""

    log_origin: str
    index: int


class Receipt(DeletionRequest):
    """A deletion request as it was accepted."""

    receipt: ReceiptEntry


class RepairCost(Shown):
    slice_epochs: int
    record_epochs: int


class SlicePlace(Shown):
    shard: int
    slice: int


class ModelPreview(Shown):
    model: str
    slices_struck: list[SlicePlace]
    nodes_switched_off: int
    nodes_left: int
    depths_left: list[int]
    shards_left: int
    degraded: bool
    repair_cost: RepairCost


class MethodAttempt(Shown):
    """One method's run on one checkpoint: how it was run, what it cost, what the judge found."""

    object: Literal["method_attempt"]
    position: int = Field(description="Where it stands among the request's attempts, from 1.")
    job: str
    model: str
    number: int
    method: str
    settings: dict[str, Any]
    seed: int
    why: str = Field(description="Why it was tried.")
    accepted: bool
    why_accepted_or_not: str
    ending: str | None = Field(description="The judge's; null where the method left nothing to judge.")
    failure: str | None
    judgement: dict[str, Any] | None
    judgement_digest: Hex | None
    drift: float
    ended_at: Time


class MethodPreview(Shown):
    """What would be tried on a checkpoint."""

    model: str
    plan: dict[str, Any] = Field(description="Steps in order, and what is left out, each with its reason.")


class Preview(Shown):
    """What a deletion would do now."""

    object: Literal["deletion_preview"]
    records: int
    copies: Copies
    owner_in_backbone: bool
    models: list[ModelPreview | MethodPreview]


class Dataset(Shown):
    """A data set: counts and schema; no row and no identity."""

    id: str
    object: Literal["dataset"]
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    records: int
    public_records: int
    owners: int
    copies_under_other_owners: int
    version: int = Field(default=1, description="The newest. Counts are of all that ever came.")
    created_at: Time


class DatasetVersion(Shown):
    """What came with one version of a data set, counted when it came."""

    object: Literal["dataset_version"]
    dataset: str
    number: int
    records: int
    owners: int
    new_owners: int = Field(description="Those who had no record in an earlier version.")
    copies_under_other_owners: int
    created_at: Time


class ShownRecipe(Shown):
    shards: int
    slices: int
    family: FamilyName
    family_budget: int | None
    family_prior: list[float] | None = None
    family_rule: PriorRule | None = None
    family_horizon: int | None = None
    backbone: dict[str, Any]
    node: dict[str, Any]
    ridge: dict[str, float] | None = Field(default=None, exclude_if=lambda value: value is None)


class ShownPolicy(Shown):
    approval_required: bool
    repair: bool
    repair_budget: dict[str, float] | None = Field(
        default=None, description="Null: whatever it takes, or no repair at all."
    )


class RepairTaken(Shown):
    slice_epochs: float
    seconds: float


class WaitingShard(Shown):
    shard: int
    needs: float = Field(description="What its next node costs, in the balance's unit.")
    restores_depth: bool


class Repair(Shown):
    """The policy's account."""

    policy: RepairMode
    budget: dict[str, float] | None
    balance: float | None = Field(
        description="What may be spent now; below zero where a node took longer than expected."
    )
    unit: Literal["slice_epochs", "seconds"] | None
    taken: RepairTaken = Field(description="By all repairs of the model so far, whatever the policy.")
    waiting_shards: list[WaitingShard] = Field(description="Shards whose next node the budget does not pay for yet.")


class Occupancy(Shown):
    """How full the slices are: (shards, slices) counts."""

    owners: list[list[int]]
    records: list[list[int]]
    mean_owners_per_slice: float
    empty_slices: int


class Serving(Shown):
    """What predictors answer from."""

    version: str
    number: int
    manifest_digest: Hex
    guarantee: Guarantee
    dataset_version: int = Field(default=1, description="What the guarantee is about.")
    retrain_equivalent_for_newest: bool = Field(
        default=False, description="Whether a fresh build on the data set as it is now would serve the very same."
    )
    depths: list[int] = Field(description="Per shard, how many slices its nodes have learned; 0: the shard is dead.")
    full_depth: int
    degraded: bool = Field(description="Every shard is dead and the public model answers.")


class NodeCounts(Shown):
    live: int
    dead: int
    complete: int = Field(description="How many a fresh build has; more are live while provisional ones stand in.")


class OpenJobs(Shown):
    """Jobs of the model that have not ended."""

    waiting: int
    running: int
    verifying: int


class Backbone(Shown):
    source: Literal["public_rows", "chance", "directory"] = Field(
        description="`chance`: no row was public, so the backbone was drawn from a seed and learned nothing. `directory`: "
        "a text encoder that came ready; public rows taught its head alone."
    )
    records: int = Field(description="How many public rows it learned.")


class Model(Shown):
    """A model. Its placement key is write-only."""

    id: str
    object: Literal["model"]
    name: str
    mode: Literal["exact"]
    dataset: str
    dataset_version: int = Field(default=1, description="Which version of the data set it learns from.")
    newest_dataset_version: int = 1
    state: ModelState
    recipe: ShownRecipe
    policy: ShownPolicy
    repair: Repair | None = Field(default=None, description="Null only in a kept answer of an older release.")
    occupancy: Occupancy
    backbone: Backbone | None = Field(description="Null until it is there.")
    nodes: NodeCounts
    jobs: OpenJobs
    deleted_records: int
    serving: Serving | None
    row_version: int = Field(default=1, description="The ETag, for If-Match.")
    created_at: Time


class CheckpointPolicy(Shown):
    approval_required: bool
    unlearning: dict[str, Any] = Field(description="Which methods it may be changed by, in which order, at what cost.")
    digest: Hex


class CheckpointServing(Shown):
    version: str
    number: int
    manifest_digest: Hex
    guarantee: Guarantee
    drift: float = Field(description="How far answers on test rows moved by all methods since the last retrain.")
    flagged: bool = Field(description="Whether it was trained on somebody who is to be forgotten and is not yet.")
    flagged_for: list[str]


class ShownQualification(Shown):
    """Whether the judge was seen to be fit for this recipe."""

    id: str
    standing: str
    holds: bool = Field(description="Whether it is of the model's present recipe.")
    oracles: int
    fewer_oracles: bool = Field(description="Fewer than the policy asks for, and so at a laxer level.")
    methods: dict[str, str] = Field(description="How each method's result on the planted canaries was judged.")
    digest: Hex
    created_at: Time


class Qualification(ShownQualification):
    """What a qualification found, whole."""

    object: Literal["qualification"]
    account: dict[str, Any]


class Checkpoint(Shown):
    """A model in approximate mode."""

    id: str
    object: Literal["model"]
    name: str
    mode: Literal["approximate"]
    dataset: str
    state: ModelState
    recipe: dict[str, Any]
    policy: CheckpointPolicy
    qualification: ShownQualification | None
    jobs: OpenJobs
    deleted_records: int
    serving: CheckpointServing | None
    row_version: int = Field(description="The ETag, for If-Match.")
    created_at: Time


AnyModel = Annotated[Model | Checkpoint, Field(discriminator="mode")]


class RegisteredModel(Model):
    """A model as it was registered."""

    warnings: list[str] = Field(description="What of its target the lattice is not expected to meet.")


class Version(Shown):
    """A version, whose content never changes."""

    id: str
    object: Literal["model_version"]
    model: str
    number: int
    serving: bool
    guarantee: Guarantee
    dataset_version: int = Field(description="What the guarantee is about.")
    retrain_equivalent_for_newest: bool = Field(
        description="Whether a fresh build on the data set as it is now would serve the very same; changes as it grows."
    )
    manifest_digest: Hex
    created_at: Time


class ShownManifest(Shown):
    """What a version serves, and how it came to be; the digest is of the content."""

    content: dict[str, Any]
    provenance: dict[str, Any]


class FullVersion(Version):
    """A version with its manifest."""

    manifest: ShownManifest


class Node(Shown):
    """A trained block for one set of slices of one shard."""

    key: Hex
    shard: int
    slices: list[int]
    parent: Hex | None
    canonical: bool
    dataset_version: int = Field(description="Which version of the data set it learned from.")
    data_digest: Hex
    tensor_digest: Hex
    records: int
    epochs: int
    seconds: float


class Job(Shown):
    """Work on one model."""

    id: str
    object: Literal["job"]
    kind: JobKind
    lane: Lane
    subject: str
    model: str | None
    request: str | None
    state: JobState
    attempt: int
    max_attempts: int
    cancel_requested: bool = Field(description="Somebody wants it stopped; its worker stops it at its next renewal.")
    progress: dict[str, Any] | None = Field(description="`stage`, and where it trains `done` and `total` in epochs.")
    error_code: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class Attempt(Shown):
    fence: int
    worker: str
    outcome: str | None
    error_code: str | None = Field(description="What it died of, when it did not end well.")
    seconds: float | None
    peak_memory_bytes: int | None = Field(description="The most that its process ever held.")
    started_at: Time
    ended_at: Time | None


class FullJob(Job):
    """A job with its attempts."""

    attempts: list[Attempt]


class Certificate(Shown):
    """A certificate in a list; its envelope is fetched on its own."""

    id: str
    object: Literal["certificate"]
    request: str
    model: str | None
    version: str | None
    guarantee: Guarantee | None
    sha256: Hex
    log_index: int
    issued_at: Time


class LogEntry(Shown):
    """An entry of the audit log; `bytes` is what was hashed, in base64."""

    index: int
    entry: dict[str, Any]
    bytes: str
    leaf_hash: str


class InclusionProof(Shown):
    index: int
    size: int
    leaf_hash: str
    path: list[str] = Field(description="Hashes in base64, from the leaf upwards (RFC 9162).")


class ConsistencyProof(Shown):
    from_: int = Field(alias="from")
    to: int
    path: list[str]


class ApiKey(Shown):
    """An API key; its secret is not known any more."""

    id: str
    object: Literal["api_key"]
    name: str
    scopes: list[Scope]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class NewApiKey(Shown):
    """An API key at the only moment when its secret is known."""

    id: str
    object: Literal["api_key"]
    secret: str = Field(description="Shown this once.")
    scopes: list[Scope]
    expires_at: Time | None


class WhoAmI(Shown):
    tenant: str
    key: str
    scopes: list[Scope]
