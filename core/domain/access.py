"""Who may do what: scopes, and the caller that an API key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.domain.errors import Forbidden


class Scope(StrEnum):
    """What an API key may be allowed to do."""

    DATASETS_READ = "datasets:read"
    DATASETS_WRITE = "datasets:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    MODELS_PREDICT = "models:predict"
    REQUESTS_CREATE = "requests:create"
    REQUESTS_READ = "requests:read"
    REQUESTS_APPROVE = "requests:approve"
    JOBS_READ = "jobs:read"
    CERTIFICATES_READ = "certificates:read"
    AUDIT_READ = "audit:read"
    KEYS_MANAGE = "keys:manage"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_MANAGE = "webhooks:manage"


@dataclass(frozen=True)
class Caller:
    """Whoever an API key stands for."""

    tenant_id: str
    key_id: str
    scopes: frozenset[str]
    presumed: bool = False
    """Whether the key was found valid a while ago only: whoever acts for the caller asks again, in the same commit."""

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller's key has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this API key lacks the scope {scope}")
