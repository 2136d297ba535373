"""The best one-to-one assignment of rows to columns, by shortest augmenting paths (Jonker and Volgenant, 1987)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_pairs(scores: Array) -> list[tuple[int, int]]:
    """The pairs (row, column), in the order of rows, whose ``scores`` ``[R, C]`` have the greatest sum.

    Each row and each column occurs at most once; there are as many pairs as the shorter side is long. Where several
    assignments are equally good, the same one is found for the same ``scores`` each time. Raises ``ValueError`` where
    a score isn't finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores: expected finite numbers")
    if scores.shape[0] > scores.shape[1]:
        return sorted((row, column) for column, row in best_pairs(scores.T))
    paths = _Paths(-scores)
    for row in range(len(scores)):
        paths.add(row)
    return list(enumerate(paths.column_of))


class _Paths:
    """The cheapest assignment of the rows added so far, for ``costs`` with no more rows than columns.

    The prices prove it the cheapest: no cost is below its row's and column's prices together, those of its pairs equal
    them.
    """

    def __init__(self, costs: Array) -> None:
        self.costs = costs
        self.row_prices, self.column_prices = (np.zeros(length) for length in costs.shape)
        self.column_of = [-1] * costs.shape[0]
        self.row_of = [-1] * costs.shape[1]

    def add(self, start: int) -> None:
        """Give row ``start`` a column, moving other rows along the cheapest path to a free one (Dijkstra)."""
        lengths = np.full(len(self.row_of), np.inf)  # of the shortest path found to each column
        before = np.full(len(self.row_of), start)  # the row that this path comes from
        open_columns = np.ones(len(self.row_of), bool)
        row, length = start, 0.0
        while row >= 0:
            through = length + self.costs[row] - self.row_prices[row] - self.column_prices
            shorter = open_columns & (through < lengths)
            lengths[shorter], before[shorter] = through[shorter], row
            column = int(np.where(open_columns, lengths, np.inf).argmin())  # among equals the first
            length, open_columns[column] = float(lengths[column]), False
            row = self.row_of[column]
        for passed in np.flatnonzero(~open_columns):
            gain = length - lengths[passed]
            self.column_prices[passed] -= gain
            if (owner := self.row_of[passed]) >= 0:
                self.row_prices[owner] += gain
        self.row_prices[start] += length
        while row != start:
            row = int(before[column])
            self.row_of[column] = row
            self.column_of[row], column = column, self.column_of[row]
