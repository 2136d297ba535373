"""The assignment of rows to columns is the best one, whatever the shape, and the same each time."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeface.pipeline.assignment import Array, best_pairs

SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))
WHOLE = st.integers(-4, 4).map(float)
"""Few different merits, so that many assignments are equally good."""
MERITS = st.one_of(
    arrays(np.float64, SHAPES, elements=WHOLE),
    arrays(np.float64, SHAPES, elements=st.floats(-1e6, 1e6)),
)


def sum_of(merits: Array, pairs: list[tuple[int, int]]) -> float:
    return float(sum(merits[pair] for pair in pairs))


def best_sum(merits: Array) -> float:
    """The greatest sum, by trying every assignment."""
    few, many = sorted(merits.shape)
    wide = merits if merits.shape == (few, many) else merits.T
    return max(sum_of(wide, list(enumerate(columns))) for columns in permutations(range(many), few))


@given(MERITS)
def test_no_other_assignment_is_better(merits: Array) -> None:
    assert sum_of(merits, best_pairs(merits)) == pytest.approx(best_sum(merits), rel=1e-9, abs=1e-6)


@given(MERITS)
def test_every_row_and_column_occurs_at_most_once(merits: Array) -> None:
    pairs = best_pairs(merits)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    assert len(pairs) == len(rows) == len(columns) == min(merits.shape)
    assert rows <= set(range(merits.shape[0])) and columns <= set(range(merits.shape[1]))
    assert pairs == sorted(pairs)


@given(arrays(np.float64, SHAPES, elements=WHOLE))
def test_equally_good_assignments_are_settled_alike_each_time(merits: Array) -> None:
    assert best_pairs(merits) == best_pairs(np.asfortranarray(merits))


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_among_equals_the_first_are_taken(shape: tuple[int, int]) -> None:
    assert best_pairs(np.ones(shape)) == [(place, place) for place in range(min(shape))]


def test_the_best_pair_is_given_up_for_a_better_sum() -> None:
    assert best_pairs(np.array([[10.0, 9.0], [9.0, 1.0]])) == [(0, 1), (1, 0)]


def test_many_rows_and_columns() -> None:
    order = np.random.default_rng(0).permutation(60)
    merits = np.zeros((60, 60))
    merits[np.arange(60), order] = 1.0
    assert best_pairs(merits) == [(row, int(column)) for row, column in enumerate(order)]


@pytest.mark.parametrize("merit", [np.nan, np.inf, -np.inf])
def test_a_merit_that_is_not_finite_is_refused(merit: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        best_pairs(np.array([[1.0, merit]]))
