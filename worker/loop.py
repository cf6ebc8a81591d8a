"""The worker: hands that claim jobs, and, where there is no dispatcher, upkeep. Torch-free and always warm.

    LETHE_BROKER_URL empty   `Worker`: each hand listens to the database itself, and the worker looks after everything
    LETHE_BROKER_URL set     `BellWorker` in `consumer.py`: Celery wakes the hands, a dispatcher looks after everything

The *deactivate* lane runs jobs in this process, one after another. The *compute* lane gives each job to a subprocess.
The bell is only a hint: the table is the queue, and every hand also looks on its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence

from core.domain.errors import Unusable
from core.domain.job import Lane
from core.use_cases.doors import Doors
from worker.deactivation import DeactivationLane
from worker.devices import visible_devices
from worker.hand import Hand
from worker.slot import ComputeSlot
from worker.upkeep import Upkeep


def own_name(part: str) -> str:
    """Return the name of this process among all that share the database."""
    return f"{part}-{socket.gethostname()}-{os.getpid()}".replace(" ", "-")[:100]


def make_hands(
    doors: Doors, lanes: Sequence[Lane], name: str, stopping: threading.Event, *, deactivations: int = 1
) -> list[Hand]:
    """Return the hands of one process: for deactivations as many as said, for computations one a slot.

    With GPUs, slot k has the k-th one for itself; with more slots than GPUs they are shared in turn.

    Raises:
        Unusable: nodes are to be trained on GPUs, and there is none.
    """
    hands = []
    if Lane.DEACTIVATE in lanes:
        hands += [Hand(DeactivationLane(doors, name), f"deactivate-{n}", stopping) for n in range(deactivations)]
    if Lane.COMPUTE in lanes:
        devices = visible_devices()
        if doors.settings.trainer_device == "cuda" and not devices:
            raise Unusable("LETHE_TRAINER_DEVICE is cuda, and this machine shows no GPU to give to training processes.")
        for number in range(doors.settings.compute_slots):
            device = devices[number % len(devices)] if devices else None
            hands.append(Hand(ComputeSlot(doors, name, stopping, device), f"compute-{number}", stopping))
    return hands


class Worker:
    """One worker process without a broker: its hands are threads, its training runs in subprocesses."""

    def __init__(self, doors: Doors, lanes: Sequence[Lane] = tuple(Lane)) -> None:
        """Start nothing yet; `lanes` says which jobs it takes."""
        self.doors, self.lanes = doors, lanes
        self.name = own_name("worker")
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until `stop` is called; then hand back what is not done, and return within seconds."""
        hands = make_hands(self.doors, self.lanes, self.name, self.stopping)
        threads = [threading.Thread(target=hand.listen, name=hand.loop) for hand in hands]
        threads += Upkeep(self.doors, "worker", self.name, self.stopping).threads()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for hand in hands:
            hand.work.close()

    def stop(self) -> None:
        self.stopping.set()
