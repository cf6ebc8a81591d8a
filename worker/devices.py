"""Which devices a machine has, asked without loading torch: a process that trains gets one for itself."""

from __future__ import annotations

import os
import shutil
import subprocess

ANSWER_SECONDS = 20.0


def visible_devices() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES may name, one word a device; empty where there is no GPU."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [word.strip() for word in given.split(",") if word.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        asked = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]
