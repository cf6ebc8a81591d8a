"""The heaviest perfect matching between two equally large sides (the Hungarian algorithm, O(n³)).

Only additions and comparisons of doubles, in a fixed order: every machine finds the same matching, ties included.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf


def heaviest_matching(weights: Sequence[Sequence[float]]) -> list[int]:
    """Return for every row the column it is matched with, so that the sum of weights is the greatest.

    Args:
        weights: (n, n); -inf where row and column may not be matched. Some perfect matching must exist.
    """
    size = len(weights)
    # Rows and columns count from 1; column 0 is where each search starts.
    row_price, column_price = [0.0] * (size + 1), [0.0] * (size + 1)
    row_of = [0] * (size + 1)
    for row in range(1, size + 1):
        row_of[0] = row
        came_from = _cheapest_path(weights, row_of, row_price, column_price)
        column = came_from[0]
        # The path is walked back, and every column on it changes its row.
        while column:
            before = came_from[column]
            row_of[column] = row_of[before]
            column = before
    matched = [0] * size
    for column in range(1, size + 1):
        matched[row_of[column] - 1] = column - 1
    return matched


def _cheapest_path(
    weights: Sequence[Sequence[float]], row_of: list[int], row_price: list[float], column_price: list[float]
) -> list[int]:
    """Return for each column the one before it on the cheapest path from column 0; that of 0 is the free one it ends in."""
    size = len(weights)
    least, came_from, seen = [inf] * (size + 1), [0] * (size + 1), [False] * (size + 1)
    column = 0
    while row_of[column]:
        seen[column] = True
        row = row_of[column]
        for other in range(1, size + 1):
            if not seen[other]:
                cost = -weights[row - 1][other - 1] - row_price[row] - column_price[other]
                if cost < least[other]:
                    least[other], came_from[other] = cost, column
        following = min((other for other in range(1, size + 1) if not seen[other]), key=least.__getitem__)
        step = least[following]
        for other in range(size + 1):
            if seen[other]:
                row_price[row_of[other]] += step
                column_price[other] -= step
            else:
                least[other] -= step
        column = following
    came_from[0] = column
    return came_from
