"""Named points at which a test may kill this process, to prove that nothing is lost there.

`LETHE_FAULT_FILE` names a file; when it exists and holds a point's name, the process that gets to that point removes
the file and sends itself SIGKILL. Without the variable nothing happens.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = (
    "after_claim",
    "after_tombstones",
    "after_epochs",
    "after_manifest_write",
    "after_alias_move",
    "after_log_append",
    "after_influence_free",
    "after_key_destruction",
    "before_certificate",
)
_FILE = os.environ.get("LETHE_FAULT_FILE")


def reach(point: str) -> None:
    """Die here if the fault file says so."""
    if _FILE is None:
        return
    try:
        wanted = Path(_FILE).read_text().strip()
        if wanted != point:
            return
        Path(_FILE).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
