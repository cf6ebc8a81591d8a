"""An S3-compatible store: Ceph's gateway before one monitor and one storage daemon that keeps objects in memory.

`kill`, `stop`, `pause` and the rest act on the gateway, which is what Lethe talks to; it keeps nothing itself, so what
was stored is there when it returns. Only `close` ends the store behind it, and the objects with that.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping
from typing import ClassVar

from tests.servers.process import START_SECONDS, Child, DoesNotStart, answers, free_port, program, run
from tests.servers.server import Server

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "monmaptool", "radosgw-admin")
CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{monitor_port}
ms_bind_msgr2 = false
ms_bind_port_min = {lowest_port}
ms_bind_port_max = 32000
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_data = {home}/mon
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
osd_data = {home}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_class_load_list = *
paxos_propose_interval = 0.05
mon_tick_interval = 1
mon_cluster_log_to_file = false
run_dir = {home}/run
admin_socket = {home}/run/$name.$pid.asok
pid_file = {home}/run/$name.pid
log_file = {home}/log/$name.log
crash_dir = {home}/log
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_data = {home}/rgw
rgw_run_sync_thread = false
rgw_enable_usage_log = false
"""


class Ceph(Server):
    """One gateway with one user, who may make buckets."""

    name: ClassVar[str] = "ceph"
    bucket: ClassVar[str] = "lethe"
    """A name to use; nobody has made the bucket."""

    @classmethod
    def missing(cls) -> str | None:
        if all(program(name) for name in PROGRAMS):
            return None
        return "Ceph's gateway is not installed (apt-get install --no-install-recommends ceph-mon ceph-osd radosgw)"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def variables(self) -> Mapping[str, str]:
        return {
            "LETHE_S3_ENDPOINT": self.endpoint,
            "LETHE_S3_BUCKET": self.bucket,
            "LETHE_S3_ACCESS_KEY": self.access_key,
            "LETHE_S3_SECRET_KEY": self.secret_key,
        }

    def start(self) -> None:
        if self._monitor.pid is None:
            self._start_cluster()
        super().start()

    def close(self) -> None:
        self._storage.kill()
        self._monitor.kill()
        super().close()

    def _prepare(self) -> Child:
        home = self.directory
        self.port, monitor_port = free_port(), free_port()
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_hex(20)
        for name in ("mon", "osd", "run", "log", "rgw"):
            (home / name).mkdir()
        fsid = str(uuid.uuid4())
        self._configuration = home / "ceph.conf"
        text = CONFIGURATION.format(
            fsid=fsid, home=home, port=self.port, monitor_port=monitor_port, lowest_port=free_port()
        )
        self._configuration.write_text(text)
        address = f"[v1:127.0.0.1:{monitor_port}]"
        run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, home / "monmap"])
        run(self._ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", home / "monmap"))
        self._monitor = Child(self._ceph("ceph-mon", "-i", "a", "-f"), log=home / "mon.out")
        self._storage = Child(self._ceph("ceph-osd", "-i", "0", "-f"), log=home / "osd.out")
        return Child(self._ceph("radosgw", "-n", "client.rgw", "-f"), log=home / "rgw.out")

    def _start_cluster(self) -> None:
        self._monitor.start()
        unique = str(uuid.uuid4())
        self._ask("osd", "new", unique)
        run(self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", unique))
        self._storage.start()
        self._ask("osd", "crush", "add", "osd.0", "1.0", "host=localhost", "root=default")
        keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        run(self._ceph("radosgw-admin", "user", "create", "--uid=lethe", "--display-name=lethe", *keys))

    def _ask(self, *question: str) -> None:
        """Tell the monitor; while it finds itself, it refuses at times what it grants a moment later."""
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                run(self._ceph("ceph", "--connect-timeout", "60", *question))
                break
            except DoesNotStart:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def _ceph(self, name: str, *arguments: object) -> list[str]:
        return [program(name) or name, "-c", str(self._configuration), *(str(one) for one in arguments)]

    def _ready(self) -> bool:
        return answers(self.port, b"GET / HTTP/1.0\r\n\r\n", starts=b"HTTP/1.1 200")
