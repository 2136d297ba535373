"""The assignment of rows to columns is the best one, whatever the shape, and the same each time."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeface.tracking.assignment import Array, best_pairs

SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))
WHOLE = st.integers(-4, 4).map(float)
"""Few different scores, so that many assignments are equally good."""
SCORES = st.one_of(
    arrays(np.float64, SHAPES, elements=WHOLE),
    arrays(np.float64, SHAPES, elements=st.floats(-1e6, 1e6)),
)


def sum_of(scores: Array, pairs: list[tuple[int, int]]) -> float:
    return float(sum(scores[pair] for pair in pairs))


def best_sum(scores: Array) -> float:
    """The greatest sum, by trying every assignment."""
    few, many = sorted(scores.shape)
    wide = scores if scores.shape == (few, many) else scores.T
    return max(sum_of(wide, list(enumerate(columns))) for columns in permutations(range(many), few))


@given(SCORES)
def test_no_other_assignment_is_better(scores: Array) -> None:
    assert sum_of(scores, best_pairs(scores)) == pytest.approx(best_sum(scores), rel=1e-9, abs=1e-6)


@given(SCORES)
def test_every_row_and_column_occurs_at_most_once(scores: Array) -> None:
    pairs = best_pairs(scores)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    assert len(pairs) == len(rows) == len(columns) == min(scores.shape)
    assert rows <= set(range(scores.shape[0])) and columns <= set(range(scores.shape[1]))
    assert pairs == sorted(pairs)


@given(arrays(np.float64, SHAPES, elements=WHOLE))
def test_equally_good_assignments_are_settled_alike_each_time(scores: Array) -> None:
    assert best_pairs(scores) == best_pairs(np.asfortranarray(scores))


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_among_equals_the_first_are_taken(shape: tuple[int, int]) -> None:
    assert best_pairs(np.ones(shape)) == [(place, place) for place in range(min(shape))]


def test_the_best_pair_is_given_up_for_a_better_sum() -> None:
    assert best_pairs(np.array([[10.0, 9.0], [9.0, 1.0]])) == [(0, 1), (1, 0)]


def test_many_rows_and_columns() -> None:
    order = np.random.default_rng(0).permutation(60)
    scores = np.zeros((60, 60))
    scores[np.arange(60), order] = 1.0
    assert best_pairs(scores) == [(row, int(column)) for row, column in enumerate(order)]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        best_pairs(np.array([[1.0, score]]))
