"""Named points at which a test may kill or freeze this process, to prove that nothing is lost there.

`LETHE_FAULT_FILE` names a file with a point's name on each line. The process that gets to the point on the first line
takes that line away, and the file with the last one, and sends itself SIGKILL. With `freeze` behind the name it stops in
its tracks (SIGSTOP) until somebody lets it go on, as if the machine had paused. Without the variable nothing happens.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

POINTS = (
    "after_claim",
    "after_tombstones",
    "after_epochs",
    "after_manifest_write",
    "after_alias_move",
    "after_log_append",
    "after_influence_free",
    "after_rows_erased",
    "after_ledger",
    "after_key_destruction",
    "before_certificate",
)
"""Of a deletion, in the order in which a worker gets there."""
INTAKE_POINTS = ("after_request_noted", "after_intake_commit")
"""Of a request that is being accepted: in the erasure ledger only, and in the database but not yet answered."""
TRAINING_POINTS = ("after_plan", "after_training", "after_draft", "after_seal", "after_node_commit")
"""Of a shard that is planned and of its nodes."""
METHOD_POINTS = (
    "after_run_begun",
    "after_state_saved",
    "after_method",
    "after_candidate_sealed",
    "after_attempt_commit",
)
"""Of a method that is run on a checkpoint."""
ATTRIBUTION_POINTS = ("after_attribution_sealed", "after_attribution_kept")
"""Of what is computed before a method that needs it."""
UPKEEP_POINTS = (
    "after_completion",
    "after_drafts_destroyed",
    "before_second_certificate",
    "after_second_certificate",
    "after_head_signed",
)
"""Of what follows a deletion: the log's head on its way to the erasure ledger, and what workers do between jobs."""
DISPATCHER_POINTS = ("before_ring", "after_ring")
"""Of a message to the broker."""
WEBHOOK_POINTS = ("before_webhook_sent", "after_webhook_sent")
"""Of a delivery that was claimed."""
_FILE = os.environ.get("LETHE_FAULT_FILE")


def reach(point: str) -> None:
    """Die here, or stop, if the fault file says so."""
    if _FILE is None:
        return
    ours = Path(f"{_FILE}.{os.getpid()}.{threading.get_ident()}")
    try:
        if _first_line(Path(_FILE))[0] != point:
            return
        Path(_FILE).rename(ours)  # of all that get here at once, one has it
    except FileNotFoundError:
        return
    _, manner, rest = _first_line(ours)
    ours.write_text(rest)
    ours.rename(_FILE) if rest else ours.unlink()
    os.kill(os.getpid(), signal.SIGSTOP if manner == "freeze" else signal.SIGKILL)


def _first_line(file: Path) -> tuple[str, str, str]:
    """Return the point on the first line, what shall happen there, and the lines below."""
    line, _, rest = file.read_text().partition("\n")
    point, _, manner = line.strip().partition(" ")
    return point, manner, rest
