"""The outside as a use case sees it: the database, the key store and the object store, and the keys with fixed names."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from core.audit.checkpoint import Signer
from core.keys.directory import DirectoryKeyStore
from core.keys.envelope import seal, unseal
from core.keys.ledger import DirectoryLedger, open_ledger
from core.keys.store import KeyStore
from core.object_store.store import ObjectStore
from core.persistence.database import Database
from core.settings import Settings
from core.use_cases.open_store import open_store
from core.webhooks.address import read_allowed

LOG_KEY = "signing_log"
CERTIFICATE_KEY = "signing_certificates"
PEPPER_KEY = "api_key_pepper"
DEFAULT_TENANT = "ten_default"


@dataclass(frozen=True)
class Doors:
    """What a use case may reach."""

    database: Database
    keys: KeyStore
    store: ObjectStore
    settings: Settings

    @property
    def ledger(self) -> DirectoryLedger:
        """The erasure ledger, which outlives a restored database."""
        return DirectoryLedger(self.settings.ledger)

    def tenant_key(self, tenant_id: str) -> bytes:
        """Return the key that a tenant's references are made with."""
        return self.keys.get(f"tenant_{tenant_id}")

    def log_signer(self) -> Signer:
        return Signer(self.settings.log_origin, self.keys.get_or_create(LOG_KEY))

    def certificate_signer(self) -> Signer:
        return Signer(f"{self.settings.log_origin}/certificates", self.keys.get_or_create(CERTIFICATE_KEY))

    def put_sealed(self, key_id: str, plaintext: bytes) -> str:
        """Seal under a fresh key of that name and store; return the ciphertext's digest.

        The key is durable before the object is: an object without a key is garbage, never a secret in the open.
        """
        self.make_key(key_id)
        return self.put_under(key_id, plaintext)

    def make_key(self, key_id: str) -> None:
        """Keep a fresh key of that name."""
        self.keys.put(key_id, secrets.token_bytes(32))

    def put_under(self, key_id: str, plaintext: bytes) -> str:
        """Seal under a key that was made before and store; return the ciphertext's digest.

        Raises:
            KeyDestroyed: somebody ordered the key dead meanwhile.
        """
        return self.store.put(seal(self.keys.get(key_id), plaintext, context=key_id.encode()))

    def get_sealed(self, key_id: str, digest: str) -> bytes:
        return unseal(self.keys.get(key_id), self.store.get(digest), context=key_id.encode())


def open_doors(settings: Settings) -> Doors:
    """Open the stores that the settings name; nothing connects to the database yet."""
    read_allowed(settings.webhook_allowed)  # a mistake in it shows at the start, not at the first deletion
    open_ledger(settings.ledger)
    return Doors(
        database=Database(
            settings.database_url,
            listen_url=settings.database_listen_url,
            pool_size=settings.database_connections,
            prepared=settings.prepared_statements,
        ),
        keys=DirectoryKeyStore(settings.keys),
        store=open_store(settings),
        settings=settings,
    )
