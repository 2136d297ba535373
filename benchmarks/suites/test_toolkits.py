"""A whole image to ages and genders: ours against toolkits that install from the package index and run offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.base import Call, contender
from benchmarks.peers.toolkits import TOOLKITS, Analyse, Person, edgeface
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import HELD_OUT_FOLD, LabelledPicture, crowd
from benchmarks.suites.results import Suite


@pytest.mark.parametrize(("columns", "rows", "width", "height"), [(1, 1, 512, 512), (4, 2, 1280, 720)])
def test_toolkits(
    benchmark: BenchmarkFixture,
    suite: Suite,
    labelled: list[LabelledPicture],
    columns: int,
    rows: int,
    width: int,
    height: int,
) -> None:
    scene, count = crowd(columns, rows, width, height), columns * rows

    def opened(open_toolkit: Callable[[], Analyse]) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            analyse = open_toolkit()
            found, others = scene.found(np.array([person.box for person in analyse(scene.picture)]))
            facts = {"found": found, "false_alarms": others}
            judged = {"judged": judgement(analyse, labelled)} if labelled and count == 1 else {}
            return lambda: analyse(scene.picture), {**facts, **judged}

        return make

    contenders = [contender("edgeface", opened(edgeface))]
    contenders += [contender(name, opened(make)) for name, make in TOOLKITS.items()]
    title = f"{count} face{'s' if count > 1 else ''} in {width}×{height}, each toolkit's own threads"
    settings = {"faces": count, "judged_on": f"{len(labelled)} images of UTKFace fold {HELD_OUT_FOLD}"}
    suite.cases.append(contest(benchmark, title, contenders, suite.seconds, settings))


def judgement(analyse: Analyse, pictures: Sequence[LabelledPicture]) -> dict[str, float | int | None]:
    """How many images a toolkit answers, and on those its mean age error in years and its share of right genders."""
    answers = [(picture, largest(analyse(picture.pixels))) for picture in pictures]
    answered = [(picture, person) for picture, person in answers if person is not None]
    return {
        "pictures": len(pictures),
        "answered": len(answered),
        "age_mae": round(float(np.mean([abs(p.age - a.age) for p, a in answered])), 2) if answered else None,
        "gender_accuracy": round(float(np.mean([p.gender == a.gender for p, a in answered])), 4) if answered else None,
    }


def largest(people: Sequence[Person]) -> Person | None:
    """The person with the largest box: a chip shows one face, whatever else is found in it."""
    return max(people, key=lambda p: (p.box[2] - p.box[0]) * (p.box[3] - p.box[1]), default=None)
