"""What every benchmark prints and writes: one table, and one JSON file that says where and how it was made."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

HOUSE = Path(__file__).resolve().parents[2]
RESULTS = HOUSE / "benchmarks" / "results"
PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "celery", "redis", "minio", "torch")


@dataclass(frozen=True)
class Run:
    """How one benchmark was asked to run."""

    name: str
    quick: bool
    room: str
    json: Path | None
    """Where to write; by default a full run goes to `benchmarks/results/` and a quick one nowhere."""

    def pick(self, full: Any, quick: Any) -> Any:
        return quick if self.quick else full


def arguments(name: str, description: str, *, room: str = "service") -> Run:
    """Read the command line that all benchmarks share; `room` is the directory that the program lies in."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{room}.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a tiny run of seconds: does it work, roughly")
    parser.add_argument("--json", type=Path, help="where to write the result")
    given = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )  # one line a deletion is many
    standard = None if given.quick else RESULTS / f"{room}-{name.replace('_', '-')}.json"
    return Run(name, given.quick, room, given.json or standard)


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return count, minimum, median, p99 and maximum; p99 is the nearest rank, so of few samples it is the largest."""
    ordered = sorted(samples)
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    return {
        "samples": len(ordered),
        "minimum": round(ordered[0], 3),
        "median": round(statistics.median(ordered), 3),
        "p99": round(ordered[rank], 3),
        "maximum": round(ordered[-1], 3),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same columns, numbers to the right."""
    names = list(rows[0])
    cells = [[_shown(row[name]) for name in names] for row in rows]
    widths = [max(len(line[place]) for line in [names, *cells]) for place in range(len(names))]
    numeric = [isinstance(rows[0][name], int | float) for name in names]
    for line in [names, *cells]:
        shown = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(shown).rstrip())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)


def verdict(sentence: str, *, met: bool) -> dict[str, Any]:
    """Print a goal and whether this run met it; return both for the file."""
    print(f"{'met   ' if met else 'MISSED'}  {sentence}")
    return {"goal": sentence, "met": met}


def finish(run: Run, result: Mapping[str, Any]) -> None:
    """Write the result with all that is needed to judge it."""
    whole = {
        "benchmark": run.name,
        "command": f"python -m benchmarks.{run.room}.{run.name}" + (" --quick" if run.quick else ""),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        **result,
    }
    if run.json is not None:
        run.json.write_text(json.dumps(whole, indent=1) + "\n")
        print(f"written to {run.json.relative_to(HOUSE) if run.json.is_relative_to(HOUSE) else run.json}")


def commit() -> str:
    """Return the commit of the code, with `+changes` when the working tree differs from it."""
    known = _git("rev-parse", "--short=12", "HEAD")
    return f"{known}+changes" if known and _git("status", "--porcelain", "--", "*.py") else known or "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HOUSE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """Return what the figures depend on; no names of machines or people."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_before": [round(value, 2) for value in LOAD_BEFORE],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


LOAD_BEFORE = os.getloadavg()
"""Load averages when the program started: a busy machine shows here."""


def warn_if_busy() -> None:
    """Say so when somebody else keeps the machine busy."""
    if LOAD_BEFORE[0] > 0.5:
        print(f"The machine is busy (load {LOAD_BEFORE[0]:.1f}): compare only within this run.", file=sys.stderr)
