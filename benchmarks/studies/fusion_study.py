"""Answers fused per track against answers per frame, on synthetic tracks of labelled faces.

    python -m benchmarks.studies.fusion_study --data ../shared/data/utkface --folds 1 [--save F.json] [--plot F.png]

Clips of two people each (benchmarks/studies/fusion_tracks.py) go through the shipped detector, the Kalman tracker and
the shipped attribute network. Both ways answer the same faces of the same frames: per frame from every face, fused from
the looks that the fuser asks for. Untracked faces (before the second sighting) and faces that are no one's are left
out of both. Jitter is the standard deviation of the shown age within a track, averaged over tracks; flips are changes
of the shown class between successive frames of a track. The fuser's settings were chosen on fold 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies import fusion_report
from benchmarks.studies.fusion_tracks import FPS, Array, Person, people_of, render
from edgeface.api import FaceAnalyzer, FaceDetector
from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import DataError, EdgefaceError
from edgeface.evaluation.datasets import FaceSet, LabelledFace, find_faces, parse_folds
from edgeface.imaging.image_io import decode_image
from edgeface.inference.detector import shipped_model
from edgeface.tracking.fusion import FusionOptions, TrackFuser
from edgeface.tracking.iou import IouTracker, Tracker
from edgeface.tracking.kalman import KalmanTracker
from edgeface.tracking.quality import look_at
from edgeface.types import Attributes, Faces, Frame, Fused, Image, Tracks

_PEOPLE = 2
_NEAR = 0.4
"""A detected face is a person's if its centre is within this share of the chip's side."""


@dataclass
class Totals:
    """What the run counted, besides the rows: faces, looks of the network, seconds, tracks and changes of number."""

    faces: int = 0
    inferred: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"detect": 0.0, "attributes": 0.0, "look": 0.0})
    numbers: dict[str, int] = field(default_factory=lambda: {"kalman": 0, "iou": 0})
    switches: dict[str, int] = field(default_factory=lambda: {"kalman": 0, "iou": 0})

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


def clips(data: list[FaceSet], count: int, frames: int, seed: int) -> Iterator[tuple[list[Person], Iterator[Image]]]:
    """``count`` clips of two people each, all different, drawn from ``data`` by ``seed``."""
    rng = np.random.default_rng(seed)
    named = [(part, face) for part in data for face in part.faces]
    if len(named) < _PEOPLE * count:
        raise DataError(f"--clips {count} needs {_PEOPLE * count} faces, the data hold {len(named)}: ask for fewer")
    order = rng.permutation(len(named))[: _PEOPLE * count].reshape(count, _PEOPLE)
    for pair in order:
        people = people_of([_chip(*named[index]) for index in pair], frames, rng)
        yield people, render(people, rng)


def _chip(part: FaceSet, face: LabelledFace) -> tuple[LabelledFace, Image]:
    return face, decode_image(next(iter(part.read([face.name]))), face.name)


def measure_clip(
    number: int, people: list[Person], pictures: Iterator[Image], analyzer: FaceAnalyzer, totals: Totals
) -> list[fusion_report.Row]:
    """One clip both ways: a row for every tracked face of every frame."""
    trackers: dict[str, Tracker] = {"kalman": KalmanTracker(), "iou": IouTracker()}
    fuser = TrackFuser(analyzer.spec, FusionOptions())
    held: dict[tuple[str, int], int] = {}
    rows: list[fusion_report.Row] = []
    for index, pixels in enumerate(pictures):
        frame = Frame(pixels, index / FPS, "synthetic", index)
        with totals.timing("detect"):
            faces = analyzer.detector(pixels)
        owners = owners_of(faces, people, index)
        numbers = {name: tracker(faces, frame.pts_s) for name, tracker in trackers.items()}
        _count_switches(totals, numbers, owners, held)
        with totals.timing("attributes"):
            every = analyzer.attributes(pixels, faces)
        with totals.timing("look"):
            look_at(pixels, faces)
        plan = fuser.plan(frame, faces, numbers["kalman"])
        fused = fuser.fuse(plan, every[plan.due])
        rows += _rows(number, index, people, owners, numbers["kalman"], every, fused, plan.due)
    totals.faces += fuser.counters.faces
    totals.inferred += fuser.counters.inferred
    for name, tracker in trackers.items():
        totals.numbers[name] += tracker.count
    return rows


def owners_of(faces: Faces, people: list[Person], index: int) -> list[int]:
    """Whose each face is: a person's is the nearest one to him that is near enough; -1: no one's."""
    owners = [-1] * len(faces)
    if not len(faces):
        return owners
    places: Array = (faces.boxes[:, :2] + faces.boxes[:, 2:]).astype(np.float64) / 2
    for number, one in enumerate(people):
        away = np.hypot(*(places - one.centres[index]).T) / one.sides[index]
        nearest = int(away.argmin())
        if away[nearest] < _NEAR and owners[nearest] < 0:
            owners[nearest] = number
    return owners


def _count_switches(
    totals: Totals, numbers: dict[str, Tracks], owners: list[int], held: dict[tuple[str, int], int]
) -> None:
    for name, tracks in numbers.items():
        for owner, number in zip(owners, tracks.ids.tolist()):
            if owner >= 0 and number >= 0:
                totals.switches[name] += held.get((name, owner), number) != number
                held[name, owner] = number


def _rows(
    clip: int,
    index: int,
    people: list[Person],
    owners: list[int],
    tracks: Tracks,
    every: Attributes,
    fused: Fused,
    due: Any,
) -> list[fusion_report.Row]:
    rows = []
    for row, (owner, number) in enumerate(zip(owners, tracks.ids.tolist())):
        if owner < 0 or number < 0:
            continue
        face = people[owner].face
        rows.append(
            fusion_report.Row(
                (clip, number),
                index,
                (face.age, face.gender, face.race),
                (float(every.age[row]), int(every.gender[row].argmax()), int(every.race[row].argmax())),
                (float(fused.age[row]), int(fused.gender_label[row]), int(fused.race_label[row])),
                float(fused.age_std[row]),
                tuple(bool(unsure) for unsure in fused.abstained[row]),
                bool(due[row]),
            )
        )
    return rows


def measure(data: list[FaceSet], count: int, frames: int, seed: int) -> tuple[dict[str, Any], list[fusion_report.Row]]:
    """All clips; figures and rows."""
    totals, rows = Totals(), []
    detector = FaceDetector(longest_px=480, threads=1)
    with FaceAnalyzer(detector, threads=1) as analyzer:
        for number, (people, pictures) in enumerate(clips(data, count, frames, seed)):
            rows += measure_clip(number, people, pictures, analyzer, totals)
            print(f"clip {number + 1} of {count}: {len(rows)} tracked faces", file=sys.stderr)
    if not rows:
        raise DataError("no face of these clips was tracked: the data are no faces, or the clips are too short")
    figures = fusion_report.figures(rows)
    per_face = {f"{name}_ms": 1e3 * seconds / totals.faces for name, seconds in totals.seconds.items()}
    figures |= {
        "calls_saved": totals.faces / totals.inferred,
        "faces": totals.faces,
        "inferred": totals.inferred,
        "people": _PEOPLE * count,
        "track_numbers": totals.numbers,
        "number_switches": totals.switches,
        "cost_per_face": {name: round(value, 4) for name, value in per_face.items()},
    }
    return figures, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="UTKFace: a folder, its zips or a zip")
    parser.add_argument("--folds", default="1", help="whose faces (default: 1; settings were tuned on 2)")
    parser.add_argument("--clips", type=int, default=40, help="clips of two people (default: 40)")
    parser.add_argument("--frames", type=int, default=100, help=f"frames a clip, {FPS} a second (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--plot", type=Path, help="draw a few tracks into this PNG")
    options = parser.parse_args()
    try:
        data = list(find_faces([options.data], folds=parse_folds(options.folds)))
        figures, rows = measure(data, options.clips, options.frames, options.seed)
        print(fusion_report.table(figures))
        if options.plot:
            fusion_report.plot(rows, options.plot)
        if options.save:
            _save(options, figures)
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if all(met for _, _, _, met in fusion_report.judged(figures)) else 3


def _save(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    names = {"attributes": "attributes.onnx", "detector": "detector.onnx"}
    result = {
        "folds": options.folds,
        "clips": options.clips,
        "frames": options.frames,
        "seed": options.seed,
        "models": {name: sha256_file(shipped_model(file)) for name, file in names.items()},
        "figures": figures,
        "machine": fingerprint(),
    }
    with atomic_path(options.save) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
