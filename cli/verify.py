"""`lethe verify`: judge a certificate from files alone: no service, no database, no network, no clock.

Exit status 0 valid, 1 invalid, 2 the input is unusable. What the bytes prove stands apart from what the signer merely
says. Only `core.audit` is imported, so this runs on a machine that has nothing but this package and `cryptography`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import read_file
from cli.output import FAILED, Json, show, told


def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate: a DSSE envelope.")],
    proof: Annotated[Path, typer.Option("--proof", help="Its place in the log: a C2SP tlog-proof.")],
    key: Annotated[
        Path, typer.Option("--key", help="Public keys that you trust, one a line (/.well-known/lethe.vkey).")
    ],
    log: Annotated[
        Path | None, typer.Option("--log", help="The log as `lethe audit export` wrote it, to recompute its head.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a certificate offline."""
    with told(as_json):
        body = judge(read_file(certificate), read_file(proof), read_file(key), read_file(log) if log else None)
        show(body, as_json, lambda: _draw(body))
        if not body["valid"]:
            raise typer.Exit(FAILED)


def judge(certificate: bytes, proof: bytes, keys: bytes, log: bytes | None = None) -> dict[str, Any]:
    """Return the verdict: valid, proved, asserted, failures.

    Raises:
        CommandFailed: the input is unusable.
    """
    from cli.output import unusable
    from core.audit.errors import EvidenceInvalid, EvidenceUnusable
    from core.audit.verify import Verdict, split_log, verify_certificate

    try:
        entries = split_log(log) if log is not None else None
        verdict = verify_certificate(certificate, proof, _keys(keys), entries)
    except EvidenceInvalid as wrong:
        verdict = Verdict(failures=[wrong.detail])
    except EvidenceUnusable as wrong:
        raise unusable(wrong.detail) from None
    return {
        "valid": verdict.valid,
        "proved": verdict.proved,
        "asserted": verdict.asserted,
        "failures": verdict.failures,
    }


def _keys(content: bytes) -> list[str]:
    # Bytes that are no text make a line that is no key, which is what is then said.
    lines = content.decode(errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _draw(body: dict[str, Any]) -> None:
    # No `rich` here: on an auditor's machine there may be none.
    print("VALID" if body["valid"] else "INVALID")
    for heading, name in (("PROVED by these bytes", "proved"), ("ASSERTED by the signer", "asserted")):
        if body[name]:
            print(f"\n{heading}")
            print(*(f"  - {sentence}" for sentence in body[name]), sep="\n")
    if body["failures"]:
        print("\nWRONG")
        print(*(f"  - {sentence}" for sentence in body["failures"]), sep="\n")
