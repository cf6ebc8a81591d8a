"""The life of a job: work on one model, in one of two lanes. One table says every legal move.

    waiting ──claimed──▶ running ──unlearned──▶ verifying ──concluded──▶ done
       ▲                    │ │                     │
       └──lease_lost, retry,┘ └──failed──▶ failed   └─ (a later worker may take `verifying` over: it only certifies)
          handed_back
                  attempts used up, cancelled ──▶ dead

The *deactivate* lane trains nothing and is torch-free; the *compute* lane trains in a subprocess of its own. The
database knows the same table: its triggers refuse every other move.
"""

from __future__ import annotations

from enum import StrEnum

from core.domain.errors import IllegalMove


class Lane(StrEnum):
    DEACTIVATE = "deactivate"
    COMPUTE = "compute"

    @property
    def queue(self) -> str:
        """The broker's queue that rings for this lane: named after the hardware its workers need."""
        return "cpu" if self is Lane.DEACTIVATE else "gpu"


class JobKind(StrEnum):
    DEACTIVATE = "deactivate"
    """Switch off what saw the deleted records; then destroy keys; then certify."""
    BUILD = "build"
    """Pre-train the backbone if it is not cached yet, and ask for the shards."""
    TRAIN_SHARD = "train_shard"
    """Plan one shard: ask for the nodes that are missing. Loads no torch."""
    TRAIN_NODE = "train_node"
    """Train one node, and ask for the nodes that stand on it."""
    RUN_METHOD = "run_method"
    """Run an approximate method on a checkpoint, have it judged, fall back if it is refused; then certify as others do."""
    QUALIFY = "qualify"
    """Put the judge to the test on a checkpoint's recipe, with planted canaries."""

    @property
    def lane(self) -> Lane:
        return Lane.DEACTIVATE if self is JobKind.DEACTIVATE else Lane.COMPUTE


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


class JobEvent(StrEnum):
    CLAIMED = "claimed"
    UNLEARNED = "unlearned"
    CONCLUDED = "concluded"
    LEASE_LOST = "lease_lost"
    RETRY = "retry"
    HANDED_BACK = "handed_back"
    """Its worker stops in an orderly way; the attempt does not count."""
    FAILED = "failed"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"


MOVES = {
    (JobState.WAITING, JobEvent.CLAIMED): JobState.RUNNING,
    (JobState.VERIFYING, JobEvent.CLAIMED): JobState.VERIFYING,
    (JobState.RUNNING, JobEvent.UNLEARNED): JobState.VERIFYING,
    (JobState.RUNNING, JobEvent.CONCLUDED): JobState.DONE,
    (JobState.VERIFYING, JobEvent.CONCLUDED): JobState.DONE,
    (JobState.RUNNING, JobEvent.LEASE_LOST): JobState.WAITING,
    (JobState.RUNNING, JobEvent.RETRY): JobState.WAITING,
    (JobState.RUNNING, JobEvent.HANDED_BACK): JobState.WAITING,
    (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
    (JobState.RUNNING, JobEvent.GAVE_UP): JobState.DEAD,
    (JobState.VERIFYING, JobEvent.GAVE_UP): JobState.DEAD,
    (JobState.WAITING, JobEvent.GAVE_UP): JobState.DEAD,
    (JobState.WAITING, JobEvent.CANCELLED): JobState.DEAD,
    (JobState.RUNNING, JobEvent.CANCELLED): JobState.DEAD,
}


def advance(state: JobState, event: JobEvent) -> JobState:
    """Return the state that follows.

    Raises:
        IllegalMove: the table has no such move.
    """
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove(f"a job that is {state} cannot be {event}") from None
