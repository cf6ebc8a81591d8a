"""Python with this directory on its path has only what `pip install lethe` brings: it never finds FORBIDDEN_MODULES."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

FORBIDDEN = frozenset(os.environ.get("FORBIDDEN_MODULES", "").split())


class Blinkered(PathFinder):
    """Looks along the path as always, but does not see a forbidden module: as if it were not installed."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in FORBIDDEN:
            return None
        return super().find_spec(fullname, path, target)


sys.meta_path[:] = [Blinkered if finder is PathFinder else finder for finder in sys.meta_path]
