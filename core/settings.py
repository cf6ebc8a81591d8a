"""Everything that the environment may decide, each with a sentence. Read at the front doors, handed inward."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings come from variables named LETHE_…; `lethe serve` fills in those that depend on its data directory."""

    model_config = SettingsConfigDict(env_prefix="LETHE_", frozen=True, extra="ignore")

    database_url: str = ""
    """PostgreSQL to use; empty: `lethe serve` runs a private one inside its data directory."""
    prepared_statements: bool = True
    """Whether connections keep prepared statements; turn off behind PgBouncer older than 1.21 in transaction mode."""
    data_directory: Path = Path("lethe-data")
    """Where embedded mode keeps its database, objects and keys."""
    object_directory: Path | None = None
    """Where objects lie; default: `objects` in the data directory."""
    key_directory: Path | None = None
    """Where keys lie; default: `keys` in the data directory. Back it up apart from the database, for few days only."""
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
    approval_required: bool = False
    """Whether deletion requests wait for a second person's approval; a model may ask for it on its own."""
    deactivation_lease_seconds: float = 10.0
    """How long a worker that switches slices off may be silent before another takes over."""
    lease_seconds: float = 60.0
    """How long a worker that trains may be silent before another takes over; it renews at a quarter of that."""
    max_attempts: int = 5
    """How often a job may be tried before it is dead and its request needs attention."""
    compute_slots: int = 2
    """How many training processes one worker runs side by side."""
    trainer_threads: int = 1
    """Threads of one training process; part of what a bit-for-bit replay must repeat."""
    serving_lease_seconds: float = 15.0
    """For how long a predictor may answer without having confirmed that its version is still the live one."""
    checkpoint_seconds: float = 60.0
    """How often a checkpoint of the log is signed when entries were added."""
    repair: bool = True
    """Whether workers repair models after deletions; a model may ask to be left alone."""

    @property
    def objects(self) -> Path:
        return self.object_directory or self.data_directory / "objects"

    @property
    def keys(self) -> Path:
        return self.key_directory or self.data_directory / "keys"

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        return tuple(Path(part).resolve() for part in self.data_roots.split(":") if part)
