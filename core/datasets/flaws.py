"""Flaws of rows: all of them counted, some of them spelled out, each by row and column and never by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import Flaw, RowsRefused

MOST_LISTED = 100
Mask = NDArray[np.bool_]


class Flaws:
    """What was found so far."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.counts: Counter[str] = Counter()
        self.listed: list[tuple[int, Flaw]] = []

    def whole(self, role: str, code: str, detail: str) -> None:
        """Note a flaw of a whole column."""
        self.counts[code] += 1
        self.listed.append((-1, Flaw(f"column {self.names[role]}", code, detail)))

    def at(self, role: str, mask: Mask, code: str, detail: str) -> None:
        """Note the same flaw on every row where the (n,) mask is true."""
        found = np.flatnonzero(mask)
        if not len(found):
            return
        self.counts[code] += len(found)
        for row in found[:MOST_LISTED].tolist():
            self.listed.append((row, Flaw(f"row {row}, column {self.names[role]}", code, detail)))

    def refuse_if_any(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            RowsRefused: something was.
        """
        if not self.counts:
            return
        kinds = ", ".join(f"{count} {code}" for code, count in sorted(self.counts.items()))
        listed = [flaw for _, flaw in sorted(self.listed, key=lambda found: found[0])[:MOST_LISTED]]
        total = self.counts.total()
        more = f"; the first {len(listed)} are listed" if total > len(listed) else ""
        raise RowsRefused(f"{total} flaws were found: {kinds}{more}", flaws=listed)
