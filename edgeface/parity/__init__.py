"""Nothing lost on the way: candidates against a reference, per head and per group, and a gate that says no."""

from edgeface.parity.attribute_parity import answers_of, compare, is_simulated
from edgeface.parity.gate import Budget, failures, read_budget
from edgeface.parity.report import CandidateParity, ParityReport

__all__ = [
    "Budget",
    "CandidateParity",
    "ParityReport",
    "answers_of",
    "compare",
    "failures",
    "is_simulated",
    "read_budget",
]
