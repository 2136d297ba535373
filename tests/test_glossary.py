"""The words of the field: a column of words that the code, its help and its documents have left behind."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

WORDS = {
    r"anew": "again",
    r"[Nn]obody|[Ss]omebody|[Ww]hoever": "name the person or the thing",
    r"[Rr]un times?": "runtime",
    r"soup|average share": "weight averaging",
    r"Seats?|seated": "FrameBuffer",
    r"CopyLedger": "TransferStats",
    r"TogetherAnalyzer|analyze_together|take_together": "BatchAnalyzer, analyze_batch, pop_batch",
    r"Judgement|AttributeJudge|DetectorJudge": "EvaluationResult, evaluator",
    r"Flavour": "QuantScheme",
    r"PatientSink|patiently": "ReconnectingSink, retry",
    r"TrackNumbers": "TrackIdAllocator",
    r"merits|_PUSH|_REACH|_VAGUEST": "association_scores and what the constants are",
    r"only_trains|load_twin|keep_input": "is_training_only, load_compatible_weights, refuse_overwriting_input",
    r"friendly way in|[Aa]nswers that hold still|tells nobody from anybody|[Ww]hat beats us": "plain English",
}
"""A pattern of whole words, and what to write."""
PROSE = {r"[Pp]ictures?": "image, or frame in a video"}
"""Words that documents have left, and code not yet in all its names."""
LEFT_OUT = ("CHANGELOG.md", "tests/test_glossary.py")


def tracked(*patterns: str) -> Iterator[tuple[str, str]]:
    command = ["git", "ls-files", "-z", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if name not in LEFT_OUT and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(encoding="utf-8")


def found(word: str, *patterns: str) -> list[str]:
    """``file:line`` of each place where a pattern stands as whole words."""
    expression = re.compile(rf"(?<![\w-])(?:{word})(?![\w-])")
    return [
        f"{name}:{number}"
        for name, text in tracked(*patterns)
        for number, line in enumerate(text.splitlines(), 1)
        if expression.search(line)
    ]


@pytest.mark.parametrize("word", WORDS)
def test_words_that_are_gone_stay_gone(word: str) -> None:
    assert found(word, "*.py", "*.md", "*.h", "*.cpp", "*.cu", "*.toml") == [], f"write: {WORDS[word]}"


@pytest.mark.parametrize("word", PROSE)
def test_documents_speak_the_words_of_the_field(word: str) -> None:
    documents = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/guide/results.md")
    assert found(word, *documents) == [], f"write: {PROSE[word]}"
