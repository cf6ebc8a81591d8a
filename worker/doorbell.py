"""The doorbell: Celery messages that carry a queue's name and a job's id, and nothing else.

The jobs table is the queue. A message only says that it is worth a look: it may be lost, doubled, late or forged, and
nothing happens but a look. So it is acknowledged before the work begins, nobody keeps results, and nothing is retried
by the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery  # type: ignore[import-untyped]
from kombu.connection import Connection
from kombu.entity import Queue

from core.domain.job import Lane
from core.settings import Settings

TASK = "lethe.ring"
ANSWER_SECONDS = 5.0
"""How long a broker may take to answer before it counts as gone."""
REDIS = {
    # A message is acknowledged as soon as a thread takes it; this is for those that were still on their way to one.
    "visibility_timeout": 3600,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "socket_connect_timeout": ANSWER_SECONDS,
    "socket_timeout": 2 * ANSWER_SECONDS,
}
AMQP = {"confirm_publish": True, "connect_timeout": ANSWER_SECONDS}


def queue_name(settings: Settings, lane: Lane) -> str:
    return f"{settings.queue_prefix}{lane.queue}"


def celery_app(settings: Settings, ring: Callable[..., None] | None = None) -> Celery:
    """Return the Celery application; workers give what is done at a ring, those who only ring do not."""
    redis = settings.broker_url.startswith(("redis", "sentinel"))
    app = Celery("lethe", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        task_default_delivery_mode="transient",
        task_publish_retry=False,
        task_create_missing_queues=False,
        task_queues=[_queue(queue_name(settings, lane)) for lane in Lane],
        worker_prefetch_multiplier=1,
        # Else a message waits behind a long job while another worker idles. Only Redis' transport knows it.
        worker_disable_prefetch=redis,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_enable_prefetch_count_reduction=False,
        broker_connection_retry_on_startup=True,
        # Once a connection is lost, a fresh consumer begins anew: those that reconnect have been known to fall silent.
        broker_connection_retry=False,
        broker_connection_timeout=ANSWER_SECONDS,
        broker_transport_options=REDIS if redis else AMQP,
    )
    if ring is not None:
        app.task(name=TASK, ignore_result=True, shared=False)(ring)
        for name in [name for name in app.tasks if name != TASK]:
            app.tasks.unregister(name)  # Celery's own; nobody has a use for them but who forges messages
    return app


def _queue(name: str) -> Queue:
    return Queue(name, routing_key=name)  # type: ignore[no-untyped-call]


class Doorbell:
    """The ringing end. One thread at a time; a connection that met trouble is dropped and opened again."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        self._app = celery_app(settings)
        self._connection: Connection | None = None

    def ring(self, lane: Lane, job_id: str) -> None:
        """Send one message.

        Raises:
            Exception: the broker did not take it; each transport has errors of its own.
        """
        queue = queue_name(self.settings, lane)
        self._app.send_task(TASK, (lane.queue, job_id), queue=queue, connection=self._connected(), retry=False)

    def depth(self, lane: Lane) -> int:
        """Return how many messages wait in a queue that nobody has taken.

        Raises:
            Exception: the broker does not say; each transport has errors of its own.
        """
        name = queue_name(self.settings, lane)
        # Made as Celery makes it, so that it exists whoever comes first.
        channel: Any = self._connected().default_channel
        return int(channel.queue_declare(queue=name, durable=True, auto_delete=False).message_count)

    def hang_up(self) -> None:
        """Drop the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.release()  # type: ignore[no-untyped-call]

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        return self._connection
