"""The life of a job: work on one model, in one of two lanes. One table says every legal move.

    waiting ──claimed──▶ running ──unlearned──▶ verifying ──concluded──▶ done
       ▲                    │ │                     │
       └──lease_lost, retry─┘ └──failed──▶ failed   └─ (a later worker may take `verifying` over: it only certifies)
                  attempts used up ──▶ dead

The *deactivate* lane trains nothing and is torch-free; the *compute* lane trains in a subprocess of its own.
"""

from __future__ import annotations

from enum import StrEnum

from core.domain.errors import IllegalMove


class Lane(StrEnum):
    DEACTIVATE = "deactivate"
    COMPUTE = "compute"


class JobKind(StrEnum):
    DEACTIVATE = "deactivate"
    """Switch off what saw the deleted records; then destroy keys; then certify."""
    BUILD = "build"
    """Pre-train the backbone if it is not cached yet, and ask for the shards."""
    TRAIN_SHARD = "train_shard"
    """Train or repair every missing node of one shard."""

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
    FAILED = "failed"
    GAVE_UP = "gave_up"


MOVES = {
    (JobState.WAITING, JobEvent.CLAIMED): JobState.RUNNING,
    (JobState.VERIFYING, JobEvent.CLAIMED): JobState.VERIFYING,
    (JobState.RUNNING, JobEvent.UNLEARNED): JobState.VERIFYING,
    (JobState.RUNNING, JobEvent.CONCLUDED): JobState.DONE,
    (JobState.VERIFYING, JobEvent.CONCLUDED): JobState.DONE,
    (JobState.RUNNING, JobEvent.LEASE_LOST): JobState.WAITING,
    (JobState.RUNNING, JobEvent.RETRY): JobState.WAITING,
    (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
    (JobState.RUNNING, JobEvent.GAVE_UP): JobState.DEAD,
    (JobState.VERIFYING, JobEvent.GAVE_UP): JobState.DEAD,
    (JobState.WAITING, JobEvent.GAVE_UP): JobState.DEAD,
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
