"""Python with this directory on its path runs without some of Lethe's guards, or with a wrong clock, as its environment says.

The interpreter imports this before anything else, in a worker as well as in the training processes that it starts.
"""

from __future__ import annotations

import os

if os.environ.get("FAULTS_UNGUARDED") or os.environ.get("FAULTS_CLOCK_SECONDS"):
    from tests.faults.unguarded import install

    install()
