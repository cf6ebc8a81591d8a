"""Everything that the environment may decide, each with a sentence. Read at the front doors, handed inward."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings come from variables named LETHE_…; `lethe serve` fills in those that depend on its data directory."""

    model_config = SettingsConfigDict(env_prefix="LETHE_", frozen=True, extra="ignore")

    database_url: str = ""
    """PostgreSQL to use; empty: `lethe serve` runs a private one inside its data directory."""
    database_listen_url: str = ""
    """Address of the same database for those who listen, when `database_url` leads to a pooler; empty: the same address."""
    database_connections: int = 20
    """Most connections that one process opens; the API answers as many requests at once, and the others wait for a turn."""
    prepared_statements: bool = True
    """Whether connections keep prepared statements; turn off behind PgBouncer older than 1.21 in transaction mode."""
    data_directory: Path = Path("lethe-data")
    """Where embedded mode keeps its database, objects and keys."""
    object_directory: Path | None = None
    """Where objects lie; default: `objects` in the data directory."""
    s3_endpoint: str = ""
    """S3-compatible store for objects, `host:port` or `https://host:port`; empty: objects lie in the object directory."""
    s3_secure: bool = True
    """Whether an endpoint that is given without `http://` or `https://` speaks TLS."""
    s3_bucket: str = "lethe"
    """The bucket; made at the first start when it is missing."""
    s3_prefix: str = ""
    """What the names of all objects start with, for several deployments in one bucket."""
    s3_region: str = "us-east-1"
    """The store's region, which requests are signed for; most stores of one's own do not look at it."""
    s3_access_key: str = Field("", repr=False)
    """The access key; it must be allowed to list, read, write and delete in the bucket, versions included."""
    s3_secret_key: str = Field("", repr=False)
    """The secret that belongs to it."""
    s3_secret_key_file: Path | None = None
    """A file that holds the secret instead."""
    s3_part_mebibytes: int = 16
    """Larger objects are uploaded in parts of this many MiB, 5 at least."""
    s3_timeout_seconds: float = 10.0
    """How long the store may take to accept a connection, and between two pieces of an answer."""
    s3_retry_seconds: float = 30.0
    """For how long a request that failed in passing is repeated."""
    key_directory: Path | None = None
    """Where keys lie; default: `keys` in the data directory. Back it up apart from the database, for few days only."""
    ledger_directory: Path | None = None
    """Where the erasure ledger lies; default: `ledger` in the data directory. Keep it with the keys, never with the database."""
    key_backup_days: int = 0
    """In how many days backups of the key store expire; certificates state it. 0: there are no backups of it."""
    log_origin: str = "lethe.local/log"
    """The audit log's name in its checkpoints; make it unique to the deployment before the first start."""
    data_roots: str = ""
    """Directories, separated by colons, from which data sets may be registered by path; empty: none."""
    upload_limit_bytes: int = 1 << 30
    """Largest upload, and largest size that a compressed upload may unfold to."""
    host: str = "127.0.0.1"
    """Address that the API and the predictor listen on."""
    port: int = 8200
    """Port of the API."""
    predictor_port: int = 8201
    """Port of the predictor."""
    public_url: str = ""
    """Address under which callers know the API, the source of webhook events; empty: made of host and port."""
    webhook_allowed: str = ""
    """Networks and host names, separated by commas, that webhooks may call though they are private or plain HTTP."""
    webhook_overlap_hours: int = 24
    """How long a webhook's old secret still signs beside the new one after a rotation."""
    webhook_keep_days: int = 30
    """How long events and their deliveries are kept, whatever became of them."""
    approval_required: bool = False
    """Whether deletion requests wait for a second person's approval; a model may ask for it on its own."""
    deactivation_lease_seconds: float = 10.0
    """How long a worker that switches slices off may be silent before another takes over."""
    lease_seconds: float = 60.0
    """How long a worker that trains may be silent before another takes over; it renews at a quarter of that."""
    max_attempts: int = 5
    """How often a job may be tried before it is dead and its request needs attention."""
    broker_url: str = ""
    """Broker whose messages wake workers, `redis://…` or `amqp://…`; empty: workers listen to the database themselves."""
    queues: str = "cpu,gpu"
    """Which queues a worker takes jobs from: `cpu` switches slices off, `gpu` trains."""
    queue_prefix: str = ""
    """Put before the queues' names in the broker, for several deployments on one broker."""
    poll_seconds: float = 30.0
    """How often an idle worker looks for jobs on its own when nothing wakes it; every second while the broker is gone."""
    sweep_seconds: float = 10.0
    """How often the dispatcher rings again for jobs that nobody took."""
    orphan_seconds: float = 3600.0
    """How often keys and objects that nothing in the database names are looked for and destroyed; 0: never."""
    compute_slots: int = 2
    """How many training processes one worker runs side by side."""
    trainer_threads: int = 1
    """Threads of one training process; part of what a bit-for-bit replay must repeat."""
    trainer_device: Literal["cpu", "cuda"] = "cpu"
    """Where nodes are trained. On a GPU, retrain-equivalence is one of distributions, and certificates say so."""
    stacked_nodes: int = Field(16, ge=1)
    """How many nodes of one depth a GPU trains in one pass; a CPU trains them one by one."""
    activation_cache_mebibytes: int = Field(0, ge=0)
    """How much disk activations may take on a machine that trains, encrypted under their owners' keys; 0: none are kept."""
    activation_cache_directory: Path | None = None
    """Where they lie; default: `activations` in the data directory. Never back it up."""
    serving_lease_seconds: float = 15.0
    """For how long a predictor may answer without having confirmed that its version is still the live one."""
    checkpoint_seconds: float = 60.0
    """How often a checkpoint of the log is signed when entries were added."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on events are logged."""
    metrics_port: int = 0
    """Port on which workers and the dispatcher serve their metrics; 0: they serve none. The API serves `/metrics` anyway."""
    metrics_host: str = "127.0.0.1"
    """Address of that port; keep it inside your network."""
    repair: bool = True
    """Whether workers repair models after deletions; a model may ask to be left alone."""

    @property
    def source(self) -> str:
        """Whose events they are, as receivers see it."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def objects(self) -> Path:
        return self.object_directory or self.data_directory / "objects"

    @property
    def keys(self) -> Path:
        return self.key_directory or self.data_directory / "keys"

    @property
    def activations(self) -> Path:
        return self.activation_cache_directory or self.data_directory / "activations"

    @property
    def ledger(self) -> Path:
        return self.ledger_directory or self.data_directory / "ledger"

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        return tuple(Path(part).resolve() for part in self.data_roots.split(":") if part)
