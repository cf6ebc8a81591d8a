"""Requests over HTTP from a process of their own: `wrk` where it is installed, else a generator in Python.

    python -m benchmarks.service.load URL SECONDS CONNECTIONS      the generator; it counts up from BENCHMARK_FIRST

Both send the same bodies, and every rival gets the same one of the two.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.service.report import HOUSE, spread

SCRIPT = Path(__file__).with_name("load.lua")
CONNECTIONS = 16


def generator() -> str:
    return "wrk -t1" if shutil.which("wrk") else "python, raw sockets"


def drive(url: str, path: str, *, key: str, first: int, seconds: float) -> dict[str, Any]:
    """Send requests over 16 connections for so long; return requests, seconds, p50_ms, p99_ms, maximum_ms.

    Raises:
        SystemExit: some were not accepted; such a run measures nothing.
    """
    variables = {"BENCHMARK_FIRST": str(first), "BENCHMARK_KEY": key, "BENCHMARK_PATH": path}
    command = [sys.executable, "-m", "benchmarks.service.load", url, str(seconds), str(CONNECTIONS)]
    if shutil.which("wrk"):
        length = f"{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{length}", "--timeout", "10s", "-s", str(SCRIPT), url]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, cwd=HOUSE, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if found["refused"] or found["broken"] or not found["requests"]:
        raise SystemExit(f"{url}{path} did not accept every request: {found}")
    return found


class Asker:
    """Connections that count up together."""

    def __init__(self, url: str, seconds: float) -> None:
        self.host, self.port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
        self.number = int(os.environ["BENCHMARK_FIRST"])
        self.end = time.perf_counter() + seconds
        self.latencies: list[float] = []
        self.refused = 0

    def next_request(self) -> bytes:
        self.number += 1
        body = (
            f'{{"subject":{{"identities":[{{"identity_type":"email","identity_value":"person-{self.number}'
            '@example.org"}]},"regulation":"gdpr"}'
        )
        return (
            f"POST {os.environ['BENCHMARK_PATH']} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {os.environ['BENCHMARK_KEY']}\r\nIdempotency-Key: benchmark-{self.number}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    async def ask(self) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        while time.perf_counter() < self.end:
            began = time.perf_counter()
            writer.write(self.next_request())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            self.latencies.append(1000 * (time.perf_counter() - began))
            self.refused += not head.startswith(b"http/1.1 2")
        writer.close()


async def main(url: str, seconds: float, connections: int) -> None:
    began, asker = time.perf_counter(), Asker(url, seconds)
    await asyncio.gather(*(asker.ask() for _ in range(connections)))
    found = spread(asker.latencies)
    counts = {"requests": len(asker.latencies), "seconds": time.perf_counter() - began, "refused": asker.refused}
    times = {"p50_ms": found["median"], "p99_ms": found["p99"], "maximum_ms": found["maximum"], "broken": 0}
    print("RESULT " + json.dumps(counts | times))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
