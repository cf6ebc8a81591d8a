"""The demo's evidence: every certificate with its proof and the whole log, fetched, kept as files and verified offline.

What is verified are the very bytes that lie in the directory, by the same functions as `lethe verify`; nothing here
trusts the service beyond its public keys.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.client import Client
from cli.demo_timeline import Deletion, Evidence
from cli.output import CommandFailed
from core.audit.certificate import DeletionClaim, open_envelope
from core.audit.checkpoint import read_vkeys
from core.audit.claim import read_claim
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.audit.verify import Verdict, verify_certificate, verify_log
from core.domain.manifest import Manifest
from core.domain.model import Guarantee

ENTRIES_PER_PAGE = 200


@dataclass(frozen=True)
class Archive:
    """Where evidence is kept, and by which keys it is judged."""

    directory: Path
    vkeys: tuple[str, ...]
    kept: list[Evidence] = field(default_factory=list)
    dead_since: dict[int, frozenset[str]] = field(default_factory=dict)
    """Number of the version that a deletion made → keys of the nodes that it switched off."""


@dataclass(frozen=True)
class Collected:
    """A certificate that was fetched and judged, and what it claims."""

    evidence: Evidence
    claim: DeletionClaim


def open_archive(client: Client, directory: Path) -> Archive:
    """Fetch the service's public keys and keep them beside what they will verify."""
    content = client.fetch("/.well-known/lethe.vkey")
    (directory / "lethe.vkey").write_bytes(content)
    return Archive(directory, tuple(line for line in content.decode().splitlines() if line.strip()))


def collect(
    client: Client, archive: Archive, request: Mapping[str, Any], *, deletion: int, guarantee: Guarantee
) -> Collected:
    """Fetch a completed request's certificate of this guarantee, keep it and verify it.

    Raises:
        CommandFailed: there is no such certificate, or its bytes are none.
    """
    found = [one for one in request["certificates"] if one["guarantee"] == guarantee]
    if not found:
        raise CommandFailed(f"request {request['id']} has no certificate that says {guarantee}")
    where = f"/v1/certificates/{found[-1]['id']}"
    envelope, proof = client.fetch(where), client.fetch(f"{where}/proof")
    path = archive.directory / "certificates" / f"{deletion:03}-{guarantee}.json"
    path.write_bytes(envelope)
    path.with_suffix(".proof").write_bytes(proof)
    try:
        verdict = verify_certificate(envelope, proof, archive.vkeys)
        claim = read_claim(open_envelope(envelope, read_vkeys(archive.vkeys)))
    except (EvidenceInvalid, EvidenceUnusable) as wrong:
        raise CommandFailed(f"the certificate in {path} cannot be read: {wrong}") from None
    evidence = Evidence(
        deletion=deletion,
        guarantee=guarantee,
        path=str(path),
        verified=verdict.valid and claim.request.id == request["id"],
        failures=tuple(verdict.failures),
        proved=tuple(verdict.proved),
        asserted=tuple(verdict.asserted),
    )
    archive.kept.append(evidence)
    return Collected(evidence, claim)


def collect_repaired(
    client: Client,
    archive: Archive,
    deletions: list[Deletion],
    until: Callable[..., Any],
    show: Callable[[float, str], None],
) -> None:
    """Fetch and verify the second certificate of every deletion, which says that the repair is complete (E2).

    Raises:
        CommandFailed: one is not issued within a minute.
    """
    guarantee = Guarantee.RETRAIN_EQUIVALENT
    for done, one in enumerate(deletions, start=1):

        def certified(request_id: str = one.request) -> dict[str, Any] | None:
            request = client.get(f"/v1/deletion-requests/{request_id}")
            return request if any(found["guarantee"] == guarantee for found in request["certificates"]) else None

        request = until(certified, 60.0, f"request {one.request} got no certificate after repair")
        collect(client, archive, request, deletion=one.number, guarantee=guarantee)
        show(done / len(deletions), f"certificate {done} of {len(deletions)}")


def check_log(client: Client, archive: Archive) -> tuple[Verdict, int]:
    """Export the whole log and its signed head, and recompute the one from the other; return how many entries it has.

    Raises:
        CommandFailed: the head cannot be judged.
    """
    checkpoint = client.fetch("/v1/audit/checkpoint")
    entries: list[bytes] = []
    cursor: str | None = None
    while True:
        page = client.get("/v1/audit/entries", limit=ENTRIES_PER_PAGE, cursor=cursor)
        entries += [base64.b64decode(one["bytes"]) for one in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    (archive.directory / "log.jsonl").write_bytes(b"".join(entry + b"\n" for entry in entries))
    (archive.directory / "checkpoint").write_bytes(checkpoint)
    try:
        return verify_log(entries, [checkpoint], archive.vkeys), len(entries)
    except EvidenceUnusable as wrong:
        raise CommandFailed(f"the log cannot be judged: {wrong}") from None


def read_manifests(client: Client, model: str, seen: Iterable[int]) -> dict[int, Manifest]:
    """Fetch every manifest that the predictor answered from, by number."""
    versions = {number: client.get(f"/v1/models/{model}/versions/{number}") for number in sorted(seen)}
    return {number: Manifest.from_json(version["manifest"]["content"]) for number, version in versions.items()}
