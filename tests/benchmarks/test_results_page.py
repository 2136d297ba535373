"""The sentences of ``docs/guide/results.md``: each figure in them is that of a results file, none lacks one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchmarks.tables.generate import RESULTS
from benchmarks.tables.quality_tables import percent
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "guide" / "results.md").read_text(encoding="utf-8")
TABLES = re.compile(r"<!-- table: (\w+) -->.*?<!-- /table -->", re.DOTALL)


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def attribute_claims() -> list[str]:
    found = results("evaluate_utkface")
    ((judged,),) = (models.values() for models in results("honesty_utkface")["results"].values())
    honesty, groups = judged["honesty"], found["groups"]
    old = [groups["age"][name] for name in ("60-69", "70+")]
    missed = sum(group["n"] * group["age_mae"] for group in old) / sum(group["n"] for group in old)
    women = groups["gender_race_age"]["female White 70+"]
    recall, weakest = min((recall, name) for name, recall in found["race_recalls"].items())
    return [
        f'The weakest class is "{weakest}": {percent(recall)} of its UTKFace faces are recognised.',
        f"Ages from 60 on are missed by {missed:.1f} years on average.",
        f"the 90 % age interval holds {percent(honesty['age']['coverage90'])} of the ages of fold 1",
        f"error is {honesty['gender']['ece']:.3f} for gender and {honesty['race']['ece']:.3f} for race",
        f"Of the {women['n']} white women from 70 on in fold 1, {women['gender_accuracy']:.0%} are".replace("%", " %"),
    ]


def detector_claims() -> list[str]:
    full, eight_bit = (results(f"detector_agreement{name}")["parts"]["all"] for name in ("", "_int8"))
    assert eight_bit["found"] == full["found"] and eight_bit["teacher_faces"] == full["teacher_faces"]
    parity = results("parity_detector")
    (candidate,) = (row for row in parity["candidates"] if row["path"].endswith("detector.int8.onnx"))
    return [
        f"recall {percent(full['recall'])}, precision {percent(full['precision'])}; its landmarks differ by "
        f"{percent(full['landmark_error'])} of the eye distance on average, about as much as the teacher's own do "
        f"({percent(full['teacher_error'])})",
        f"finds the same {eight_bit['found']} of {eight_bit['teacher_faces']} faces of its teacher",
        f"on {parity['pictures']:,} photographs of all kinds only {candidate['recall']['fraction']:.0%} of the "
        f"{parity['faces']} faces".replace("%", " %"),
    ]


def precision_claims() -> list[str]:
    machine, faces = results("bench_precision")["machine"], results("parity_attributes")["faces"]
    assert {"amx_int8", "avx512_vnni"} <= set(machine["cpu"]["features"]) and "Xeon" in machine["cpu"]["name"]
    assert faces == results("evaluate_utkface")["n"]
    return [
        f"on the same {faces:,} faces of UTKFace fold 1",
        f"`edgeface bench`, {machine['date']}, Intel Xeon with AMX and AVX512-VNNI",
        "How twelve recipes of other systems compare" if len(results("recipes")["recipes"]) == 12 else "",
    ]


CLAIMS = [*attribute_claims(), *detector_claims(), *precision_claims()]
WITHOUT_FILE = [
    # `tests/cli/test_demo.py` runs the clip that this speaks of
    r"in \d+ of \d+ frames, at \d+ % over all of them",
    # what was asked of the measurement, no result of it
    r"on fold 2",
    r"at batch 8 on one thread",
    r"95 % intervals",
    # of the detector's card
    r"leans by more than about 15°",
]
PROSE = " ".join(TABLES.sub("", PAGE).split())


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_figure_is_that_of_its_file(claim: str) -> None:
    assert claim and claim in PROSE


def test_no_figure_lacks_a_source() -> None:
    rest = PROSE
    for claim in CLAIMS:
        rest = rest.replace(claim, "")
    for words in WITHOUT_FILE:
        rest, found = re.subn(words, "", rest)
        assert found == 1, words
    rest = re.sub(r"`[^`]*`|\]\([^)]*\)|INT8|FP16|FP32", "", rest)
    assert [match[0] for match in re.finditer(r".{0,30}\d.{0,30}", rest)] == []
