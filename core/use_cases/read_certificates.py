"""Hand out certificates, the proofs that the log holds them, and the public keys that check both."""

from __future__ import annotations

from typing import Any

from core.audit.checkpoint import Signer
from core.audit.log import inclusion_proof
from core.audit.proof import write_proof
from core.domain.access import Caller, Scope
from core.domain.errors import CertificateNotFound
from core.persistence import audit, requests
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import broken_origins
from core.use_cases.wording import moment, page, read_cursor


def read_certificates(*, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of certificates, newest first, without their envelopes."""
    caller.require(Scope.CERTIFICATES_READ)
    before = read_cursor(cursor, of="certificates")
    with doors.database.transaction() as session:
        rows = requests.list_certificates(session, caller.tenant_id, limit=limit + 1, before=before)
    shown = [
        {
            "id": row.id,
            "object": "certificate",
            "request": row.request_id,
            "model": row.model_id or None,
            "version": row.version_id,
            "guarantee": row.guarantee or None,
            "sha256": row.sha256,
            "log_index": row.log_index,
            "issued_at": moment(row.issued_at),
        }
        for row in rows
    ]
    return page(shown, of="certificates", limit=limit)


def read_certificate(certificate_id: str, *, caller: Caller, doors: Doors) -> bytes:
    """Return the envelope's exact bytes.

    Raises:
        CertificateNotFound: the tenant has none such.
    """
    caller.require(Scope.CERTIFICATES_READ)
    with doors.database.transaction() as session:
        row = requests.find_certificate(session, caller.tenant_id, certificate_id)
    if row is None:
        raise CertificateNotFound
    return bytes(row.envelope)


def read_proof(certificate_id: str, *, caller: Caller, doors: Doors) -> str:
    """Return the C2SP tlog-proof that the log holds the certificate.

    Raises:
        CertificateNotFound: the tenant has none such.
    """
    caller.require(Scope.CERTIFICATES_READ)
    with doors.database.transaction() as session:
        row = requests.find_certificate(session, caller.tenant_id, certificate_id)
        if row is None:
            raise CertificateNotFound
        entry = audit.entry(session, caller.tenant_id, row.log_index)
        checkpoint = audit.latest_checkpoint(session, covering=row.log_index + 1)
        if entry is None or checkpoint is None:
            raise CertificateNotFound
        path = inclusion_proof(row.log_index, checkpoint.size, audit.reader(session))
    return write_proof(bytes(entry.body), row.log_index, path, checkpoint.note)


def verification_keys(doors: Doors) -> str:
    """Return the public keys, one C2SP verifier key a line: the log's, then the certificates'.

    After them come the same keys under the names that the log had before restored databases broke it off: what was
    signed then stays valid.
    """
    log, certificates = doors.log_signer(), doors.certificate_signer()
    with doors.database.transaction() as session:
        earlier = [
            f"{Signer(name, signer.seed).vkey}\n"
            for origin in broken_origins(session)
            for name, signer in ((origin, log), (f"{origin}/certificates", certificates))
        ]
    return f"{log.vkey}\n{certificates.vkey}\n" + "".join(earlier)
